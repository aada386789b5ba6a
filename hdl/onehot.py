# SPDX-License-Identifier: Apache-2.0
"""One-hot selection: the lowest set bit of a mask, its number, and what it selects.

A carry chain finds the lowest set bit and AND-OR trees use it, which is shallower in the slow logic
of the iCE40 UP5K than a chain of priorities in front of a multiplexer.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from operator import or_

from amaranth.hdl import Cat, Value

__all__ = ["encode", "lowest_set", "select", "several"]


def lowest_set(mask: Value) -> Value:
    """The mask with only its lowest set bit left; 0 if there is none."""
    return mask & (~mask + 1)[:len(mask)]


def several(mask: Value) -> Value:
    """Whether more than one bit is set, four bits a look-up table."""
    groups = [mask[n:n + 4] for n in range(0, len(mask), 4)]
    pairs = [a & b for group in groups for a, b in combinations(group, 2)]
    pairs += [a.any() & b.any() for a, b in combinations(groups, 2)]
    return Cat(pairs).any()


def encode(onehot: Value, width: int) -> Value:
    """Number of the one bit that is set; 0 if there is none."""
    return Cat(
        Cat(bit for n, bit in enumerate(onehot) if n >> place & 1).any() for place in range(width)
    )


def select(onehot: Value, items: Sequence[Value]) -> Value:
    """The item whose bit is set; 0 if there is none."""
    width = max(len(item) for item in items)
    return reduce(or_, (
        item & bit.replicate(width) for bit, item in zip(onehot, items, strict=True)
    ))
