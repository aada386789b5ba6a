"""What a program computes in float64, by torch's own operations.

It knows nothing of layers: it is what they are held against. Only operations that the converter
takes are run, so that a program from a file cannot ask for any other.
"""

from collections.abc import Iterator
from typing import Any

import torch

from ttfs_sw.convert.archive import Node, Program, Ref
from ttfs_sw.convert.operations import COPIES, NOTHING

__all__ = ["logits", "values"]


def logits(program: Program, images: torch.Tensor) -> torch.Tensor:
    """The program's result for maps ``[images, channels, height, width]``; takes any number."""
    size = program.shapes[program.input][0] or len(images)
    found = []
    for part in images.split(size):
        # A program that was exported for one number of images takes no other.
        filled = torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])
        made = {node.name: value for node, value in values(program, filled)}
        found.append(made[program.output][: len(part)])
    return torch.cat(found)


@torch.no_grad()
def values(program: Program, images: torch.Tensor) -> Iterator[tuple[Node, torch.Tensor]]:
    """What each operation makes of maps, of which there are as many as the program wants.

    Operations in place change tensors that came before, as they do in torch: copy those that are to
    stay as they are.
    """
    known = {name: tensor.detach().double() if tensor.is_floating_point() else tensor
             for name, tensor in program.tensors.items()}
    reads = program.shapes[program.input][1:]
    known[program.input] = images.double().reshape(len(images), *reads).clone()

    def given(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return known[argument.name]
        if isinstance(argument, list):
            return [len(images) if item is None else given(item) for item in argument]
        return argument

    for node in program.nodes:
        arguments = {name: given(argument) for name, argument in node.arguments.items()}
        known[node.name] = _run(node, arguments)
        yield node, known[node.name]


def _run(node: Node, arguments: dict[str, Any]) -> torch.Tensor:
    """The result of one operation for a network that is not being trained."""
    if node.operation in NOTHING:
        value = next(item for item in arguments.values() if isinstance(item, torch.Tensor))
        # A type of less precision is left out: these are the exact values.
        return value.clone() if node.operation in COPIES else value
    if node.operation == "batch_norm":
        arguments |= {"training": False, "momentum": 0.0, "cudnn_enabled": False}
        for name in ("weight", "bias"):
            arguments.setdefault(name, None)
    if node.operation == "_softmax" or node.operation == "_log_softmax":
        arguments["half_to_float"] = False
    return getattr(torch.ops.aten, node.operation)(**arguments)
