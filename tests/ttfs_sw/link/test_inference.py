# SPDX-License-Identifier: Apache-2.0
"""Classifying on a board: every answer is compared, whatever is at the other end."""

import json

import numpy as np
import pytest

from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.cli import main
from ttfs_sw.common.errors import ToolError
from ttfs_sw.data import datasets
from ttfs_sw.link import inference
from ttfs_sw.link.protocol import LoadState, Result, Source, Status, StatusReport


@pytest.fixture(scope="module")
def network():
    """A small network for digits; what it answers does not matter."""
    generator = np.random.default_rng(4)
    return dense_network(
        [generator.integers(-7, 8, (64, 12)), generator.integers(-7, 8, (12, 10))],
        None, [900], [15], 15, weight_bits=4, input_shape=(8, 8, 1), dataset="digits",
    )


class Board:
    """A board that answers as the golden model does, but for what ``spoil`` makes of it."""

    def __init__(self, network, spoil=lambda index, result: result, logits=10):
        self._network, self._spoil, self._logits = network, spoil, logits
        self._asked = 0

    def classify(self, pixels):
        trace = golden.run(self._network, pixels[np.newaxis])
        result = Result(
            100 + self._asked, int(trace.winners[0]), tuple(trace.logits[0][:self._logits].tolist())
        )
        self._asked += 1
        return self._spoil(self._asked - 1, result)


def infer(network, board, images=30, **options):
    digits = datasets.load("digits")
    return inference.infer(
        board, network, digits.x_test[:images], digits.y_test[:images], **options
    )


@pytest.mark.parametrize("logits", [10, 4])
def test_right_board(network, logits):
    seen = []
    report = infer(network, Board(network, logits=logits), progress=lambda *now: seen.append(now))
    digits = datasets.load("digits")
    winners = golden.run(network, digits.x_test[:30]).winners
    assert report.images == 30
    assert report.mismatched_images == 0
    assert report.first_mismatch is None
    assert report.accuracy == np.mean(winners == digits.y_test[:30])
    assert report.cycles.as_dict() == {"min": 100, "median": 114.5, "mean": 114.5, "max": 129}
    assert seen == [(done, 30) for done in range(1, 31)]


def test_one_wrong_logit_and_one_wrong_winner_are_found(network):
    def spoil(index, result):
        if index == 7:
            return Result(result.cycles, result.winner, (result.logits[0] + 1, *result.logits[1:]))
        if index == 20:
            return Result(result.cycles, (result.winner + 1) % 10, result.logits)
        return result

    report = infer(network, Board(network, spoil))
    assert report.mismatched_images == 2
    assert report.first_mismatch.startswith("image 7: ")


class Booting:
    """A simulated board that answers only after a while; ``states`` are its load states."""

    def __init__(self, states):
        self.states, self.ran, self.on = list(states), 0, False

    def __enter__(self):
        self.on = True
        return self

    def __exit__(self, *exception):
        self.on = False

    def run(self, cycles):
        self.ran += 1


@pytest.mark.parametrize(
    "states, ran",
    [
        ([LoadState.READY], 1),
        ([LoadState.EMPTY, LoadState.LOADING, LoadState.READY], 3),
        ([LoadState.LOADING, LoadState.BAD_CHECKSUM], 2),
        ([LoadState.LOADING] * 9, 5),
    ],
)
def test_switched_on_waits_until_the_board_has_booted(states, ran, monkeypatch):
    device = Booting(states)

    class Client:
        def __init__(self, transport, name):
            assert transport is device

        def status(self):
            return StatusReport(device.states.pop(0), Source.FLASH, 0, Status.OK)

    monkeypatch.setattr(inference, "Client", Client)
    with inference.switched_on(device, patience=4) as client:
        assert device.on
        assert isinstance(client, Client)
    assert not device.on
    assert device.ran == ran


@pytest.mark.slow
@pytest.mark.verilator
def test_infer_on_the_simulated_board(network, tmp_path, monkeypatch, capsys):
    from ttfs_fpga.boards import build
    from ttfs_fpga.boards.registry import BOARDS
    from ttfs_fpga.sim.simulators import find_simulator

    try:
        find_simulator("verilator")
    except ToolError as error:
        pytest.skip(str(error))
    network.save(tmp_path / "network.npz")
    words = ["infer", str(tmp_path), "--port", "sim", "--limit", "5", "-q"]
    file = tmp_path / "report.json"
    assert main([*words, "--load", "--json", str(file)]) == 0
    assert "images that differ" in capsys.readouterr().out
    report = json.loads(file.read_text())
    assert (report["images"], report["mismatched_images"]) == (5, 0)
    # What a real board may have in its flash: another network than the one that is asked about.
    other = dense_network(
        [layer.weight[:, ::-1] for layer in network.layers], None, [900], [15], 15, weight_bits=4,
        input_shape=(8, 8, 1), dataset="digits",
    )
    content = build.make_image(other, BOARDS["icebreaker"])
    monkeypatch.setattr(build, "make_image", lambda network, board: content)
    assert main([*words, "--json", str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "differ from the golden model" in line
    assert json.loads(file.read_text())["mismatched_images"] > 0
