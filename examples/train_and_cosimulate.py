# SPDX-License-Identifier: Apache-2.0
"""Trains a network on 8x8 digits, and simulates the RTL beside it: every spike is compared.

    python examples/train_and_cosimulate.py

It shows the shortest way through the chain: a preset with two values changed, integers, a core of
the iCEBreaker's sizes, Verilator. Half a minute; ``ttfs demo`` does the same with all of the
preset's epochs, and builds a bitstream.
"""

from pathlib import Path

from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.sim import cosim
from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.data import datasets
from ttfs_sw.training import config
from ttfs_sw.training.train import train

FOLDER = Path("runs") / "examples" / "digits"


def main() -> None:
    digits = datasets.load("digits")
    preset = config.load("digits-mlp", {"float_epochs": 30, "epochs": 30})
    trained = train(preset, digits, FOLDER)
    print(f"{trained.accuracy_float:.1%} right in real numbers, "
          f"{trained.accuracy_network:.1%} in integers")

    # The artifact is all that hardware knows of a network.
    network = Network.load(FOLDER / "network.npz")
    trace = golden.run(network, digits.x_test)
    print(f"{trace.spikes_per_neuron:.2f} spikes a hidden neuron and image, at most one each")

    found = cosim.run(
        network, digits.x_test, digits.y_test, config=BOARDS["icebreaker"].config)
    print(f"RTL: {found.images} images, {found.mismatched_events} events differ, "
          f"{found.accuracy:.1%} right, {found.cycles.median:g} cycles an image")
    assert found.mismatched_images == 0


if __name__ == "__main__":
    main()
