# SPDX-License-Identifier: Apache-2.0
"""Which spike trains a leaky neuron can send for a current that does not change, counted exactly.

The neuron of :mod:`ttfs_sw.research.neighbours.lif`, with leak β, threshold 1 and a reset to 0.
After a spike, and with ``u_0 = 0`` from the first step on, its potential after n steps is ``I (1 +
β + ... + β^(n-1))``, so the train is known when its first spike is: one of ``T + 1`` ("Rethinking
the Membrane Dynamics and Optimization Objectives of Spiking Neural Networks", NeurIPS 2024, find in
that the limit of such neurons). From a ``u_0`` between 0 and 1 the first spike may come earlier
than the period of those that follow, by any number of steps::

    u_0 = 0:        T + 1
    u_0 in [0, 1):  T + 1 + ⌊T²/4⌋      for 0 < β ≤ 1

The second: silence; and for a first spike at j the periods k ≥ j whose next spike, at ``j + k``,
is not after T, and one more for all those whose next spike is.
"""

from collections.abc import Sequence
from fractions import Fraction

__all__ = ["closed_form", "trains"]

#: A point of the plane of current and u_0.
Point = tuple[Fraction, Fraction]


def closed_form(steps: int, any_start: bool) -> int:
    """Return how many trains there are, by the formulas above."""
    return steps + 1 + (steps * steps // 4 if any_start else 0)


def trains(
    steps: int, leak: Fraction = Fraction(1, 2), *, any_start: bool
) -> list[tuple[int, ...]]:
    """Return all trains of so many steps that some current makes, each a tuple of 0 and 1.

    The plane of current and ``u_0`` is cut, step by step and in fractions, into what fires and
    what does not. What is left has an area: where a train is sent, a little more current or
    ``u_0`` sends it too.

    Parameters
    ----------
    steps : :class:`int`
        T.
    leak : :class:`fractions.Fraction`
        β.
    any_start : :class:`bool`
        Whether ``u_0`` may be anything from 0 to below 1; else it is 0.
    """
    zero, one = Fraction(0), Fraction(1)
    found: list[tuple[int, ...]] = []
    # A current of no more than 0 fires never, one of 1 and more always: 0 to 2 is all of them.
    square = [(zero, zero), (2 * one, zero), (2 * one, one), (zero, one)]
    # Potential: so many times the current, and so many times u_0.
    open_ends: list[tuple[tuple[int, ...], list[Point], Fraction, Fraction]] = [
        ((), square, zero, one if any_start else zero)
    ]
    while open_ends:
        sent, region, current, start = open_ends.pop()
        if len(sent) == steps:
            found.append(sent)
            continue
        current, start = leak * current + 1, leak * start
        fires = _cut(region, current, start, one)
        silent = _cut(region, -current, -start, -one)
        if _area(fires):
            open_ends.append(((*sent, 1), fires, zero, zero))
        if _area(silent):
            open_ends.append(((*sent, 0), silent, current, start))
    return sorted(found)


def _cut(
    region: Sequence[Point], first: Fraction, second: Fraction, least: Fraction
) -> list[Point]:
    """Return the part of a convex polygon where ``first x + second y >= least``."""
    kept: list[Point] = []
    over = [first * x + second * y - least for x, y in region]
    for place, point in enumerate(region):
        before, last = over[place - 1], region[place - 1]
        if before * over[place] < 0:
            share = before / (before - over[place])
            kept.append((last[0] + share * (point[0] - last[0]),
                         last[1] + share * (point[1] - last[1])))
        if over[place] >= 0:
            kept.append(point)
    return kept


def _area(region: Sequence[Point]) -> Fraction:
    """Return twice the area of a polygon."""
    return abs(sum((x * region[place - 1][1] - region[place - 1][0] * y
                    for place, (x, y) in enumerate(region)), Fraction(0)))
