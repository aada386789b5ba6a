# SPDX-License-Identifier: Apache-2.0
"""The experiment on deep LIF networks, small: what it measures, and what its claims mean."""

import dataclasses
import json
import math

import pytest
import torch

from ttfs_sw.data import datasets
from ttfs_sw.research.experiments import Options, deep, depth, running
from ttfs_sw.training import topology


@pytest.fixture(scope="module")
def options():
    digits = datasets.load("digits")
    return Options(dataclasses.replace(
        digits, x_train=digits.x_train[:300], y_train=digits.y_train[:300],
        x_test=digits.x_test[:60], y_test=digits.y_test[:60],
    ), seed=3)


def test_layers(options):
    assert deep.layers("residual", 5, options.dataset) == ["8c3s2", "8c3", "8c3+1", "8c3", "8c3+3"]
    assert deep.layers("plain", 3, options.dataset) == ["8c3s2", "8c3", "8c3"]
    large = dataclasses.replace(options.dataset, shape=(28, 28, 1))
    plan = topology.plan(deep.layers("residual", 3, large), large.shape, 10)
    assert plan.layers[-2].map_shape == (7, 7, 8)
    assert plan.layers[-2].second_source == 0


def test_factor():
    assert depth.factor([2.0, 9.0, 1.0]) == depth.factor([1.0, 9.0, 2.0]) == 2
    assert depth.factor([1.0, 0.0]) == math.inf


def test_training_learns_and_ends_where_the_loss_does(options):
    dataset = options.dataset
    plan = topology.plan(deep.layers("plain", 2, dataset), dataset.shape, dataset.classes)
    values = torch.from_numpy(dataset.x_train).float() / 16
    labels = torch.from_numpy(dataset.y_train)
    model = deep.ReluNorm(plan, torch.Generator().manual_seed(0))
    assert model(values[:7]).shape == (1, 7, 10)
    deep.train(model, values, labels, 0.05, 60, 0, 64)
    assert not model.training and deep.accuracy(model, options) > 0.7
    deep.train(model, math.nan * values, labels, 0.05, 60, 0, 64)
    assert not any(parameter.isnan().any() for parameter in model.parameters())


def test_to_its_page(options, tmp_path, monkeypatch):
    for name, value in (("DEPTHS", (2, 5)), ("STEPS", 2), ("TIME", 2), ("IMAGES", 16),
                        ("GRID", (0.25, 1.0, 8.0))):
        monkeypatch.setattr(depth, name, value)
    seen = []
    report = running.run(
        "depth",
        dataclasses.replace(options, progress=lambda done, total: seen.append((done, total))),
        tmp_path,
    )
    assert json.loads((tmp_path / "depth.json").read_text()) == report.as_dict()
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1] == 8 + 12
    assert (tmp_path / "depth.png").stat().st_size > 5000
    assert [(entry.kind, entry.depth, entry.norm) for entry in report.found.gradients] == [
        (kind, layers, norm) for kind in ("residual", "plain") for layers in (2, 5)
        for norm in (True, False)
    ]
    for entry in report.found.gradients:
        assert entry.tuned in depth.GRID
        assert {len(norms) for norms in entry.norms.values()} == {entry.depth}
    # Slopes that are too flat and too steep have a second learning rate.
    rates = {entry.network: [*entry.accuracies] for entry in report.found.accuracies}
    assert rates == {
        "tuned, norm": ["0.05"], "flat, norm": ["0.05", "0.005"], "steep, norm": ["0.05", "0.5"],
        "tuned, no norm": ["0.05"], "steep, no norm": ["0.05"], depth.RELU: ["0.05"],
    }
    page = (tmp_path / "depth.md").read_text()
    assert "8c3s2, 8c3, 8c3+1" in page and "{" not in page
    assert all(name in page for name in rates)


def test_claims():
    """Of figures made up: what explodes is not what vanishes, and silence is nothing at all."""
    last, norms = depth.DEPTHS[-1], {"tuned": [2.0, 1.0], "0.25": [1e4, 1.0], "8": [1e-4, 1.0]}
    gradients = [
        depth.Gradients(kind=kind, depth=last, norm=norm, tuned=1.0, norms=norms,
                        rates=[0.1, 0.0, 0.0])
        for kind in depth.KINDS for norm in (True, False)
    ]
    accuracies = [
        depth.Accuracy(kind="residual", depth=layers, network=name,
                       accuracy=0.7 if name == "tuned, norm" else 0.4, accuracies={})
        for layers in depth.DEPTHS for name in (*depth.VARIANTS, depth.RELU)
    ]
    claims = depth._claims(gradients, accuracies)
    assert [entry.met for entry in claims].count(None) == 4
    assert all(entry.met in (None, True) for entry in claims)
    norms["0.25"], norms["8"] = norms["8"], norms["0.25"]
    accuracies[-5] = dataclasses.replace(accuracies[-5], accuracy=0.6)
    missed = [entry.claim for entry in depth._claims(gradients, accuracies)
              if entry.met is False]
    assert len(missed) == 5 and missed[-1].endswith("badly chosen slopes and norm")
