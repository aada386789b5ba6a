# SPDX-License-Identifier: Apache-2.0
"""The values of a program while it is read: what an argument is, and what a value takes in."""

import math
from typing import Any

import numpy as np
import torch

from ttfs_sw.convert.flow import Memory
from ttfs_sw.convert.layers import Layers, Map, Sums
from ttfs_sw.convert.operations import refuse, unknown
from ttfs_sw.convert.program import Computation, Node, Ref
from ttfs_sw.training.topology import LayerPlan

__all__ = ["Values", "size"]


class Values:
    """What the tensors of a program are, and the layers that have come of them.

    Parameters
    ----------
    program : :class:`ttfs_sw.convert.program.Computation`
        The model.
    image : :class:`ttfs_sw.convert.layers.Map`
        What it reads.
    """

    def __init__(self, program: Computation, image: Map):
        self._program = program
        self._constants = dict(program.tensors)
        self._values: dict[str, Map | Sums] = {program.input: image}
        # Which tensors may share memory. Those that surely do have one number; and who has changed
        # a tensor since.
        self._memory = Memory(program.nodes)
        self._same = {program.input: 0}
        self._changed: dict[str, Node] = {}
        self.layers = Layers(image.shape)

    def _value(self, reference: Any, node: Node) -> Map | Sums:
        if not isinstance(reference, Ref) or reference.name not in self._values:
            raise unknown(node)
        if changed := self._changed.get(reference.name):
            raise refuse(node, f"it reads a tensor that {changed.where} has changed in place since;"
                         " use that operation without inplace=True or the _ of its name")
        return self._values[reference.name]

    def _set(self, name: str, value: Map | Sums, same: str | None) -> None:
        """Name a value, which surely lies in the memory of ``same``."""
        self._same[name] = len(self._same) if same is None else self._same[same]
        self._values[name] = value

    def _overwrite(self, name: str, value: Map | Sums, node: Node) -> None:
        """Change a tensor in place, and with it all others that may be in the same memory."""
        if name not in self._values:
            raise refuse(node, "it changes a constant in place")
        old = self._values[name]
        for other, number in self._same.items():
            if number == self._same[name] and self._values[other] is old:
                self._values[other] = value
            elif self._memory.touches(node, {other}):
                # Of another shape, or older, or perhaps a copy: what it holds now is not followed.
                self._changed[other] = node

    def _map(self, reference: Any, node: Node) -> Map:
        """An argument that only a map can be; sums that cannot be negative fire."""
        value = self._value(reference, node)
        if isinstance(value, Map):
            return value
        if value.positive:
            return self._fire(value, node)
        raise refuse(
            node, f"it reads the sums of {value.name} before any ReLU, and a spike cannot tell a "
            "negative number; put an nn.ReLU in between"
        )

    def _fire(self, sums: Sums, node: Node) -> Map:
        """Make a layer of sums; where its ReLU changes nothing, they are its map from now on."""
        made = self.layers.add(sums, node)
        if sums.positive:
            self._values = {name: made if value is sums else value
                            for name, value in self._values.items()}
        return made

    def _check_type(self, node: Node) -> None:
        """Refuse to cut a fraction off."""
        dtype, other = (node.arguments.get(name) for name in ("dtype", "other"))
        whole = dtype is not None and not dtype.is_floating_point
        if isinstance(other, Ref) and other.name in self._constants:
            whole = not self._constants[other.name].is_floating_point()
        if whole:
            raise refuse(node, "it makes whole numbers of values that have fractions; leave it out")

    def _array(self, reference: Any) -> np.ndarray:
        """The numbers of a constant."""
        if isinstance(reference, Ref):
            return self._constants[reference.name].detach().to(torch.float64).numpy()
        return np.asarray(reference, np.float64)

    def _is_constant(self, value: Any) -> bool:
        return isinstance(value, int | float) or (
            isinstance(value, Ref) and value.name in self._constants
        )

    def _weights(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        weight = node.arguments.get("weight")
        if not self._is_constant(weight):
            raise refuse(node, "its weights are computed from the image; they must be constants")
        bias = node.arguments.get("bias")
        if not self._is_constant(bias) and bias is not None:
            raise refuse(node, "its biases are computed from the image; they must be constants")
        weights = self._array(weight)
        biases = np.zeros(len(weights)) if bias is None else self._array(bias)
        self._check_finite(node, weights, biases)
        return weights, biases

    def _check_finite(self, node: Node, *numbers: np.ndarray | float) -> None:
        if not all(np.isfinite(item).all() for item in numbers):
            raise refuse(node, "its numbers are not all finite: there is an infinity or a NaN "
                         "(not a number) among them; has its training diverged?")

    def _by_channel(self, constant: Any, value: Map | Sums, node: Node) -> np.ndarray:
        """A constant as one number for all, or one a channel."""
        array = self._array(constant)
        if array.size == 1:
            return array.reshape(())
        wanted = (self._channels(value), *(() if value.flat else (1, 1)))
        if array.shape in (wanted, (1, *wanted)):
            return array.reshape(-1)
        raise refuse(node, f"a constant of {size(array.shape)} is not one number a channel")

    def _channels(self, value: Map | Sums) -> int:
        """How many numbers a batch-norm has for a value: one a channel, or where flat one a neuron.
        """
        return math.prod(value.shape) if value.flat else value.shape[2]

    def _affine(
        self, value: Map | Sums, scale: np.ndarray | float, offset: np.ndarray | float, node: Node
    ) -> Map | Sums:
        """A value, scaled and then shifted: by one number each, or by one a channel."""
        self._check_finite(node, scale, offset)
        count = self._channels(value)
        scale, offset = (np.broadcast_to(part, count) for part in (scale, offset))
        if isinstance(value, Map):
            return value.affine(scale, offset)
        if value.flat and not value.plan.form.flat:
            # A map that was flattened before its ReLU: its weights are one set for all positions.
            scale, offset = (
                self._of_channels(part, value.shape, node) for part in (scale, offset)
            )
        if value.plan.second_source is not None and (scale != 1).any():
            raise refuse(node, "it scales a sum with an added map, whose worth is fixed; put it "
                         "before the addition or after the ReLU")
        if value.plan.pool > 1 and (scale < 0).any():
            raise refuse(node, "it has a negative scale and comes after a max-pool; put it before")
        return value.affine(scale, offset)

    def _of_channels(
        self, numbers: np.ndarray, shape: tuple[int, int, int], node: Node
    ) -> np.ndarray:
        """One number a channel of what has one for each neuron of a flattened map."""
        rows = numbers.reshape(shape[2], -1)
        if (rows != rows[:, :1]).any():
            raise refuse(node, f"it needs one number a channel of {size(shape[:2])} positions, but "
                         "a batch-norm or a constant behind nn.Flatten has one for each position; "
                         "put that before nn.Flatten, or an nn.Linear behind it")
        return rows[:, 0]

    def _identity(self, source: Map, node: Node) -> Sums:
        """A layer that sends on what it reads, to pool it or to add to it; takes scales in."""
        scale, offset = source.scale, source.offset
        if source.flat:
            scale, offset = (
                self._of_channels(part, source.shape, node) for part in (scale, offset)
            )
        plan = LayerPlan("depthwise", source.shape, source.shape)
        self.layers.read(source)
        return Sums(
            plan, source, scale.reshape(-1, 1, 1, 1), offset, node.module or node.name,
            source.flat, source.positive,
        )


def size(shape: tuple[int | None, ...]) -> str:
    """A shape as messages write it."""
    return " x ".join("?" if size is None else str(size) for size in shape) or "one number"
