# SPDX-License-Identifier: Apache-2.0
"""PASCAL: trains that add up to the activation, whatever their order; levels of each layer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ttfs_sw.research.neighbours.levels import al_metric
from ttfs_sw.research.neighbours.pascal import accumulate


@given(
    st.integers(1, 12).flatmap(
        lambda steps: arrays(np.int64, (steps, 20), elements=st.integers(-60, 60))
    ),
    st.integers(1, 12),
)
def test_the_train_is_the_activation_of_the_sum(quarters, levels):
    # λ = L: a threshold of 1, so that quarters are exact and ties occur.
    received = torch.from_numpy(quarters).double() / 4
    sent = accumulate(received, float(levels), levels)
    total = received.sum(dim=0)
    wanted = torch.floor(total.clamp(0, levels) + 0.5)
    assert torch.equal(sent.sum(dim=0), wanted)
    # From the first step on, without a gap.
    assert (sent.diff(dim=0) <= 0).all()
    assert sent.shape == (levels, 20)


def test_order_does_not_matter():
    steps = torch.randn(9, 50, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(accumulate(steps, 3.0, 5), accumulate(steps.flip(0), 3.0, 5))


def test_al_metric():
    # All in one bin: n_valid = 1; bin counts have skewness 1.5 and excess kurtosis 0.25.
    assert al_metric([100, 0, 0, 0, 0]) == pytest.approx((1.5**2 + 1) * (0.25 + 12.5))
    assert al_metric([7, 7, 7, 7, 7]) == 0.0
    # Two of five: deviations of -0.4 three times and 0.6 twice, so g² = 1/6 and k = -11/6.
    assert al_metric([0, 1, 1, 0, 0]) == pytest.approx(0.75 * (1 / 6 + 1) * (12.5 - 11 / 6))
