# SPDX-License-Identifier: Apache-2.0
"""Spikes that move: they stay in their windows, and training sees what a network would."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw import golden
from ttfs_sw.data import datasets
from ttfs_sw.golden import evaluation, jitter
from ttfs_sw.training import quantise, topology
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def model(digits):
    """A network as training starts from it: not good, but every neuron has something to say."""
    layers = topology.plan(["4c3", "p2", "24"], digits.shape, digits.classes)
    relu = ReluNetwork(layers, torch.Generator().manual_seed(0))
    made = QuantisedNetwork(layers, (4, 4, 4), (15, 15, 7), per_channel=True)
    table = torch.from_numpy(quantise.code_table(15, 16)).float()
    made.start_from(relu, table[torch.from_numpy(digits.x_train).int()])
    return made


@pytest.fixture(scope="module")
def network(model):
    return quantise.network(
        model.integers(), input_shape=(8, 8, 1), input_ticks=15,
        input_codes=quantise.code_table(15, 16), input_scale=1 / 15,
    )


@given(
    st.integers(1, 255).flatmap(
        lambda ticks: st.tuples(
            st.just(ticks),
            st.lists(st.tuples(st.integers(0, ticks), st.floats(-300, 300, width=32)), min_size=1),
        )
    )
)
@settings(max_examples=50)
def test_spikes_move_within_their_window_and_silence_stays(case):
    ticks, pairs = case
    codes, noise = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    found = jitter.moved(codes, ticks, noise)
    assert ((found == 0) == (codes == 0)).all()
    fired = codes > 0
    # In spike times, as the contract has them: the tick nearest to where the noise leads.
    times = ticks - codes[fired].astype(float) - noise[fired]
    expected = np.clip(times, 0, ticks - 1)
    assert (abs(ticks - found[fired] - expected) <= 0.5 + 1e-4).all()
    assert (found == np.rint(found)).all()
    torches = jitter.moved(torch.from_numpy(codes), ticks, torch.from_numpy(noise))
    assert (torches.numpy() == found).all()


def test_mover_draws_the_deviation_that_is_asked_for():
    assert jitter.mover(0.0, torch.Generator()) is None
    codes = torch.full((20000,), 128.0)
    first, again = (
        jitter.mover(5.0, torch.Generator().manual_seed(3))(codes, 255) for _ in range(2)
    )
    assert (first == again).all()
    assert (first - codes).mean().abs() < 0.2
    assert (first - codes).std() == pytest.approx(5.0, rel=0.03)


def test_training_sees_the_moved_network(model, network, digits):
    """The forward pass with moved spikes is the golden model with the same moves."""
    # A move that needs no dice: spikes with even codes come a tick early, the others two late.
    def move(codes, ticks):
        even = codes % 2 == 0
        return jitter.moved(codes, ticks, even * 1.0 - ~even * 2.0)

    codes = golden.encode(network, digits.x_test)
    _, logits = golden.forward(
        network, codes, lambda codes, ticks: move(codes, ticks).astype(np.uint8)
    )
    with torch.no_grad():
        moved = model(torch.from_numpy(codes).float(), move)
        still = model(torch.from_numpy(codes).float())
    unit = network.layers[-1].output_scale
    assert (np.rint(moved.logits.double().numpy() / unit) == logits).all()
    assert not torch.equal(moved.logits, still.logits)
    # What is counted as activity are the spikes that were sent.
    assert (golden.forward(network, codes)[0][0] == still.codes[0].numpy()).all()


def test_gradients_pass_as_if_spikes_had_not_moved(digits):
    layers = topology.plan(["12"], digits.shape, digits.classes)
    model = QuantisedNetwork(layers, (4, 4), (15, 15))
    relu = ReluNetwork(layers, torch.Generator().manual_seed(0))
    codes = torch.from_numpy(digits.x_train[:50]).float().clamp(max=15)
    model.start_from(relu, codes)

    def gradient(move):
        model.zero_grad()
        model(codes, move).logits.sum().backward()
        return model.layers[0].weight.grad.clone()

    plain = gradient(None)
    # The sum of the logits is linear in the codes, so its gradient does not depend on them; the
    # image's codes are not moved here, because the gradient of a weight is the code it multiplies.
    moved = gradient(lambda codes, ticks: codes if len(codes[0]) == 64 else codes.flip(0))
    assert plain.any()
    assert torch.allclose(plain, moved)


def test_accuracy(network, digits):
    images, labels = digits.x_test, digits.y_test
    still = evaluation.evaluate(network, images, labels).accuracy
    assert jitter.accuracy(network, images, labels, 0.0) == still
    one = jitter.accuracy(network, images, labels, 1.0, seed=1)
    assert one == jitter.accuracy(network, images, labels, 1.0, seed=1)
    # Spikes that come at any tick of the window say nothing but that a neuron fired.
    trained = digits.y_test == golden.run(network, images).winners
    assert jitter.accuracy(network, images, golden.run(network, images).winners, 0.0) == 1.0
    assert jitter.accuracy(network, images, golden.run(network, images).winners, 50.0) < 0.8
    assert trained.mean() == still
