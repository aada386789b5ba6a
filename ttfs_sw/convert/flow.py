"""What of a program the logits need, and whether its operations can be read one by one.

An operation that works in place (``x.add_(1)``) changes all tensors that share its memory. A
program names tensors, not memory: whoever reads it name by name would miss such a change.
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
        If one of them reads what another has changed in place under another name, changes a
        weight, or has an argument of a kind that is not known.
    """
    needed = {output}
    kept = []
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(reads(node.arguments))
            kept.append(node)
    kept.reverse()
    _check_memory(nodes, {node.name for node in kept}, constants)
    for node in kept:
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


def _check_memory(nodes: Sequence[Node], kept: set[str], constants: set[str]) -> None:
    """Refuse a read of memory that was changed under another name in between."""
    # Names that share memory have one set; of those, which another operation has changed since.
    memory: dict[str, set[str]] = {}
    changed: dict[str, Node] = {}
    for node in nodes:
        read = list(reads(node.arguments))
        if node.name in kept:
            for name in read:
                if name in changed:
                    raise refuse(
                        node, f"it reads what {changed[name].where} has changed in place under "
                        "another name; write that operation without the underscore, or with "
                        "inplace=False"
                    )
        if not read or not (_in_place(node) or node.operation in _VIEWS):
            continue
        shared = memory.setdefault(read[0], {read[0]})
        # torch detaches constants "in place", which changes nothing.
        if _in_place(node) and node.operation != "detach_":
            if node.name in kept and shared & constants:
                raise refuse(node, "it changes a weight or a buffer while the model runs, so that "
                             "its logits depend on the images before")
            changed.update(dict.fromkeys(shared, node))
        shared.add(node.name)
        memory[node.name] = shared
