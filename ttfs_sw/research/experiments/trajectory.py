# SPDX-License-Identifier: Apache-2.0
"""Training trajectories: ReLU and B1 the same, the alpha-model on a way of its own.

Three networks that compute the same function learn from the same batches with the same optimiser.
After every so many steps their weights are compared, the alpha-model's as the ReLU weights that
they stand for, ``J / B``.
"""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional

from ttfs_sw.common.plot import BLUE, GREEN, ORANGE, save, tidy
from ttfs_sw.common.report import FLAT, Report
from ttfs_sw.research.experiments import Claim, ExperimentReport, Options, claim, short
from ttfs_sw.research.theory.initialise import balance
from ttfs_sw.research.theory.mapping import relu_parameters, to_ttfs
from ttfs_sw.research.theory.network import TtfsNetwork
from ttfs_sw.training import topology
from ttfs_sw.training.models import ReluNetwork

__all__ = ["OPTIMISERS", "Course", "Curve", "Trajectories", "compare", "figure", "page", "run"]

logger = logging.getLogger(__name__)

#: Steps, images a step, and how often the weights are compared.
STEPS, BATCH, EVERY = 1000, 64, 20

#: Bias of hidden neurons at the start.
BIAS = 0.1

#: By what the claims are held to: as the paper trains, and with momentum-free gradient descent.
OPTIMISERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.05),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
}

#: Largest difference between weights of ReLU and B1 that is taken for rounding.
LIMIT = 1e-10

#: Least difference by which the alpha-model has left.
LEFT = 1e-3

#: Neurons of the hidden layers, and for images of more than one pixel a convolution before them.
NETWORKS = {"dense": ["64", "64"], "convolutional": ["6c3", "p2", "32"]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course(Report):
    """How three networks that started as one came apart.

    Parameters
    ----------
    b1, alpha : list of :class:`float`
        Largest difference of a weight or bias from the ReLU network's, after each multiple of
        :data:`EVERY` steps.
    loss : dict of lists of :class:`float`
        Mean since the multiple before, of each of the three; nats.
    moved : :class:`float`
        How far the ReLU network's own weights went.
    early : :class:`int`
        Spikes of B1 before their windows opened, after the first step.
    """

    b1: list[float]
    alpha: list[float]
    loss: dict[str, list[float]]
    moved: float
    early: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve(Report):
    """One kind of network, its hidden layers, the optimiser, and what came of it."""

    network: str
    layers: list[str]
    optimiser: str
    course: Course = dataclasses.field(metadata=FLAT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectories(Report):
    """What was found.

    Parameters
    ----------
    steps, batch, every : :class:`int`
        Steps of each training, images a step, and after how many steps weights are compared.
    bias : :class:`float`
        Of hidden neurons at the start.
    claims : list of :class:`ttfs_sw.research.experiments.Claim`
    curves : list of :class:`Curve`
        One a kind of network and optimiser.
    """

    steps: int
    batch: int
    every: int
    bias: float
    claims: list[Claim]
    curves: list[Curve]


def run(options: Options) -> Trajectories:
    """Train each kind of network with each optimiser."""
    dataset, device = options.dataset, options.device
    pixels = torch.from_numpy(dataset.x_train).to(device).double() / int(dataset.x_train.max())
    labels = torch.from_numpy(dataset.y_train).to(device)
    pairs = list(itertools.product(NETWORKS, OPTIMISERS))
    curves: list[Curve] = []
    claims: list[Claim] = []
    total = len(pairs) * STEPS
    for count, (kind, optimiser) in enumerate(pairs):
        layers = topology.plan(NETWORKS[kind], dataset.shape, dataset.classes)
        relu = ReluNetwork(layers, torch.Generator().manual_seed(options.seed)).double()
        # Only so that the alpha-model can start from the same function, with the kindest of slopes.
        balance(relu)
        lift(relu)

        def progress(done: int, before: int = count * STEPS) -> None:
            options.step(before + done, total)

        course = compare(
            relu.to(device), layers, batches(pixels, labels, options.seed), OPTIMISERS[optimiser],
            STEPS, progress,
        )
        logger.info("%s network, %s: B1 differs by %.1e, alpha by %.1e", kind, optimiser,
                    course.b1[-1], course.alpha[-1])
        name = f"{kind} network, {optimiser}"
        claims += [
            claim(f"{name}: largest difference of a weight in {STEPS} steps, B1 and ReLU",
                  max(course.b1), at_most=LIMIT),
            claim(f"{name}: the same after the last, α-model and ReLU",
                  course.alpha[-1], at_least=LEFT),
        ]
        curves.append(Curve(
            network=kind, layers=NETWORKS[kind], optimiser=optimiser, course=course))
    return Trajectories(
        steps=STEPS, batch=BATCH, every=EVERY, bias=BIAS, claims=claims, curves=curves)


@torch.no_grad()
def lift(relu: ReluNetwork) -> None:
    """Take the biases of hidden neurons off 0.

    Balanced weights give 0 for a patch of one grey level, and so, with a bias of 0, a membrane on
    the very kink of the ReLU, for every blank patch of every image. There rounding decides whether
    a neuron learns, and it may decide differently for the same function written in spike times.
    """
    for layer in relu.layers[:-1]:
        layer.bias.fill_(BIAS)


def batches(
    pixels: torch.Tensor, labels: torch.Tensor, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Random batches without end, in an order that the seed decides."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(len(pixels), generator=generator).split(BATCH):
            yield pixels[chosen], labels[chosen]


def compare(
    relu: ReluNetwork,
    layers: topology.Topology,
    data: Iterator[tuple[torch.Tensor, torch.Tensor]],
    optimiser: Callable[[Any], torch.optim.Optimizer],
    steps: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Course:
    """Train ``relu`` and its two networks of spike times side by side."""
    models: dict[str, ReluNetwork | TtfsNetwork] = {
        "relu": relu,
        "b1": to_ttfs(relu, layers),
        "alpha": to_ttfs(relu, layers, "alpha"),
    }
    optimisers = {name: optimiser(model.parameters()) for name, model in models.items()}
    begin = [parameter.detach().clone() for parameter in relu.parameters()]
    apart: dict[str, list[float]] = {"b1": [], "alpha": []}
    means: dict[str, list[float]] = {name: [] for name in models}
    early, losses = 0, dict.fromkeys(models, 0.0)
    for step, (images, labels) in enumerate(itertools.islice(data, steps)):
        for name, model in models.items():
            trace = model.run(images) if isinstance(model, TtfsNetwork) else None
            logits = model(images) if trace is None else trace.logits
            if trace is not None and name == "b1" and step:
                early += trace.early
            loss = functional.cross_entropy(logits, labels)
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()
            if isinstance(model, TtfsNetwork) and trace is not None:
                model.adapt(trace)
            losses[name] += loss.item() / EVERY
        if (step + 1) % EVERY == 0:
            for name, model in models.items():
                if isinstance(model, TtfsNetwork):
                    apart[name].append(short(_difference(model, relu)))
                means[name].append(short(losses[name]))
            losses = dict.fromkeys(models, 0.0)
            progress(step + 1)
    moved = max((now - then).abs().max().item()
                for now, then in zip(relu.parameters(), begin, strict=True))
    return Course(**apart, loss=means, moved=short(moved), early=early)


@torch.no_grad()
def _difference(network: TtfsNetwork, relu: ReluNetwork) -> float:
    """Largest difference between the parameters of ``relu`` and those ``network`` stands for."""
    found = []
    for (weight, bias), layer in zip(relu_parameters(network), relu.layers, strict=True):
        assert weight is not None and bias is not None, "neither network has an average"
        found.append((weight - layer.weight).abs().max().item())
        found.append((bias - layer.bias).abs().max().item())
    return max(found)


def figure(path: Path, report: ExperimentReport[Trajectories]) -> None:
    """Draw difference and loss against steps, a column for each network and optimiser."""
    curves, every = report.found.curves, report.found.every
    picture = Figure(figsize=(3.0 * len(curves) + 0.6, 5.4), layout="constrained")
    panels = picture.subplots(2, len(curves), sharex=True, sharey="row", squeeze=False)
    names = {"relu": ("ReLU", BLUE), "b1": ("B1", ORANGE), "alpha": ("α-model", GREEN)}
    for column, curve in enumerate(curves):
        course = curve.course
        steps = every * np.arange(1, len(course.b1) + 1)
        above, below = panels[:, column]
        for name, apart in (("b1", course.b1), ("alpha", course.alpha)):
            above.semilogy(steps, np.maximum(apart, 1e-18), color=names[name][1])
        above.axhline(LIMIT, color="black", linewidth=0.8, linestyle=":")
        above.set_title(f"{curve.network}, {curve.optimiser}")
        for name, (label, colour) in names.items():
            # B1 lies on ReLU: dashes show both.
            style = {"linestyle": (0, (3, 3)), "linewidth": 2.2} if name == "b1" else {}
            below.plot(steps, course.loss[name], color=colour, label=label, **style)
        below.set(xlabel="step", yscale="log")
        for axes in (above, below):
            tidy(axes)
    panels[0, 0].set_ylabel("largest difference of a weight\nfrom the ReLU network's")
    panels[1, 0].set_ylabel(f"loss, mean of {every} batches")
    handles, labels = panels[1, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(picture, path)


def page(report: ExperimentReport[Trajectories]) -> str:
    """What was done and what came out."""
    found = report.found
    worst = max(max(curve.course.b1) for curve in found.curves)
    moved = min(curve.course.moved for curve in found.curves)
    networks = " and ".join(
        f"{'-'.join(layers)} ({kind})"
        for kind, layers in {curve.network: curve.layers for curve in found.curves}.items()
    )
    return f"""
Three networks start from the same function: a ReLU network, and two networks whose neurons fire
once, in continuous time. They see the same batches of {found.batch} images from
{report.dataset} in the same order, in float64, and learn with the same optimiser for
{found.steps} steps. The hidden layers are {networks}. Weights are drawn so that those of a
hidden neuron add up to 0: then all slopes of the α-model are 1 at the start, as those of B1 always
are, and even its weights are the same. Biases start at {found.bias}: at 0 a blank patch of an
image would lie on the kink of the ReLU, where rounding decides which way it goes.

**B1** has a constant slope at threshold. Its weights are those of the ReLU network and so are its
gradients, written in spike times: the two trainings are one. The largest difference of any weight
at any step is {worst:.1e}, which is rounding, while weights moved by {moved:.2g} and more.

The **α-model** goes on with the slope that its inputs have given it. Its own weights `J` stand for
the ReLU weights `J / (α + ΣJ)`, so that a step along its gradient is another step of the function:
it leaves the trajectory at once. What it learns, if it learns, is something else.

The windows of both adapt to each batch: ten times the largest activation at least. No activation
depends on them.
"""
