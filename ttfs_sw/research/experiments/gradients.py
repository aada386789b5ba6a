# SPDX-License-Identifier: Apache-2.0
"""Exploding gradients of a slope at threshold that is left to chance, and the two cures.

The spike times of a deep network depend on those of its input by a product of one matrix a layer,
``diag(fired) w / B``. Its singular values say what becomes of a gradient on its way back. They are
measured against depth for three networks: B1, and the alpha-model drawn naively and with care.
"""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.nn import functional

from ttfs_sw.common.plot import BLUE, GREEN, ORANGE, save, tidy
from ttfs_sw.common.report import FLAT, Report
from ttfs_sw.research.experiments import Claim, ExperimentReport, Options, claim, short
from ttfs_sw.research.theory.initialise import naive, smart
from ttfs_sw.research.theory.mapping import to_ttfs
from ttfs_sw.research.theory.network import TtfsNetwork, TtfsTrace
from ttfs_sw.training import topology
from ttfs_sw.training.models import ReluNetwork

__all__ = ["Gradients", "Learned", "Network", "Quantiles", "Spectra", "figure", "jacobians",
           "page", "run"]

logger = logging.getLogger(__name__)

#: Neurons a layer, layers, and from how many draws and images of each the spectra are taken.
WIDTH, DEPTH, DRAWS, IMAGES = 64, 16, 8, 6

#: The networks, as the figure calls them.
NAMES = {
    "b1": "B1, constant slope", "smart": "α-model, mapped draw", "naive": "α-model, naive draw",
}

#: What the median of the largest singular value at full depth is held to.
TAME, WILD = 30.0, 1e3

#: Hidden layers of the networks that are trained, steps, and images a step.
TRAINED, STEPS, BATCH = 8, 200, 32

#: Borders of the histogram of slopes.
SLOPES = np.linspace(-4, 5, 37)

#: Learning rates that each network is trained with; the best counts.
RATES = (0.05, 0.01, 0.002, 0.0004)

#: Steps whose loss is shown as one point.
EVERY = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantiles(Report):
    """Median, and the ends of the middle 80 %, over draws and images; one a hidden layer."""

    low: list[float]
    median: list[float]
    high: list[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectra(Report):
    """What a gradient is multiplied by on its way back.

    Parameters
    ----------
    largest, mean : :class:`Quantiles`
        Singular values of the Jacobian up to each layer: the largest, and the root of their mean
        square.
    slopes : list of :class:`int`
        Neurons of the first layer by their slope at threshold, between the :data:`SLOPES`.
    closed_form : :class:`float`
        Largest difference of the Jacobian from that of autograd, as a share of its largest entry.
    slopes_not_positive : :class:`float`
        Share of the neurons of the first layer.
    """

    largest: Quantiles
    mean: Quantiles
    slopes: list[int]
    closed_form: float
    slopes_not_positive: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned(Report):
    """A short training: learning rate, loss (nats, mean of each :data:`EVERY` steps), accuracy."""

    rate: float
    loss: list[float]
    accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Report):
    """One of the three: its spectra, its best training, and the accuracy by learning rate."""

    spectra: Spectra = dataclasses.field(metadata=FLAT)
    learned: Learned = dataclasses.field(metadata=FLAT)
    accuracies: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gradients(Report):
    """What was found.

    Parameters
    ----------
    width, depth : :class:`int`
        Neurons a layer, and layers, of the spectra.
    draws, images : :class:`int`
        How many networks, and images of each.
    steps, trained_layers : :class:`int`
        Of the trainings.
    every : :class:`int`
        Steps whose loss is one point.
    claims : list of :class:`ttfs_sw.research.experiments.Claim`
    networks : dict of :class:`Network`
        By the names of :data:`NAMES`.
    """

    width: int
    depth: int
    draws: int
    images: int
    steps: int
    trained_layers: int
    every: int
    claims: list[Claim]
    networks: dict[str, Network]


def make(name: str, layers: topology.Topology, seed: int) -> TtfsNetwork:
    """One of the three networks of :data:`NAMES`, drawn from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    if name == "naive":
        return naive(layers, generator)
    if name == "smart":
        return smart(layers, generator)
    return to_ttfs(ReluNetwork(layers, generator).double(), layers)


@torch.no_grad()
def jacobians(network: TtfsNetwork, trace: TtfsTrace) -> list[torch.Tensor]:
    """What a layer's spike times owe to the input's, ``[images, neurons, inputs]``, in closed form.

    One for each hidden layer of a network of dense layers: the product of ``diag(fired) w / B`` up
    to it.
    """
    found: list[torch.Tensor] = []
    for layer, spikes in zip(network.layers, trace.maps[1:], strict=False):
        step = layer.weight / layer.slope[:, None]
        # A slope of 0 divides by nothing, but such a neuron is silent.
        fired = spikes.fired.flatten(1)[:, :, None]
        here = torch.where(fired, step, 0.0)
        found.append(here @ found[-1] if found else here)
    return found


def run(options: Options) -> Gradients:
    """Spectra against depth, slopes, and training of a deep network, for each of the three."""
    dataset, device = options.dataset, options.device
    values = torch.from_numpy(dataset.x_train).to(device).double() / int(dataset.x_train.max())
    labels = torch.from_numpy(dataset.y_train).to(device)
    layers = topology.plan([str(WIDTH)] * DEPTH, dataset.shape, dataset.classes)
    each = DRAWS + len(RATES) * STEPS
    total = len(NAMES) * each
    found: dict[str, Network] = {}
    claims: list[Claim] = []
    for count, name in enumerate(NAMES):
        done = count * each
        spectra = _spectra(name, layers, values, options, done, total)
        trained = []
        for place, rate in enumerate(RATES):
            before = done + DRAWS + place * STEPS
            trained.append(_learn(name, rate, values, labels, options, before, total))
        best = max(trained, key=lambda each: each.accuracy)
        found[name] = Network(spectra=spectra, learned=best, accuracies={
            str(each.rate): each.accuracy for each in trained})
        largest = spectra.largest.median[-1]
        limit = {"at_least": WILD} if name == "naive" else {"at_most": TAME}
        claims += [
            claim(f"{NAMES[name]}: largest singular value after {DEPTH} layers, median", largest,
                  **limit),
            claim(f"{NAMES[name]}: closed form against automatic differentiation",
                  spectra.closed_form, at_most=1e-10),
            claim(f"{NAMES[name]}: training accuracy, {TRAINED} layers, {STEPS} steps, best rate",
                  best.accuracy),
        ]
        logger.info("%s: largest singular value %.3g after %d layers, accuracy %.3f", NAMES[name],
                    largest, DEPTH, best.accuracy)
    return Gradients(width=WIDTH, depth=DEPTH, draws=DRAWS, images=IMAGES, steps=STEPS,
                     trained_layers=TRAINED, every=EVERY, claims=claims, networks=found)


def _spectra(
    name: str, layers: topology.Topology, values: torch.Tensor, options: Options, done: int,
    total: int,
) -> Spectra:
    """Singular values against depth: quantiles over draws and images; and the slopes of layer 1."""
    largest, mean, worst = [], [], 0.0
    slopes: list[float] = []
    for draw in range(DRAWS):
        network = make(name, layers, 1000 * options.seed + draw).to(options.device)
        chosen = values[draw * IMAGES:(draw + 1) * IMAGES]
        network.calibrate(chosen)
        products = jacobians(network, network.run(chosen))
        if draw == 0:
            worst = _against_autograd(network, chosen[:2], products)
        singular = torch.stack([torch.linalg.svdvals(product) for product in products])
        largest.append(singular[:, :, 0])
        # Root of the mean square: what a gradient that points anywhere is multiplied by.
        mean.append(singular.square().mean(dim=2).sqrt())
        slopes += network.layers[0].slope.tolist()
        options.step(done + draw + 1, total)
    return Spectra(
        largest=_quantiles(torch.cat(largest, dim=1)),
        mean=_quantiles(torch.cat(mean, dim=1)),
        # Beyond the ends: at the ends.
        slopes=np.histogram(np.clip(slopes, SLOPES[0], SLOPES[-1]), SLOPES)[0].tolist(),
        closed_form=worst,
        slopes_not_positive=float(np.mean(np.array(slopes) <= 0)),
    )


def _quantiles(values: torch.Tensor) -> Quantiles:
    """Median, and the middle 80 %, along the last axis."""
    low, median, high = torch.quantile(values, torch.tensor([0.1, 0.5, 0.9]).to(values), dim=1)
    return Quantiles(low=[*map(short, low.tolist())], median=[*map(short, median.tolist())],
                     high=[*map(short, high.tolist())])


def _against_autograd(
    network: TtfsNetwork, values: torch.Tensor, products: list[torch.Tensor]
) -> float:
    """Largest difference of a closed-form Jacobian from autograd's, as a share of its largest."""

    def times(inputs: torch.Tensor) -> torch.Tensor:
        # Spike times of the input are 1 - x: the sign of one side, which the other side has too.
        return -network.run(inputs).maps[-1].times.flatten(1).sum(dim=0)

    found = torch.autograd.functional.jacobian(times, values).transpose(0, 1)
    expected = products[-1][:len(values)]
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-300)).item()


def _learn(
    name: str, rate: float, values: torch.Tensor, labels: torch.Tensor, options: Options, done: int,
    total: int,
) -> Learned:
    """Train a deep network for a few steps; loss on the way and training accuracy at the end."""
    shape, classes = options.dataset.shape, options.dataset.classes
    layers = topology.plan([str(WIDTH)] * TRAINED, shape, classes)
    network = make(name, layers, options.seed).to(options.device)
    network.calibrate(values[:BATCH])
    optimiser = torch.optim.SGD(network.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(options.seed)
    losses, recent = [], []
    for step in range(STEPS):
        chosen = torch.randint(len(values), (BATCH,), generator=generator)
        trace = network.run(values[chosen])
        loss = functional.cross_entropy(trace.logits, labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        network.adapt(trace)
        recent.append(min(loss.item(), 1e12) if np.isfinite(loss.item()) else 1e12)
        if (step + 1) % EVERY == 0:
            losses.append(short(float(np.mean(recent))))
            recent = []
            options.step(done + step + 1, total)
    with torch.no_grad():
        answers = torch.cat([network(part) for part in values[:5000].split(500)]).argmax(dim=1)
    accuracy = (answers == labels[:5000]).double().mean().item()
    return Learned(rate=rate, loss=losses, accuracy=accuracy)


def figure(path: Path, report: ExperimentReport[Gradients]) -> None:
    """Draw singular values against depth, the slopes of one layer, and the loss of training."""
    found = report.found
    picture = Figure(figsize=(12, 3.9), layout="constrained")
    spectra, slopes, losses = picture.subplots(1, 3)
    colours = {"b1": ORANGE, "smart": GREEN, "naive": BLUE}
    depth = np.arange(1, found.depth + 1)
    for name, network in found.networks.items():
        colour, loss = colours[name], network.learned.loss
        largest, mean = network.spectra.largest, network.spectra.mean
        low, high = (np.maximum(values, 1e-12) for values in (largest.low, largest.high))
        spectra.fill_between(depth, low, high, color=colour, alpha=0.18, linewidth=0)
        spectra.plot(depth, largest.median, color=colour, label=NAMES[name])
        spectra.plot(depth, mean.median, color=colour, linestyle="--")
        losses.plot(found.every * np.arange(1, len(loss) + 1), loss, color=colour)
        # All slopes of B1 are 1, and so are those of the mapped draw: the line below.
        if name == "naive":
            slopes.stairs(network.spectra.slopes, SLOPES, color=colour, alpha=0.55, fill=True)
    slopes.axvline(1, color=ORANGE)
    slopes.axvline(1, color=GREEN, linestyle=(0, (4, 4)))
    slopes.axvline(0, color="black", linewidth=0.8, linestyle=":")
    spectra.set(title="singular values of the Jacobian", xlabel="layers", yscale="log",
                ylabel="largest (80 % of draws), and mean (dashed)")
    slopes.set(title="slope at threshold, first layer", xlabel="B (beyond the ends: at the ends)",
               ylabel="neurons")
    losses.set(title=f"training {found.trained_layers} layers, best rate",
               xlabel="step",
               ylabel=f"loss, mean of {found.every} steps", yscale="log")
    for axes in (spectra, slopes, losses):
        tidy(axes)
    spectra.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = spectra.get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(picture, path)


def page(report: ExperimentReport[Gradients]) -> str:
    """What was done and what came out."""
    found = report.found
    networks, depth = found.networks, found.depth
    last = {name: network.spectra.largest.median[-1] for name, network in networks.items()}
    share = networks["naive"].spectra.slopes_not_positive
    rates = ", ".join(networks["b1"].accuracies)
    accuracy = {
        name: f"{100 * network.learned.accuracy:.1f} %" for name, network in networks.items()
    }
    return f"""
How the spike times of a layer depend on those of the layer before is a matrix, `W / B`, with a row
of zeros for each silent neuron: the weights divided by the slope with which the membrane meets its
threshold. A gradient goes back through the product of all of them. Here are {depth} layers of
{found.width} neurons, {found.draws} draws, {found.images} images of
{report.dataset} each.

**The problem.** In the α-model `B = α + ΣJ`. Draw the weights `J` as one draws those of a ReLU
network, and the slope of some neuron in every layer comes close to 0, while {100 * share:.0f} % of
them are not positive at all and never fire. Rows that are divided by next to nothing explode: after
{depth} layers the largest singular value is {last["naive"]:.1e} in the median.

**Two cures at the start.** Draw the weights `W` of a ReLU network, shifted so that `ΣW = 0`, and
map them, `J = α W / (1 - ΣW)`: the slopes are all `α`, and the Jacobian is that of the ReLU network
({last["smart"]:.2f} in the median). Or let the slope be constant, as B1 does
({last["b1"]:.2f}).

**One cure that lasts.** The slopes of the mapped α-model move as it learns; those of B1 cannot.
{found.trained_layers} hidden layers were trained for {found.steps} steps of gradient
descent, with each of the rates {rates}. The best training accuracy is {accuracy["b1"]} for B1,
{accuracy["smart"]} for the mapped α-model and {accuracy["naive"]} for the naive one.
"""
