"""What a preset reaches: trains it once a seed and writes the figures as JSON.

    python benchmarks/training.py mnist-mlp --seeds 0 1 2 --json training.json

The accuracy is that of the integers, on all test images. ``cycles`` is the least that the core of
``--board`` needs for the median image: its roofline, and one pass over the words of each layer.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boards.registry import BOARDS
from hdl.compiler import compile_network
from ttfs_sw import config, datasets, golden
from ttfs_sw.datasets import Dataset
from ttfs_sw.files import write_json
from ttfs_sw.network import Network
from ttfs_sw.progress import bar
from ttfs_sw.train import train

__all__ = ["main", "measure"]

#: Of a training report, what is kept for each seed.
KEYS = (
    "seed", "accuracy_float", "accuracy_network", "accuracy_heldout", "spikes_per_neuron",
    "events_input", "events_hidden", "bounds", "epoch", "seconds",
)


def measure(preset: str, seed: int, dataset: Dataset, board: str) -> dict[str, Any]:
    """Train ``preset`` from ``seed`` and return its figures."""
    settings = config.load(preset, {"seed": seed})
    with tempfile.TemporaryDirectory() as folder, bar(f"{preset}, seed {seed}") as progress:
        report = train(settings, dataset, folder, progress)
        network = Network.load(Path(folder) / "network.npz")
    layers = compile_network(network, BOARDS[board].config).layers
    # Events of the map that each layer reads: the input's and the hidden layers'.
    events = golden.run(network, dataset.x_test).events
    cycles = events @ [layer.words for layer in layers] + sum(layer.words for layer in layers)
    return {
        **{key: report[key] for key in KEYS},
        "events_input_median": float(np.median(events[:, 0])),
        "cycles_median": float(np.median(cycles)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line; the JSON goes to stdout, or to ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="a preset, or a TOML file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--board", choices=BOARDS, default="icebreaker")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    dataset = datasets.load(config.load(options.preset).dataset, data_dir=options.data_dir)
    runs = [measure(options.preset, seed, dataset, options.board) for seed in options.seeds]
    accuracies = [run["accuracy_network"] for run in runs]
    result = {
        "command": " ".join(["python benchmarks/training.py", *(arguments or sys.argv[1:])]),
        "preset": options.preset,
        "images": len(dataset.y_test),
        "accuracy_worst": min(accuracies),
        "accuracy_mean": statistics.mean(accuracies),
        "spikes_per_neuron_most": max(run["spikes_per_neuron"] for run in runs),
        "cycles_median_most": max(run["cycles_median"] for run in runs),
        "seconds_most": max(run["seconds"] for run in runs),
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
