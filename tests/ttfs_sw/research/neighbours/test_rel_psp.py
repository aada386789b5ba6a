# SPDX-License-Identifier: Apache-2.0
"""ReL-PSP: the closed form of the spike time, and the neurons that are stepped to it."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets
from ttfs_sw.research.neighbours import Task, build
from ttfs_sw.research.neighbours.rel_psp import RelPspModel, fire, integrated, spike_time, stepped
from ttfs_sw.training.config import Augmentation, Config, NetworkShape, Training

#: Weights, and times before the end of a window: 65 is silence. 64ths are exact, and ties occur.
SYNAPSES = st.lists(st.tuples(st.integers(-160, 160), st.integers(0, 65)), max_size=8)
BIASES = st.integers(-128, 128)


def simulated(synapses, bias):
    """Follow a neuron from spike to spike, then to where V and θ meet; the time from t = 1 on."""
    time, membrane, slope = 0.0, bias, 0.0
    for weight, arrival in sorted(synapses, key=lambda synapse: synapse[1]):
        if math.isfinite(arrival):
            membrane += slope * (arrival - time)
            time, slope = arrival, slope + weight
    membrane += slope * (1.0 - time)

    def above(t):
        return membrane + slope * (t - 1) - (2 - t)

    if above(1.0) >= 0:
        return 0.0
    if above(2.0) < 0:
        return math.inf
    low, high = 1.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if above(middle) >= 0 else (middle, high)
    return high - 1


def sums(synapses, bias):
    """A and S."""
    fired = [(weight, early) for weight, early in synapses if early < 65]
    start = bias / 64 + sum(weight * early for weight, early in fired) / 64**2
    return start, sum(weight for weight, _ in fired) / 64


def time_of(start, slope):
    numbers = (torch.tensor(value, dtype=torch.float64) for value in (start, slope))
    return spike_time(*numbers).item()


@given(SYNAPSES, BIASES)
def test_closed_form_is_the_simulation(synapses, bias):
    wanted = simulated(
        [(weight / 64, 1 - early / 64 if early < 65 else math.inf) for weight, early in synapses],
        bias / 64,
    )
    found = time_of(*sums(synapses, bias))
    assert found == wanted or abs(found - wanted) <= 1e-9


@given(SYNAPSES)
def test_published_form(synapses):
    # t = (2 + Σ w t_j) / (1 + Σ w), without a bias, where that is in the window.
    start, slope = sums(synapses, 0)
    found = time_of(start, slope)
    if 0 < found < math.inf:
        times = sum(w / 64 * (1 - early / 64) for w, early in synapses if early < 65)
        assert 1 + found == pytest.approx((2 + times) / (1 + slope), abs=1e-9)
        # In values: Σ w (1 + x) / (1 + Σ w).
        values = sum(w / 64 * (1 + early / 64) for w, early in synapses if early < 65)
        assert 1 - found == pytest.approx(values / (1 + slope), abs=1e-9)


def test_edges():
    start = torch.tensor([1.0, 3.0, 0.9, 0.9, 0.9, -0.5, -0.5, 0.0], dtype=torch.float64)
    slope = torch.tensor([-5.0, -1.0, -1.0, -0.9, -3.0, 0.4, 0.5, 0.0], dtype=torch.float64)
    # At its threshold from the start it fires, whatever comes; S = -1 keeps the distance to θ.
    assert spike_time(start, slope).tolist() == [
        0, 0, math.inf, 1, math.inf, math.inf, 1, 1]


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.25], [1.5, -1.0], [-0.5, 0.25], [3.0]])
def test_gain(weights):
    def value(inputs):
        start = 0.3 + sum(w * x for w, x in zip(weights, inputs, strict=True))
        return 1 - time_of(start, sum(weights))

    base = [0.05] * len(weights)
    rise = value([base[0] + 0.01, *base[1:]]) - value(base)
    assert rise == pytest.approx(weights[0] * 0.01 / (1 + sum(weights)))


@given(SYNAPSES, BIASES, st.integers(1, 20))
def test_stepped_neuron_fires_at_the_first_tick_after_the_closed_form(synapses, bias, ticks):
    codes = [early % (ticks + 1) for _, early in synapses]
    arriving = [
        torch.tensor([sum(w for (w, _), sent in zip(synapses, codes, strict=True)
                          if sent == code) / 64], dtype=torch.float64)
        for code in range(ticks, 0, -1)
    ]
    offset = torch.tensor([bias / 64], dtype=torch.float64)
    found = stepped(arriving, offset, ticks).item()
    slope = sum(Fraction(w, 64) for (w, _), sent in zip(synapses, codes, strict=True) if sent)
    start = Fraction(bias, 64) + sum(
        Fraction(w * sent, 64 * ticks) for (w, _), sent in zip(synapses, codes, strict=True))
    if start >= 1:
        tick = 0
    elif start + slope < 0:
        tick = ticks
    else:
        tick = math.ceil(ticks * (1 - start) / (1 + slope))
    assert found == ticks - min(tick, ticks)
    membrane, total = integrated(arriving, offset, ticks)
    assert membrane.item() == pytest.approx(float(ticks * start)) and total.item() == slope


def test_gradients():
    start = torch.tensor([0.4, 0.1, -0.3, 1.2, -2.0, 0.9999999, 0.2], dtype=torch.float64)
    slope = torch.tensor([0.0, 1.0, 0.9, 0.3, 1.0, -0.9999999, -0.7], dtype=torch.float64)
    start.requires_grad_()
    slope.requires_grad_()
    codes, fired = fire(start, slope, 10)
    assert codes.tolist() == [4, 5, 3, 10, 0, 0, 0]
    assert fired.tolist() == [1, 1, 1, 1, 0, 0, 0]
    of_codes = torch.autograd.grad(codes.sum() / 10, [start, slope], retain_graph=True)
    value = (start + slope) / (1 + slope)
    wanted = torch.autograd.grad(value[:3].sum(), [start, slope])
    for found, of_value in zip(of_codes, wanted, strict=True):
        assert torch.allclose(found[:3], of_value[:3])
        assert found[[3, 4, 6]].tolist() == [0, 0, 0] and found.isfinite().all()
    # Whether it fires at all has a gradient near A + S = 0 only.
    (of_fired,) = torch.autograd.grad(fired.sum(), start)
    assert of_fired.tolist() == [0, 0, 0, 0, 0, 2, 0]


def settings(layers, **training):
    return Config(
        network=NetworkShape(layers=layers, input_ticks=15),
        training=Training(**{"heldout": 100, "float_epochs": 8, "epochs": 8, "batch": 50,
                             "learning_rate": 0.01, "float_learning_rate": 0.02} | training),
        augmentation=Augmentation(),
    )


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def fitted(layers, digits, ticks=15, **training):
    task = Task(settings(layers, **training), digits, torch.device("cpu"))
    method = build("rel-psp", task.layers, digits.shape, digits.classes, ticks=ticks)
    method.fit(task, task.reference())
    return method


def test_training(digits):
    method = fitted(("48",), digits, float_epochs=3, epochs=5)
    result = method.predict(digits.x_test)
    assert (result.winners == digits.y_test).mean() > 0.88
    assert result.time_steps == 30 and result.multiplications == 0
    assert result.spikes_per_neuron < 1
    # A spike switches on one slope at each synapse.
    hidden = result.spikes[:, 1].mean() * 10
    assert result.additions == pytest.approx(result.spikes[:, 0].mean() * 48 + hidden)


@pytest.mark.parametrize("ticks", [1, 4, 31])
def test_stepped_network_is_the_trained_one(digits, ticks):
    method = fitted(("4c3", "p2", "d3", "16"), digits, ticks, float_epochs=1, epochs=1)
    pixels = digits.x_test[:60]
    model = method.model.exact()
    with torch.no_grad():
        wanted = ticks * model(torch.from_numpy(pixels).double() / 16).numpy()
    found = method.predict(pixels).logits
    # All but where a real number rounds across a tick.
    assert (np.abs(found - wanted).max(axis=1) < 1e-9).mean() > 0.95


def test_first_spike_of_a_pool_goes_on(digits):
    task = Task(settings(("2c1", "p2", "8"), float_epochs=1), digits, torch.device("cpu"))
    model = RelPspModel(task.reference(), task.calibration(), 7).exact()
    layer = model.layers[0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -0.75]).view(2, 1, 1, 1))
        layer.bias.copy_(torch.tensor([0.125, 0.875]))
    seen = {}
    values = torch.rand(5, 64, generator=torch.Generator().manual_seed(0)).double()
    model.step(values, lambda index, codes: seen.setdefault(index, codes))
    inputs = model.encode(values).view(5, 8, 8, 1)
    fired = (inputs > 0).double()
    start = inputs / 7 * layer.weight.view(2) + layer.bias
    times = spike_time(start, fired * layer.weight.view(2))
    earliest = times.view(5, 4, 2, 4, 2, 2).amin(dim=(2, 4)).permute(0, 3, 1, 2)
    wanted = 7 - torch.ceil(7 * earliest - 1e-9).clamp(max=7)
    assert torch.equal(seen[0], wanted) and (wanted > 0).any() and (wanted == 0).any()


class TestRefusals:
    def refuse(self, message, layers, **options):
        with pytest.raises(InputError, match=message) as error:
            build("rel-psp", layers, (8, 8, 1), 10, **options)
        assert "\n" not in str(error.value)

    def test_layers(self):
        self.refuse("rel-psp has no average pool.*write p2 for a2", ["4c3", "a2"])
        self.refuse("rel-psp adds no maps.*leave out the '\\+'", ["4c3", "4c3+1"])

    def test_ticks(self):
        self.refuse("ticks must be an integer from 1 to 1000, not 0", ["8"], ticks=0)
        self.refuse("rel-psp has no option 'tick'; did you mean ticks?", ["8"], tick=3)


def test_gradients_go_through_a_pool(digits):
    few = dataclasses.replace(digits, x_train=digits.x_train[:300], y_train=digits.y_train[:300])
    task = Task(settings(("2c3", "p2", "8"), float_epochs=1), few, torch.device("cpu"))
    model = RelPspModel(task.reference(), task.calibration(), 7)
    model(task.calibration()[:20]).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.layers[0].weight.grad.abs().sum() > 0
