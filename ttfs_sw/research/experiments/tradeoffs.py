# SPDX-License-Identifier: Apache-2.0
"""What accuracy costs: networks trained with less of everything that hardware pays for.

One network is the base. Along each axis - bits of a weight, ticks, ticks until the answer, moves of
the spikes, spikes of a neuron - one key of its configuration changes, and everything is trained
anew, from each of a few seeds. All figures are of the integer network on all test images; which
epoch is kept is decided on held-out training images.
"""

import dataclasses
import logging
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.plot import BLUE, GREEN, GREY, ORANGE, save, tidy
from ttfs_sw.common.report import Report, absent
from ttfs_sw.golden import jitter
from ttfs_sw.research.experiments import Claim, ExperimentReport, Options, claim
from ttfs_sw.research.experiments.pages import table
from ttfs_sw.research.experiments.side_by_side import side_by_side
from ttfs_sw.training import config as configuration
from ttfs_sw.training.config import Config
from ttfs_sw.training.train import train

__all__ = ["CURVES", "PANELS", "About", "Base", "Curve", "Point", "Tradeoffs", "Trained", "base",
           "described", "figure", "needed", "page", "run"]

logger = logging.getLogger(__name__)

#: What every network is a change of: weights of 4 bits, T = 15.
START = {
    "weight_bits": 4, "ticks": 15, "input_ticks": 15, "dead_zone": 0, "activity_penalty": 0.001,
}

#: Values that change nothing.
DEFAULTS = START | {"per_channel": False, "window": 1.0, "jitter": 0.0}

#: Each curve: its panel, its name, and what is changed at each of its points, by key.
CURVES: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("bits", "one scale a layer"): [{"weight_bits": bits} for bits in (2, 3, 4, 6, 8)],
    ("bits", "one scale a channel"): [
        {"weight_bits": bits, "per_channel": True} for bits in (2, 3, 4)
    ],
    ("ticks", "image and hidden layers"): [
        {"ticks": ticks, "input_ticks": ticks} for ticks in (1, 2, 3, 7, 15, 63, 255)
    ],
    ("latency", "all windows shorter"): [
        {"ticks": ticks, "input_ticks": ticks} for ticks in (1, 2, 3, 7, 15)
    ],
    ("latency", "hidden windows shorter"): [{"ticks": ticks} for ticks in (2, 4, 8, 15)],
    ("latency", "hidden windows cut"): [
        {"ticks": ticks, "window": share} for ticks, share in ((2, 0.125), (4, 0.25), (8, 0.5))
    ] + [{"ticks": 15}],
    ("jitter", "trained without"): [{}],
    ("jitter", "trained with 1 tick"): [{"jitter": 1.0}],
    ("jitter", "trained with 2 ticks"): [{"jitter": 2.0}],
    ("spikes", "price of a spike"): [
        {"activity_penalty": price} for price in (0.0, 0.001, 0.003, 0.01, 0.03)
    ],
}

#: Points that claims are about.
WIDE, HARDENED = {"weight_bits": 8}, {"jitter": 1.0}
COARSE, FINE = ({"ticks": ticks, "input_ticks": ticks} for ticks in (7, 255))
PRICED, FREE = ({"activity_penalty": price} for price in (0.003, 0.0))

#: Deviations, in ticks, that each network of the jitter panel is judged with.
MOVES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)

#: Title and axis of each panel.
PANELS = {
    "bits": ("weights", "bits of a weight"),
    "ticks": ("ticks", "T of the image and the hidden layers"),
    "latency": ("latency", "ticks until the answer, all windows"),
    "jitter": ("jitter", "standard deviation of a spike time, ticks"),
    "spikes": ("spikes", "spikes per hidden neuron and image"),
}


@dataclasses.dataclass(frozen=True)
class Base:
    """Where the networks of a dataset start from.

    Parameters
    ----------
    preset : :class:`str`
        Whose layers, augmentation and other keys are taken.
    changes : mapping
        What of it is different, by key: shorter training, first of all.
    seeds : :class:`int`
        Networks a point.
    """

    preset: str
    changes: Mapping[str, Any]
    seeds: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained(Report):
    """One network, of one seed.

    Parameters
    ----------
    accuracy : :class:`float`
        Share of the test images that its integers get right.
    spikes_per_neuron : :class:`float`
        Mean of a hidden neuron and image.
    latency : :class:`int`
        Ticks until the answer: all windows.
    accuracy_moved : list of :class:`float` or ``None``
        Accuracy when spikes move, one each of the :data:`MOVES`, if that was asked for.
    """

    accuracy: float
    spikes_per_neuron: float
    latency: int
    accuracy_moved: tuple[float, ...] | None = absent()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point(Report):
    """Networks with the same changes: means over the seeds of what :class:`Trained` has.

    ``changes`` are by key, and ``accuracies`` one a seed.
    """

    changes: dict[str, Any]
    accuracy: float
    spikes_per_neuron: float
    latency: float
    accuracy_moved: tuple[float, ...] | None = absent()
    accuracies: list[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve(Report):
    """The panel that a curve is in, its name, and its points."""

    panel: str
    name: str
    points: list[Point]


@dataclasses.dataclass(frozen=True, kw_only=True)
class About(Report):
    """The network that all others are changes of: its preset, its hidden layers, what of the preset
    is changed, the seeds, and how many test images judge."""

    preset: str
    layers: list[str]
    changes: dict[str, Any]
    seeds: list[int]
    images: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tradeoffs(Report):
    """What was found: about the base, deviations of moved spikes (ticks), curves, and claims."""

    base: About
    moves: list[float]
    curves: list[Curve]
    claims: list[Claim]


#: What the presets hold out of a small and of a large dataset.
SMALL_HELDOUT, LARGE_HELDOUT = 300, 5000

#: For up to some thousand training images, and for more. With 784 pixels and 255 ticks membranes
#: leave the 16 bits of our boards: what width they need is no question here.
SMALL = Base("digits-mlp", {"float_epochs": 10, "epochs": 40}, 2)
LARGE = Base("mnist-mlp", {"float_epochs": 3, "epochs": 12, "accumulator_bits": 32}, 1)


def base(options: Options) -> Base:
    """Return what the networks for the images of ``options`` start from."""
    count = len(options.dataset.x_train)
    if count <= SMALL_HELDOUT:
        raise InputError(
            f"{options.dataset.name} has {count} training images, too few to hold out "
            f"{SMALL_HELDOUT}; choose a larger dataset"
        )
    return SMALL if count < 10 * LARGE_HELDOUT else LARGE


def run(options: Options) -> Tradeoffs:
    """Train a network for each point, no two alike, and judge it on the test images."""
    start = base(options)
    seeds = range(options.seed, options.seed + start.seeds)
    asked = {
        described(changes): changes | {"moves": any(panel == "jitter" for panel, _ in names)}
        for changes, names in _points()
    }
    keys = [key for key in asked for _ in seeds]
    jobs = [(start, changes, seed) for changes in asked.values() for seed in seeds]
    runs: dict[str, list[Trained]] = {key: [] for key in asked}
    results = side_by_side(_train, options, jobs)
    for done, (key, result) in enumerate(zip(keys, results, strict=True), 1):
        runs[key].append(result)
        logger.info("%s: %.2f %%", key or "base", 100 * result.accuracy)
        options.step(done, len(jobs))
    curves = [
        Curve(panel=panel, name=name, points=[
            _point(changes, runs[described(changes)]) for changes in curve
        ])
        for (panel, name), curve in CURVES.items()
    ]
    settings = _settings(start, {}, options.seed)
    about = About(
        preset=start.preset, layers=list(settings.network.texts),
        changes=START | dict(start.changes), seeds=list(seeds), images=len(options.dataset.y_test),
    )
    return Tradeoffs(base=about, moves=list(MOVES), curves=curves, claims=_claims(curves))


def _points() -> list[tuple[dict[str, Any], list[tuple[str, str]]]]:
    """Each different network once, and the curves that it is a point of."""
    found: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {}
    for name, curve in CURVES.items():
        for changes in curve:
            found.setdefault(described(changes), (changes, []))[1].append(name)
    return list(found.values())


def described(changes: Mapping[str, Any]) -> str:
    """The same text for changes that mean the same: the base's own values are none."""
    told = {key: value for key, value in changes.items() if DEFAULTS.get(key) != value}
    return ", ".join(f"{key} = {value}" for key, value in sorted(told.items()))


def _settings(start: Base, changes: Mapping[str, Any], seed: int) -> Config:
    """The configuration of one network; ``moves`` is not for it."""
    keys = {key: value for key, value in changes.items() if key != "moves"}
    overrides = START | dict(start.changes) | keys | {"seed": seed}
    return configuration.load(start.preset, overrides)


def _train(options: Options, start: Base, changes: Mapping[str, Any], seed: int) -> Trained:
    """Train one network; its figures, and its accuracy with moved spikes if asked for."""
    settings, images = _settings(start, changes, seed), options.dataset
    with tempfile.TemporaryDirectory() as folder:
        report = train(settings, images, folder, device=options.device)
        network = Network.load(Path(folder) / "network.npz")
    moved = None
    if changes["moves"]:
        moved = tuple(
            jitter.accuracy(network, images.x_test, images.y_test, deviation, seed=seed)
            for deviation in MOVES
        )
    return Trained(
        accuracy=report.accuracy_network, spikes_per_neuron=report.spikes_per_neuron,
        latency=sum(report.ticks), accuracy_moved=moved,
    )


def needed(changes: Mapping[str, Any]) -> bool:
    """Whether a claim is about the network with these changes."""
    claimed: tuple[Mapping[str, Any], ...] = ({}, WIDE, HARDENED, COARSE, FINE, PRICED, FREE)
    return described(changes) in map(described, claimed)


def _point(changes: dict[str, Any], runs: list[Trained]) -> Point:
    """Means over the seeds, and the accuracies of each."""
    moved = [run.accuracy_moved for run in runs if run.accuracy_moved is not None]
    return Point(
        changes=changes,
        accuracy=statistics.fmean(run.accuracy for run in runs),
        spikes_per_neuron=statistics.fmean(run.spikes_per_neuron for run in runs),
        latency=statistics.fmean(run.latency for run in runs),
        accuracy_moved=tuple(map(statistics.fmean, zip(*moved, strict=True))) if moved else None,
        accuracies=[run.accuracy for run in runs],
    )


def _moved(point: Point) -> tuple[float, ...]:
    """Accuracies of a network of the jitter panel, one each of the :data:`MOVES`."""
    assert point.accuracy_moved is not None, "every network of that panel is judged with moves"
    return point.accuracy_moved


def _claims(curves: list[Curve]) -> list[Claim]:
    """What the curves say, in points of accuracy, with the limits that a user may count on."""
    points = {described(point.changes): point for curve in curves for point in curve.points}

    def lost(less: Mapping[str, Any], more: Mapping[str, Any]) -> float:
        return 100 * (points[described(more)].accuracy - points[described(less)].accuracy)

    def cost(changes: Mapping[str, Any]) -> float:
        exact, *moved = _moved(points[described(changes)])
        return 100 * (exact - moved[MOVES.index(1.0) - 1])

    spikes = [points[described(changes)].spikes_per_neuron for changes in (PRICED, FREE)]
    return [
        claim("points lost by weights of 4 bits instead of 8", lost({}, WIDE), at_most=1.0),
        claim("points lost by T = 7 instead of 255", lost(COARSE, FINE), at_most=1.0),
        claim("points that spikes moved by 1 tick cost the base", cost({})),
        claim("points that they cost a network trained with such moves", cost(HARDENED)),
        claim("points lost by a price of 0.003 a spike", lost(PRICED, FREE), at_most=1.0),
        claim("spikes that are left, as a share of those without a price", spikes[0] / spikes[1]),
    ]


def figure(path: Path, report: ExperimentReport[Tradeoffs]) -> None:
    """Draw accuracy against each of the five, the points with a mark, the base as a line."""
    picture = Figure(figsize=(9.6, 5.6), layout="constrained")
    panels: dict[str, Axes] = dict(zip(PANELS, picture.subplots(2, 3).flat, strict=False))
    picture.axes[-1].remove()
    spare = {name: iter((BLUE, ORANGE, GREEN)) for name in PANELS}
    along: dict[str, set[float]] = {name: set() for name in PANELS}
    lowest: dict[str, list[float]] = {name: [] for name in PANELS}
    found = report.found
    for curve in found.curves:
        name = curve.panel
        x, y = _line(curve, found)
        panels[name].plot(x, [100 * value for value in y], color=next(spare[name]),
                          marker="o", markersize=4, label=curve.name)
        along[name].update(x)
        lowest[name].append(100 * min(y))
    top = max(100 * max(_line(curve, found)[1]) for curve in found.curves)
    for name, (title, label) in PANELS.items():
        axes = panels[name]
        axes.set(title=title, xlabel=label)
        # Two points at least, so that the luck of a few images does not look like a result.
        low = min(top - 2, *lowest[name])
        axes.set_ylim(low - 0.06 * (top - low) - 0.05, top + 0.06 * (top - low) + 0.05)
        if name in ("ticks", "latency"):
            axes.set_xscale("log", base=2)
            axes.set_xticks(sorted(along[name]) if name == "ticks" else [2, 4, 8, 16, 30])
            axes.xaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        axes.axhline(100 * _base(found).accuracy, color=GREY, linewidth=0.8, linestyle=":")
        if len(lowest[name]) > 1:
            axes.legend(frameon=False, fontsize=8,
                        loc="lower left" if name == "jitter" else "lower right")
        tidy(axes)
    for name in ("bits", "jitter"):
        panels[name].set_ylabel("accuracy on test images, %")
    save(picture, path)


def _line(curve: Curve, found: Tradeoffs) -> tuple[Sequence[float], Sequence[float]]:
    """What to draw of a curve: along the axis of its panel, and as shares of the images."""
    points, panel = curve.points, curve.panel
    if panel == "jitter":
        return found.moves, _moved(points[0])
    ways: dict[str, Callable[[Point], float]] = {
        "bits": lambda point: point.changes["weight_bits"],
        "ticks": lambda point: point.changes["ticks"],
        "latency": lambda point: point.latency,
        "spikes": lambda point: point.spikes_per_neuron,
    }
    along = ways[panel]
    pairs = sorted((along(point), point.accuracy) for point in points)
    return [x for x, _ in pairs], [y for _, y in pairs]


def _base(found: Tradeoffs) -> Point:
    """The point of the network that all others are changes of."""
    return next(
        point for curve in found.curves for point in curve.points
        if described(point.changes) == ""
    )


def page(report: ExperimentReport[Tradeoffs]) -> str:
    """What was done and what came out."""
    found = report.found
    about, middle = found.base, _base(found)
    rows = []
    for curve in found.curves:
        if curve.panel != "jitter":
            for x, y in zip(*_line(curve, found), strict=True):
                rows.append((PANELS[curve.panel][1], curve.name, f"{x:.3g}", f"{100 * y:.2f} %"))
    moved = [
        (curve.name, *(f"{100 * value:.2f} %" for value in _line(curve, found)[1]))
        for curve in found.curves if curve.panel == "jitter"
    ]
    changes = ", ".join(f"`{key} = {value}`" for key, value in about.changes.items())
    seeds = ", ".join(map(str, about.seeds))
    several = len(about.seeds) > 1
    point = f"the mean of the seeds {seeds}" if several else f"one network, of seed {seeds}"
    return f"""
Hardware pays for the width of weights, for every tick of a window, for exact spike times and for
every spike. How much of each does accuracy need? The base is the preset `{about.preset}` (hidden
layers {"-".join(about.layers)}) with {changes}: {100 * middle.accuracy:.2f} % of
the {about.images} test images of {report.dataset} at {middle.spikes_per_neuron:.2f} spikes
a hidden neuron. Every other network has one thing changed and is trained anew, for a short time:
these curves are for comparing networks with each other, not with the presets. A point is
{point}; one image is {100 / about.images:.2f} points.

* **Weights** have one scale a layer, or one a channel of the hidden layers (`per_channel`).
* **Ticks** are those of the image and of the hidden layers together.
* **Latency** is the sum of all windows, in ticks: what the answer waits for if time is physical.
  *All windows shorter* has fewer ticks everywhere. *Hidden windows shorter* has fewer, coarser ones
  after the image only. *Hidden windows cut* keeps the ticks as fine, and lets more neurons fire at
  tick 0 (`window`).
* **Jitter** moves every spike, those of the image too, by a normally distributed number of ticks in
  its window of {START["ticks"]}; silent neurons stay silent. All networks are judged with it; two
  of the three were trained with it.
* **Spikes** become fewer with the price of a spike (`activity_penalty`, 0 to 0.03).

{table(("along", "curve", "at", "accuracy"), rows)}
With jitter of so many ticks:

{table(("network", *(f"{move:g}" for move in found.moves)), moved)}"""
