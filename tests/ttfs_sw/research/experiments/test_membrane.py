# SPDX-License-Identifier: Apache-2.0
"""The experiment on membranes and PASCAL, small, and its count of spike trains."""

import dataclasses
import itertools
import json

import pytest

from ttfs_sw.data import datasets
from ttfs_sw.research.experiments import Options, membrane, running
from ttfs_sw.research.experiments.membrane_report import Pascal


@pytest.fixture(scope="module")
def options():
    digits = datasets.load("digits")
    return Options(dataclasses.replace(
        digits, x_train=digits.x_train[:400], y_train=digits.y_train[:400],
        x_test=digits.x_test[:60], y_test=digits.y_test[:60],
    ), seed=3)


@pytest.fixture(scope="module")
def made(options, tmp_path_factory):
    """The whole experiment with few passes, and the folder that it wrote."""
    folder, steps = tmp_path_factory.mktemp("membrane"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(membrane, "DIGITS", ("digits-mlp", {
            "float_epochs": 2, "epochs": 2, "shift": 0.0, "rotation": 0.0, "scale": 0.0}))
        for name, value in (("LIF_LAYERS", ["9"]), ("PASCAL_LAYERS", ["12", "9"]), ("SEEDS", 2),
                            ("LEVELS", (2, 4)), ("MOST", 4), ("TOLERANCES", (1.0, 150.0)),
                            ("COUNTED", 6)):
            patch.setattr(membrane, name, value)
        report = running.run("membrane", dataclasses.replace(
            options, progress=lambda done, total: steps.append((done, total))), folder)
    return report, folder, steps


def test_report(made):
    report, folder, steps = made
    assert json.loads((folder / "membrane.json").read_text()) == report.as_dict()
    assert steps == [(done, 18) for done in range(1, 19)]
    assert (folder / "membrane.png").stat().st_size > 5000
    page = (folder / "membrane.md").read_text()
    assert "digits" in page and "{" not in page
    assert all(name in page for name in (*report.found.lif, *report.found.pascal))


def test_what_needs_no_size_holds(made):
    met = {entry.claim: entry.met for entry in made[0].found.claims}
    for start in ("u₀ = 0: numbers", "any u₀: numbers", "PASCAL: images", "PASCAL: largest"):
        assert [value for text, value in met.items() if text.startswith(start)] == [True], start
    # What so few images cannot tell has no limit.
    assert [*met.values()].count(None) == 7


def test_accuracy_over_time(made):
    lif = made[0].found.lif
    assert list(lif) == list(membrane.STARTS)
    for name, found in lif.items():
        assert len(found.steps) == membrane.TIME
        # The last step's loss is answered by the last step.
        if name == membrane.LAST:
            assert found.answer == found.steps[-1]
        assert (found.start == 0) == (name == membrane.BASE)


def test_levels(made):
    pascal = made[0].found.pascal
    assert pascal["2 levels"].levels == [[2, 2]] * 2
    assert pascal["4 levels"].time_steps == 9
    # With a tolerance of all, every layer is halved down to one level.
    assert pascal["adaptive, 150 points"].levels == [[1, 1]] * 2
    assert all(found.different == 0 for found in pascal.values())


def test_levels_alike_between_two():
    rows = {
        name: Pascal(time_steps=steps, accuracy=accuracy, accuracy_core=0.0, mean_levels=1.0,
                     spikes_per_neuron=0.0, levels=[], different=0, logits=0.0)
        for name, steps, accuracy in (
            ("1 levels", 5.0, 0.8), ("2 levels", 9.0, 0.9), ("adaptive, 1 points", 7.0, 0.1))
    }
    assert membrane._between(rows, 7.0) == pytest.approx(0.85)


def test_settings_of_other_datasets(options):
    other = dataclasses.replace(options, dataset=dataclasses.replace(options.dataset, name="mnist"))
    work = membrane._task(other, 5, ["12", "9"])
    assert work.layers == ("12", "9") and work.config.seed == 5
    assert work.config.training.heldout == 80


def test_options_are_those_of_the_publication():
    assert [*itertools.chain.from_iterable(membrane.STARTS.values())] == [
        "mean", False, "mean", True, "last", True, "smooth-tet", True]
