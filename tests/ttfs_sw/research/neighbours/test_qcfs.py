# SPDX-License-Identifier: Apache-2.0
"""QCFS: its gradients, and the three kinds of neuron that stand for it."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.research.neighbours.qcfs import IntegrateFire, Qcfs


def activation(received, window, levels):
    """``h`` as it is published."""
    return window / levels * np.floor(levels * np.clip(received / window, 0, 1) + 0.5)


def test_gradients():
    fire = Qcfs(4, 2.0)
    received = torch.tensor([-1.0, 0.0, 0.3, 1.2, 1.9, 2.0, 5.0], requires_grad=True)
    sent = fire(received)
    assert sent.tolist() == activation(received.detach().numpy(), 2.0, 4).tolist()
    (of_received,) = torch.autograd.grad(sent.sum(), received, retain_graph=True)
    assert of_received.tolist() == [0, 1, 1, 1, 1, 1, 0]
    for index, value in enumerate(received.tolist()):
        (of_window,) = torch.autograd.grad(sent[index], fire.window, retain_graph=True)
        inside = (sent[index].item() - value) / 2.0
        wanted = 0.0 if value < 0 else 1.0 if value > 2 else inside
        assert of_window.item() == pytest.approx(wanted)


@given(st.integers(1, 40), st.lists(st.integers(-100, 300), min_size=1, max_size=30))
def test_integrate_and_fire_is_exact_for_a_constant_input(levels, quarters):
    # λ = L, so that quarters of a level are exact and ties occur.
    received = torch.tensor(quarters, dtype=torch.float64) / 4
    neuron = IntegrateFire(float(levels))
    mean = sum(neuron(received) for _ in range(levels)) / levels
    assert mean.tolist() == activation(received.numpy(), levels, levels).tolist()


def test_integrate_and_fire_differs_for_an_uneven_input():
    # All of it comes in the last step: the mean is half of the window, but one spike is sent.
    neuron = IntegrateFire(1.0)
    trains = torch.tensor([0.0, 0.0, 0.0, 2.0])
    assert sum(neuron(step[None]) for step in trains).item() / 4 == 0.25
    assert Qcfs(4, 1.0)(trains.mean()[None]).item() == 0.5


@settings(max_examples=50)
@given(st.integers(1, 255), st.integers(0, 12), st.integers(0, 1000))
def test_a_unit_is_a_neuron_that_fires_once(levels, shift, seed):
    # With m = 1 a code is worth 2^s units of the membrane, so the window is L 2^s.
    network = dense_network([[[1]], [[1]]], None, [1], [shift], [levels])
    layer = dataclasses.replace(network.layers[0])
    top = levels << shift
    membrane = np.random.default_rng(seed).integers(-top, 2 * top, 100)
    membrane = np.concatenate([membrane, (np.arange(9) << shift) - ((1 << shift) >> 1)])
    with torch.no_grad():
        sent = Qcfs(levels, float(top)).double()(torch.from_numpy(membrane).double())
    assert (golden.fire(membrane[:, None], layer)[:, 0] << np.int64(shift) == sent.numpy()).all()
