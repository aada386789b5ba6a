# SPDX-License-Identifier: Apache-2.0
"""When a neuron fires: a falling threshold, a ramp and one multiplication say the same."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.integer_networks import code
from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network


def ramp_code(v, m, s, ticks):
    """A membrane that really ramps, in units of half a code step so that all is an integer.

    It starts at V when its window opens, gains 2^s / m with every tick, and fires at the first tick
    at which it has come within half a step of the top of the window.
    """
    start, slope, half = 2 * v * m, 2 << s, 2 * ((1 << s) >> 1)
    for tick in range(ticks):
        if start + half + tick * slope >= ticks * slope:
            return ticks - tick
    return 0


class TestRequantiser:
    """A falling threshold, a membrane that ramps, and one multiplication give the same code."""

    slopes = given(
        multiplier=st.integers(1, 65535), shift=st.integers(0, 31), ticks=st.integers(1, 255)
    )

    @slopes
    @example(multiplier=1, shift=0, ticks=1)
    @example(multiplier=1, shift=0, ticks=255)
    @example(multiplier=65535, shift=0, ticks=255)
    @example(multiplier=65535, shift=31, ticks=1)
    @example(multiplier=1, shift=31, ticks=255)
    @example(multiplier=32768, shift=15, ticks=15)
    @settings(max_examples=300)
    def test_threshold_and_ramp_agree_with_the_requantiser(self, multiplier, shift, ticks):
        """At both sides of every threshold; between two thresholds every form is constant.

        All forms are monotone in V, so equality at each threshold and just below it, at the ends of
        the range, and at 0, is equality for every V whatever.
        """
        thresholds = golden.thresholds(multiplier, shift, ticks)
        assert thresholds.shape == (ticks,) and thresholds.dtype == np.int64
        assert thresholds[-1] > 0 and (np.diff(thresholds) <= 0).all()
        potentials = {-(1 << 31), -1, 0, 1, int(thresholds[0]) + 1, (1 << 31) - 1}
        for threshold in thresholds.tolist():
            potentials |= {threshold - 1, threshold}
        for v in potentials:
            fires = np.nonzero(v >= thresholds)[0]
            at_threshold = ticks - fires[0] if len(fires) else 0
            expected = code(v, multiplier, shift, ticks)
            assert at_threshold == expected
            assert ramp_code(v, multiplier, shift, ticks) == expected

    @pytest.mark.parametrize("ticks", [1, 2, 7, 15, 255])
    @pytest.mark.parametrize(("multiplier", "shift"), [
        (1, 0), (3, 0), (1, 1), (5, 3), (300, 12), (65535, 16), (40001, 20), (1000, 5),
    ])
    def test_every_potential(self, multiplier, shift, ticks):
        """Every V from far below silence to far above saturation, one by one."""
        thresholds = golden.thresholds(multiplier, shift, ticks)
        potentials = np.arange(-50, int(thresholds[0]) + 50)
        network = dense_network([[[1]], [[1]]], None, [multiplier], [shift], ticks)
        codes = golden.fire(potentials[:, None], network.layers[0])[:, 0]
        # Thresholds fall, so as many of them are reached as the code says.
        assert np.array_equal(codes, (potentials[:, None] >= thresholds).sum(axis=1))
        assert (codes.min(), codes.max()) == (0, ticks)
        for v in range(-50, min(int(thresholds[0]) + 50, 3000)):
            assert ramp_code(v, multiplier, shift, ticks) == codes[v + 50]

    def test_half_a_step_fires(self):
        """With m = 1 and s = 4 a code step is 16: 7 is silent, 8 is the last tick."""
        assert golden.thresholds(1, 4, 7).tolist() == [104, 88, 72, 56, 40, 24, 8]

    def test_no_half_step_without_a_shift(self):
        assert golden.thresholds(1, 0, 3).tolist() == [3, 2, 1]

    def test_steep_slopes_share_thresholds(self):
        """One unit of V is worth 4 codes here, so V = 1 passes four thresholds at once."""
        assert golden.thresholds(4, 0, 9).tolist() == [3, 2, 2, 2, 2, 1, 1, 1, 1]

    def test_worked_vector(self):
        """T = 7, w = [3, -2, 5], spikes at ticks 1 and 4, bias 4, step 16: V = 16, the last tick.

        The same neuron by slope and ramp: a spike adds its weight to the slope, and every tick adds
        the slope to the membrane, so that a spike at tick k is counted T - k times.
        """
        network = dense_network(
            [[[3], [-2], [5]], [[1]]], [[4], [0]], [1], [4], 7,
            input_codes=np.minimum(np.arange(256), 7),
        )
        trace = golden.run(network, np.array([[6, 3, 0]], np.uint8), backend="numpy")
        assert trace.codes[0].tolist() == [[1]]
        assert trace.spike_times(0).tolist() == [[6]]
        assert trace.logits.tolist() == [[1]]

        membrane, slope, history = 4, 0, []
        for tick in range(7):
            slope += {1: 3, 4: -2}.get(tick, 0)
            membrane += slope
            history.append(membrane)
        assert history == [4, 7, 10, 13, 14, 15, 16]
        assert np.nonzero(history[-1] >= golden.thresholds(1, 4, 7))[0][0] == 6
