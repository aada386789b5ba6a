# SPDX-License-Identifier: Apache-2.0
"""The experiments on neighbours, small: their reports, figures and pages."""

import dataclasses
import json

import pytest

from ttfs_sw.data import datasets
from ttfs_sw.research.experiments import Options, comparison, few_spikes, running
from ttfs_sw.research.neighbours import METHODS


@pytest.fixture(scope="module")
def options():
    digits = datasets.load("digits")
    return Options(dataclasses.replace(
        digits, x_train=digits.x_train[:400], y_train=digits.y_train[:400],
        x_test=digits.x_test[:100], y_test=digits.y_test[:100],
    ), seed=3)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(comparison, "DIGITS", ("digits-mlp", {
        "hidden": [20, 12], "float_epochs": 12, "epochs": 2, "shift": 0.0, "rotation": 0.0,
        "scale": 0.0, "batch": 50,
    }))
    monkeypatch.setattr(few_spikes, "STEPS", (1, 4, 8))
    monkeypatch.setattr(few_spikes, "RATE_STEPS", (1, 4))
    monkeypatch.setattr(few_spikes, "ITERATIONS", 30)
    monkeypatch.setattr(few_spikes, "POINTS", 1001)


def test_comparison(options, tmp_path):
    seen = []
    report = running.run(
        "comparison",
        dataclasses.replace(options, progress=lambda done, total: seen.append((done, total))),
        tmp_path,
    )
    assert [row.method for row in report.found.rows] == ["relu", *METHODS]
    assert seen[-1][0] == seen[-1][1] and sorted(seen) == seen
    rows = {row.method: row for row in report.found.rows}
    assert {row.accuracy_float for row in report.found.rows} == {rows["relu"].accuracy}
    assert rows["relu"].multiplications == 64 * 20 + 20 * 12 + 12 * 10
    assert rows["ttfs"].accuracy == rows["ttfs"].accuracy_core
    assert rows["few-spike"].multiplications == 0 < rows["lif"].multiplications
    for row in report.found.rows:
        assert (row.accuracy_core is None) == (row.core == "no"), row.method
    exact = [entry for entry in report.found.claims if entry.claim.startswith("PASCAL: ")]
    assert len(exact) == 2 and all(entry.met for entry in exact)
    page = (tmp_path / "comparison.md").read_text()
    assert all(row.title in page and row.source in page for row in report.found.rows)
    assert json.loads((tmp_path / "comparison.json").read_text()) == report.as_dict()
    assert (tmp_path / "comparison.png").stat().st_size > 1000


def test_few_spikes(options, tmp_path):
    report = running.run("few-spikes", options, tmp_path)
    met = {entry.claim: entry.met for entry in report.found.claims}
    for claim in ("values of a ReLU neuron", "logits that differ", "codes of neurons that differ"):
        assert [value for text, value in met.items() if text.startswith(claim)] == [True]
    published = {entry.steps: entry for entry in report.found.curves["published"]}
    assert published[8].accuracy >= published[1].accuracy
    assert report.found.serial.pulses >= report.found.serial.events > 0
    assert set(report.found.fits) == {"sigmoid", "silu"}
    page = (tmp_path / "few-spikes.md").read_text()
    assert f"{report.found.accuracy_float:.2%}" in page and "sigmoid on [-8, 8]" in page
    assert json.loads((tmp_path / "few-spikes.json").read_text()) == report.as_dict()


def test_settings_of_other_datasets(options):
    other = dataclasses.replace(options.dataset, name="mnist")
    settings = comparison.settings(other, 5)
    assert settings.network.texts == ("128", "128")
    assert (settings.seed, settings.training.heldout) == (5, 80)
    assert set(settings.training.penalties(2)) == {0.0}
