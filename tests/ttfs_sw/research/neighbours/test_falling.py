# SPDX-License-Identifier: Apache-2.0
"""Falling thresholds: the closed form of the spike time, its error, and the line that is ours."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttfs_sw import golden
from ttfs_sw.research.neighbours.falling import FallingThreshold, calibrate
from ttfs_sw.research.neighbours.qcfs import Qcfs

shapes = given(
    st.integers(1, 60), st.floats(0.1, 50), st.floats(0.5, 40), st.floats(-1, 3),
    st.lists(st.floats(-1, 3), min_size=1, max_size=40),
)


@shapes
def test_exponential(ticks, top, tau, delay, shares):
    neuron = FallingThreshold.exponential(ticks, top, tau, delay)
    potential = top * torch.tensor(shares, dtype=torch.float64)
    times, sent = neuron(potential)
    for value, time, worth in zip(
        potential.tolist(), times.tolist(), sent.tolist(), strict=True
    ):
        first = math.inf if value <= 0 else delay - tau * math.log(value / top)
        # Off the thresholds themselves, where a logarithm rounds.
        if abs(first - round(first) if math.isfinite(first) else 1) > 1e-6:
            assert time == min(max(math.ceil(first), 0) if value > 0 else ticks, ticks)
        if time == ticks:
            assert worth == 0
        else:
            assert worth == pytest.approx(top * math.exp(-(time - delay) / tau))
            assert worth <= value
            assert time == 0 or value < worth * math.exp(1 / tau) * (1 + 1e-12)


@given(st.integers(1, 100), st.lists(st.floats(-2, 3), min_size=1, max_size=40))
def test_linear_is_qcfs(ticks, shares):
    potential = ticks * torch.tensor(shares, dtype=torch.float64)
    times, sent = FallingThreshold.linear(ticks, float(ticks))(potential)
    with torch.no_grad():
        wanted = Qcfs(ticks, float(ticks)).double()(potential)
    off = (potential - potential.floor() - 0.5).abs() > 1e-9
    assert torch.equal(sent[off], wanted[off])
    assert torch.equal((ticks - times)[off].double(), wanted[off])


def test_linear_is_the_threshold_of_the_golden_model():
    ours = golden.thresholds(1, 4, 15)
    neuron = FallingThreshold.linear(15, 15 * 16.0)
    membrane = torch.arange(-20, 300)
    times, _ = neuron(membrane.double())
    for value, time in zip(membrane.tolist(), times.tolist(), strict=True):
        assert time == next((k for k, theta in enumerate(ours) if value >= theta), 15)


def test_calibration_is_no_worse_than_a_guess():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5000, generator=generator).relu() * 3
    found = calibrate(20, values)(values)[1]
    top = values.max().item()
    for tau in (1.0, 5.0, 30.0):
        guess = FallingThreshold.exponential(20, top, tau, 0.0)(values)[1]
        assert (found - values).square().mean() <= 1.05 * (guess - values).square().mean()
    assert calibrate(4, torch.zeros(3))(torch.zeros(3))[0].tolist() == [4, 4, 4]
