# SPDX-License-Identifier: Apache-2.0
"""The tables of results: which figures, what we hold ourselves to, and the command that gives each.

A figure is read from the JSON report of its command, so that table and report cannot differ.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ttfs_sw.cli.tables import count, percent, seconds, spread
from ttfs_sw.common.report import Spread

__all__ = ["TABLES", "Figure", "Report", "Table"]

Report = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One row of a table.

    Parameters
    ----------
    what : :class:`str`
        What is measured.
    wanted : :class:`str`
        What we hold ourselves to.
    command : :class:`str`
        A key of :attr:`Table.commands`.
    measured : callable
        The figure, from the command's report.
    met : callable or ``None``
        Whether it is what is wanted; ``None`` if nothing is.
    """

    what: str
    wanted: str
    command: str
    measured: Callable[[Report], str]
    met: Callable[[Report], bool] | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of figures.

    Parameters
    ----------
    page : :class:`str`
        The page that it stands on, between two marks.
    commands : :class:`dict`
        What is run, in this order: later commands use what earlier ones made. ``{reports}`` stands
        for the folder of reports.
    figures : tuple of :class:`Figure`
        The rows.
    """

    page: str
    commands: Mapping[str, str]
    figures: tuple[Figure, ...]


def _trained(report: Report) -> str:
    return (
        f"{percent(report['accuracy_network'])}, {report['spikes_per_neuron']:.3f} spikes, "
        f"{seconds(report['seconds'])}"
    )


def _trains(accuracy: float, spikes: float, minutes: float) -> Callable[[Report], bool]:
    return lambda report: (
        report["accuracy_network"] >= accuracy and report["spikes_per_neuron"] <= spikes
        and report["seconds"] <= 60 * minutes
    )


def _clock(report: Report) -> float:
    """The clock that has least to spare, in MHz."""
    clocks = report["fmax_mhz"].values()
    return min(clocks, key=lambda clock: clock["achieved"] / clock["constraint"])["achieved"]


def _building(report: Report) -> float:
    """Seconds that the steps took, those too that are kept from an earlier run."""
    return sum(step["seconds"] for step in report["steps"])


def _reached(report: Report) -> str:
    return f"{report['clock_mhz']:g} MHz ({_clock(report):.1f} MHz reached)"


def _built(report: Report) -> str:
    return f"{_reached(report)}, {seconds(_building(report))}"


def _builds(mhz: float) -> Callable[[Report], bool]:
    return lambda report: report["timing_met"] and report["clock_mhz"] >= mhz


def _cells(report: Report) -> str:
    return ", ".join(
        f"{kind.removeprefix('ICESTORM_')} {count(used['used'])} of {count(used['available'])}"
        for kind, used in report["utilization"].items()
        if kind in ("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_SPRAM", "ICESTORM_DSP",
                    "TRELLIS_COMB", "DP16KD")
    )


def _latency(report: Report) -> str:
    latency, parts = report["latency_us"], report["latency_parts_us"]
    return (
        f"median {latency['median']:.1f} µs, at most {latency['max']:.1f} µs; image load "
        f"{parts['image_load']:.1f} µs; serial line {parts['link']:.0f} µs"
    )


def _within(microseconds: float) -> Callable[[Report], bool]:
    return lambda report: report["latency_us"]["median"] <= microseconds


def _exact(report: Report) -> bool:
    # Nor has any layer taken longer than it ever may.
    return (report["mismatched_events"] == report["over_limit"] == 0
            and report["images"] == 10_000)


def _differing(report: Report) -> str:
    return f"{count(report['mismatched_events'])} ({count(report['images'])} images)"


def _median(most: float) -> Callable[[Report], bool]:
    return lambda report: report["cycles"]["median"] <= most


def _over(report: Report) -> str:
    """Layers above their target, of all in all images, and why."""
    layers = len(report["layers"]) * report["images"]
    why = ", ".join(
        f"{layer['name']} {count(layer['over_target'])}, at most "
        f"{layer['worst_over_target']:.2f} times: {layer['over_target_because']}"
        for layer in report["layers"] if layer["over_target"])
    return f"{count(report['over_target'])} of {count(layers)}{f' ({why})' if why else ''}"


def _simulated(network: str, board: str, cycles: int, command: str) -> tuple[Figure, ...]:
    """What a co-simulation of all of MNIST says of a network on a board's core."""
    where = f"{network}, {board}"
    return (
        Figure(f"{where}: events that differ", "0 (10 000 images)", command, _differing, _exact),
        Figure(
            f"{where}: cycles an image", f"median at most {count(cycles)}", command,
            lambda report: spread(Spread(**report["cycles"])), _median(cycles),
        ),
        Figure(
            f"{where}: layers above 1.05 × roofline + W + map words + 32", "0", command, _over,
            lambda report: report["over_target"] == 0,
        ),
        Figure(
            f"{where}: stream of images, of 1 / (cycles of one)", "at least 90 %", command,
            lambda report: percent(report["stream_efficiency"]),
            lambda report: report["stream_efficiency"] >= 0.9,
        ),
    )


CHAIN = Table(
    page="README.md",
    commands={
        "demo": "ttfs demo",
        "train": "ttfs train mnist-mlp",
        "train-256": "ttfs train mnist-mlp-256",
        "evaluate": "ttfs evaluate runs/mnist-mlp",
        "cosim": "ttfs cosim runs/mnist-mlp",
        "build": "ttfs build runs/mnist-mlp --board icebreaker --cycles {reports}/cosim.json",
        "infer": "ttfs infer runs/demo --port sim --limit 100",
    },
    figures=(
        Figure(
            "digits, the whole chain, once installed", "at most 3 min", "demo",
            lambda report: seconds(report["seconds"]), lambda report: report["seconds"] <= 180,
        ),
        Figure(
            "digits, accuracy of the RTL on all 450 test images", "at least 97 %", "demo",
            lambda report: percent(report["accuracy"]["rtl"]),
            lambda report: report["accuracy"]["rtl"] >= 0.97,
        ),
        Figure(
            "digits, events that differ between RTL and integers", "0", "demo", _differing,
            lambda report: report["mismatched_events"] == 0,
        ),
        Figure(
            "digits, the board simulated at its pins, images that differ", "0 of 100", "infer",
            lambda report: f"{count(report['mismatched_images'])} of {count(report['images'])}",
            lambda report: report["mismatched_images"] == 0 and report["images"] == 100,
        ),
        Figure(
            "MNIST 784-128-10, 4-bit weights, as `network.npz`",
            "at least 98.5 %, at most 0.20 spikes a hidden neuron, 5 min", "train", _trained,
            _trains(0.985, 0.20, 5),
        ),
        Figure(
            "MNIST 784-256-10", "at least 98.7 %", "train-256", _trained,
            lambda report: report["accuracy_network"] >= 0.987,
        ),
        Figure(
            "golden model, MNIST images a second", "at least 50 000", "evaluate",
            lambda report: count(round(report["images_per_second"])),
            lambda report: report["images_per_second"] >= 50_000,
        ),
        Figure(
            "MNIST, events that differ, all 10 000 images", "0, at most 3 min", "cosim",
            lambda report: f"{_differing(report)}, {seconds(report['seconds'])}",
            lambda report: _exact(report) and report["seconds"] <= 180,
        ),
        Figure(
            "MNIST, cycles an image, 16 lanes", "median at most 1 300", "cosim",
            lambda report: spread(Spread(**report["cycles"])), _median(1300),
        ),
        Figure(
            "MNIST, roofline of these cycles", "", "cosim",
            lambda report: spread(Spread(**report["roofline_cycles"])),
        ),
        Figure(
            "iCEBreaker, full board top, clock with all paths timed",
            "at least 40 MHz, at most 3 min", "build", _built,
            lambda report: _builds(40)(report) and _building(report) <= 180,
        ),
        Figure("iCEBreaker, resources", "fits", "build", _cells, _builds(0)),
        Figure("iCEBreaker, latency of an MNIST image", "", "build", _latency),
    ),
)

#: The board whose core holds 784-256-10 in 64 lanes of an ECP5-25F.
WIDE = "ulx3s-25f-64x4"

CORE = Table(
    page="docs/performance.md",
    commands={
        "area": "python benchmarks/core_area.py",
        "cosim-mlp": "ttfs cosim tests/trained/mnist-mlp.npz -o {reports}/mlp",
        "cosim-256": "ttfs cosim tests/trained/mnist-mlp-256.npz -o {reports}/256",
        "cosim-lenet": "ttfs cosim tests/trained/mnist-lenet.npz -o {reports}/lenet",
        "cosim-wide": f"ttfs cosim tests/trained/mnist-mlp-256.npz --board {WIDE} "
                      "-o {reports}/wide",
        "cosim-tiny": "ttfs cosim tests/trained/mnist-mlp-tiny.npz --board hx8k-evn "
                      "-o {reports}/tiny",
        "infer-lenet": "ttfs infer tests/trained/mnist-lenet.npz --port sim --limit 100",
        "build-mlp": "ttfs build tests/trained/mnist-mlp.npz --board icebreaker "
                     "--cycles {reports}/cosim-mlp.json -o {reports}/mlp",
        "build-lenet": "ttfs build tests/trained/mnist-lenet.npz --board icebreaker "
                       "--cycles {reports}/cosim-lenet.json -o {reports}/lenet",
        "build-wide": f"ttfs build tests/trained/mnist-mlp-256.npz --board {WIDE} "
                      "--cycles {reports}/cosim-wide.json -o {reports}/wide",
        "build-tiny": "ttfs build tests/trained/mnist-mlp-tiny.npz --board hx8k-evn "
                      "--cycles {reports}/cosim-tiny.json -o {reports}/tiny",
        "train-lenet": "ttfs train mnist-lenet",
        "train-tiny": "ttfs train mnist-mlp-tiny",
    },
    figures=(
        *_simulated("784-128-10", "UP5K, 16 lanes", 1250, "cosim-mlp"),
        Figure("784-128-10, UP5K, full board top: clock", "at least 40 MHz", "build-mlp", _reached,
               _builds(40)),
        Figure("784-128-10, UP5K: latency", "at most 32 µs", "build-mlp", _latency, _within(32)),
        *_simulated("784-256-10", "UP5K, 16 lanes", 2450, "cosim-256"),
        Figure(
            "LeNet 8c5-p2-16c5-p2-64-10: training",
            "at least 99.3 %, at most 0.22 spikes a hidden neuron, 15 min", "train-lenet",
            _trained, _trains(0.993, 0.22, 15),
        ),
        *_simulated("LeNet", "UP5K, 16 lanes", 12_000, "cosim-lenet"),
        Figure(
            "LeNet, UP5K, the board simulated at its pins, images that differ", "0 of 100",
            "infer-lenet",
            lambda report: f"{count(report['mismatched_images'])} of {count(report['images'])}",
            lambda report: report["mismatched_images"] == 0 and report["images"] == 100,
        ),
        Figure("LeNet, UP5K: latency", "at most 300 µs", "build-lenet", _latency, _within(300)),
        *_simulated("784-256-10", "ECP5-25F, 64 lanes", 700, "cosim-wide"),
        Figure("784-256-10, ECP5-25F, full board top: clock", "at least 80 MHz", "build-wide",
               _reached, _builds(80)),
        Figure("784-256-10, ECP5-25F: latency", "at most 9 µs", "build-wide", _latency, _within(9)),
        Figure(
            "784-24-10: training", "at least 96.0 %", "train-tiny", _trained,
            lambda report: report["accuracy_network"] >= 0.96,
        ),
        *_simulated("784-24-10", "HX8K, 8 lanes", 600, "cosim-tiny"),
        Figure("784-24-10, HX8K, full board top: clock", "at least 80 MHz", "build-tiny", _reached,
               _builds(80)),
        Figure("784-24-10, HX8K: latency", "", "build-tiny", _latency),
        Figure(
            "core of 16 `mac` lanes, convolution included, UP5K: logic cells", "at most 3 300",
            "area", lambda report: count(report["logic_cells"]),
            lambda report: report["logic_cells"] <= 3300,
        ),
        Figure("UP5K, full board top: resources", "fits", "build-mlp", _cells, _builds(0)),
    ),
)


def _trained_often(
    network: str, accuracy: float, spikes: float, minutes: int, command: str
) -> tuple[Figure, ...]:
    """What the worst of a preset's three trainings reaches, and what B1 makes of its ReLU network.
    """
    def worst(report: Report) -> str:
        return (
            f"{percent(report['accuracy_worst'])}, {report['spikes_per_neuron_most']:.3f} spikes, "
            f"{seconds(report['cpu_seconds_most'])} of one core"
        )

    return (
        Figure(
            f"{network}: worst of three seeds",
            f"at least {100 * accuracy:.1f} %, at most {spikes:.2f} spikes a hidden neuron, "
            f"{minutes} min", command, worst,
            lambda report: (
                report["images"] == 10_000 and len(report["runs"]) >= 3
                and report["accuracy_worst"] >= accuracy
                and report["spikes_per_neuron_most"] <= spikes
                and report["cpu_seconds_most"] <= 60 * minutes
            ),
        ),
        Figure(
            f"{network}: images that the float network, as spike times (B1), answers otherwise",
            "0", command,
            lambda report: f"{report['b1_changed']} of {count(_shown(report))}",
            lambda report: report["b1_changed"] == 0,
        ),
    )


def _shown(report: Report) -> int:
    return report["images"] * len(report["runs"])


def _converted(report: Report) -> list[float]:
    """Points that networks of 8 bits and T = 255 lost: two a seed, a scale a channel or a layer."""
    return [
        100 * (made["accuracy_float"] - made["accuracy_network"]) for made in report["networks"]
        if (made["weight_bits"], made["ticks"]) == (8, 255) and made["images"] == 10_000
    ]


TRAINING = Table(
    page="docs/training.md",
    commands={
        f"seeds-{preset}": f"python benchmarks/training.py {preset} --seeds 0 1 2"
        for preset in ("mnist-mlp", "mnist-mlp-256", "mnist-mlp-3bit", "mnist-mlp-sparse",
                       "mnist-lenet")
    } | {"convert": "python benchmarks/convert.py --dataset mnist --seeds 0 1 2"},
    figures=(
        *_trained_often("784-128-10, 4 bits, T = 15", 0.986, 0.18, 5, "seeds-mnist-mlp"),
        *_trained_often("784-256-10", 0.988, 0.15, 8, "seeds-mnist-mlp-256"),
        *_trained_often("784-128-10, 3 bits, T = 7", 0.985, 0.18, 5, "seeds-mnist-mlp-3bit"),
        *_trained_often("784-128-10, sparse", 0.984, 0.10, 5, "seeds-mnist-mlp-sparse"),
        *_trained_often("LeNet 8c5-p2-16c5-p2-64-10", 0.993, 0.22, 15, "seeds-mnist-lenet"),
        Figure(
            "784-128-10 converted without training, 8 bits, T = 255: points lost",
            "at most 0.1, any of three seeds", "convert",
            lambda report: ", ".join(f"{lost:.2f}" for lost in _converted(report)),
            lambda report: len(_converted(report)) >= 6 and max(_converted(report)) <= 0.1,
        ),
    ),
)

TABLES = {"chain": CHAIN, "core": CORE, "training": TRAINING}
