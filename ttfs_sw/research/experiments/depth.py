# SPDX-License-Identifier: Apache-2.0
"""Deep LIF networks: gradients over depth for slopes of the surrogate, and who of them learns.

Ledinauskas et al. ("Training Deep Spiking Neural Networks", arXiv 2006.04436): through many layers
and steps, surrogate gradients explode or vanish unless the surrogate is tuned; batch norm of the
currents is needed too. The neuron and its surrogate, ``1 / (1 + α |v - 1|)²``, are those of
:mod:`ttfs_sw.research.neighbours.lif`; α is the slope.
"""

import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from ttfs_sw.common.plot import BLUE, GREEN, GREY, ORANGE, save, tidy
from ttfs_sw.common.report import Report
from ttfs_sw.research.experiments import Claim, ExperimentReport, Options, claim, short
from ttfs_sw.research.experiments.deep import ReluNorm, accuracy, layers, train
from ttfs_sw.research.experiments.pages import table
from ttfs_sw.research.neighbours.lif import LifModel, gradient_norms, tune
from ttfs_sw.research.neighbours.time_losses import mean
from ttfs_sw.training import topology

__all__ = ["Accuracy", "Depth", "Gradients", "factor", "figure", "page", "run"]

logger = logging.getLogger(__name__)

#: Hidden layers, and time steps.
DEPTHS, TIME = (3, 9, 17), 4

#: How layers are joined.
KINDS = ("residual", "plain")

#: Slopes that nobody tuned: too flat, and too steep. SuperSpike's is steep.
FLAT, STEEP = 0.25, 8.0

#: Slopes among which the tuned one is found, and those whose gradients are shown with it.
GRID = tuple(0.25 * 2 ** (step / 4) for step in range(25))
SHOWN = (FLAT, 1.0, STEEP)

#: Training images on which a slope is tuned, and as many others on which gradients are measured.
IMAGES = 128

#: Who is trained: slope (``None`` is the tuned one), and whether currents are normalised.
VARIANTS: dict[str, tuple[float | None, bool]] = {
    "tuned, norm": (None, True), "flat, norm": (FLAT, True), "steep, norm": (STEEP, True),
    "tuned, no norm": (None, False), "steep, no norm": (STEEP, False),
}
RELU = "ReLU, norm"

#: Steps of training on digits and on what is larger, images a step, and the learning rate.
STEPS, STEPS_LARGE, BATCH, RATE = 110, 150, 64, 0.05

#: A second chance for whom that rate may not suit: a tenth of it where gradients explode, ten times
#: it where they vanish, with batch norm. The better of the two counts.
SECOND = {FLAT: 0.1, STEEP: 10.0}

#: Factor between the gradients of the first and the last layer that is tame, and that is wild.
TAME, WILD = 5.0, 1e3

#: Share of silent layers without batch norm.
SILENT = 0.5

#: Points by which the tuned network with batch norm is to be ahead at full depth.
AHEAD = 15.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gradients(Report):
    """A LIF network before training.

    Parameters
    ----------
    kind : :class:`str`
        How its layers are joined, one of :data:`KINDS`.
    depth : :class:`int`
        Hidden layers.
    norm : :class:`bool`
        Whether currents are normalised.
    tuned : :class:`float`
        The slope that keeps gradients alike.
    norms : dict of lists of :class:`float`
        Size of the gradient of each layer's weights, for the slope ``"tuned"`` and for others.
    rates : list of :class:`float`
        Spikes of a neuron and step in each layer.
    """

    kind: str
    depth: int
    norm: bool
    tuned: float
    norms: dict[str, list[float]]
    rates: list[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy(Report):
    """A trained network: how it is joined, hidden layers, its name, share of the test images that
    it has right with its better learning rate, and with each."""

    kind: str
    depth: int
    network: str
    accuracy: float
    accuracies: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Depth(Report):
    """What was found.

    Parameters
    ----------
    depths : list of :class:`int`
        Hidden layers of the networks.
    layers : list of :class:`str`
        Those of the deepest residual one.
    time_steps, steps, batch : :class:`int`
        Of an image, of a training, and images a step of it.
    rate : :class:`float`
        Learning rate.
    flat, steep : :class:`float`
        Slopes that nobody tuned.
    images_test : :class:`int`
        Test images.
    claims : list of :class:`ttfs_sw.research.experiments.Claim`
    gradients : list of :class:`Gradients`
    accuracies : list of :class:`Accuracy`
    """

    depths: list[int]
    layers: list[str]
    time_steps: int
    steps: int
    batch: int
    rate: float
    flat: float
    steep: float
    images_test: int
    claims: list[Claim]
    gradients: list[Gradients]
    accuracies: list[Accuracy]


def run(options: Options) -> Depth:
    """Gradients at the start, and accuracy after a short training, for every depth."""
    dataset = options.dataset
    steps = STEPS if dataset.name == "digits" else STEPS_LARGE
    values = torch.from_numpy(dataset.x_train).float() / int(dataset.x_train.max())
    values, labels = values.to(options.device), torch.from_numpy(dataset.y_train).to(options.device)
    # In the order of the files, neighbours may be by one hand.
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(options.seed))
    values, labels = values[order], labels[order]
    plans = {(kind, depth): topology.plan(layers(kind, depth, dataset), dataset.shape,
                                          dataset.classes) for kind in KINDS for depth in DEPTHS}
    # The publication's networks are residual: these are trained, of few layers and of many.
    trained = [("residual", depth, name) for depth in (DEPTHS[0], DEPTHS[-1])
               for name in (*VARIANTS, RELU)]
    total, done = 2 * len(plans) + len(trained), 0
    gradients: list[Gradients] = []
    for kind, depth in plans:
        for norm in (True, False):
            plan = plans[kind, depth]
            gradients.append(_gradients(kind, depth, plan, norm, values, labels, options))
            done += 1
            options.step(done, total)
    slopes = {(entry.kind, entry.depth, entry.norm): entry.tuned for entry in gradients}
    accuracies: list[Accuracy] = []
    for kind, depth, name in trained:
        slope, norm = VARIANTS.get(name, (None, True))
        found = {}
        other = SECOND.get(slope) if slope is not None and norm else None
        for rate in (RATE,) if other is None else (RATE, RATE * other):
            generator = torch.Generator().manual_seed(options.seed)
            plan, used = plans[kind, depth], slope or slopes[kind, depth, norm]
            model: nn.Module = ReluNorm(plan, generator) if name == RELU else LifModel(
                plan, generator, steps=TIME, norm=norm, slope=used)
            model.to(options.device)
            train(model, values, labels, rate, steps, options.seed, BATCH)
            found[f"{rate:g}"] = accuracy(model, options)
        accuracies.append(Accuracy(kind=kind, depth=depth, network=name,
                                   accuracy=max(found.values()), accuracies=found))
        logger.info("%s, %d layers, %s: %s", kind, depth, name, found)
        done += 1
        options.step(done, total)
    return Depth(depths=list(DEPTHS), layers=layers("residual", DEPTHS[-1], dataset),
                 time_steps=TIME, steps=steps, batch=BATCH, rate=RATE, flat=FLAT, steep=STEEP,
                 images_test=len(dataset.y_test), claims=_claims(gradients, accuracies),
                 gradients=gradients, accuracies=accuracies)


def _gradients(
    kind: str, depth: int, plan: topology.Topology, norm: bool, values: torch.Tensor,
    labels: torch.Tensor, options: Options,
) -> Gradients:
    """Tune a slope; gradients of each layer for it and for others; and how many layers fire."""
    model = LifModel(plan, torch.Generator().manual_seed(options.seed), steps=TIME, norm=norm)
    model = model.to(options.device)
    tuned = tune(model, values[:IMAGES], labels[:IMAGES], mean, GRID)
    other = slice(IMAGES, 2 * IMAGES)
    norms: dict[str, list[float]] = {}
    for slope in (tuned, *SHOWN):
        model.slope = slope
        found = gradient_norms(model, values[other], labels[other], mean)
        norms["tuned" if not norms else f"{slope:g}"] = [*map(short, found)]
    rates = []
    with torch.no_grad():
        model(values[other], lambda _, spikes: rates.append(short(spikes.mean().item())))
    return Gradients(kind=kind, depth=depth, norm=norm, tuned=tuned, norms=norms, rates=rates)


def factor(norms: list[float]) -> float:
    """Return by what factor the first and the last layer's gradients differ; none: infinite."""
    if not min(norms[0], norms[-1]) > 0:
        return math.inf
    return max(norms[0] / norms[-1], norms[-1] / norms[0])


def _claims(gradients: list[Gradients], accuracies: list[Accuracy]) -> list[Claim]:
    """What the publication says, in figures."""
    claims: list[Claim] = []
    shallow, deepest = DEPTHS[0], DEPTHS[-1]
    found = {(entry.kind, entry.depth, entry.norm): entry for entry in gradients}
    for kind in KINDS:
        norms, words = found[kind, deepest, True].norms, f"{kind}, {deepest} layers, norm"
        flat, steep = norms[f"{FLAT:g}"], norms[f"{STEEP:g}"]
        claims += [
            claim(f"{words}: factor between the first and the last layer's gradients, tuned slope",
                  short(factor(norms["tuned"])), at_most=TAME),
            # Not as factors: what explodes is not to pass for what vanishes.
            claim(f"{words}: first layer's gradient over the last's, slope {FLAT:g} (explodes)",
                  short(flat[0] / flat[-1]), at_least=WILD),
            claim(f"{words}: first layer's gradient over the last's, slope {STEEP:g} (vanishes)",
                  short(steep[0] / steep[-1]), at_most=1 / WILD),
        ]
    rates = found["plain", deepest, False].rates
    claims.append(claim(
        f"plain, {deepest} layers, no norm: share of the hidden layers that never fire",
        short(float(np.mean([rate == 0 for rate in rates]))), at_least=SILENT))
    right = {(entry.kind, entry.depth, entry.network): 100 * entry.accuracy
             for entry in accuracies}

    def ahead(kind: str, depth: int, names: tuple[str, ...]) -> float:
        best = max(right[kind, depth, name] for name in names)
        return short(right[kind, depth, "tuned, norm"] - best)

    untuned = ("flat, norm", "steep, norm")
    words = f"residual, {deepest} layers: points that a tuned slope and norm are ahead of"
    claims.append(claim(f"{words} badly chosen slopes and norm",
                        ahead("residual", deepest, untuned), at_least=AHEAD))
    # What batch norm adds depends on the images: residuals keep some neurons firing without it.
    claims += [
        claim(f"{words} a tuned slope alone", ahead("residual", deepest, ("tuned, no norm",))),
        claim(f"{words} neither", ahead("residual", deepest, ("steep, no norm",))),
    ]
    return claims + [
        claim(f"residual, {shallow} layers: points that they are ahead of badly chosen slopes",
              ahead("residual", shallow, untuned)),
        claim(f"residual, {deepest} layers: points that they are behind ReLUs with norm",
              -ahead("residual", deepest, (RELU,))),
    ]


#: Colour and line of each slope in the figure, and of each network that is trained.
LINES: dict[str, tuple[str, str]] = {
    "tuned": (GREEN, "o-"), f"{FLAT:g}": (ORANGE, "s-"), "1": (GREY, "-"),
    f"{STEEP:g}": (BLUE, "^-"),
}
COLOURS = {
    "tuned, norm": GREEN, "flat, norm": ORANGE, "steep, norm": BLUE, "tuned, no norm": "#8fd0bd",
    "steep, no norm": "#8cbcdc", RELU: GREY,
}


def figure(path: Path, report: ExperimentReport[Depth]) -> None:
    """Draw the gradient of each layer, how far they are apart at each depth, and accuracies."""
    picture = Figure(figsize=(12, 6.8), layout="constrained")
    (first, second, third), (fourth, fifth, sixth) = picture.subplots(2, 3)
    found = report.found
    shallow, deepest = found.depths[0], found.depths[-1]
    by_key = {(entry.kind, entry.depth, entry.norm): entry for entry in found.gradients}

    def drawn(axes: Axes, norms: dict[str, list[float]], title: str) -> None:
        for name, (colour, line) in LINES.items():
            label = "tuned slope" if name == "tuned" else f"slope {name}"
            axes.plot(range(1, len(norms[name]) + 1), _positive(norms[name]), line, color=colour,
                      markersize=3, label=label)
        axes.set(title=title, xlabel="layer", ylabel="gradient of its weights", yscale="log")

    drawn(first, by_key["residual", deepest, True].norms, f"residual, batch norm, {deepest} layers")
    drawn(second, by_key["plain", deepest, True].norms, f"plain, batch norm, {deepest} layers")
    for name, (colour, line) in LINES.items():
        apart = [by_key["residual", depth, True].norms[name] for depth in found.depths]
        fifth.plot(found.depths, [norms[0] / norms[-1] for norms in apart], line, color=colour,
                   markersize=3)
    fifth.axhline(1, color="black", linewidth=0.8, linestyle=":")
    fifth.set(title="residual, batch norm", xlabel="hidden layers", yscale="log",
              ylabel="first layer's gradient / last's", xticks=found.depths)
    names = list(COLOURS)[::-1]
    right = {(entry.network, entry.depth): 100 * entry.accuracy for entry in found.accuracies}
    third.barh(names, [right[name, deepest] for name in names], 0.6,
               color=[COLOURS[name] for name in names])
    third.plot([right[name, shallow] for name in names], names, "k|", markersize=16)
    third.set(title=f"residual, {deepest} layers, trained {found.steps} steps",
              xlabel=f"accuracy, % (marks: {shallow} layers)", xlim=(0, 101))
    drawn(fourth, by_key["residual", deepest, False].norms, f"residual, no norm, {deepest} layers")
    for norm, line, label in ((True, "o-", "batch norm"), (False, "o:", "no norm")):
        for kind, colour in (("residual", BLUE), ("plain", ORANGE)):
            rates = by_key[kind, deepest, norm].rates
            sixth.plot(range(1, deepest + 1), rates, line, color=colour, markersize=3,
                       label=f"{kind}, {label}")
    sixth.set(title=f"before training, {deepest} layers", xlabel="layer",
              ylabel="spikes of a neuron and step", ylim=(-0.005, None))
    sixth.legend(frameon=False, fontsize=8)
    for axes in (first, second, third, fourth, fifth, sixth):
        tidy(axes)
    first.legend(frameon=False, fontsize=8)
    save(picture, path)


def _positive(norms: list[float]) -> np.ndarray:
    """Sizes for a logarithmic axis, which has no place for 0."""
    return np.where(np.array(norms) > 0, norms, np.nan)


def page(report: ExperimentReport[Depth]) -> str:
    """What was done and what came out."""
    found = report.found
    shallow, deepest = found.depths[0], found.depths[-1]
    gradients = [
        (entry.kind, entry.depth, "yes" if entry.norm else "no", f"{entry.tuned:.3g}",
         *(_shown(entry.norms[name]) for name in LINES),
         f"{sum(rate == 0 for rate in entry.rates)} of {entry.depth}")
        for entry in found.gradients
    ]
    header = ("joined", "layers", "norm", "tuned slope", "first / last, tuned",
              *(f"slope {name}" for name in list(LINES)[1:]), "silent layers")
    right = {(entry.depth, entry.network): entry.accuracy for entry in found.accuracies}
    rows = [(name, *(f"{right[depth, name]:.1%}" for depth in (shallow, deepest)))
            for name in COLOURS]
    best, alone, relu = (
        right[deepest, name] for name in ("tuned, norm", "tuned, no norm", RELU))
    untuned = max(right[deepest, name] for name in ("flat, norm", "steep, norm"))
    return f"""
A network of spiking neurons is as deep as its layers and time steps together: its surrogate
gradients are multiplied by one factor after another on their way back. Here are up to
{deepest} layers of leaky neurons, {found.time_steps} time steps:
{", ".join(found.layers[:5])} and so on, where "+1" adds the map of layer 1; plain networks add
nothing. The surrogate is `1 / (1 + α |v - 1|)²`, α its slope.

**Gradients before training.** The slope is tuned on {IMAGES} training images of
{report.dataset} so that the weights of the first and the last hidden layer get gradients of like
size, and gradients are measured on {IMAGES} others. First layer's over last's:

{table(header, gradients)}

With batch norm a slope of {found.flat:g} makes gradients explode and one of
{found.steep:g} makes them vanish, by a factor more for every layer; the tuned one is found
between. How large it is depends little on the depth, but how exactly it must be met does. Without
batch norm fewer and fewer neurons fire from layer to layer; in a deep plain network none do, and no
slope can help. Residuals keep some firing.

**After a short training**, {found.steps} steps of {found.batch} images by gradient descent
with momentum, test accuracy on {found.images_test} images:

{table(("residual network", f"{shallow} layers", f"{deepest} layers"), rows)}

"Flat" is the slope {found.flat:g}, "steep" {found.steep:g}. The learning rate is
{found.rate:g}; with batch norm, flat slopes had a second try with a tenth of it and steep ones
with ten times as much, and the better counts. It is plain
gradient descent on purpose: Adam divides gradients by their size.

With {deepest} layers and batch norm it is the slope that decides: {best:.1%} with a tuned one, at
most {untuned:.1%} with the others. Without batch norm a tuned slope has {alone:.1%}; how much less
that is depends on the images. A ReLU network of the same shape and norms has {relu:.1%}: spiking
ones fall behind it, as the publication says of its own. One seed is one seed, and the
publication's images and ResNet50 are far larger.
"""


def _shown(norms: list[float]) -> str:
    """First layer's gradient over the last's, for a table."""
    return f"{norms[0] / norms[-1]:.2g}" if norms[-1] else "none arrive"
