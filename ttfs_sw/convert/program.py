# SPDX-License-Identifier: Apache-2.0
"""What a model computes: operations one after another, and the tensors that they read."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["Node", "Opaque", "Computation", "Ref", "reads"]


@dataclasses.dataclass(frozen=True)
class Ref:
    """An argument that is a tensor of the program, by its name."""

    name: str


#: The operation that ``with torch.no_grad()`` makes; it runs a graph that is one of its arguments.
NO_GRAD = "torch.ops.higher_order.wrap_with_set_grad_enabled"


@dataclasses.dataclass(frozen=True)
class Opaque:
    """An argument of a kind that is not known here.

    Parameters
    ----------
    kind : :class:`str`
        As the archive calls it.
    changes : :class:`bool`
        Whether it is no graph, or one that changes, or may change, tensors in place.
    """

    kind: str
    changes: bool = True


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation.

    Parameters
    ----------
    operation : :class:`str`
        Its name in ATen, torch's library of operations, ``"conv2d"``; that of any other with its
        library, ``"torch.ops.higher_order.cond"``.
    arguments : :class:`dict`
        By name; those with their default value may be missing. A size that depends on the number
        of images is ``None``.
    name : :class:`str`
        Of the tensor that it makes, the first if it makes several.
    module, kind : :class:`str`
        Path and class of the module that computes it, ``"features.0"`` and ``"Conv2d"``.
    line : :class:`str`
        Where the user's code asks for it; empty where only torch's own code does.
    others : tuple of :class:`str`
        Names of further tensors that it makes.
    """

    operation: str
    arguments: dict[str, Any]
    name: str
    module: str = ""
    kind: str = ""
    line: str = ""
    others: tuple[str, ...] = ()

    @property
    def changes(self) -> list[str]:
        """Names of the tensors that it changes, by torch's schema of the operation.

        One that torch does not know may change all that it reads.
        """
        written = _written(self.operation)
        if self.operation == NO_GRAD and not any(
            value.changes for value in self.arguments.values() if isinstance(value, Opaque)
        ):
            return []
        return [
            name for key, value in self.arguments.items()
            if written is None or (key, isinstance(value, list)) in written
            for name in reads(value)
        ]

    @property
    def in_place(self) -> bool:
        """Whether it changes, or may change, a tensor that it reads: ``x.add_(1)``."""
        return bool(self.changes)

    @property
    def plain(self) -> str:
        """Name of the operation that computes the same and changes nothing: ``"add"``."""
        return self.operation.removesuffix("_") if self.in_place else self.operation

    @property
    def where(self) -> str:
        """How messages name the operation."""
        what = f"module {self.module} ({self.kind})" if self.module else self.operation
        return f"{self.line}: {what}" if self.line else what


@dataclasses.dataclass(frozen=True)
class Computation:
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

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image as the model reads it; -1 for a size that is left open."""
        return tuple(-1 if size is None else size for size in self.shapes[self.input][1:])


def reads(value: Any) -> Iterator[str]:
    """Names of the tensors in an argument, or in all of them."""
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, dict):
        for item in value.values():
            yield from reads(item)
    elif isinstance(value, list):
        for item in value:
            yield from reads(item)


@functools.cache
def _written(operation: str) -> frozenset[tuple[str, bool]] | None:
    """Arguments that an operation of ATen changes: name, and whether it is a list of tensors.

    ``None`` if torch knows no such operation.
    """
    # Looked up by its whole name: an attribute of torch.ops.aten need not be an operation.
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{operation}")
    return frozenset(
        (argument.name, str(argument.type).startswith("List"))
        for schema in schemas for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
        and "Tensor" in str(argument.type)
    ) if schemas else None
