# SPDX-License-Identifier: Apache-2.0
"""Makes a network of plain NumPy arrays, and writes the core that runs it as Verilog.

    python examples/arrays_to_verilog.py

It shows what a network is once nothing is left of its training: integer weights, biases, and a
slope m / 2^s for each layer. Whoever trains with other tools begins here. Two templates tell
whether a picture of 3x3 pixels is a cross or a ring. A second.
"""

from pathlib import Path

import numpy as np

from ttfs_fpga.boards.verilog import write_verilog
from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network

FOLDER = Path("runs") / "examples" / "templates"

CROSS = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])
RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])


def main() -> None:
    # A hidden neuron for each picture: +3 where the template is on, -4 where it is off.
    hidden = np.stack([np.where(on.ravel(), 3, -4) for on in (CROSS, RING)], axis=1)
    # The read-out takes the one, less the other.
    readout = np.array([[2, -2], [-2, 2]])
    network = dense_network(
        [hidden, readout], [[0, 0], [0, 0]],
        # The code of a neuron is V · m / 2^s, rounded: a ring has the largest V, 8 · 3 · 15.
        multipliers=[11], shifts=[8], ticks=15, weight_bits=4, input_shape=(3, 3, 1))
    FOLDER.mkdir(parents=True, exist_ok=True)
    network.save(FOLDER / "network.npz")

    pictures = 255 * np.stack([CROSS, RING]).astype(np.uint8).reshape(2, 9)
    trace = golden.run(network, pictures)
    for name, times, logits in zip(
            ("cross", "ring"), trace.spike_times(0), trace.logits, strict=True):
        told = ["silent" if time == 15 else f"tick {time}" for time in times]
        print(f"{name}: hidden neurons {', '.join(told)}; logits {logits.tolist()}")
    assert trace.winners.tolist() == [0, 1]

    report = write_verilog(network, output_dir=FOLDER / "verilog", lanes=2)
    print(f"{report.files['verilog']}: a core of {report.lanes} lanes, network included")


if __name__ == "__main__":
    main()
