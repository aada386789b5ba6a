# SPDX-License-Identifier: Apache-2.0
"""The experiments on the theory, at a small size: what they measure, and what they refuse."""

import itertools
import json

import numpy as np
import pytest
import torch

from ttfs_sw.cli import main
from ttfs_sw.common.files import write_text
from ttfs_sw.data import datasets
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.research.experiments import Options, equivalence, gradients, running, trajectory
from ttfs_sw.research.theory.initialise import balance
from ttfs_sw.training import config, topology
from ttfs_sw.training.models import ReluNetwork


@pytest.fixture(scope="module")
def images():
    """A dataset of 6 x 6 pictures of noise around one of 4 patterns."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 200, (4, 36))

    def make(count):
        labels = generator.integers(0, 4, count)
        noise = generator.integers(0, 56, (count, 36))
        return (patterns[labels] + noise).astype(np.uint8), labels

    return Dataset("patterns", (6, 6, 1), 4, *make(300), *make(80))


@pytest.mark.parametrize("optimiser", trajectory.OPTIMISERS)
def test_thousand_steps_of_relu_and_b1_are_one_trajectory(images, optimiser):
    """The claim itself: 1000 steps, every parameter within 1e-10; the alpha-model elsewhere."""
    layers = topology.plan(["8", "6"], images.shape, images.classes)
    relu = ReluNetwork(layers, torch.Generator().manual_seed(1)).double()
    balance(relu)
    values = torch.from_numpy(images.x_train[:64]).double() / 255
    labels = torch.from_numpy(images.y_train[:64])
    data = itertools.cycle(zip(values.split(16), labels.split(16), strict=True))
    found = trajectory.compare(relu, layers, data, trajectory.OPTIMISERS[optimiser], 1000)
    assert len(found.b1) == 1000 // trajectory.EVERY
    assert max(found.b1) <= 1e-10
    assert found.moved > 0.1
    assert found.alpha[-1] > 1e-2
    assert found.early == 0
    assert np.allclose(found.loss["b1"], found.loss["relu"], rtol=1e-9)
    assert found.loss["relu"][-1] < 0.5 * found.loss["relu"][0]


def small(monkeypatch):
    """Everything at a size that takes a second."""
    monkeypatch.setattr(trajectory, "STEPS", 20)
    monkeypatch.setattr(equivalence, "STEPS", 8)
    for name, value in (("DEPTH", 4), ("DRAWS", 2), ("IMAGES", 3), ("WIDTH", 12), ("TRAINED", 2),
                        ("STEPS", 20)):
        monkeypatch.setattr(gradients, name, value)


@pytest.mark.parametrize("name", ["equivalence", "trajectory", "gradients"])
def test_runs_to_its_page(name, images, tmp_path, monkeypatch):
    small(monkeypatch)
    steps = []
    options = Options(images, progress=lambda done, total: steps.append((done, total)))
    report = running.run(name, options, tmp_path)
    assert json.loads((tmp_path / f"{name}.json").read_text()) == report.as_dict()
    assert (tmp_path / f"{name}.png").stat().st_size > 5000
    page = (tmp_path / f"{name}.md").read_text()
    assert "patterns" in page and "{" not in page
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    # What needs no size holds at this one too.
    exact = [entry for entry in report.found.claims
             if entry.at_most is not None and entry.at_most < 1e-8]
    assert exact and all(entry.met for entry in exact)


def test_naive_slopes_explode_and_the_cures_do_not(images):
    layers = topology.plan(["64"] * 12, images.shape, images.classes)
    values = torch.from_numpy(images.x_train[:6]).double() / 255
    largest = {}
    for name in gradients.NAMES:
        found = []
        for seed in range(5):
            network = gradients.make(name, layers, seed)
            network.calibrate(values)
            last = gradients.jacobians(network, network.run(values))[-1]
            found.append(torch.linalg.matrix_norm(last, 2).median().item())
        largest[name] = np.median(found)
    assert largest["naive"] > 20 * largest["b1"]
    assert 0.1 < largest["b1"] < 30
    assert 0.1 < largest["smart"] < 30


class TestRuns:
    @pytest.fixture
    def folder(self, tmp_path):
        """The folder of a training run on digits, of a network that nobody trained."""
        settings = config.load("digits-mlp", {"hidden": [9]})
        digits = datasets.load("digits")
        layers = topology.plan(settings.network.texts, digits.shape, digits.classes)
        relu = ReluNetwork(layers, torch.Generator().manual_seed(0))
        write_text(tmp_path / "config.toml", settings.toml())
        torch.save({"relu": relu.state_dict()}, tmp_path / "model.pt")
        return tmp_path

    def test_every_test_image_is_compared(self, folder):
        # On another dataset: a run brings its own.
        digits = datasets.load("digits")
        entry = equivalence.open_run(folder, Options(digits))
        assert entry[3] is digits
        found = equivalence.compare_run(*entry[1:], "cpu")
        assert found.images == 450 and found.changed == 0 and found.logits < 1e-13

    def test_a_run_brings_its_own_dataset(self, folder, images):
        assert equivalence.open_run(folder, Options(images))[3].name == "digits"

    def test_no_run(self, tmp_path, capsys):
        words = ["experiment", "equivalence", "-o", str(tmp_path / "out"), "--run"]
        assert main([*words, str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert "holds no config.toml" in error and error.count("\n") == 1

    def test_parameters_of_another_network(self, folder, capsys):
        torch.save({"relu": {}}, folder / "model.pt")
        words = ["experiment", "equivalence", "-o", str(folder / "out"), "--run", str(folder)]
        assert main(words) == 2
        assert "train it again" in capsys.readouterr().err

    def test_a_pickle_is_not_opened(self, folder, capsys):
        import pickle

        (folder / "model.pt").write_bytes(pickle.dumps({"relu": print}))
        words = ["experiment", "equivalence", "-o", str(folder / "out"), "--run", str(folder)]
        assert main(words) == 2
        assert "train it again" in capsys.readouterr().err


def test_closed_form_jacobian_is_autograds(images):
    layers = topology.plan(["9", "8", "7"], images.shape, images.classes)
    values = torch.from_numpy(images.x_train[:4]).double() / 255
    for name in gradients.NAMES:
        network = gradients.make(name, layers, 3)
        network.calibrate(values)
        products = gradients.jacobians(network, network.run(values))
        assert gradients._against_autograd(network, values, products) < 1e-10
