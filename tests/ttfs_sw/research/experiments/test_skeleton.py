# SPDX-License-Identifier: Apache-2.0
"""The skeleton of experiments: reports, pages, the index, the verb."""

import dataclasses
import json
import math
import sys
import types

import pytest
from PIL import Image

from ttfs_sw.cli import main
from ttfs_sw.common.report import Report
from ttfs_sw.data import datasets
from ttfs_sw.research import experiments
from ttfs_sw.research.experiments import (
    EXPERIMENTS,
    Claim,
    Experiment,
    Options,
    claim,
    pages,
    running,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toys(Report):
    claims: list[Claim]
    runs: list[str]


@pytest.fixture
def toy(monkeypatch):
    """An experiment of no time, registered as ``toy``; its claim holds while ``error`` is small."""
    module = types.ModuleType("toy_experiment")
    module.error = 0.5

    def run(options):
        options.step(1, 1)
        return Toys(claims=[
            claim("small", module.error, at_most=1), claim("seen", len(options.dataset.x_test)),
        ], runs=[str(path) for path in options.runs])

    module.run = run
    module.figure = lambda path, report: Image.new("RGB", (40, 30), "red").save(path)
    module.page = lambda report: f"Seen with seed {report.seed}."
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(EXPERIMENTS, "toy", Experiment("toys behave", module.__name__, True))
    return module


class TestClaim:
    def test_limits(self):
        assert claim("a", 1.0, at_most=1.0).met is True
        assert claim("a", 1.1, at_most=1.0).met is False
        assert claim("a", 1.0, at_least=1.0).met is True
        assert claim("a", 0.9, at_least=1.0).met is False
        assert claim("a", 3).met is None

    @pytest.mark.parametrize("limit", ["at_most", "at_least"])
    def test_no_number_meets_nothing(self, limit):
        assert claim("a", math.nan, **{limit: 1.0}).met is False

    def test_one_limit(self):
        with pytest.raises(ValueError, match="one limit"):
            claim("a", 1, at_most=2, at_least=0)

    def test_verdict(self):
        good, bad = claim("a", 1, at_most=1), claim("b", 2, at_most=1)
        assert pages.verdict([good, claim("c", 3)]) == "all 1 hold"
        assert pages.verdict([good, bad]) == "1 of 2 claims do not hold"


def test_numbers_and_tables():
    assert pages.number(12345) == "12 345"
    assert pages.number(1.23456e-12) == "1.235e-12"
    assert pages.number(True) == "yes"
    assert pages.table(("a", "b"), [(1, 2)]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_run_writes_report_figure_page_and_index(toy, tmp_path):
    (tmp_path / "index.md").touch()
    options = Options(datasets.load("digits"), seed=7)
    report = running.run("toy", options, tmp_path)
    written = json.loads((tmp_path / "toy.json").read_text())
    assert written == report.as_dict()
    assert list(written) == [
        "experiment", "title", "dataset", "seed", "command", "device", "torch", "seconds",
        "cpu_seconds", "claims", "runs",
    ]
    assert written["claims"] == [
        {"claim": "small", "measured": 0.5, "met": True, "at_most": 1},
        {"claim": "seen", "measured": 450, "met": None},
    ]
    assert report.command == "ttfs experiment toy --dataset digits --seed 7"
    with Image.open(tmp_path / "toy.png") as picture:
        assert picture.size == (40, 30) and picture.mode == "P"
    page = (tmp_path / "toy.md").read_text()
    assert page.startswith("# Toys behave\n")
    assert "Seen with seed 7." in page and report.command in page and "| small | 0.5 |" in page
    index = (tmp_path / "index.md").read_text()
    assert "[toy](toy.md)" in index and "all 1 hold" in index


def test_no_index_where_there_was_none(toy, tmp_path):
    running.run("toy", Options(datasets.load("digits")), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.json", "toy.md", "toy.png"]


def test_every_experiment_has_what_the_skeleton_calls():
    import importlib

    for name, entry in EXPERIMENTS.items():
        module = importlib.import_module(entry.module)
        assert all(callable(getattr(module, part)) for part in ("run", "figure", "page")), name


class TestVerb:
    def test_report_and_rows(self, toy, tmp_path, capsys):
        out = tmp_path / "out"
        words = ["experiment", "toy", "-o", str(out), "--json", str(tmp_path / "report.json")]
        assert main([*words, "--run", "somewhere", "-q"]) == 0
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["experiment"] == "toy" and report["runs"] == ["somewhere"]
        assert report["command"].endswith("--seed 0 --run somewhere")
        shown = capsys.readouterr().out
        assert "small" in shown and "at most 1" in shown and "450" in shown
        assert (out / "toy.md").is_file()

    def test_a_claim_that_does_not_hold_is_a_failure(self, toy, tmp_path, capsys):
        toy.error = 2.0
        assert main(["experiment", "toy", "-o", str(tmp_path), "-q"]) == 1
        assert "1 of 1 claims do not hold, the first: small" in capsys.readouterr().err
        # The report is there for whoever wants to know why.
        assert (tmp_path / "toy.json").is_file()

    def test_unknown_name(self, capsys):
        assert main(["experiment", "trajectry"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "did you mean trajectory?" in error
        assert all(name in error for name in experiments.EXPERIMENTS)

    def test_no_runs_for_an_experiment_without(self, capsys):
        assert main(["experiment", "trajectory", "--run", "runs/x"]) == 2
        assert "looks at no training runs" in capsys.readouterr().err

    def test_unknown_dataset(self, tmp_path, capsys):
        assert main(["experiment", "trajectory", "--dataset", "digit", "-o", str(tmp_path)]) == 2
        assert "did you mean digits?" in capsys.readouterr().err
