# SPDX-License-Identifier: Apache-2.0
"""Layouts of maps and of windows, against a search through every tap of every output."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.hdl.compiler.layout import axis_of, plan_map
from ttfs_fpga.hdl.config import CoreConfig


def taps_by_search(size, outputs, kernel, stride, padding):
    """For every input position, the (output, tap) pairs that lead there, outputs ascending."""
    return [
        [(output, position + padding - output * stride) for output in range(outputs)
         if 0 <= position + padding - output * stride < kernel]
        for position in range(size)
    ]


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_axis_equals_search(kernel, stride):
    for padding in range(kernel):
        for size in range(max(1, kernel - 2 * padding), 13):
            most = (size + 2 * padding - kernel) // stride + 1
            # Pooling may leave the last outputs out.
            for outputs in range(max(1, most - 2), most + 1):
                axis = axis_of(size, outputs, kernel, stride, padding)
                reached = taps_by_search(size, outputs, kernel, stride, padding)
                assert sorted(axis.order) == list(range(kernel))
                opened = completed = live = 0
                for position, pairs in enumerate(reached):
                    assert axis.taps[position] == len(pairs)
                    # Outputs ascend one by one, and taps lie in the order in which they are met.
                    start = axis.start[position]
                    walked = axis.order[start:start + len(pairs)]
                    assert pairs == [(axis.first[position] + n, tap)
                                     for n, tap in enumerate(walked)]
                    # What is reached is open, and not complete yet.
                    opened += axis.opens[position]
                    live = max(live, opened - completed)
                    assert all(completed <= output < opened for output, _ in pairs)
                    completed += axis.completes[position]
                    later = {output for rest in reached[position + 1:] for output, _ in rest}
                    assert not any(output in later for output in range(completed))
                assert opened <= completed == outputs
                assert axis.live == live


def test_rows_that_live_at_a_time():
    # As many as the kernel is high, over the stride, rounded up.
    for kernel, stride, rows in ((1, 1, 1), (3, 1, 3), (3, 2, 2), (5, 2, 3), (2, 2, 1)):
        outputs = (16 - kernel) // stride + 1
        assert axis_of(16, outputs, kernel, stride, 0).live == rows


SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40))


@given(SHAPES, st.booleans(), st.booleans(), st.integers(1, 8))
def test_every_neuron_has_a_place_of_its_own_in_raster_order(shape, flat, runs, tick_bits):
    config = CoreConfig(tick_bits=tick_bits)
    plan = plan_map(shape, flat, config, runs=runs)
    slots = config.codes_per_word
    places = plan.places
    assert len(places) == np.prod(shape)
    assert (np.diff(places) > 0).all()
    assert places[-1] < plan.words * slots
    found = plan.neurons
    assert found[places].tolist() == list(range(len(places)))
    assert (found >= 0).sum() == len(places)
    assert plan.words == plan.shape[0] * plan.row_words
    if flat:
        assert places.tolist() == list(range(len(places)))
        assert plan.words == -(-len(places) // slots)
        return
    # Rows begin with a word; a word is part of a pixel, or holds whole ones.
    by_pixel = places.reshape(shape)
    assert (by_pixel[:, 0, 0] % slots == 0).all()
    first = by_pixel[:, :, 0]
    if plan.pitch < slots:
        assert slots % plan.pitch == 0
        assert plan.chunk_last == 0
    else:
        assert (first % slots == 0).all()
        assert plan.chunk_last + 1 == -(-shape[2] // slots)
    assert 1 << plan.slot_shift == min(plan.pitch, slots)
    if runs:
        # One gap, behind pixels or behind rows: never both.
        behind_pixels = plan.pitch != shape[2]
        behind_rows = shape[1] * plan.pitch % slots != 0
        assert not (behind_pixels and behind_rows)
