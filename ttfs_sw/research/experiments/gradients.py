"""Exploding gradients of a slope at threshold that is left to chance, and the two cures.

The spike times of a deep network depend on those of its input by a product of one matrix a layer,
``diag(fired) w / B``. Its singular values say what becomes of a gradient on its way back. They are
measured against depth for three networks: B1, and the alpha-model drawn naively and with care.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.nn import functional

from ttfs_sw.common.plot import BLUE, GREEN, ORANGE, save, tidy
from ttfs_sw.research.experiments import Options, claim, short
from ttfs_sw.research.theory.initialise import naive, smart
from ttfs_sw.research.theory.mapping import to_ttfs
from ttfs_sw.research.theory.network import Trace, TtfsNetwork
from ttfs_sw.training import topology
from ttfs_sw.training.models import ReluNetwork

__all__ = ["figure", "jacobians", "page", "run"]

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


def make(name: str, layers: topology.Topology, seed: int) -> TtfsNetwork:
    """One of the three networks of :data:`NAMES`, drawn from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    if name == "naive":
        return naive(layers, generator)
    if name == "smart":
        return smart(layers, generator)
    return to_ttfs(ReluNetwork(layers, generator).double(), layers)


@torch.no_grad()
def jacobians(network: TtfsNetwork, trace: Trace) -> list[torch.Tensor]:
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


def run(options: Options) -> dict[str, Any]:
    """Spectra against depth, slopes, and training of a deep network, for each of the three."""
    dataset, device = options.dataset, options.device
    values = torch.from_numpy(dataset.x_train).to(device).double() / int(dataset.x_train.max())
    labels = torch.from_numpy(dataset.y_train).to(device)
    layers = topology.plan([str(WIDTH)] * DEPTH, dataset.shape, dataset.classes)
    each = DRAWS + len(RATES) * STEPS
    total = len(NAMES) * each
    found, claims = {}, []
    for count, name in enumerate(NAMES):
        done = count * each
        entry = _spectra(name, layers, values, options, done, total)
        trained = []
        for place, rate in enumerate(RATES):
            before = done + DRAWS + place * STEPS
            trained.append(_learn(name, rate, values, labels, options, before, total))
        entry |= max(trained, key=lambda found: found["accuracy"])
        entry["accuracies"] = {str(found["rate"]): found["accuracy"] for found in trained}
        found[name] = entry
        largest = entry["largest"]["median"][-1]
        limit = {"at_least": WILD} if name == "naive" else {"at_most": TAME}
        claims += [
            claim(f"{NAMES[name]}: largest singular value after {DEPTH} layers, median", largest,
                  **limit),
            claim(f"{NAMES[name]}: closed form against automatic differentiation",
                  entry["closed_form"], at_most=1e-10),
            claim(f"{NAMES[name]}: training accuracy, {TRAINED} layers, {STEPS} steps, best rate",
                  entry["accuracy"]),
        ]
        logger.info("%s: largest singular value %.3g after %d layers, accuracy %.3f", NAMES[name],
                    largest, DEPTH, entry["accuracy"])
    return {"width": WIDTH, "depth": DEPTH, "draws": DRAWS, "images": IMAGES, "steps": STEPS,
            "trained_layers": TRAINED, "every": EVERY, "claims": claims, "networks": found}


def _spectra(
    name: str, layers: topology.Topology, values: torch.Tensor, options: Options, done: int,
    total: int,
) -> dict[str, Any]:
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
    return {
        "largest": _quantiles(torch.cat(largest, dim=1)),
        "mean": _quantiles(torch.cat(mean, dim=1)),
        # Beyond the ends: at the ends.
        "slopes": np.histogram(np.clip(slopes, SLOPES[0], SLOPES[-1]), SLOPES)[0].tolist(),
        "closed_form": worst,
        "slopes_not_positive": float(np.mean(np.array(slopes) <= 0)),
    }


def _quantiles(values: torch.Tensor) -> dict[str, list[float]]:
    """Median, and the middle 80 %, along the last axis."""
    low, median, high = torch.quantile(values, torch.tensor([0.1, 0.5, 0.9]).to(values), dim=1)
    return {"low": [*map(short, low.tolist())], "median": [*map(short, median.tolist())],
            "high": [*map(short, high.tolist())]}


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
) -> dict[str, Any]:
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
    return {"rate": rate, "loss": losses, "accuracy": accuracy}


def figure(path: Path, report: dict[str, Any]) -> None:
    """Draw singular values against depth, the slopes of one layer, and the loss of training."""
    picture = Figure(figsize=(12, 3.9), layout="constrained")
    spectra, slopes, losses = picture.subplots(1, 3)
    colours = {"b1": ORANGE, "smart": GREEN, "naive": BLUE}
    depth = np.arange(1, report["depth"] + 1)
    for name, entry in report["networks"].items():
        colour, largest, mean = colours[name], entry["largest"], entry["mean"]
        low, high = (np.maximum(largest[key], 1e-12) for key in ("low", "high"))
        spectra.fill_between(depth, low, high, color=colour, alpha=0.18, linewidth=0)
        spectra.plot(depth, largest["median"], color=colour, label=NAMES[name])
        spectra.plot(depth, mean["median"], color=colour, linestyle="--")
        steps = report["every"] * np.arange(1, len(entry["loss"]) + 1)
        losses.plot(steps, entry["loss"], color=colour)
        # All slopes of B1 are 1, and so are those of the mapped draw: the line below.
        if name == "naive":
            slopes.stairs(entry["slopes"], SLOPES, color=colour, alpha=0.55, fill=True)
    slopes.axvline(1, color=ORANGE)
    slopes.axvline(1, color=GREEN, linestyle=(0, (4, 4)))
    slopes.axvline(0, color="black", linewidth=0.8, linestyle=":")
    spectra.set(title="singular values of the Jacobian", xlabel="layers", yscale="log",
                ylabel="largest (80 % of draws), and mean (dashed)")
    slopes.set(title="slope at threshold, first layer", xlabel="B (beyond the ends: at the ends)",
               ylabel="neurons")
    losses.set(title=f"training {report['trained_layers']} layers, best rate",
               xlabel="step",
               ylabel=f"loss, mean of {report['every']} steps", yscale="log")
    for axes in (spectra, slopes, losses):
        tidy(axes)
    spectra.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = spectra.get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(picture, path)


def page(report: dict[str, Any]) -> str:
    """What was done and what came out."""
    networks, depth = report["networks"], report["depth"]
    last = {name: networks[name]["largest"]["median"][-1] for name in networks}
    share = networks["naive"]["slopes_not_positive"]
    rates = ", ".join(networks["b1"]["accuracies"])
    accuracy = {name: f"{100 * networks[name]['accuracy']:.1f} %" for name in networks}
    return f"""
How the spike times of a layer depend on those of the layer before is a matrix, `W / B`, with a row
of zeros for each silent neuron: the weights divided by the slope with which the membrane meets its
threshold. A gradient goes back through the product of all of them. Here are {depth} layers of
{report["width"]} neurons, {report["draws"]} draws, {report["images"]} images of
{report["dataset"]} each.

**The problem.** In the α-model `B = α + ΣJ`. Draw the weights `J` as one draws those of a ReLU
network, and the slope of some neuron in every layer comes close to 0, while {100 * share:.0f} % of
them are not positive at all and never fire. Rows that are divided by next to nothing explode: after
{depth} layers the largest singular value is {last["naive"]:.1e} in the median.

**Two cures at the start.** Draw the weights `W` of a ReLU network, shifted so that `ΣW = 0`, and
map them, `J = α W / (1 - ΣW)`: the slopes are all `α`, and the Jacobian is that of the ReLU network
({last["smart"]:.2f} in the median). Or let the slope be constant, as B1 does
({last["b1"]:.2f}).

**One cure that lasts.** The slopes of the mapped α-model move as it learns; those of B1 cannot.
{report["trained_layers"]} hidden layers were trained for {report["steps"]} steps of gradient
descent, with each of the rates {rates}. The best training accuracy is {accuracy["b1"]} for B1,
{accuracy["smart"]} for the mapped α-model and {accuracy["naive"]} for the naive one.
"""
