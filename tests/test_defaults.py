# SPDX-License-Identifier: Apache-2.0
"""Defaults that meet: what ``convert`` makes without an option, every board and simulator takes."""

import json
from shutil import which

import pytest
import torch
from torch import nn

from ttfs_fpga.boards.registry import BOARDS
from ttfs_sw.cli import main
from ttfs_sw.data import datasets
from ttfs_sw.golden.torch_model import one_thread

SOURCE = '''\
from torch import nn


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
'''

#: The networks, and the boards that none of their kind fits: this one has a layer table of 64
#: words, too few for the rows and columns of any convolution of 8 x 8 pixels.
NETWORKS = {"perceptron": set(), "cnn": {"ulx3s-25f-64x4"}}


@pytest.fixture(scope="module")
@one_thread()
def converted(tmp_path_factory):
    """Folders of both networks, as ``ttfs convert`` makes them without an option."""
    folder = tmp_path_factory.mktemp("defaults")
    (folder / "nets.py").write_text(SOURCE)
    names = {}
    exec(SOURCE, names)
    digits = datasets.load("digits")
    x = torch.from_numpy(digits.x_train).float().view(-1, 1, 8, 8) / 16
    y = torch.from_numpy(digits.y_train)
    found = {}
    for name in NETWORKS:
        torch.manual_seed(1)
        module = names[name]()
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        for part in torch.arange(len(x)).repeat(20).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[part]), y[part]).backward()
            optimizer.step()
        torch.save(module.state_dict(), folder / f"{name}.pt")
        found[name] = folder / name
        assert main(["convert", f"{folder}/nets.py:{name}", "--weights", f"{folder}/{name}.pt",
                     "--dataset", "digits", "-o", str(folder / name), "-q"]) == 0
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_board_takes_what_convert_makes(converted, name, tmp_path, capsys):
    report = json.loads((converted[name] / "convert.json").read_text())
    assert report["boards"] == [board for board in BOARDS if board not in NETWORKS[name]]
    assert set(report["refusals"]) == NETWORKS[name]
    assert all("the core's table memory has 64" in why for why in report["refusals"].values())
    for board in report["boards"]:
        assert main(["image", str(converted[name]), "--board", board, "-q", "-o",
                     str(tmp_path)]) == 0
        assert (tmp_path / "network.img").stat().st_size > 1000
    capsys.readouterr()


@pytest.mark.skipif(which("iverilog") is None, reason="Icarus is missing")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "board", [None, *(pytest.param(board, marks=pytest.mark.slow) for board in BOARDS)])
def test_every_core_gives_what_convert_made(converted, name, board, tmp_path):
    if board in NETWORKS[name]:
        pytest.skip("no convolution fits it")
    # Icarus takes seconds an image of a core of 64 lanes.
    limit = 1 if board else 4
    words = ["cosim", str(converted[name]), "-q", "-o", str(tmp_path), "--sim", "icarus",
             "--limit", str(limit), "--jobs", "1"]
    assert main(words + (["--board", board] if board else [])) == 0
    report = json.loads((tmp_path / "cosim.json").read_text())
    assert (report["images"], report["mismatched_events"]) == (limit, 0)
    assert report["core"] == (board or "icebreaker")


@pytest.mark.skipif(which("iverilog") is None, reason="Icarus is missing")
def test_cosim_makes_a_core_where_no_board_has_one(converted, tmp_path, capsys):
    folder = converted["perceptron"].parent
    fine = ["--set", "weight_bits=8", "--set", "ticks=255", "--set", "input_ticks=255"]
    assert main(["convert", f"{folder}/nets.py:perceptron", "--weights",
                 f"{folder}/perceptron.pt", "--dataset", "digits", "-o", str(tmp_path), "-q",
                 *fine]) == 0
    report = json.loads((tmp_path / "convert.json").read_text())
    assert report["boards"] == []
    assert list(report["refusals"]) == list(BOARDS)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"boards that take it none; icebreaker: {report['refusals']['icebreaker']}" in shown
    assert main(["cosim", str(tmp_path), "-q", "--sim", "icarus", "--limit", "2", "--jobs", "1"]
                ) == 0
    report = json.loads((tmp_path / "cosim" / "cosim.json").read_text())
    assert report["core"] == "made for the network, 16 lanes"
    assert (report["config"]["tick_bits"], report["mismatched_events"]) == (8, 0)
    # A board that was asked for is that board, or none.
    capsys.readouterr()
    for verb in ("cosim", "image", "build"):
        assert main([verb, str(tmp_path), "--board", "icebreaker-8x8", "-q"]) == 2
        line = capsys.readouterr().err
        assert "make it with ticks = 15 or less" in line or "input_ticks = 15 or less" in line
        assert line.endswith("; no board takes it\n")


def test_convert_for_a_board(converted, tmp_path, capsys):
    folder = converted["perceptron"].parent
    words = ["convert", f"{folder}/nets.py:perceptron", "--weights", f"{folder}/perceptron.pt",
             "--dataset", "digits", "-o", str(tmp_path), "-q", "--board"]
    assert main([*words, "icebreaker-8x8"]) == 0
    report = json.loads((tmp_path / "convert.json").read_text())
    assert report["boards"] == ["icebreaker-8x8", "ulx3s-85f-32x8"]
    assert {layer["weight_bits"] for layer in report["layers"]} == {8}
    # What --set says goes before the board, which then may not take it.
    capsys.readouterr()
    assert main([*words, "icebreaker", "--set", "weight_bits=8"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("ttfs convert: icebreaker does not take it: layer hidden1 has weights")
    assert (tmp_path / "network.npz").is_file()
    assert main([*words, "icebraker"]) == 2
    assert "did you mean icebreaker?" in capsys.readouterr().err
