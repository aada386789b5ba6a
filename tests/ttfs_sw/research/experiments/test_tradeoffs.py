# SPDX-License-Identifier: Apache-2.0
"""The trade-off curves: every axis changes what it says, and no network is trained twice."""

import dataclasses

import numpy as np
import pytest

from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets
from ttfs_sw.research.experiments import ExperimentReport, Options, pages, tradeoffs

#: As short as training can be.
QUICK = tradeoffs.Base("digits-mlp", {"hidden": [8], "float_epochs": 1, "epochs": 1}, 2)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def report(digits):
    """The whole experiment, with few images, few points a curve, and networks of eight neurons."""
    small = dataclasses.replace(
        digits, x_train=digits.x_train[:400], y_train=digits.y_train[:400],
    )
    few = {
        name: [curve[0], *(point for point in curve[1:] if tradeoffs.needed(point))]
        for name, curve in tradeoffs.CURVES.items()
    }
    steps = []
    options = Options(small, seed=3, progress=lambda done, total: steps.append((done, total)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tradeoffs, "SMALL", QUICK)
        patch.setattr(tradeoffs, "CURVES", few)
        # Nobody looks at the curves of these trainings, and drawing takes longer than they do.
        patch.setattr("ttfs_sw.common.plot.learning_curve", lambda *arguments, **more: None)
        found = tradeoffs.run(options)
    return ExperimentReport(
        experiment="tradeoffs", title="", dataset="digits", seed=3, command="", device="", torch="",
        seconds=0.0, cpu_seconds=0.0, found=found,
    ), steps, few


def test_curves(report):
    whole, steps, few = report
    found = whole.found
    assert found.base.seeds == [3, 4]
    curves = {(curve.panel, curve.name): curve.points for curve in found.curves}
    assert curves.keys() == few.keys()
    for name, points in curves.items():
        assert [point.changes for point in points] == few[name]
        for point in points:
            assert len(point.accuracies) == 2
            assert point.accuracy == pytest.approx(np.mean(point.accuracies))
            changes = point.changes
            assert point.latency == changes.get("ticks", 15) + changes.get("input_ticks", 15)
    for (panel, _), points in curves.items():
        if panel == "jitter":
            (point,) = points
            assert point.accuracy_moved[0] == pytest.approx(point.accuracy)
            assert len(point.accuracy_moved) == len(tradeoffs.MOVES)
    # Points that are the same network were trained once.
    assert curves["ticks", "image and hidden layers"][0].accuracy == (
        curves["latency", "all windows shorter"][0].accuracy)
    different = {
        tradeoffs.described(point.changes) for points in curves.values() for point in points
    }
    total = 2 * len(different)
    assert steps == [(done, total) for done in range(1, total + 1)]
    assert len(found.claims) == 6


def test_every_key_makes_another_network(report):
    """A key that reached no network would leave the base's figures."""
    found = report[0].found
    points = {tradeoffs.described(point.changes): point
              for curve in found.curves for point in curve.points}
    base = points.pop("")
    same = [key for key, point in points.items()
            if (point.accuracies, point.spikes_per_neuron)
            == (base.accuracies, base.spikes_per_neuron)]
    # One epoch is too short for the base's price of a spike to differ from none.
    assert set(same) <= {"activity_penalty = 0.0"}


def test_figure_and_page(report, tmp_path):
    found = report[0].found
    tradeoffs.figure(tmp_path / "tradeoffs.png", report[0])
    picture = (tmp_path / "tradeoffs.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 200_000
    text = tradeoffs.page(report[0])
    for panel, (_, label) in tradeoffs.PANELS.items():
        assert label in text or panel == "jitter"
    assert f"{100 * found.curves[0].points[0].accuracy:.2f} %" in text
    assert pages.claim_rows(found.claims)


def test_what_is_the_same_is_described_the_same():
    assert tradeoffs.described({}) == tradeoffs.described({"ticks": 15, "jitter": 0.0}) == ""
    assert tradeoffs.described({"ticks": 7}) == tradeoffs.described(
        {"input_ticks": 15, "ticks": 7}) != ""


def test_base_follows_the_number_of_images(digits):
    assert tradeoffs.base(Options(digits)) is tradeoffs.SMALL
    many = dataclasses.replace(
        digits, x_train=np.zeros((60000, 64), np.uint8), y_train=np.zeros(60000, int))
    assert tradeoffs.base(Options(many)) is tradeoffs.LARGE
    few = dataclasses.replace(digits, x_train=digits.x_train[:300], y_train=digits.y_train[:300])
    with pytest.raises(InputError, match="has 300 training images, too few to hold out 300"):
        tradeoffs.base(Options(few))
