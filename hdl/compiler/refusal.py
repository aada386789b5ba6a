# SPDX-License-Identifier: Apache-2.0
"""The refusal of a network that a core cannot run."""

__all__ = ["DoesNotFit", "require"]


class DoesNotFit(ValueError):
    """A network does not fit a core: the message says which memory, by how much, what would fit."""

    exit_code = 2


def require(memory: str, needed: int, available: int, unit: str, layer: str, lanes: int) -> None:
    """Refuse a network that needs more words of a memory than there are.

    ``layer`` is the one that needs most of them, ``unit`` what the words are of, a word of
    ``lanes``.
    """
    if needed > available:
        each = f" of {lanes}" if lanes > 1 else ""
        raise DoesNotFit(
            f"the network needs {needed} {unit} words{each} (most in layer {layer}) and the "
            f"core's {memory} memory has {available}: {needed - available} too many; what would "
            f"fit is {available / needed:.0%} of that"
        )
