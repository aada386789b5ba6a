# SPDX-License-Identifier: Apache-2.0
"""Which of the things that a model returns are the logits.

A model may return its logits alone, or in a dictionary, a tuple or an object of the user's. One
tensor among them is taken, whatever it is called; of several, the one that is called ``logits``.
"""

import dataclasses
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from ttfs_sw.common.errors import InputError

__all__ = ["choose", "leaves", "names"]

#: What the logits are called where there is more than one tensor.
LOGITS = "logits"


def names(out_spec: str, count: int) -> list[str]:
    """What each of ``count`` outputs is called, from the ``out_spec`` that torch writes.

    Keys of dictionaries and fields of registered classes are names, everything else is counted:
    ``logits``, ``hidden.0``, ``1``.
    """
    try:
        found = _leaves(json.loads(out_spec)[1])
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        found = []
    return found if len(found) == count else [str(index) for index in range(count)]


def _leaves(spec: dict[str, Any], prefix: str = "") -> list[str]:
    children = spec["children_spec"]
    if spec["type"] is None:
        return [prefix]
    keys: Sequence[Any] = range(len(children))
    context = json.loads(spec["context"]) if isinstance(spec["context"], str) else None
    if isinstance(context, list) and len(context) == len(children):
        keys = context
    return [
        leaf for key, child in zip(keys, children, strict=True)
        for leaf in _leaves(child, f"{prefix}.{key}" if prefix else str(key))
    ]


def leaves(returned: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Everything in what a module has returned, with what it is called there."""
    if isinstance(returned, Mapping):
        parts = list(returned.items())
    elif dataclasses.is_dataclass(returned):
        parts = list(vars(returned).items())
    elif hasattr(returned, "_fields"):
        parts = list(zip(returned._fields, returned, strict=True))
    elif isinstance(returned, tuple | list):
        parts = list(enumerate(returned))
    else:
        return [(prefix, returned)]
    return [leaf for key, part in parts
            for leaf in leaves(part, f"{prefix}.{key}" if prefix else str(key))]


def choose(
    outputs: Sequence[tuple[str, Hashable | None]], source: str
) -> tuple[int, list[str]]:
    """Return which of a model's outputs are the logits, and what to say about it.

    Parameters
    ----------
    outputs : sequence of (:class:`str`, hashable or ``None``)
        What each is called, and what tensor it is; ``None`` if it is none.
    source : :class:`str`
        What messages call the model.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If none is a tensor, or several are and it is not clear which.
    """
    tensors: dict[Hashable, int] = {}
    for index, (_, tensor) in enumerate(outputs):
        if tensor is not None:
            tensors.setdefault(tensor, index)
    if not tensors:
        raise InputError(f"{source} returns no tensor; its forward must return the logits")
    indices = list(tensors.values())
    if len(indices) == 1:
        return indices[0], []
    called = [outputs[index][0] for index in indices]
    named = [index for index in indices if outputs[index][0].rpartition(".")[2] == LOGITS]
    if len(named) != 1:
        raise InputError(
            f"{source} returns {len(called)} tensors ({', '.join(called)}), and it is not clear "
            f"which are the logits; return them alone, or in a dictionary as {LOGITS!r}"
        )
    kept = outputs[named[0]][0]
    others = ", ".join(name for name in called if name != kept)
    return named[0], [f"of what {source} returns, {kept} are the logits; left out: {others}"]
