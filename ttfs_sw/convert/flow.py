# SPDX-License-Identifier: Apache-2.0
"""What of a program the logits need, and which of its tensors may lie in the same memory.

An operation that works in place (``x.add_(1)``) changes all tensors that share its memory: it is
needed if one of them may be.
"""

from collections.abc import Sequence

from ttfs_sw.convert.operations import FRESH, refuse
from ttfs_sw.convert.program import Node, Opaque, reads

__all__ = ["Memory", "live"]


class Memory:
    """Which tensors of a program may share memory; what is not known to be new may.

    Parameters
    ----------
    nodes : sequence of :class:`ttfs_sw.convert.program.Node`
        In the order of computation.
    """

    def __init__(self, nodes: Sequence[Node]):
        # In whose memory each tensor may lie: its own and that of those that it was made of.
        self._in: dict[str, set[str]] = {}
        for node in nodes:
            known = node.plain in FRESH
            sources = (node.changes if known else list(reads(node.arguments)))
            found = {node.name}.union(*(self.of(name) for name in sources))
            for name in (node.name, *node.others):
                self._in[name] = found
            if not known:
                # It may put another tensor's memory in place of what it changes (set_).
                for name in node.changes:
                    self._in[name] = self.of(name) | found

    def of(self, name: str) -> set[str]:
        """Names of the tensors in whose memory ``name`` may lie."""
        return self._in.get(name, {name})

    def touches(self, node: Node, names: set[str]) -> bool:
        """Whether an operation may change one of the tensors ``names``."""
        changed = set().union(*(self.of(name) for name in node.changes))
        return any(not changed.isdisjoint(self.of(name)) for name in names) if changed else False


def live(nodes: Sequence[Node], output: str, constants: set[str]) -> list[Node]:
    """Return the operations that the tensor ``output`` depends on, in their order.

    Parameters
    ----------
    constants : set of :class:`str`
        Names of weights, statistics and constants.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If one of them changes a weight, or has an argument of a kind that is not known.
    """
    memory = Memory(nodes)
    needed = {output}
    kept = []
    for node in reversed(nodes):
        if not needed.isdisjoint((node.name, *node.others)) or memory.touches(node, needed):
            needed.update(reads(node.arguments))
            kept.append(node)
    kept.reverse()
    for node in kept:
        for name, value in node.arguments.items():
            if isinstance(value, Opaque):
                raise refuse(node, f"its argument {name} is of a kind ({value.kind}) that is not "
                             "known here")
        # torch detaches constants "in place", which changes nothing.
        if node.operation != "detach_" and memory.touches(node, constants):
            raise refuse(node, "it changes a weight or a buffer while the model runs, so that "
                         "its logits depend on the images before")
    return kept
