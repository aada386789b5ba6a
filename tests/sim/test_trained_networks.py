# SPDX-License-Identifier: Apache-2.0
"""Trained networks on all of the MNIST test set: exact, and within the cycles promised for them.

``tests/trained`` keeps what ``ttfs train PRESET`` made; cycles depend on the weights, so they are
measured on these. They are counted, not timed: any machine counts the same.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from ttfs_fpga.boards.build import make_image
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.sim import cosim
from ttfs_fpga.sim.device import SimulatedBoard
from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.data import datasets
from ttfs_sw.link.inference import switched_on

TRAINED = Path(__file__).parents[1] / "trained"

pytestmark = [
    pytest.mark.slow, pytest.mark.mnist, pytest.mark.verilator,
    pytest.mark.skipif("TTFS_DATA" not in os.environ, reason="needs the MNIST files: TTFS_DATA"),
]

#: Least accuracy, and most cycles of the median image, of each network on each board's core; None
#: stands for the smallest core of 64 lanes that takes two samples a transfer.
PROMISED = {
    ("mnist-mlp", "icebreaker"): (0.985, 1250),
    ("mnist-mlp-256", "icebreaker"): (0.987, 2450),
    ("mnist-mlp-256", None): (0.987, 700),
    ("mnist-lenet", "icebreaker"): (0.993, 12_000),
    ("mnist-mlp-tiny", "hx8k-evn"): (0.960, 600),
}


@pytest.mark.parametrize(("name", "board"), PROMISED)
def test_all_of_mnist_is_exact_and_in_time(verilator, name, board):
    network = Network.load(TRAINED / f"{name}.npz")
    mnist = datasets.load("mnist")
    config = BOARDS[board].config if board else minimal_config(network, lanes=64, samples=2)
    report = cosim.run(network, mnist.x_test, mnist.y_test, config=config, jobs=1)
    assert report.images == 10_000
    assert report.mismatched_events == 0, report.first_mismatch.message
    accuracy, cycles = PROMISED[name, board]
    assert report.accuracy >= accuracy
    assert report.cycles.median <= cycles
    # Every layer of every image.
    assert report.over_target == 0
    # The next image is there in time.
    assert report.stream_efficiency >= 0.9
    hidden = sum(layer.neurons for layer in network.layers if layer.spiking)
    spikes = golden.run(network, mnist.x_test).events[:, 1:].sum() / len(mnist.x_test) / hidden
    assert spikes <= 0.45 if "tiny" in name else spikes <= 0.22


@pytest.mark.parametrize(("name", "cycles"), [("mnist-mlp", 1450), ("mnist-mlp-256", 2900)])
def test_all_of_mnist_in_the_order_of_time(verilator, name, cycles):
    network = Network.load(TRAINED / f"{name}.npz")
    mnist = datasets.load("mnist")
    config = BOARDS["icebreaker"].with_datapath("ramp").config
    report = cosim.run(network, mnist.x_test, mnist.y_test, config=config, jobs=1)
    assert report.images == 10_000
    assert report.mismatched_events == 0, report.first_mismatch.message
    assert report.cycles.median <= cycles
    assert report.over_target == 0
    assert report.stream_efficiency >= 0.9


def test_ramps_through_the_pins(verilator):
    network = Network.load(TRAINED / "mnist-mlp.npz")
    board = BOARDS["icebreaker"].with_datapath("ramp")
    pixels = datasets.load("mnist").x_test[:20].reshape(20, -1)
    trace = golden.run(network, pixels)
    # Loaded from flash, with biases made by doubling.
    with switched_on(SimulatedBoard(board, make_image(network, board))) as client:
        for index, each in enumerate(pixels):
            result = client.classify(each)
            assert result.winner == trace.winners[index]
            assert result.logits == tuple(trace.logits[index].tolist())


def test_a_convolutional_network_through_the_pins(verilator):
    network = Network.load(TRAINED / "mnist-lenet.npz")
    board = BOARDS["icebreaker"]
    pixels = datasets.load("mnist").x_test[:100].reshape(100, -1)
    trace = golden.run(network, pixels)
    image = make_image(network, board)
    # The flash chip holds the network, and the board boots from it.
    device = SimulatedBoard(board, image)
    with switched_on(device) as client:
        for index, each in enumerate(pixels):
            result = client.classify(each)
            assert result.winner == trace.winners[index]
            assert result.logits == tuple(trace.logits[index].tolist())
        events = [layer.events for layer in client.counters()]
        assert events == [int(count) for count in trace.events[-1, :len(network.layers)]]
        writes = list(compile_network(network, board.config).writes())
        assert device.writes[-len(writes):] == writes
    assert np.unique(trace.winners).size == 10
