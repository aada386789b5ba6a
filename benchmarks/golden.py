# SPDX-License-Identifier: Apache-2.0
"""Speed of the golden model: images a second of a 784-128-10 network, printed as JSON.

The network has random weights of 4 bits and T = 15; the images are as sparse as MNIST, where 19 %
of the pixels are not 0. Encoding, both layers and the copy of every code and logit into the trace
are all counted; importing torch is not. Run it as ``python benchmarks/golden.py``.
"""

import argparse
import json
import statistics
import sys
import time

import numpy as np

from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.common.errors import answered


def measure(images: int, runs: int, backend: str) -> dict[str, object]:
    """Classify ``images`` images ``runs`` times, and report the median speed."""
    generator = np.random.default_rng(0)
    network = dense_network(
        [generator.integers(-8, 8, (784, 128)), generator.integers(-8, 8, (128, 10))],
        None, [300], [14], 15,
    )
    pixels = generator.integers(1, 256, (images, 784))
    pixels = (pixels * (generator.random(pixels.shape) < 0.19)).astype(np.uint8)
    # The first run imports what it needs and touches the memory.
    trace = golden.run(network, pixels, backend=backend)
    speeds = []
    for _ in range(runs):
        started = time.perf_counter()
        golden.run(network, pixels, backend=backend)
        speeds.append(images / (time.perf_counter() - started))
    return {
        "network": "784-128-10",
        "images": images,
        "runs": runs,
        "images_per_second": round(statistics.median(speeds)),
        "slowest": round(min(speeds)),
        "fastest": round(max(speeds)),
        "events_input": float(trace.events[:, 0].mean()),
        "spikes_per_neuron": trace.spikes_per_neuron,
    }


@answered
def main() -> int:
    """Measure both backends, or the one asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--backend", choices=("torch", "numpy"), action="append")
    arguments = parser.parse_args()
    report = {
        backend: measure(arguments.images, arguments.runs, backend)
        for backend in arguments.backend or ("numpy", "torch")
    }
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
