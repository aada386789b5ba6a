# SPDX-License-Identifier: Apache-2.0
"""One function, two ways to compute it: every network of spike times equals its ReLU network.

Networks of every kind are trained a little as ReLU networks, mapped, and compared on all test
images in float64: every activation of every hidden neuron, every logit, every answer. With
``--run DIR`` the float network of a finished training is compared too, on all images of its own
test set.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional

from ttfs_sw.common.errors import InputError
from ttfs_sw.common.plot import BLUE, ORANGE, save, tidy
from ttfs_sw.data import datasets
from ttfs_sw.data import paths as dataset_paths
from ttfs_sw.research.continuous import ContinuousLayer, ContinuousNetwork
from ttfs_sw.research.experiments import Claim, ExperimentReport, Options, claim
from ttfs_sw.research.experiments.equivalence_report import (
    Compared,
    ComparedRun,
    Differences,
    Equivalence,
)
from ttfs_sw.research.experiments.pages import table
from ttfs_sw.research.theory.fusing import NormalisedNetwork, fuse
from ttfs_sw.research.theory.initialise import rescale
from ttfs_sw.research.theory.mapping import to_relu, to_ttfs
from ttfs_sw.research.theory.network import TtfsNetwork
from ttfs_sw.training import config, topology
from ttfs_sw.training.kinds import raster
from ttfs_sw.training.models import ReluNetwork

__all__ = ["compare_run", "figure", "open_run", "page", "run"]

logger = logging.getLogger(__name__)

#: Hidden layers of the networks, small enough for digits.
DENSE, CONVOLUTIONAL = ["64", "48"], ["6c3", "p2", "8c3", "32"]
EVERY_KIND = ["6c3", "d3", "6c3+1", "a2", "32"]

#: Steps of the little training, and images a step.
STEPS, BATCH = 100, 32

#: Largest difference, as a share of the largest value, that is taken for rounding. The slopes of
#: the alpha-model at threshold, up to 100 after rescaling, cost it two or three digits.
LIMIT, LIMIT_ALPHA = 1e-12, 1e-9

#: Where the logarithmic axis of the figure shows a difference of 0.
ZERO = 1.5e-17

#: Images computed together, those that windows are calibrated on, and those of the simulation that
#: follows every membrane from spike to spike.
PART, CALIBRATION, FOLLOWED = 500, 5000, 500


def run(options: Options) -> Equivalence:
    """Train, map and compare each network, then those of the runs."""
    # Before the work: a folder that is no run is refused at once.
    finished = [open_run(folder, options) for folder in options.runs]
    cases: dict[str, Callable[[Options, str], Compared]] = {
        "dense": lambda o, name: _plain(o, name, DENSE),
        "convolutional": lambda o, name: _plain(o, name, CONVOLUTIONAL),
        "depthwise, residual, average": lambda o, name: _plain(o, name, EVERY_KIND),
        "batch-norm before ReLU": lambda o, name: _normalised(o, name, "before", 0.0, 1.0),
        "batch-norm after ReLU": lambda o, name: _normalised(o, name, "after", 0.0, 1.0),
        "inputs from -3 to 3": lambda o, name: _normalised(o, name, "after", -3.0, 3.0),
        "α-model, dense": lambda o, name: _plain(o, name, DENSE, "alpha"),
        "α-model, convolutional": lambda o, name: _plain(o, name, CONVOLUTIONAL, "alpha"),
    }
    networks: list[Compared] = []
    claims: list[Claim] = []
    total = len(cases) + len(finished)
    for name, case in cases.items():
        found = case(options, name)
        claims += _claims(found)
        networks.append(found)
        logger.info("%s: logits differ by %.1e", name, found.differences.logits)
        options.step(len(networks), total)
    runs: list[ComparedRun] = []
    for folder, relu, layers, dataset in finished:
        differences = compare_run(relu, layers, dataset, options.device)
        runs.append(ComparedRun(run=folder, differences=differences, dataset=dataset.name))
        claims.append(claim(f"{folder}: images with another answer", differences.changed,
                            at_most=0))
        options.step(len(networks) + len(runs), total)
    return Equivalence(claims=claims, networks=networks, runs=runs)


def _claims(found: Compared) -> list[Claim]:
    """What is said of one network."""
    name, differences = found.network, found.differences
    limit = LIMIT_ALPHA if name.startswith("α") else LIMIT
    claims = [claim(f"{name}: largest difference of a logit", differences.logits, at_most=limit)]
    if differences.activations is not None:
        claims.append(claim(f"{name}: of an activation", differences.activations, at_most=limit))
    if found.followed is not None:
        claims.append(claim(f"{name}: of a logit, membranes followed from spike to spike",
                            found.followed, at_most=limit))
    claims.append(claim(f"{name}: images with another answer", differences.changed, at_most=0))
    if found.returned is not None:
        claims.append(claim(f"{name}: largest difference of a parameter, mapped there and back",
                            found.returned, at_most=0))
    return claims


def _images(options: Options) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images from 0 to 1, their labels, and test images."""
    dataset = options.dataset
    bright = int(dataset.x_train.max())
    parts = (dataset.x_train, dataset.y_train, dataset.x_test)
    x_train, y_train, x_test = (torch.from_numpy(part).to(options.device) for part in parts)
    # A test image may be brighter than any of training; a camera would clip it.
    return x_train / bright, y_train, (x_test / bright).clamp(max=1)


def _train(model: nn.Module, values: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
    """Train a little, so that weights and statistics are not those of a draw."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(STEPS):
        chosen = torch.randint(len(values), (BATCH,), generator=generator)
        loss = functional.cross_entropy(model(values[chosen].double()), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()


@torch.no_grad()
def _plain(options: Options, name: str, texts: list[str], model: str = "b1") -> Compared:
    """A ReLU network without batch-norm: activations, logits, and the way back."""
    values, labels, tested = _images(options)
    layers = topology.plan(texts, options.dataset.shape, options.dataset.classes)
    relu = ReluNetwork(layers, torch.Generator().manual_seed(options.seed)).double()
    relu.to(options.device)
    with torch.enable_grad():
        _train(relu, values, labels, options.seed)
    if model == "alpha":
        rescale(relu)
    network = to_ttfs(relu, layers, model)
    network.calibrate(values[:CALIBRATION].double())
    differences = _compare(relu, network, tested)
    returned = followed = None
    if model == "b1":
        back = to_relu(network)
        pairs = zip(back.parameters(), relu.parameters(), strict=True)
        returned = max((a - b).abs().max().item() for a, b in pairs)
    if texts is DENSE and model == "b1":
        followed = _followed(network, tested[:FOLLOWED])
    return Compared(network=name, differences=differences, returned=returned, followed=followed,
                    layers=texts, model=model)


@torch.no_grad()
def _normalised(options: Options, name: str, place: str, low: float, high: float) -> Compared:
    """A network with batch-norm whose inputs are from ``low`` to ``high``."""
    values, labels, tested = (
        low + (high - low) * part if part.is_floating_point() else part for part in _images(options)
    )
    layers = topology.plan(CONVOLUTIONAL, options.dataset.shape, options.dataset.classes)
    generator = torch.Generator().manual_seed(options.seed)
    relu = NormalisedNetwork(layers, place, generator).to(options.device)
    for norm in relu.norms:
        # Scales of both signs: a pool must then let the last spike through.
        norm.weight.copy_(torch.randn(norm.weight.shape, generator=generator).to(norm.weight))
    with torch.enable_grad():
        _train(relu, values, labels, options.seed)
    network = fuse(relu, low, high)
    network.calibrate(values[:CALIBRATION].double())
    differences = _compare(relu, network, tested)
    maps = [layer.bias.cpu().flatten(1) for layer in network.layers if layer.bias.ndim == 3]
    biases = max((len(channel.round(decimals=9).unique())
                  for channels in maps for channel in channels), default=1)
    return Compared(network=name, differences=differences, biases=biases, layers=CONVOLUTIONAL,
                    model="b1", place=place, range=(low, high))


def _compare(
    relu: ReluNetwork | NormalisedNetwork, network: TtfsNetwork, tested: torch.Tensor
) -> Differences:
    """Largest differences over all test images, as shares of the largest value, and answers."""
    exact, largest = {"logits": 0.0}, {"logits": 0.0}
    changed = early = 0
    fired = []
    for part in tested.split(PART):
        part = part.double()
        activations, expected = _activations(relu, part)
        trace = network.run(part)
        pairs = [("logits", trace.logits, expected)]
        if activations:
            pairs += [("activations", ours, theirs) for ours, theirs in
                      zip(network.activations(trace), activations, strict=True)]
        for key, ours, theirs in pairs:
            exact[key] = max(exact.get(key, 0.0), (ours - theirs).abs().max().item())
            largest[key] = max(largest.get(key, 0.0), theirs.abs().max().item())
        changed += int((trace.logits.argmax(dim=1) != expected.argmax(dim=1)).sum())
        early += trace.early
        # The alpha-model's slopes are complete only when every neuron has fired, the silent too.
        fired.append((1.0 if network.model == "alpha" else trace.spikes_per_neuron) * len(part))
    shares = {key: exact[key] / largest[key] for key in exact}
    return Differences(
        **shares, changed=changed, images=len(tested), early=early,
        spikes_per_neuron=sum(fired) / len(tested), windows=network.windows.tolist(),
    )


def _activations(
    relu: ReluNetwork | NormalisedNetwork, values: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Activations of the hidden layers of a plain ReLU network, and the logits of any."""
    received: list[torch.Tensor] = []
    hooks = []
    if isinstance(relu, ReluNetwork):
        hooks = [layer.register_forward_hook(lambda _, __, out: received.append(out))
                 for layer in relu.layers]
    logits = relu(values)
    for hook in hooks:
        hook.remove()
    found = []
    for layer, membrane in zip(relu.layers[:-1], received, strict=False):
        size = layer.plan.pool
        pooled = functional.max_pool2d(membrane, size) if size > 1 else membrane
        found.append(raster(functional.relu(pooled)))
    return found, logits


def _followed(network: TtfsNetwork, values: torch.Tensor) -> float:
    """Difference of a logit from a simulation that knows no formula for the spike time of B1."""
    layers = [
        ContinuousLayer(layer.weight.cpu().numpy().T, layer.bias.cpu().numpy(), window)
        for layer, window in zip(network.layers, [*network.windows.tolist(), None], strict=True)
    ]
    expected = ContinuousNetwork(layers).run(values.double().cpu().numpy()).logits
    ours = network(values.double()).cpu().numpy()
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


def open_run(folder: Path, options: Options) -> tuple[str, ReluNetwork, topology.Topology, Any]:
    """The float network of a training run, in float64, and the dataset it was trained on.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the folder is not that of a run, or its files do not fit together.
    """
    for name in ("config.toml", "model.pt"):
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no {name}: is it the folder of a training run?")
    settings = config.load(folder / "config.toml")
    dataset = options.dataset
    if dataset.name != settings.dataset:
        name = dataset_paths.find(settings.dataset, folder / "config.toml")
        dataset = datasets.load(name, data_dir=options.data_dir)
    layers = topology.plan(settings.network.texts, dataset.shape, dataset.classes)
    relu = ReluNetwork(layers, torch.Generator())
    try:
        stored = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
        relu.load_state_dict(stored["relu"])
    except Exception as error:
        raise InputError(
            f"{folder / 'model.pt'} does not hold the float network of {folder / 'config.toml'}; "
            "train it again"
        ) from error
    return os.fspath(folder), relu.double().to(options.device), layers, dataset


@torch.no_grad()
def compare_run(
    relu: ReluNetwork, layers: topology.Topology, dataset: datasets.Dataset, device: str = "cpu"
) -> Differences:
    """Compare the float network of a run with its B1 network on all its test images."""
    bright = int(dataset.x_train.max())
    values = torch.from_numpy(dataset.x_train[:CALIBRATION]).to(device).double() / bright
    network = to_ttfs(relu, layers)
    for part in values.split(PART):
        wide = network.windows.clone()
        network.calibrate(part)
        network.windows.copy_(torch.maximum(network.windows, wide))
    tested = torch.from_numpy(dataset.x_test).to(device)
    return _compare(relu, network, (tested / bright).clamp(max=1))


def figure(path: Path, report: ExperimentReport[Equivalence]) -> None:
    """Draw the largest differences of each network on a logarithmic axis."""
    entries = [(entry.network, entry.differences) for entry in report.found.networks]
    entries += [(entry.run, entry.differences) for entry in report.found.runs]
    picture = Figure(figsize=(8.4, 0.9 + 0.32 * len(entries)), layout="constrained")
    axes = picture.subplots()
    places = np.arange(len(entries))[::-1]
    series = (
        ("activations", [entry.activations for _, entry in entries], BLUE, "o"),
        ("logits", [entry.logits for _, entry in entries], ORANGE, "D"),
    )
    for key, values, colour, marker in series:
        shown = [(max(value, ZERO), y) for value, y in zip(values, places, strict=True)
                 if value is not None]
        axes.scatter([size for size, _ in shown], [y for _, y in shown], color=colour,
                     marker=marker, s=34, zorder=3, label=f"{key}, all neurons and images")
    epsilon = np.finfo(float).eps
    axes.axvline(epsilon, color="black", linewidth=0.8, linestyle=":")
    axes.annotate("one rounding of float64", (epsilon, 1), xycoords=("data", "axes fraction"),
                  xytext=(4, -2), textcoords="offset points", va="top", fontsize=8)
    axes.set(xscale="log", xlim=(ZERO / 1.5, 1e-8), ylim=(-0.7, len(entries) + 0.1),
             xlabel="largest difference, as a share of the largest value (0: at the left edge)")
    axes.set_yticks(places, [name for name, _ in entries])
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    tidy(axes)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    save(picture, path)


def _cells(differences: Differences) -> tuple[str, str, str]:
    """Difference of a logit, other answers, and spikes a neuron, for a table."""
    return (f"{differences.logits:.1e}", f"{differences.changed} of {differences.images}",
            f"{differences.spikes_per_neuron:.3f}")


def page(report: ExperimentReport[Equivalence]) -> str:
    """What was done and what came out."""
    networks = report.found.networks
    rows = [(entry.network, " ".join(entry.layers), *_cells(entry.differences),
             entry.differences.early) for entry in networks]
    header = ("network", "hidden layers", "logits", "other answers", "spikes a neuron", "early")
    nine = max(entry.biases or 0 for entry in networks)
    text = f"""
A neuron that fires at `t` in a window that ends at `t_max` is worth `x = t_max - t`, and nothing if
it stays silent. With a constant slope of 1 at threshold (B1) that is `x = ReLU(W x + b)` with the
very weights of the ReLU network. Each network below was trained a little on {report.dataset} as
a ReLU network, mapped to spike times, and compared on all test images in float64: every activation
of every hidden neuron, every logit, every answer. Differences are shares of the largest value.

{table(header, rows)}
Spikes that come *early*, before their window opens, would be a window too short: windows are half
as long again as the largest activation of the training images asks for. In the α-model even a
neuron that has nothing to say must fire, at the end of its window, so that the slopes are complete.

Batch-norm is not approximated. What it does goes into weights and biases, and at the border of a
map into biases of their own: here up to {nine} different ones in a channel. Where its scale is
negative, a max-pool lets the last spike of its window through, not the first.

For the dense network there is a third witness, which knows no formula for the spike time: it
follows each membrane from spike to spike.
"""
    if report.found.runs:
        runs = []
        for entry in report.found.runs:
            logits, answers, spikes = _cells(entry.differences)
            runs.append((entry.run, entry.dataset, answers, logits, spikes))
        columns = ("training run", "dataset", "other answers", "logits", "spikes a neuron")
        text += f"""
The float networks of finished trainings, on all images of their own test sets:

{table(columns, runs)}"""
    return text
