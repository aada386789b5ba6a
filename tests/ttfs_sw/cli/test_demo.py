# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the whole chain in one command, its one screen and its pictures."""

import json
import shutil

import numpy as np
import pytest

from tests.support.cosimulations import cosimulation, mismatch
from ttfs_sw.cli import chain, main
from ttfs_sw.common.errors import FailureError, ToolError
from ttfs_sw.data import datasets

#: Enough to see the chain work; what is reached is not the point here.
SHORT = {"epochs": 4, "float_epochs": 2}


def need(*families):
    """Skip where the tools of the chain are not installed."""
    from ttfs_fpga.boards.families import FAMILIES
    from ttfs_fpga.boards.toolchain import find_toolchain
    from ttfs_fpga.sim.simulators import find_simulator

    try:
        find_simulator("verilator")
        for family in families:
            find_toolchain(FAMILIES[family])
    except ToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def board():
    from ttfs_fpga.boards.registry import BOARDS

    return BOARDS["icebreaker"]


@pytest.fixture(scope="module")
def run(board, tmp_path_factory):
    """One short demonstration, and its folder."""
    need("ice40")
    folder = tmp_path_factory.mktemp("demo")
    return chain.run(folder, board=board, overrides=SHORT, quiet=True), folder


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.synthesis
@pytest.mark.xdist_group("demo")
class TestDemo:
    def test_rtl_equals_integers(self, run):
        report, _ = run
        assert report.images == 450
        assert report.mismatched_images == report.mismatched_events == 0
        assert report.accuracy["rtl"] == report.accuracy["network"] > 0.5
        assert 0 < report.spikes_per_neuron < 1

    def test_cycles_and_latency_fit_together(self, run, board):
        report, _ = run
        assert report.roofline_cycles.median <= report.cycles.median
        for key, latency in vars(report.latency_us).items():
            cycles = getattr(report.cycles, key)
            assert latency == pytest.approx(cycles / board.clock_mhz, abs=0.01)
        assert all(clock.achieved >= clock.constraint
                   for clock in report.fmax_mhz.values())

    def test_files_and_pictures_are_there(self, run):
        report, folder = run
        assert {"network", "bitstream", "image"} <= set(report.files)
        for file in report.files.values():
            assert (folder / file).stat().st_size > 0
        assert [(folder / name).name for name in report.pictures] == [
            "raster.png", "learning_curve.png"
        ]
        for picture in report.pictures:
            assert (folder / picture).read_bytes().startswith(b"\x89PNG")

    def test_steps_are_timed(self, run):
        report, _ = run
        assert list(report.steps) == list(chain.STEPS)
        assert report.seconds == pytest.approx(sum(report.steps.values()))

    def test_one_screen(self, run, monkeypatch, tmp_path, capsys):
        report, _ = run
        monkeypatch.setattr(chain, "run", lambda folder, **settings: report)
        assert main(["demo", "-o", str(tmp_path), "-q"]) == 0
        lines = capsys.readouterr().out.splitlines()
        text = "\n".join(lines)
        assert len(lines) <= 30
        for shown in ("float", "integers", "RTL", "mismatches", "spikes per hidden neuron",
                      "cycles", "roofline", "logic cells", "MHz", "latency", "raster.png",
                      "learning_curve.png"):
            assert shown in text
        assert json.loads((tmp_path / "demo.json").read_text())["verb"] == "demo"


@pytest.mark.verilator
def test_raster_shows_what_the_rtl_did(board, monkeypatch, tmp_path):
    from ttfs_sw import golden
    from ttfs_sw.artifact.network import dense_network
    from ttfs_sw.common import plot

    need()
    generator = np.random.default_rng(5)
    weights = [generator.integers(-7, 8, (64, 20)), generator.integers(-7, 8, (20, 10))]

    def network(slope):
        return dense_network(weights, None, [slope], [15], 15, weight_bits=4,
                             input_shape=(8, 8, 1), dataset="digits", preset="test")

    drawn = {}
    monkeypatch.setattr(plot, "raster", lambda path, layers, **more: drawn.update(layers=layers))
    digits = datasets.load("digits")
    # Golden of one network, RTL of another: had the RTL's spikes been copied from the golden
    # model, they would be equal.
    other = network(300)
    monkeypatch.setattr(chain.golden, "run",
                        lambda _, pixels, run=golden.run: run(other, pixels))
    chain.draw_raster(tmp_path / "raster.png", network(900), digits, board, "verilator")
    hidden = drawn["layers"][1]
    monkeypatch.undo()
    expected = golden.run(network(900), digits.x_test[:1]).spike_times(0)[0]
    assert np.array_equal(hidden["rtl_times"], expected)
    assert not np.array_equal(hidden["rtl_times"], hidden["golden_times"])


def test_missing_tool_is_said_before_anything_is_trained(board, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError):
        chain.run(tmp_path / "run", board=board, quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.verilator
def test_mismatch_stops_the_demo(board, tmp_path, monkeypatch):
    from ttfs_fpga.sim import cosim

    need("ice40")
    wrong = cosimulation(mismatched_images=2, mismatched_events=3,
                         first_mismatch=mismatch("image 7, layer hidden1"))
    monkeypatch.setattr(cosim, "run", lambda *arguments, **settings: wrong)
    with pytest.raises(FailureError, match=r"2 of 450 images differ.*image 7"):
        chain.run(tmp_path, board=board, overrides={"epochs": 1, "float_epochs": 1}, quiet=True)
    assert json.loads((tmp_path / "cosim" / "cosim.json").read_text()) == wrong.as_dict()
    shutil.rmtree(tmp_path / "cosim")
