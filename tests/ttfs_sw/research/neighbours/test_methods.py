# SPDX-License-Identifier: Apache-2.0
"""Every method through the one interface, on a few digits: promises and refusals."""

import dataclasses

import numpy as np
import pytest
import torch

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets
from ttfs_sw.golden import evaluation
from ttfs_sw.research.neighbours import METHODS, Task, build
from ttfs_sw.research.neighbours.ttfs import of_network
from ttfs_sw.training.config import Augmentation, Config, NetworkShape, Training

SETTINGS = Config(
    network=NetworkShape(layers=("6c3", "a2", "24"), input_ticks=15),
    training=Training(heldout=100, float_epochs=12, epochs=4, batch=50, learning_rate=0.02,
                      float_learning_rate=0.02),
    augmentation=Augmentation(),
)

#: Those whose integers our core runs.
INTEGERS = {"ttfs", "few-spike", "qcfs", "pascal"}


@pytest.fixture(scope="module")
def task():
    digits = datasets.load("digits")
    few = dataclasses.replace(
        digits, x_train=digits.x_train[:500], y_train=digits.y_train[:500],
        x_test=digits.x_test[:200], y_test=digits.y_test[:200],
    )
    return Task(SETTINGS, few, torch.device("cpu"))


@pytest.fixture(scope="module")
def reference(task):
    return task.reference()


@pytest.fixture(scope="module")
def fitted(task, reference):
    """Each method, fitted once."""
    made = {}

    def get(name):
        if name not in made:
            options = {"steps": 4} if name.startswith("lif") else {}
            its_task, start = task, reference
            if name == "rel-psp":
                # It has max-pools in place of average pools.
                network = dataclasses.replace(SETTINGS.network, layers=("6c3", "p2", "24"))
                its_task = dataclasses.replace(
                    task, config=dataclasses.replace(SETTINGS, network=network))
                start = its_task.reference()
            method = build(
                name, its_task.layers, task.dataset.shape, task.dataset.classes, **options)
            before = {key: value.clone() for key, value in start.state_dict().items()}
            method.fit(its_task, start)
            for key, value in start.state_dict().items():
                assert torch.equal(value, before[key]), f"{name} changed the reference's {key}"
            made[name] = method
        return made[name]

    return get


def real_logits(model, task):
    with torch.no_grad():
        return model(torch.from_numpy(task.dataset.x_test).to(next(model.parameters()).dtype) / 16)


@pytest.mark.parametrize("name", METHODS)
def test_predicts(fitted, task, name):
    method = fitted(name)
    result = method.predict(task.dataset.x_test)
    assert (result.winners == task.dataset.y_test).mean() > 0.6
    # A max-pool is no map of its own.
    maps = [4 * 4 * 6, 24] if name == "rel-psp" else [8 * 8 * 6, 4 * 4 * 6, 24]
    assert result.spikes.shape == (200, 1 + len(maps))
    assert result.neurons == sum(maps)
    assert 0 < result.spikes_per_neuron < result.time_steps
    assert result.time_steps >= 1 and result.additions > 0
    # One by one as together, and again.
    assert (method.predict(task.dataset.x_test[:3]).winners == result.winners[:3]).all()
    assert method.source and method.title


@pytest.mark.parametrize("name", sorted(INTEGERS))
def test_integers_for_the_core(fitted, task, name, tmp_path):
    method = fitted(name)
    network = method.network()
    network.save(tmp_path / "network.npz")
    loaded = Network.load(tmp_path / "network.npz")
    assert loaded == network
    found = of_network(loaded, method.topology, task.dataset.x_test)
    result = method.predict(task.dataset.x_test)
    assert (found.winners == result.winners).mean() > 0.9
    summary = evaluation.summary(
        golden.run(loaded, task.dataset.x_test), task.dataset.y_test
    )
    assert found.spikes_per_neuron == pytest.approx(summary.spikes_per_neuron)
    assert found.spikes[:, 1:].mean(axis=0).tolist() == summary.events_hidden


@pytest.mark.parametrize("name", sorted(set(METHODS) - INTEGERS))
def test_no_integers(fitted, name):
    assert fitted(name).network() is None
    assert METHODS[name].core == "no"


def test_pascal_is_its_own_qcfs_network(fitted, task):
    method = fitted("pascal")
    logits = method.predict(task.dataset.x_test).logits
    wanted = real_logits(method.model.double(), task)
    assert np.abs(logits - wanted.numpy()).max() < 1e-4


def test_levels_become_ticks(fitted, task):
    method = fitted("pascal")
    network = method.network()
    assert [layer.ticks for layer in network.layers[:-1]] == method.levels
    assert len(method.metrics) == 3 and max(method.levels) <= 15
    # Some layer needs fewer than it was given.
    assert min(method.levels) < 15


def test_few_spikes_of_many_steps_are_the_relu_network(reference, task):
    method = build("few-spike", task.layers, task.dataset.shape, task.dataset.classes, steps=16)
    method.fit(task, reference)
    logits = method.predict(task.dataset.x_test).logits
    wanted = real_logits(reference, task).numpy()
    # Activations beyond those of the training images are cut off.
    assert (logits.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.98
    assert method.network() is None


def test_half_step_rounds_as_the_core_does(reference, task):
    agreement = []
    for half_step in (False, True):
        method = build("few-spike", task.layers, task.dataset.shape, task.dataset.classes,
                       steps=4, half_step=half_step)
        method.fit(task, reference)
        network = of_network(method.network(), method.topology, task.dataset.x_test)
        result = method.predict(task.dataset.x_test)
        agreement.append((network.winners == result.winners).mean())
    assert agreement[1] > 0.95 and agreement[1] > agreement[0]


def test_same_seed_same_network(task, reference):
    logits = []
    for _ in range(2):
        method = build("lif", task.layers, task.dataset.shape, task.dataset.classes, steps=2,
                       slope=1.0)
        method.fit(task, reference)
        logits.append(method.predict(task.dataset.x_test).logits)
    assert np.array_equal(*logits)


def test_progress(task, reference):
    for name in ("qcfs", "pascal"):
        seen = {}
        method = build(name, task.layers, task.dataset.shape, task.dataset.classes)
        method.fit(task, reference, seen.__setitem__)
        assert [*seen] == sorted(seen) and set(seen.values()) == {4 * 400}
        assert max(seen) == 4 * 400


class TestRefusals:
    def refuse(self, message, name, layers=("8",), **options):
        with pytest.raises(InputError, match=message) as error:
            build(name, layers, (8, 8, 1), 10, **options)
        assert "\n" not in str(error.value)

    def test_build(self):
        self.refuse("there is no method 'qcsf'; did you mean qcfs?", "qcsf")
        self.refuse("qcfs has no option 'level'; did you mean levels?", "qcfs", level=3)
        self.refuse("levels must be an integer from 1 to 255, not 256", "qcfs", levels=256)
        self.refuse("steps must be an integer from 1 to 16, not 2.5", "few-spike", steps=2.5)
        self.refuse("loss 'lst' is not known; did you mean last?", "lif", loss="lst")
        self.refuse("leak must be from 0 to 1, not 1.5", "lif", leak=1.5)
        self.refuse("is no layer", "lif", ["8q"])

    @pytest.mark.parametrize("name", ["qcfs", "pascal"])
    def test_max_pools(self, name):
        self.refuse(f"{name} has no max-pool.*write a2 for p2", name, ["4c3", "p2"])

    def test_residuals(self):
        self.refuse("pascal adds no maps", "pascal", ["4c3", "4c3+1"])

    @pytest.mark.parametrize("name", METHODS)
    def test_before_fit(self, name):
        method = build(name, ["8"], (8, 8, 1), 10)
        with pytest.raises(InputError, match=f"{name} cannot classify before it is fitted"):
            method.predict(np.zeros((1, 64), np.uint8))

    def test_images_of_another_size(self, fitted):
        with pytest.raises(InputError, match="reads images of 64 bytes, but these are"):
            fitted("t2fsnn").predict(np.zeros((1, 63), np.uint8))

    def test_divergence(self, task):
        wild = dataclasses.replace(
            SETTINGS, training=dataclasses.replace(SETTINGS.training, float_learning_rate=1e30)
        )
        with pytest.raises(InputError, match="training diverged in epoch 1"):
            Task(wild, task.dataset, task.device).reference()


def test_methods_without_an_average_pool_take_max_pools_and_residuals(task, reference):
    settings = dataclasses.replace(
        SETTINGS, network=dataclasses.replace(SETTINGS.network, layers=("4c3", "4c3+1", "p2")),
        training=dataclasses.replace(SETTINGS.training, float_epochs=1, epochs=1),
    )
    other = Task(settings, task.dataset, task.device)
    start = other.reference()
    for name in ("ttfs", "few-spike", "t2fsnn", "lif-lts"):
        method = build(name, other.layers, other.dataset.shape, other.dataset.classes)
        method.fit(other, start)
        assert method.predict(other.dataset.x_test[:20]).spikes.shape == (20, 3)
