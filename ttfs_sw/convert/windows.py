# SPDX-License-Identifier: Apache-2.0
"""Kernels, strides and pads as the hardware has them: square, and the same along both axes."""

from typing import Any

from ttfs_sw.artifact.rules import output_size
from ttfs_sw.convert.operations import refuse
from ttfs_sw.convert.program import Node

__all__ = [
    "adaptive",
    "average_pool",
    "convolution",
    "depthwise",
    "max_pool",
    "mean",
    "output_shape",
]

Shape = tuple[int, int, int]


def convolution(node: Node, weight: tuple[int, ...]) -> tuple[int, int]:
    """Stride and padding of a convolution with weights of that shape."""
    kernel = _square(node, "kernel_size", weight[2:])
    stride = _square(node, "stride", node.arguments.get("stride", 1))
    _must_be(node, "dilation", 1)
    padding = node.arguments.get("padding", 0)
    if padding == "same":
        if kernel % 2 == 0 or stride != 1:
            raise refuse(node, f"padding 'same' of a kernel of {kernel} is not the same on both "
                         "sides; use an odd kernel")
        padding = (kernel - 1) // 2
    padding = 0 if padding == "valid" else _square(node, "padding", padding)
    if padding >= kernel:
        raise refuse(node, f"its padding is {padding}, but must be less than the kernel {kernel}")
    return stride, padding


def depthwise(node: Node, weight: tuple[int, ...], channels: int) -> bool:
    """Whether each channel is convolved by itself."""
    groups = node.arguments.get("groups", 1)
    if groups == 1:
        return False
    if groups == channels == weight[0]:
        return True
    raise refuse(node, f"groups={groups} is neither 1 nor the number of channels, in and out")


def output_shape(
    node: Node, source: Shape, kernel: int, stride: int, padding: int, channels: int
) -> Shape:
    """Shape of what a convolution makes of a map of shape ``source``."""
    height, width = (output_size(size, kernel, stride, padding) for size in source[:2])
    if min(height, width) < 1:
        raise refuse(node, f"its kernel of {kernel} does not fit the map of {source[0]} x "
                     f"{source[1]} that it reads")
    return height, width, channels


def max_pool(node: Node, shape: Shape) -> int:
    """Size of a max-pool's windows."""
    _must_be(node, "dilation", 1)
    return _pool(node, shape)


def average_pool(node: Node, shape: Shape) -> int:
    """Size of an average pool's windows."""
    if node.arguments.get("divisor_override"):
        raise refuse(node, "divisor_override must not be given")
    return _pool(node, shape)


def adaptive(node: Node, shape: Shape) -> int:
    """Size of the windows that give a map of the size asked for."""
    wanted = _square(node, "output_size", node.arguments["output_size"])
    if shape[0] != shape[1] or shape[0] % wanted:
        raise refuse(node, f"a map of {shape[0]} x {shape[1]} has no equal square windows that "
                     f"give {wanted} x {wanted}; use nn.AvgPool2d with square windows, or "
                     "nn.Flatten and an nn.Linear")
    return shape[0] // wanted


def mean(node: Node, shape: Shape) -> int:
    """Size of the one window of a mean over rows and columns."""
    axes = node.arguments.get("dim")
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise refuse(node, "only a mean over rows and columns, dim=(2, 3), converts")
    if shape[0] != shape[1]:
        raise refuse(node, f"it averages a map of {shape[0]} x {shape[1]}; only square maps are")
    return shape[0]


def _pool(node: Node, shape: Shape) -> int:
    size = _square(node, "kernel_size", node.arguments["kernel_size"])
    stride = _square(node, "stride", node.arguments.get("stride") or size)
    if stride != size:
        raise refuse(node, f"its windows of {size} have a stride of {stride}; use windows that do "
                     "not overlap, with a stride equal to their size")
    _must_be(node, "padding", 0)
    if node.arguments.get("ceil_mode") and (shape[0] % size or shape[1] % size):
        raise refuse(node, f"ceil_mode makes windows of less than {size} x {size}; leave it out")
    if size > min(shape[:2]):
        raise refuse(node, f"its windows of {size} do not fit the map of {shape[0]} x {shape[1]}")
    return size


def _must_be(node: Node, name: str, wanted: int) -> None:
    value = node.arguments.get(name, wanted)
    if any(item != wanted for item in (value if isinstance(value, list) else [value])):
        raise refuse(node, f"its {name} is {value}, but must be {wanted}")


def _square(node: Node, name: str, value: Any) -> int:
    """A number that is the same along both axes."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    if len(set(items)) != 1:
        raise refuse(node, f"its {name} is {' x '.join(map(str, items))}, but must be the same "
                     "along both axes")
    return items[0]
