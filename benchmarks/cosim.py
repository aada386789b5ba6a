# SPDX-License-Identifier: Apache-2.0
"""Speed of the co-simulation: seconds to compile, cycles and images a second, printed as JSON.

Without ``--network``, a 784-128-10 network with random weights of 4 bits and T = 15 runs on images
as sparse as MNIST's, its slopes and biases chosen so that some 16 % of the hidden neurons fire. Run
it as ``python benchmarks/cosim.py``; ``--fresh`` compiles into an empty cache, so that the time to
compile is measured too: the first time, again after a change of the design, and for waveforms.
``--network`` and ``--dataset`` measure a network of yours on its images.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from ttfs_fpga.boards.registry import find_board
from ttfs_fpga.sim import cosim
from ttfs_fpga.sim.emit import Sources, emit
from ttfs_fpga.sim.runner import build
from ttfs_fpga.sim.simulators import find_simulator
from ttfs_sw.artifact.network import Network, dense_network
from ttfs_sw.common.errors import answered
from ttfs_sw.data import datasets


def synthetic(images: int) -> tuple[Network, np.ndarray, None]:
    """A random network, and images on which it is about as active as a trained one."""
    generator = np.random.default_rng(0)
    network = dense_network(
        [generator.integers(-7, 8, (784, 128)), generator.integers(-7, 8, (128, 10))],
        [np.full(128, -500), np.zeros(10, int)], [500], [14], 15, weight_bits=4,
    )
    pixels = generator.integers(1, 256, (images, 784))
    pixels = (pixels * (generator.random(pixels.shape) < 0.19)).astype(np.uint8)
    return network, pixels, None


def compile_times(config, simulator, cache: Path) -> dict[str, float]:
    """Seconds to compile a simulator with nothing there, after a change, and with nothing new."""
    sources = emit(config)
    changed = Sources({**sources.files, "core.v": sources.files["core.v"] + "// changed\n"})
    return {
        "first": build(sources, simulator, cache=cache).seconds,
        "after_a_change": build(changed, simulator, cache=cache).seconds,
        "with_waveforms": build(sources, simulator, traced=True, cache=cache).seconds,
    }


@answered
def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", default="icebreaker")
    parser.add_argument("--sim", default="verilator")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--network", type=Path)
    parser.add_argument("--dataset")
    parser.add_argument("--fresh", action="store_true", help="measure the compilation too")
    arguments = parser.parse_args()
    config = find_board(arguments.board).config
    simulator = find_simulator(arguments.sim)
    if arguments.network is None:
        network, pixels, labels = synthetic(arguments.images)
    else:
        network = Network.load(arguments.network)
        dataset = datasets.load(arguments.dataset or network.dataset)
        pixels, labels = dataset.x_test[:arguments.images], dataset.y_test
    result = {"board": arguments.board, "simulator": simulator.title}
    if arguments.fresh:
        with tempfile.TemporaryDirectory() as cache:
            result["compile_seconds"] = compile_times(config, simulator, Path(cache))
    report = cosim.run(
        network, pixels, labels, config=config, simulator=arguments.sim, jobs=arguments.jobs
    )
    keys = (
        "images", "jobs", "mismatched_events", "accuracy", "seconds", "images_per_second",
        "simulated_cycles_per_second", "golden_seconds", "cycles", "roofline_cycles", "over_target",
    )
    found = report.as_dict()
    print(json.dumps(result | {key: found[key] for key in keys}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
