"""What of a program the logits need.

An operation that works in place (``x.add_(1)``) changes all tensors that share its memory: it is
needed if one of them is.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ttfs_sw.convert.operations import refuse
from ttfs_sw.convert.program import Node, Opaque, Ref

__all__ = ["live", "reads"]

#: Operations whose result is, or may be, the memory of their first argument.
_VIEWS = {
    "view", "_unsafe_view", "view_as", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze",
    "transpose", "t", "permute", "expand", "expand_as", "slice", "select", "narrow", "unfold",
    "diagonal", "movedim", "swapaxes", "split", "chunk", "unbind", "detach", "alias", "contiguous",
    "dropout", "feature_dropout", "alpha_dropout", "to", "type_as", "real", "as_strided",
}


def live(nodes: Sequence[Node], output: str, constants: set[str]) -> list[Node]:
    """Return the operations that the tensor ``output`` depends on, in their order.

    Parameters
    ----------
    constants : set of :class:`str`
        Names of weights, statistics and constants.

    Raises
    ------
    :exc:`ttfs_sw.errors.InputError`
        If one of them changes a weight, or has an argument of a kind that is not known.
    """
    memory = _memory(nodes)
    needed = {output}
    kept = []
    for node in reversed(nodes):
        if node.name in needed or (_in_place(node) and memory[node.name] & needed):
            needed.update(reads(node.arguments))
            kept.append(node)
    kept.reverse()
    for node in kept:
        # torch detaches constants "in place", which changes nothing.
        if _in_place(node) and node.operation != "detach_" and memory[node.name] & constants:
            raise refuse(node, "it changes a weight or a buffer while the model runs, so that "
                         "its logits depend on the images before")
        for name, value in node.arguments.items():
            if isinstance(value, Opaque):
                raise refuse(node, f"its argument {name} is of a kind ({value.kind}) that is not "
                             "known here")
    return kept


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


def _in_place(node: Node) -> bool:
    return node.operation.endswith("_") and not node.operation.startswith("_")


def _memory(nodes: Sequence[Node]) -> dict[str, set[str]]:
    """Names of the tensors that lie, or may lie, in the same memory, by the name of each."""
    memory: dict[str, set[str]] = {}
    for node in nodes:
        read = next(reads(node.arguments), None)
        if read is not None and (_in_place(node) or node.operation in _VIEWS):
            memory[node.name] = memory.setdefault(read, {read})
            memory[node.name].add(node.name)
        else:
            memory.setdefault(node.name, {node.name})
    return memory
