# SPDX-License-Identifier: Apache-2.0
"""LIF networks: the surrogate's gradient, the neuron by hand, slopes, initial potentials."""

import pytest
import torch
from torch.nn import functional

from ttfs_sw.research.neighbours import time_losses
from ttfs_sw.research.neighbours.lif import LifModel, gradient_norms, spike, tune
from ttfs_sw.training import topology


def model(layers=("6", "5"), shape=(1, 1, 4), **options):
    generator = torch.Generator().manual_seed(1)
    options = {"steps": 5} | options
    return LifModel(topology.plan(layers, shape, 3), generator, **options)


def images(count, inputs):
    return torch.rand(count, inputs, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("slope", [0.5, 10.0])
def test_surrogate_gradient(slope):
    above = torch.tensor([-2.0, -0.1, 0.0, 0.3], requires_grad=True)
    sent = spike(above, slope)
    assert sent.tolist() == [0, 0, 1, 1]
    (gradient,) = torch.autograd.grad(sent.sum(), above)
    wanted = [1 / (1 + slope * abs(value)) ** 2 for value in above.tolist()]
    assert gradient.tolist() == pytest.approx(wanted)


def test_neuron_by_hand():
    network = model(("1",), (1, 1, 1), norm=False, leak=0.5, steps=6)
    with torch.no_grad():
        network.relu.layers[0].weight.fill_(0.7)
    seen = []
    network(torch.ones(1, 1), lambda index, spikes: seen.append(spikes.flatten().tolist()))
    # 0.7, 1.05 fires, 0.7, 1.05 fires, ...
    assert seen == [[0, 1, 0, 1, 0, 1]]


def test_initial_potential_makes_other_trains():
    network = model(("1",), (1, 1, 1), norm=False, leak=0.5, steps=4, learn_initial=True)
    with torch.no_grad():
        network.relu.layers[0].weight.fill_(0.7)
    assert 0.4 <= network.initial[0].item() <= 0.6
    trains = []
    for start in (0.0, 0.6):
        with torch.no_grad():
            network.initial[0].fill_(start)
        network(torch.ones(1, 1), lambda index, spikes: trains.append(spikes.flatten().tolist()))
    # With 0.6, the first step reaches 1: a train that no constant current makes from 0.
    assert trains == [[0, 1, 0, 1], [1, 0, 1, 0]]
    network(torch.ones(1, 1))[0].sum().backward()
    assert network.initial[0].grad.item() != 0


def test_batch_norm_is_of_all_steps_together():
    network = model(("6", "5"), steps=5).train()
    values = images(40, 4)
    inputs = []
    network.norms[1].register_forward_hook(lambda _, given, __: inputs.append(given[0]))
    with torch.no_grad():
        network(values)
    assert inputs[0].shape == (5 * 40, 5)
    mean = 0.1 * inputs[0].mean(dim=0)
    assert torch.allclose(network.norms[1].running_mean, mean, atol=1e-6)


def test_slope_carries_gradients_through_a_deep_residual_network():
    layers = ["8c3"]
    for number in range(1, 14, 2):
        layers += ["8c3", f"8c3+{number}"]
    network = model(layers, (5, 5, 1), steps=4)
    values, labels = images(32, 25), torch.arange(32) % 3

    def ratio():
        norms = gradient_norms(network, values, labels, time_losses.mean)
        return norms[0] / norms[-1]

    network.slope = 0.25
    assert ratio() > 1e3
    network.slope = 32.0
    assert ratio() < 1e-3
    assert 0.25 < tune(network, values, labels, time_losses.mean, (0.25, 0.7, 1.0, 1.4, 32.0)) < 32
    assert 1 / 5 < ratio() < 5


def test_tuning_changes_only_the_slope():
    network = model()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.slope = tune(network, images(32, 4), torch.arange(32) % 3, time_losses.mean)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_image_may_be_a_residual():
    network = model(("4c1+0",), (2, 2, 4)).eval()
    assert network(images(7, 16)).shape == (5, 7, 3)


def test_losses():
    logits = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(6) % 3
    entropy = functional.cross_entropy
    steps = [entropy(step, labels) for step in logits]
    assert time_losses.last_step(logits, labels) == steps[-1]
    assert time_losses.mean(logits, labels) == entropy(logits.mean(dim=0), labels)
    # Without a regulariser both are the mean of all steps' entropies.
    plain = torch.stack(steps).mean()
    assert torch.allclose(time_losses.tet(logits, labels, weight=0.0), plain)
    assert torch.allclose(time_losses.smooth_tet(logits, labels, smoothing=0.0), plain)
    smooth = 0.9 * plain - 0.1 * logits.log_softmax(dim=2).mean()
    assert torch.allclose(time_losses.smooth_tet(logits, labels, smoothing=0.1), smooth)
    pulled = 0.8 * plain + 0.2 * (logits - 1).square().mean()
    assert torch.allclose(time_losses.tet(logits, labels, weight=0.2), pulled)


def test_the_regulariser_pulls_against_the_right_class_and_smoothing_does_not():
    # A sure and right answer: TET's regulariser goes on to pull it down, far below what smoothing
    # asks for.
    labels = torch.tensor([0])
    for loss, wanted in ((time_losses.tet, True), (time_losses.smooth_tet, False)):
        logits = torch.tensor([[[4.0, -1.0, -1.0]]], requires_grad=True)
        loss(logits, labels).backward()
        assert (logits.grad[0, 0, 0] > 0) == wanted
