"""What a model computes: operations one after another, and the tensors that they read."""

import dataclasses
from typing import Any

import torch

__all__ = ["Node", "Opaque", "Program", "Ref"]


@dataclasses.dataclass(frozen=True)
class Ref:
    """An argument that is a tensor of the program, by its name."""

    name: str


@dataclasses.dataclass(frozen=True)
class Opaque:
    """An argument of a kind that is not known here."""

    kind: str


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation.

    Parameters
    ----------
    operation : :class:`str`
        Its name in ATen, torch's library of operations: ``"conv2d"``.
    arguments : :class:`dict`
        By name; those with their default value may be missing. A size that depends on the number
        of images is ``None``.
    name : :class:`str`
        Of the tensor that it makes.
    module, kind : :class:`str`
        Path and class of the module that computes it, ``"features.0"`` and ``"Conv2d"``.
    line : :class:`str`
        Where the user's code asks for it; empty where only torch's own code does.
    """

    operation: str
    arguments: dict[str, Any]
    name: str
    module: str = ""
    kind: str = ""
    line: str = ""

    @property
    def where(self) -> str:
        """How messages name the operation."""
        what = f"module {self.module} ({self.kind})" if self.module else self.operation
        return f"{self.line}: {what}" if self.line else what


@dataclasses.dataclass(frozen=True)
class Program:
    """What a model computes, operation by operation.

    Parameters
    ----------
    source : :class:`str`
        What messages call the model.
    nodes : list of :class:`Node`
        In the order of computation.
    tensors : :class:`dict`
        Weights, statistics and constants by their names in ``nodes``.
    shapes : :class:`dict`
        Of every tensor of the program; ``None`` for a size that depends on the number of images.
    input, output : :class:`str`
        Names of the images and of the logits.
    place : :class:`int`
        Which of the things that the model returns the logits are, as
        :func:`ttfs_sw.convert.outputs.leaves` counts them.
    notes : list of :class:`str`
        What a reader of the result should know of how the program was read.
    """

    source: str
    nodes: list[Node]
    tensors: dict[str, torch.Tensor]
    shapes: dict[str, tuple[int | None, ...]]
    input: str
    output: str
    place: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)
