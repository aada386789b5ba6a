"""The values of a program while it is read: what an argument is, and what a value takes in."""

from typing import Any

import numpy as np
import torch

from ttfs_sw.convert.layers import Layers, Map, Sums
from ttfs_sw.convert.operations import refuse, unknown
from ttfs_sw.convert.program import Node, Program, Ref
from ttfs_sw.topology import LayerPlan

__all__ = ["Values", "size"]


class Values:
    """What the tensors of a program are, and the layers that have come of them.

    Parameters
    ----------
    program : :class:`ttfs_sw.convert.program.Program`
        The model.
    image : :class:`ttfs_sw.convert.layers.Map`
        What it reads.
    """

    def __init__(self, program: Program, image: Map):
        self._program = program
        self._constants = dict(program.tensors)
        self._values: dict[str, Map | Sums] = {program.input: image}
        self.layers = Layers(image.shape)

    def _value(self, reference: Any, node: Node) -> Map | Sums:
        if not isinstance(reference, Ref) or reference.name not in self._values:
            raise unknown(node)
        return self._values[reference.name]

    def _map(self, reference: Any, node: Node) -> Map:
        """An argument that only a map can be; sums that cannot be negative fire."""
        value = self._value(reference, node)
        if isinstance(value, Map):
            return value
        if value.positive:
            return self.layers.add(value, node)
        raise refuse(
            node, f"it reads the sums of {value.name} before any ReLU, and a spike cannot tell a "
            "negative number; put an nn.ReLU in between"
        )

    def _array(self, reference: Any) -> np.ndarray | None:
        if reference is None:
            return None
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
        weight, bias = self._array(weight), self._array(node.arguments.get("bias"))
        return weight, np.zeros(len(weight)) if bias is None else bias

    def _by_channel(self, constant: Any, value: Map | Sums, node: Node) -> np.ndarray:
        """A constant as one number for all, or one a channel."""
        array = self._array(constant)
        if array.size == 1:
            return array.reshape(())
        channels = len(value.scale if isinstance(value, Map) else value.bias)
        trailing = () if value.flat else (1, 1)
        if array.size == channels and array.shape[array.ndim - len(trailing):] == trailing:
            return array.reshape(-1)
        raise refuse(node, f"a constant of {size(array.shape)} is not one number a channel")

    def _affine(
        self, value: Map | Sums, scale: np.ndarray, offset: np.ndarray, node: Node
    ) -> Map | Sums:
        if isinstance(value, Map):
            return value.affine(*(np.broadcast_to(part, value.scale.shape)
                                  for part in (scale, offset)))
        scale, offset = (np.broadcast_to(part, value.bias.shape) for part in (scale, offset))
        if value.plan.second_source is not None and (scale != 1).any():
            raise refuse(node, "it scales a sum with an added map, whose worth is fixed; put it "
                         "before the addition or after the ReLU")
        if value.plan.pool > 1 and (scale < 0).any():
            raise refuse(node, "it has a negative scale and comes after a max-pool; put it before")
        return value.affine(scale, offset)

    def _identity(self, source: Map, node: Node) -> Sums:
        """A layer that sends on what it reads, to pool it or to add to it; takes scales in."""
        if source.flat and source.shape[:2] != (1, 1):
            raise refuse(node, "it comes after a flattened map; put it before nn.Flatten")
        channels = source.shape[2]
        plan = LayerPlan("depthwise", source.shape, source.shape)
        self.layers.read(source)
        return Sums(
            plan, source, source.scale.reshape(channels, 1, 1, 1), source.offset,
            node.module or node.name, source.flat, source.positive,
        )


def size(shape: tuple[int | None, ...]) -> str:
    """A shape as messages write it."""
    return " x ".join("?" if size is None else str(size) for size in shape) or "one number"
