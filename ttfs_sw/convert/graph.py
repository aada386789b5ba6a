# SPDX-License-Identifier: Apache-2.0
"""From a program to layers: weights take in what stands around them, ReLUs make neurons fire.

Scales and shifts go into the weights before a ReLU or after it (:mod:`ttfs_sw.convert.arithmetic`).
Dropout and flattening leave nothing behind.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import reference, windows
from ttfs_sw.convert.arithmetic import Arithmetic
from ttfs_sw.convert.layers import Folded, Map, Sums
from ttfs_sw.convert.operations import MONOTONE, NOTHING, SAME, SHAPES, refuse, unknown
from ttfs_sw.convert.program import Computation, Node, Ref
from ttfs_sw.convert.values import size
from ttfs_sw.training.topology import LayerPlan, Topology

__all__ = ["Folder", "fold"]


def fold(
    program: Computation,
    input_shape: tuple[int, int, int],
    mean: np.ndarray | None = None,
    std: np.ndarray | None = None,
) -> Folded:
    """Return the layers of ``program`` for images of ``input_shape``.

    Parameters
    ----------
    program : :class:`ttfs_sw.convert.program.Computation`
        The model.
    input_shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width and channels of an image.
    mean, std : :class:`numpy.ndarray` or ``None``
        One a channel: the model was trained on ``(x - mean) / std`` of pixels ``x`` from 0 to 1.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If an operation does not convert; the message has its line and what to use instead.
    """
    folder = Folder(program, input_shape, mean, std)
    for _ in folder.steps():
        pass
    return folder.folded()


class Folder(Arithmetic):
    """One pass over a program, from the images to the logits, a step for each operation.

    Parameters and exceptions are those of :func:`fold`.
    """

    def __init__(
        self, program: Computation, input_shape: tuple[int, int, int],
        mean: np.ndarray | None = None, std: np.ndarray | None = None,
    ):
        height, width, channels = input_shape
        mean = np.zeros(channels) if mean is None else np.broadcast_to(mean, channels)
        std = np.ones(channels) if std is None else np.broadcast_to(std, channels)
        image = Map(-1, input_shape, 1 / std, -mean / std)
        reads = program.shapes[program.input][1:]
        if reads == (channels * height * width,):
            image = image.flattened()
        elif reads != (channels, height, width):
            raise InputError(
                f"{program.source} reads {size(reads)} for an image, but those of the dataset are "
                f"{channels} x {height} x {width} (channels, rows, columns); choose another with "
                "--dataset"
            )
        super().__init__(program, image)
        self._notes = list(program.notes)

    def steps(self) -> Iterator[tuple[Node, Map | Sums]]:
        """Take in one operation after another; give each with what its tensor is now.

        After each step :attr:`ttfs_sw.convert.values.Values.layers` and the value compute
        what the program's tensor of that name holds: :mod:`ttfs_sw.convert.proof` holds them
        against each other.
        """
        for node in self._program.nodes:
            reads = [item for item in node.arguments.values() if isinstance(item, Ref)]
            if reads and all(item.name in self._constants for item in reads):
                self._constants[node.name] = self._constant(node)
                continue
            first = next(iter(reads), None)
            if node.in_place:
                self._check_change(first, node)
            value = self._step(node.plain, first, node)
            # What reads no tensor makes none here: the step has refused it.
            assert first is not None
            if node.in_place:
                self._overwrite(first.name, value, node)
            same = node.in_place or node.plain in SAME
            self._set(node.name, value, first.name if same else None)
            yield node, value

    def _check_change(self, first: Ref | None, node: Node) -> None:
        """Refuse to follow a change of anything but what an operation reads, or after the end."""
        if first is None or node.changes != [first.name] or node.plain == node.operation:
            raise refuse(node, "it may change a tensor that exists already in a way that is not "
                         "known here; compute a new one")
        output = self._program.output
        if output in self._values and self._memory.touches(node, {output}) and any(
            other.name == output and other.operation in MONOTONE for other in self._program.nodes
        ):
            raise refuse(node, f"it changes what {output} has given in place; return the logits")

    def _constant(self, node: Node) -> torch.Tensor:
        """A constant in another shape."""
        if node.plain not in NOTHING and node.operation not in SHAPES:
            raise refuse(node, f"it computes weights or constants ({node.operation}) each time the "
                         "model runs; store the result in their place, as prune.remove or "
                         "parametrize.remove_parametrizations of torch.nn.utils do")
        return reference.result(node, {
            name: self._constants[item.name] if isinstance(item, Ref) else item
            for name, item in node.arguments.items()})

    def _step(self, operation: str, first: Ref | None, node: Node) -> Map | Sums:
        """What one operation makes."""
        if operation in NOTHING:
            self._check_type(node)
            return self._value(first, node)
        if operation in MONOTONE and node.name == self._program.output:
            value = self._value(first, node)
            if not value.flat or node.arguments.get("dim", 1) not in (1, -1):
                raise refuse(node, "it compares other values than the logits of one image; give "
                             "it dim=1")
            self._notes.append(
                f"{node.where} is left out: it does not change which logit is largest")
            return value
        if operation in SHAPES:
            return self._reshape(self._value(first, node), node)
        handler = getattr(self, f"_on_{operation}", None)
        if handler is None:
            raise unknown(node)
        return handler(node)

    def folded(self) -> Folded:
        """All layers, the read-out last; after the last step."""
        logits = self._values.get(self._program.output)
        if changed := self._changed.get(self._program.output):
            raise InputError(
                f"{self._program.source} returns a tensor that {changed.where} has changed in "
                "place since; use that operation without inplace=True or the _ of its name"
            )
        if not isinstance(logits, Sums) or not logits.plan.form.flat:
            raise InputError(
                f"{self._program.source} must end with an nn.Linear whose values are the logits, "
                "with no ReLU or pool after it"
            )
        if not self.layers.plans:
            raise InputError(
                f"{self._program.source} has no hidden layer with a ReLU: nothing would spike"
            )
        self.layers.check_chain(logits.source, self._program.nodes[-1])
        self.layers.close(logits)
        topology = Topology(self.layers.input_shape, tuple(self.layers.plans))
        if self.layers.constants:
            self._notes.append(
                "a layer of 1 x 1 was put before each padded convolution that reads shifted "
                "values: it adds a channel that always fires, as the padding is zero, not shifted"
            )
        return Folded(
            topology, self.layers.weights, self.layers.names, self.layers.constants, self._notes,
            self._program,
        )

    # Layers with weights.

    def _on_linear(self, node: Node) -> Sums:
        weight, bias = self._weights(node)
        source = self._map(node.arguments["input"], node)
        if not source.flat or weight.ndim != 2:
            raise refuse(node, "it reads a map along its last axis; put an nn.Flatten before it")
        bias = bias + weight @ source.offset
        weight = weight * source.scale
        height, width, channels = source.shape
        # torch flattens channel by channel, the hardware position by position.
        weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        weight = weight.reshape(len(weight), -1)
        plan = LayerPlan("dense", (1, 1, weight.shape[1]), (1, 1, len(weight)))
        self.layers.read(source)
        return Sums(plan, source, weight, bias, node.module or node.name, flat=True)

    def _on_conv2d(self, node: Node) -> Sums:
        weight, bias = self._weights(node)
        source = self._map(node.arguments["input"], node)
        if source.flat:
            raise refuse(node, "it reads a flattened map")
        stride, padding = windows.convolution(node, weight.shape)
        depthwise = windows.depthwise(node, weight.shape, source.shape[2])
        kernel = weight.shape[2]
        if padding and source.offset.any():
            if depthwise:
                # The channel that stands for the shift is read by all: a convolution of all
                # channels, whose weights between different ones are zero.
                weight = weight * np.eye(len(weight))[:, :, None, None]
                depthwise = False
            weight, source = self._with_constant(weight, source, node)
        elif depthwise:
            bias = bias + weight.sum(axis=(1, 2, 3)) * source.offset
            weight = weight * source.scale[:, None, None, None]
        else:
            bias = bias + np.einsum("oikl,i->o", weight, source.offset)
            weight = weight * source.scale[:, None, None]
        out = windows.output_shape(node, source.shape, kernel, stride, padding, len(weight))
        plan = LayerPlan(
            "depthwise" if depthwise else "conv2d", source.shape, out, kernel=kernel,
            stride=stride, padding=padding,
        )
        self.layers.read(source)
        return Sums(plan, source, weight, bias, node.module or node.name)

    def _with_constant(
        self, weight: np.ndarray, source: Map, node: Node
    ) -> tuple[np.ndarray, Map]:
        """Weights that read ``source`` without its shift, and a channel that stands for the shift.

        The padding of a shifted map is zero and not shifted, so no bias is right at the border. A
        channel that always fires is silent in the padding too: it is right everywhere.
        """
        height, width, channels = source.shape
        copy = np.eye(channels + 1, channels).reshape(channels + 1, channels, 1, 1)
        bias = np.zeros(channels + 1)
        bias[-1] = 1.0
        plan = LayerPlan("conv2d", source.shape, (height, width, channels + 1))
        shift = np.einsum("oikl,i->okl", weight, source.offset)[:, None]
        weight = np.concatenate([weight * source.scale[:, None, None], shift], axis=1)
        self.layers.read(source)
        made = self.layers.add(
            Sums(plan, source, copy, bias, f"before {node.module or node.name}"), node
        )
        self.layers.constants.append(made.layer)
        return weight, made

    def _on_relu(self, node: Node) -> Map:
        value = self._value(node.arguments.get("self", node.arguments.get("input")), node)
        if isinstance(value, Map):
            if value.positive:
                return value
            value = self._identity(value, node)
        return self._fire(value, node)

    # Windows and shapes.

    def _on_max_pool2d(self, node: Node) -> Map | Sums:
        value = self._value(node.arguments["self"], node)
        window = windows.max_pool(node, value.shape)
        if window == 1:
            return value
        if isinstance(value, Sums):
            plan = dataclasses.replace(value.plan, pool=value.plan.pool * window)
            return dataclasses.replace(value, plan=plan)
        if (value.scale < 0).any():
            raise refuse(node, "the batch-norm before it has a negative scale, so the largest "
                         "value is not the first spike; put the batch-norm before the ReLU or "
                         "after the pool")
        self.layers.check(value, node)
        if not self.layers.can_pool(value):
            plain = dataclasses.replace(
                value, scale=np.ones_like(value.scale), offset=np.zeros_like(value.offset)
            )
            made = self.layers.add(self._identity(plain, node), node)
            value = dataclasses.replace(made, scale=value.scale, offset=value.offset)
        return self.layers.pool(value, window)

    def _on_avg_pool2d(self, node: Node) -> Map:
        source = self._map(node.arguments["self"], node)
        return self._average(source, windows.average_pool(node, source.shape), node)

    def _on_adaptive_avg_pool2d(self, node: Node) -> Map:
        source = self._map(node.arguments["self"], node)
        return self._average(source, windows.adaptive(node, source.shape), node)

    def _on_mean(self, node: Node) -> Map:
        source = self._map(node.arguments["self"], node)
        made = self._average(source, windows.mean(node, source.shape), node)
        return made if node.arguments.get("keepdim") else made.flattened()

    def _average(self, source: Map, kernel: int, node: Node) -> Map:
        if kernel == 1:
            return source
        self.layers.read(source)
        return self.layers.average(source, kernel, node)

    def _reshape(self, value: Map | Sums, node: Node) -> Map | Sums:
        height, width, channels = value.shape
        shape = self._program.shapes[node.name][1:]
        if shape == (channels * height * width,):
            return value.flattened() if isinstance(value, Map) else dataclasses.replace(
                value, flat=True)
        if shape != (channels, height, width):
            raise refuse(node, f"it gives the map of {channels} x {height} x {width} (channels, "
                         "rows, columns) another shape; only flattening converts")
        if not value.flat:
            return value
        if isinstance(value, Sums):
            return dataclasses.replace(value, flat=False)
        scale, offset = (
            self._of_channels(part, value.shape, node) for part in (value.scale, value.offset)
        )
        return dataclasses.replace(value, scale=scale, offset=offset, flat=False)
