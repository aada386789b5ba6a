# SPDX-License-Identifier: Apache-2.0
"""Networks of spike times against ReLU networks: forward, gradients, and the way back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ttfs_sw.common.errors import InputError
from ttfs_sw.research.continuous import ContinuousLayer, ContinuousNetwork
from ttfs_sw.research.theory.initialise import LOWER, UPPER, balance, naive, rescale, smart
from ttfs_sw.research.theory.mapping import to_relu, to_ttfs
from ttfs_sw.training import config, topology
from ttfs_sw.training.models import ReluNetwork

SHAPES = {
    "dense": ["12", "9"],
    "convolutional": ["5c3", "p2", "6c3p0", "8"],
    "strided": ["4c3s2", "7"],
    "every kind": ["4c3", "d3", "4c3+1", "a2", "5c1", "10"],
}
#: What the alpha-model has.
PLAIN = ("dense", "convolutional", "strided")


def close(ours, theirs, tolerance=1e-12):
    assert (ours - theirs).abs().max() <= tolerance * (1 + theirs.abs().max())


@given(shape=st.sampled_from(list(SHAPES)), seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_b1_is_the_relu_network(make_relu, shape, seed):
    relu, layers, values = make_relu(SHAPES[shape], seed)
    network = to_ttfs(relu, layers)
    network.calibrate(values)
    trace = network.run(values)
    assert trace.early == 0
    close(trace.logits, relu(values))


SIZES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "fashion-mnist": (28, 28, 1),
         "cifar10": (32, 32, 3)}


@pytest.mark.parametrize("preset", [
    pytest.param(name, marks=pytest.mark.slow if name.startswith("cifar10") else ())
    for name in config.presets()
])
def test_every_preset_has_its_network_of_spike_times(preset):
    """On images of noise; ``ttfs experiment equivalence --run DIR`` compares trained ones."""
    preset = config.load(preset)
    layers = topology.plan(preset.network.texts, SIZES[preset.dataset], 10)
    generator = torch.Generator().manual_seed(0)
    relu = ReluNetwork(layers, generator).double()
    values = torch.rand(2, math.prod(layers.input_shape), generator=generator).double()
    network = to_ttfs(relu, layers)
    network.calibrate(values)
    trace, expected = network.run(values), relu(values)
    assert trace.early == 0
    close(trace.logits, expected)
    assert torch.equal(trace.logits.argmax(dim=1), expected.argmax(dim=1))


@given(shape=st.sampled_from(PLAIN), seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_alpha_is_the_relu_network_after_rescaling(make_relu, shape, seed):
    relu, layers, values = make_relu(SHAPES[shape], seed)
    before = relu(values)
    rescale(relu)
    close(relu(values), before)
    for layer in list(relu.layers)[:-1]:
        total = layer.weight.flatten(1).sum(dim=1)
        assert (total <= UPPER + 1e-12).all() and (total >= LOWER - 1e-12).all()
    network = to_ttfs(relu, layers, "alpha")
    network.calibrate(values)
    # A slope of up to 100 at threshold costs two digits.
    close(network(values), before, 1e-10)


@given(shape=st.sampled_from(list(SHAPES)), seed=st.integers(0, 10_000))
@settings(max_examples=10)
def test_gradients_of_b1_are_those_of_the_relu_network(make_relu, shape, seed):
    relu, layers, values = make_relu(SHAPES[shape], seed)
    network = to_ttfs(relu, layers)
    network.calibrate(values)
    labels = torch.arange(len(values)) % 4
    for model in (relu, network):
        functional.cross_entropy(model(values), labels).backward()
    for ours, theirs in zip(network.parameters(), relu.parameters(), strict=True):
        close(ours.grad, theirs.grad)


@pytest.mark.parametrize("model", ["b1", "alpha"])
@pytest.mark.parametrize("shape", PLAIN)
def test_gradcheck_of_a_whole_network(make_relu, shape, model):
    relu, layers, values = make_relu(SHAPES[shape], 3, images=2)
    rescale(relu)
    network = to_ttfs(relu, layers, model)
    network.calibrate(values)
    names = [name for name, _ in network.named_parameters()]
    parameters = [value.detach().clone().requires_grad_() for value in network.parameters()]

    def logits(*given):
        state = dict(zip(names, given, strict=True))
        return torch.func.functional_call(network, state, (values,))

    # A random direction, not every weight: the whole matrix would take seconds.
    assert torch.autograd.gradcheck(logits, parameters, fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back_changes_nothing(make_relu, shape):
    relu, layers, _ = make_relu(SHAPES[shape], 1)
    back = to_relu(to_ttfs(relu, layers))
    for ours, theirs in zip(back.parameters(), relu.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", PLAIN)
def test_alpha_and_back(make_relu, shape):
    relu, layers, _ = make_relu(SHAPES[shape], 1)
    rescale(relu)
    back = to_relu(to_ttfs(relu, layers, "alpha", alpha=0.7))
    for ours, theirs in zip(back.parameters(), relu.parameters(), strict=True):
        close(ours, theirs, 1e-13)


def test_alpha_refuses_what_it_cannot_hold(make_relu):
    relu, layers, _ = make_relu(["3"], 0)
    with torch.no_grad():
        relu.layers[0].weight[1] = 1.0
    with pytest.raises(InputError, match="layer 0 has a neuron whose weights add up to 72"):
        to_ttfs(relu, layers, "alpha")
    with pytest.raises(ValueError, match="choose b1"):
        to_ttfs(*make_relu(SHAPES["every kind"])[:2], "alpha")
    with pytest.raises(ValueError, match="without residuals can"):
        rescale(make_relu(SHAPES["every kind"])[0])


def test_spike_times_are_those_of_the_independent_simulation(make_relu):
    """Membranes followed from spike to spike, without the formula."""
    relu, layers, values = make_relu(SHAPES["dense"], 5)
    network = to_ttfs(relu, layers)
    network.calibrate(values)
    trace = network.run(values)
    windows = [*network.windows.tolist(), None]
    witness = ContinuousNetwork([
        ContinuousLayer(layer.weight.detach().numpy().T, layer.bias.detach().numpy(), window)
        for layer, window in zip(network.layers, windows, strict=True)
    ]).run(values.numpy())
    for spikes, times, window in zip(
        trace.maps[1:], witness.spike_times, witness.windows, strict=True
    ):
        assert (spikes.start, spikes.end) == window
        close(spikes.times.flatten(1), torch.from_numpy(times))
    close(trace.logits, torch.from_numpy(witness.logits))


class TestWindows:
    def test_no_activation_depends_on_them(self, make_relu):
        relu, layers, values = make_relu(SHAPES["convolutional"], 2)
        network = to_ttfs(relu, layers)
        network.windows.fill_(0.01)
        trace = network.run(values)
        assert trace.early > 0
        short = trace.logits
        network.windows.fill_(50.0)
        trace = network.run(values)
        assert trace.early == 0
        close(trace.logits, short)

    def test_adapt_is_ten_times_the_largest_and_never_shortens(self, make_relu):
        relu, layers, values = make_relu(SHAPES["dense"], 2)
        network = to_ttfs(relu, layers)
        trace = network.run(values)
        largest = torch.stack([spikes.values.max() for spikes in trace.maps[1:]])
        network.adapt(trace)
        assert torch.allclose(network.windows, (10 * largest).clamp(min=1), rtol=1e-12)
        wide = network.windows.clone()
        network.adapt(network.run(values / 100))
        assert torch.equal(network.windows, wide)
        assert network.run(values).early == 0

    def test_calibrate_leaves_a_margin_and_a_window_for_a_silent_layer(self, make_relu):
        relu, layers, values = make_relu(SHAPES["dense"], 2)
        with torch.no_grad():
            relu.layers[1].bias.fill_(-100)
        network = to_ttfs(relu, layers)
        network.calibrate(values)
        first, second = network.run(values).maps[1:]
        assert network.windows[0].item() == pytest.approx(1.5 * first.values.max().item())
        assert network.windows[1].item() == 1.0
        assert not second.fired.any()

    def test_spikes_per_neuron_counts_positive_activations(self, make_relu):
        relu, layers, values = make_relu(SHAPES["dense"], 4)
        network = to_ttfs(relu, layers)
        network.calibrate(values)
        trace = network.run(values)
        positive = torch.cat([x > 0 for x in network.activations(trace)], dim=1)
        assert trace.spikes_per_neuron == pytest.approx(positive.double().mean().item())


class TestInitialisation:
    def test_smart_starts_as_a_balanced_relu_network(self, make_relu):
        _, layers, values = make_relu(SHAPES["dense"])
        network = smart(layers, torch.Generator().manual_seed(4), alpha=0.5)
        network.calibrate(values)
        drawn = ReluNetwork(layers, torch.Generator().manual_seed(4)).double()
        balance(drawn)
        close(network(values), drawn(values))
        for layer in list(network.layers)[:-1]:
            close(layer.slope, torch.full_like(layer.slope, 0.5), 1e-14)

    def test_balancing_shifts_a_neurons_weights_by_one_amount(self, make_relu):
        relu, _, _ = make_relu(SHAPES["convolutional"])
        before = [layer.weight.clone() for layer in relu.layers]
        balance(relu)
        for layer, weight in zip(relu.layers, before, strict=True):
            shift = (weight - layer.weight).flatten(1)
            assert torch.allclose(shift, shift[:, :1], rtol=0, atol=1e-14)
        assert torch.equal(relu.layers[-1].weight, before[-1])

    def test_naive_slopes_come_close_to_nothing(self, make_relu):
        layers = make_relu(["400"])[1]
        slope = naive(layers, torch.Generator().manual_seed(0)).layers[0].slope
        assert slope.min() < 0 and slope.abs().min() < 0.02
