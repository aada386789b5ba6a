# SPDX-License-Identifier: Apache-2.0
"""Spike trains of a constant current: by hand, by formula, and by trying many neurons."""

from fractions import Fraction

import pytest

from ttfs_sw.research.neighbours.trains import closed_form, trains


def test_by_hand():
    assert trains(1, any_start=False) == trains(1, any_start=True) == [(0,), (1,)]
    zero = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 1, 1)]
    assert trains(3, any_start=False) == zero
    # A start may bring the first spike forward, but not put it off.
    assert trains(3, any_start=True) == sorted([*zero, (1, 0, 0), (1, 0, 1)])


@pytest.mark.parametrize("leak", [Fraction(1, 10), Fraction(1, 2), Fraction(1)])
@pytest.mark.parametrize("any_start", [False, True])
def test_closed_form(leak, any_start):
    for steps in range(1, 9):
        assert len(trains(steps, leak, any_start=any_start)) == closed_form(steps, any_start)


@pytest.mark.parametrize("leak", [0.5, 1.0])
def test_no_neuron_sends_another(leak):
    seen = set()
    for current in range(130):
        for start in range(0, 64, 3):
            potential, sent = start / 64, []
            for _ in range(4):
                potential = leak * potential + current / 128
                sent.append(int(potential >= 1))
                potential *= 1 - sent[-1]
            seen.add(tuple(sent))
    assert seen == set(trains(4, Fraction(leak), any_start=True))
