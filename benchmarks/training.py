# SPDX-License-Identifier: Apache-2.0
"""What a preset reaches: trains it once a seed and writes the figures as JSON.

    python benchmarks/training.py mnist-mlp --seeds 0 1 2 --json training.json

The accuracy is that of the integers, on all test images. ``b1_changed`` are the test images to
which the ReLU network gives another answer as spike times, in continuous time. ``cycles`` is the
least that a core of ``--lanes`` needs for the median image: its roofline, and one pass over the
words of each layer.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ttfs_sw import golden
from ttfs_sw.artifact.network import Layer, Network
from ttfs_sw.common.errors import answered
from ttfs_sw.common.files import write_json
from ttfs_sw.common.progress import bar
from ttfs_sw.data import datasets
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.golden import Trace
from ttfs_sw.research.experiments import Options
from ttfs_sw.research.experiments.equivalence import compare_run, open_run
from ttfs_sw.training import config
from ttfs_sw.training.train import train

__all__ = ["cycles", "main", "measure", "words_of_an_event"]

#: Of a training report, what is kept for each seed.
KEYS = (
    "seed", "accuracy_float", "accuracy_network", "accuracy_heldout", "spikes_per_neuron",
    "events_input", "events_hidden", "bounds", "epoch", "seconds",
)


def words_of_an_event(layer: Layer, lanes: int) -> np.ndarray:
    """Membrane words that an event at each place of a layer's source reaches, flat and at least 1.

    A word is ``lanes`` neurons. A convolution reaches one position for each tap that lands inside
    its map.
    """
    height, width, channels = layer.in_shape
    if layer.form.flat:
        return np.full(channels, -(-layer.outputs // lanes))
    taps = []
    for axis, size in enumerate((height, width)):
        count = np.zeros(size, int)
        for position in range(layer.out_shape[axis]):
            first = position * layer.stride[axis] - layer.padding[axis]
            count[max(first, 0):first + layer.kernel[axis]] += 1
        taps.append(count)
    words = np.outer(*taps)
    if not layer.form.own_channel:
        words = words * -(-layer.out_shape[2] // lanes)
    return np.maximum(np.repeat(words, channels), 1)


def cycles(network: Network, trace: Trace, lanes: int) -> np.ndarray:
    """Least cycles of each image: words that its events reach, and one pass over each layer's."""
    maps = {-1: trace.input_codes, **dict(enumerate(trace.codes))}
    total = np.zeros(len(trace.logits), int)
    for layer in network.layers:
        height, width, channels = layer.out_shape
        total += (maps[layer.source] > 0) @ words_of_an_event(layer, lanes)
        total += height * width * -(-channels // lanes)
    return total


def measure(preset: str, seed: int, dataset: Dataset, lanes: int) -> dict[str, Any]:
    """Train ``preset`` from ``seed`` and return its figures."""
    settings = config.load(preset, {"seed": seed})
    # Training has one thread, so that this is what it would take on a machine with nothing else.
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder, bar(f"{preset}, seed {seed}") as progress:
        report = train(settings, dataset, folder, progress)
        worked = time.process_time() - started
        network = Network.load(Path(folder) / "network.npz")
        _, *trained = open_run(Path(folder), Options(dataset))
    trace = golden.run(network, dataset.x_test)
    exact = compare_run(*trained)
    reached = report.as_dict()
    return {
        **{key: reached[key] for key in KEYS},
        "cpu_seconds": worked,
        "b1_changed": exact.changed,
        "b1_logits": exact.logits,
        "events_input_median": float(np.median(trace.events[:, 0])),
        "cycles_median": float(np.median(cycles(network, trace, lanes))),
    }


@answered
def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line; the JSON goes to stdout, or to ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="a preset, or a TOML file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--lanes", type=int, default=16, metavar="N")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    dataset = datasets.load(config.load(options.preset).dataset, data_dir=options.data_dir)
    runs = [measure(options.preset, seed, dataset, options.lanes) for seed in options.seeds]
    accuracies = [run["accuracy_network"] for run in runs]
    result = {
        "command": " ".join(["python benchmarks/training.py", *(arguments or sys.argv[1:])]),
        "preset": options.preset,
        "images": len(dataset.y_test),
        "lanes": options.lanes,
        "accuracy_worst": min(accuracies),
        "accuracy_mean": statistics.mean(accuracies),
        "spikes_per_neuron_most": max(run["spikes_per_neuron"] for run in runs),
        "cycles_median_most": max(run["cycles_median"] for run in runs),
        "b1_changed": sum(run["b1_changed"] for run in runs),
        "seconds_most": max(run["seconds"] for run in runs),
        "cpu_seconds_most": max(run["cpu_seconds"] for run in runs),
        "runs": runs,
        "machine": {
            "processor": platform.machine(), "cores": os.cpu_count(),
            "threads": torch.get_num_threads(), "torch": torch.__version__,
        },
    }
    if options.json:
        write_json(options.json, result)
    else:
        print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
