# SPDX-License-Identifier: Apache-2.0
"""What a program computes in float64, by torch's own operations.

It knows nothing of layers: it is what they are held against. Only operations that the converter
takes are run, so that a program from a file cannot ask for any other.
"""

from collections.abc import Iterator
from typing import Any

import torch

from ttfs_sw.convert.operations import COPIES, NOTHING
from ttfs_sw.convert.program import Computation, Node, Ref

__all__ = ["logits", "result", "values"]


def logits(program: Computation, images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The program's result for any number of maps, and the largest number on the way to it.

    Maps are ``[images, channels, height, width]``.
    """
    found, largest = [], 0.0
    for part, count in _parts(program, images):
        for name, value in _run(program, part):
            largest = max(largest, value.abs().max().item())
            if name == program.output:
                result = value
        # Only now: an operation in place may have changed it.
        found.append(result[:count])
    return torch.cat(found), largest


def values(program: Computation, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each operation makes of maps, by its name, as it is when the operation is done.

    Later operations in place may change it.
    """
    found: dict[str, list[torch.Tensor]] = {}
    for part, count in _parts(program, images):
        for name, value in _run(program, part):
            found.setdefault(name, []).append(value[:count].clone())
    return {name: torch.cat(items) for name, items in found.items()}


def _parts(program: Computation, images: torch.Tensor) -> Iterator[tuple[torch.Tensor, int]]:
    """As many images as the program takes, and how many of them are wanted."""
    size = program.shapes[program.input][0] or len(images)
    for part in images.split(size):
        yield torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])]), len(part)


@torch.no_grad()
def _run(program: Computation, images: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of one operation after another."""
    known = {name: tensor.detach().double() if tensor.is_floating_point() else tensor
             for name, tensor in program.tensors.items()}
    known[program.input] = images.double().reshape(len(images), *program.image_shape).clone()

    def given(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return known[argument.name]
        if isinstance(argument, list):
            # A size that depends on the number of images.
            return [len(images) if item is None else given(item) for item in argument]
        return argument

    for node in program.nodes:
        arguments = {name: given(argument) for name, argument in node.arguments.items()}
        known[node.name] = result(node, arguments)
        yield node.name, known[node.name]


def result(node: Node, arguments: dict[str, Any]) -> torch.Tensor:
    """The result of one operation for a network that is not being trained."""
    if node.plain in NOTHING:
        value = next(item for item in arguments.values() if isinstance(item, torch.Tensor))
        # A type of less precision is left out: these are the exact values. One of whole numbers is
        # not.
        wanted = arguments.get("dtype")
        if isinstance(wanted, torch.dtype):
            value = value.to(torch.float64 if wanted.is_floating_point else wanted)
        return value.clone() if node.operation in COPIES else value
    if node.operation == "batch_norm":
        arguments |= {"training": False, "momentum": 0.0, "cudnn_enabled": False}
        for name in ("weight", "bias"):
            arguments.setdefault(name, None)
    return getattr(torch.ops.aten, node.operation)(**arguments)
