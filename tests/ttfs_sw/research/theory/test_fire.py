# SPDX-License-Identifier: Apache-2.0
"""Spike times and their gradients against the closed form."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw.research.theory.fire import fire


def drawn(seed, images=3, neurons=5):
    """Potentials, thresholds and slopes that make some neurons fire and leave others silent."""
    generator = torch.Generator().manual_seed(seed)
    potential = torch.randn(images, neurons, generator=generator, dtype=torch.float64)
    threshold = 1 + torch.rand(neurons, generator=generator, dtype=torch.float64)
    slope = 0.5 + torch.rand(neurons, generator=generator, dtype=torch.float64)
    return [value.requires_grad_() for value in (potential, threshold, slope)]


def test_by_hand():
    """Membranes 0.5 and -1 under a threshold of 2, slope 1: 1.5 after the start, or never."""
    one = torch.ones(1, dtype=torch.float64)
    times = fire(torch.tensor([[0.5], [-1.0]]).double(), 2 * one, one, 3.0, 5.0)
    assert times.tolist() == [[4.5], [5.0]]


def test_the_end_of_the_window_is_silence():
    one = torch.ones(1, dtype=torch.float64, requires_grad=True)
    times = fire(torch.zeros(1, 1, dtype=torch.float64), one, one, 0.0, 1.0)
    assert times.item() == 1.0
    times.sum().backward()
    assert one.grad.item() == 0.0


def test_a_slope_that_is_not_positive_never_meets_the_threshold():
    slope = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    potential = torch.tensor([[1.5, 1.5, 2.5]], dtype=torch.float64, requires_grad=True)
    times = fire(potential, torch.full((3,), 2.0, dtype=torch.float64), slope, 0.0, 3.0)
    assert times.tolist() == [[0.5, 3.0, 3.0]]
    times.sum().backward()
    assert potential.grad.tolist() == [[-1.0, 0.0, 0.0]]
    assert slope.grad.tolist() == [-0.5, 0.0, 0.0]


@given(seed=st.integers(0, 10_000), start=st.floats(-2, 2), window=st.floats(0.5, 4))
@settings(max_examples=30)
def test_gradients_are_the_closed_form(seed, start, window):
    potential, threshold, slope = drawn(seed)
    end = start + window
    times = fire(potential, threshold, slope, start, end)
    weights = torch.randn(times.shape, dtype=torch.float64,
                          generator=torch.Generator().manual_seed(seed))
    (times * weights).sum().backward()
    with torch.no_grad():
        fired = weights * (times < end)
        assert torch.allclose(potential.grad, -fired / slope, rtol=1e-14, atol=0)
        assert torch.allclose(threshold.grad, (fired / slope).sum(dim=0), rtol=1e-13, atol=1e-14)
        expected = (-fired * (times - start) / slope).sum(dim=0)
        assert torch.allclose(slope.grad, expected, rtol=1e-13, atol=1e-14)


def test_gradcheck():
    for seed in range(5):
        inputs = drawn(seed)
        times = fire(*inputs, 0.3, 2.8)
        # Far from the corner at the end of the window, where there is no derivative.
        assert ((times - 2.8).abs()[times < 2.8] > 1e-3).all()
        assert torch.autograd.gradcheck(lambda *each: fire(*each, 0.3, 2.8), inputs)
