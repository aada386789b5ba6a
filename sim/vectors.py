# SPDX-License-Identifier: Apache-2.0
"""Vectors: a folder with everything that the bench needs to run by hand in any simulator.

``python -m ttfs_fpga.sim.vectors NETWORK FOLDER`` makes one; ``docs/cosim.md`` says how to use it.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from ttfs_fpga.boards.registry import BOARDS, find_board
from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.sim.compare import Comparison
from ttfs_fpga.sim.emit import emit
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.records import Ending
from ttfs_fpga.sim.regression import Regression
from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.files import atomic_write, output_folder, write_json
from ttfs_sw.data import datasets

__all__ = ["Check", "main", "save"]


class Check:
    """Compares records with the vectors of a folder and fails at the first mismatch.

    Parameters
    ----------
    folder : :class:`pathlib.Path`
        What :func:`save` made.
    """

    def __init__(self, folder: Path):
        self._expected = Expected.load(folder / "expected.npz")
        config = CoreConfig(**json.loads((folder / "config.json").read_text()))
        self._comparison = Comparison(self._expected, config)

    def feed(self, content: bytes) -> None:
        """Take what the harness handed out."""
        comparison = self._comparison
        comparison.feed(content)
        assert comparison.first is None, str(comparison.first)
        end = comparison.end
        if end is not None:
            assert end.reason == Ending.DONE, f"{end}: {comparison.waits_for()}"
            assert comparison.complete, f"{end}: {comparison.waits_for()}"


def save(network: Network, pixels: np.ndarray, config: CoreConfig, folder: Path) -> None:
    """Write the design, the stimulus of all images, and what the golden model expects.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the images do not suit the network, or the folder cannot be written.
    :exc:`hdl.compiler.DoesNotFit`
        If the network does not fit the core.
    """
    program = compile_network(network, config)
    expected = Expected.from_trace(network, golden.run(network, pixels), program)
    output_folder(folder)
    emit(config).write(folder)
    with atomic_write(folder / "stimulus.bin") as temporary:
        Regression(program, pixels, expected).stimulus(0, len(pixels)).write(temporary)
    expected.save(folder / "expected.npz")
    write_json(folder / "config.json", config.as_dict())


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ttfs_fpga.sim.vectors", description=__doc__)
    parser.add_argument("network", type=Path, help="network.npz")
    parser.add_argument("folder", type=Path, help="where everything goes")
    parser.add_argument("--board", default="icebreaker", help=f"one of {', '.join(BOARDS)}")
    parser.add_argument("--dataset", help="default: the network's own")
    parser.add_argument("--limit", type=int, default=10, help="images (default: 10)")
    options = parser.parse_args(arguments)
    try:
        network = Network.load(options.network)
        dataset = datasets.load(options.dataset or network.dataset)
        config = find_board(options.board).config
        save(network, dataset.x_test[:options.limit], config, options.folder)
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
