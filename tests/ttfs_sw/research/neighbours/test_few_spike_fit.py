# SPDX-License-Identifier: Apache-2.0
"""Fitted few-spike neurons: other activations than the ReLU."""

import pytest
import torch

from ttfs_sw.research.neighbours.few_spike_fit import fit


@pytest.mark.parametrize(("name", "low", "high", "steps"), [
    ("sigmoid", -8.0, 8.0, 6), ("silu", -6.0, 6.0, 8), ("relu", 0.0, 4.0, 4),
])
def test_fits(name, low, high, steps):
    function = getattr(torch.nn.functional, name)
    neuron, error = fit(function, low, high, steps, starts=6, iterations=120)
    values = torch.linspace(low, high, 256)
    wanted = function(values)
    assert neuron.steps == steps
    assert error == pytest.approx((neuron(values)[0] - wanted).square().mean().item())
    # Three hundredths of the variance at most; a neuron that is silent leaves more than all of it.
    assert error < 0.03 * wanted.var()


def test_same_seed_same_neuron():
    neurons = [
        fit(torch.sigmoid, -4, 4, 3, starts=2, iterations=5, seed=seed)[0] for seed in (1, 1, 2)
    ]
    assert torch.equal(neurons[0].threshold, neurons[1].threshold)
    assert not torch.equal(neurons[0].threshold, neurons[2].threshold)
