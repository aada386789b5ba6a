# SPDX-License-Identifier: Apache-2.0
"""The neighbours and ours: the same images, layers and passes, and what each way costs.

The methods are those of :mod:`ttfs_sw.research.neighbours`; what is the same for all of them is in
:mod:`ttfs_sw.research.neighbours.method`.
"""

import dataclasses
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from ttfs_sw.common.plot import BLUE, GREEN, GREY, ORANGE, save, tidy
from ttfs_sw.common.report import Report
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.research.experiments import Claim, ExperimentReport, Options, claim
from ttfs_sw.research.experiments.pages import table
from ttfs_sw.research.neighbours import METHODS, Method, Task, build
from ttfs_sw.research.neighbours.lif_network import LifNetwork
from ttfs_sw.research.neighbours.method import parts
from ttfs_sw.research.neighbours.pascal import PascalNetwork
from ttfs_sw.research.neighbours.ttfs import of_network
from ttfs_sw.training import config
from ttfs_sw.training.config import Config
from ttfs_sw.training.models import ReluNetwork

__all__ = ["Comparison", "ReferenceRow", "Row", "accuracy", "figure", "page", "run", "settings",
           "task"]

logger = logging.getLogger(__name__)

#: The preset that each dataset takes its batches, rates and distortions from, and what is changed.
DIGITS = ("digits-mlp", {"hidden": [64, 64], "float_epochs": 20, "epochs": 20})
OTHERS = ("mnist-mlp", {"hidden": [128, 128], "float_epochs": 5, "epochs": 10, "dead_zone": 0})

#: Points of accuracy that integers may lose.
LOST = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceRow(Report):
    """The ReLU network: what :class:`Row` has, as far as it is something for a network of numbers.
    """

    method: str
    title: str
    source: str
    accuracy: float
    accuracy_float: float
    accuracy_core: None = None
    time_steps: None = None
    spikes_per_neuron: None = None
    spikes_per_inference: None = None
    additions: float
    multiplications: float
    core: str
    details: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row(Report):
    """What a method reached, and what it costs.

    Parameters
    ----------
    method, title, source : :class:`str`
        Its name, what a table calls it, and the publication.
    accuracy_float, accuracy, accuracy_core : :class:`float`
        Share of the test images that the ReLU network, the method, and its integers on our core
        get right; ``None`` where there are no integers.
    time_steps : :class:`int`
        From the first step of the image to the answer.
    spikes_per_neuron, spikes_per_inference : :class:`float`
        Mean of a hidden neuron and image, and of an image.
    additions, multiplications : :class:`float`
        Of synapses, mean of an image.
    spikes_per_neuron_core, ticks_core
        Of the integers on our core: spikes of a hidden neuron and image, and T of each hidden
        layer.
    core : :class:`str`
        What of our hardware runs it.
    details : :class:`str`
        What was found in training, for a table.
    """

    method: str
    title: str
    source: str
    accuracy_float: float
    accuracy: float
    accuracy_core: float | None
    time_steps: int
    spikes_per_neuron: float
    spikes_per_inference: float
    additions: float
    multiplications: float
    spikes_per_neuron_core: float | None
    ticks_core: list[int] | None
    core: str
    details: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison(Report):
    """What was found.

    Parameters
    ----------
    layers : list of :class:`str`
        Hidden layers of every network.
    images_train, images_test : :class:`int`
        How many there are.
    passes_reference, passes : :class:`int`
        Over the training images: of the ReLU network, and of what is trained after it.
    claims : list of :class:`ttfs_sw.research.experiments.Claim`
    rows : list of :class:`ReferenceRow` and :class:`Row`
        The ReLU network, then a row a method.
    """

    layers: list[str]
    images_train: int
    images_test: int
    passes_reference: int
    passes: int
    claims: list[Claim]
    rows: list[ReferenceRow | Row]


def settings(dataset: Dataset, seed: int) -> Config:
    """Return what every method is given: layers, passes, rates, distortions."""
    preset, changes = DIGITS if dataset.name == "digits" else OTHERS
    found = config.load(preset, {**changes, "seed": seed, "activity_penalty": 0.0})
    heldout = min(found.training.heldout, max(len(dataset.y_train) // 5, 1))
    return dataclasses.replace(
        found, training=dataclasses.replace(found.training, heldout=heldout)
    )


def task(options: Options) -> Task:
    """Return the task of an experiment."""
    made = settings(options.dataset, options.seed)
    return Task(made, options.dataset, torch.device(options.device))


@torch.no_grad()
def accuracy(model: Callable[[torch.Tensor], torch.Tensor], work: Task) -> float:
    """Share of the test images that ``model``, from values 0 to 1 to logits, has right."""
    dataset = work.dataset
    batches = parts(dataset.x_test, int(dataset.x_train.max()), work.device)
    winners = torch.cat([model(values).argmax(dim=1) for values in batches]).cpu().numpy()
    return float((winners == dataset.y_test).mean())


def run(options: Options) -> Comparison:
    """Train the reference, then fit and run every method."""
    work = task(options)
    training = work.config.training
    images = len(work.data().x)
    total = images * training.float_epochs + len(METHODS) * images * training.epochs
    done = 0
    reference = work.reference(lambda step, _: options.step(step, total))
    done += images * training.float_epochs
    best = accuracy(reference, work)
    rows: list[ReferenceRow | Row] = [_reference_row(reference, best, work)]
    claims: list[Claim] = []
    for name in METHODS:
        method = build(name, work.layers, work.dataset.shape, work.dataset.classes)
        share = images * training.epochs

        def progress(step: int, of: int, before: int = done, share: int = share) -> None:
            options.step(before + share * step // of, total)

        method.fit(work, reference, progress)
        done += share
        row = _row(method, best, work)
        rows.append(row)
        logger.info("%s: accuracy %.4f", name, row.accuracy)
        claims += _claims(method, row, work)
        options.step(done, total)
    return Comparison(
        layers=list(work.layers),
        images_train=images,
        images_test=len(work.dataset.y_test),
        passes_reference=training.float_epochs,
        passes=training.epochs,
        claims=claims,
        rows=rows,
    )


def _reference_row(reference: ReluNetwork, best: float, work: Task) -> ReferenceRow:
    """What the ReLU network is, for comparison: every weight is multiplied in every image."""
    products = sum(
        math.prod(layer.plan.out_shape) * layer.plan.fan_in for layer in reference.layers
    )
    return ReferenceRow(
        method="relu", title="ReLU network, real numbers", source="", accuracy=best,
        accuracy_float=best, additions=products, multiplications=products, core="no", details="",
    )


def _row(method: Method, best: float, work: Task) -> Row:
    """Run a fitted method on the test images."""
    pixels, labels = work.dataset.x_test, work.dataset.y_test
    result = method.predict(pixels)
    network = method.network()
    on_core = None
    if network is not None:
        on_core = of_network(network, method.topology, pixels)
    details = ""
    if isinstance(method, PascalNetwork):
        details = f"levels {', '.join(map(str, method.levels))}"
    elif isinstance(method, LifNetwork):
        details = f"slope {method.slope:g}"
    return Row(
        method=method.name,
        title=method.title,
        source=method.source,
        accuracy_float=best,
        accuracy=float((result.winners == labels).mean()),
        accuracy_core=None if on_core is None else float((on_core.winners == labels).mean()),
        time_steps=result.time_steps,
        spikes_per_neuron=result.spikes_per_neuron,
        spikes_per_inference=result.spikes_per_inference,
        additions=result.additions,
        multiplications=result.multiplications,
        spikes_per_neuron_core=None if on_core is None else on_core.spikes_per_neuron,
        ticks_core=None if network is None else [layer.ticks for layer in network.layers[:-1]],
        core=method.core,
        details=details,
    )


def _claims(method: Method, row: Row, work: Task) -> list[Claim]:
    """What a method promises of itself."""
    found = []
    if isinstance(method, PascalNetwork):
        result = method.predict(work.dataset.x_test)
        logits = method.qcfs_logits(work.dataset.x_test)
        found.append(claim(
            "PASCAL: images with another answer than its QCFS network",
            int((logits.argmax(axis=1) != result.winners).sum()), at_most=0,
        ))
        found.append(claim("PASCAL: largest difference of a logit from its QCFS network",
                           float(np.abs(logits - result.logits).max()), at_most=1e-6))
    if row.accuracy_core is not None:
        # Ours are integers themselves: they are held to the ReLU network.
        against = row.accuracy_float if method.name == "ttfs" else row.accuracy
        found.append(claim(
            f"{row.title}: points lost as integers of one spike a neuron",
            100 * (against - row.accuracy_core), at_most=LOST,
        ))
    return found


def figure(path: Path, report: ExperimentReport[Comparison]) -> None:
    """Draw accuracy, spikes and operations of each method, a line each."""
    rows = report.found.rows[::-1]
    picture = Figure(figsize=(11, 0.36 * len(rows) + 1.6), layout="constrained")
    right, spikes, work = picture.subplots(1, 3, sharey=True)
    places = np.arange(len(rows))
    colours = [GREEN if row.method == "ttfs" else GREY if row.method == "relu" else BLUE
               for row in rows]
    right.hlines(places, 0, [100 * row.accuracy for row in rows], color="#e6e6e6")
    right.scatter([100 * row.accuracy for row in rows], places, color=colours, zorder=3,
                  label="as the method runs")
    core = [(100 * row.accuracy_core, place) for row, place in zip(rows, places, strict=True)
            if row.accuracy_core is not None]
    right.scatter([x for x, _ in core], [place for _, place in core], marker="|", s=140,
                  color=ORANGE, zorder=4, label="as integers on our core")
    low = min(100 * min(row.accuracy for row in rows), min(x for x, _ in core))
    right.set(title="accuracy", xlabel="% of the test images", xlim=(low - 1, 100),
              yticks=places, yticklabels=[row.title for row in rows])
    spikes.barh(places, [row.spikes_per_neuron or 0 for row in rows], 0.6, color=colours)
    for row, place in zip(rows, places, strict=True):
        if isinstance(row, Row):
            spikes.annotate(f" {row.time_steps} steps", (row.spikes_per_neuron, place),
                            va="center", fontsize=8)
    spikes.margins(x=0.2)
    spikes.set(title="spikes of a hidden neuron", xlabel="mean of an image")
    for key, values, colour, shift in (
            ("additions", [row.additions for row in rows], BLUE, 0.2),
            ("multiplications", [row.multiplications for row in rows], ORANGE, -0.2)):
        work.barh(places + shift, values, 0.38, color=colour, label=key)
    work.set(title="operations at synapses", xlabel="mean of an image")
    work.locator_params(axis="x", nbins=4)
    for axes in (right, spikes, work):
        tidy(axes)
    picture.legend(*right.get_legend_handles_labels(), loc="outside lower left", ncols=2,
                   frameon=False)
    picture.legend(*work.get_legend_handles_labels(), loc="outside lower right", ncols=2,
                   frameon=False)
    save(picture, path)


def page(report: ExperimentReport[Comparison]) -> str:
    """What was done and what came out."""
    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    found, lines = report.found, []
    for row in found.rows:
        title = f"{row.title} ({row.details})" if row.details else row.title
        lines.append((
            title, shown(row.accuracy, ".2%"), shown(row.accuracy_core, ".2%"),
            shown(row.time_steps, "d"), shown(row.spikes_per_neuron, ".2f"),
            shown(row.spikes_per_inference, ".0f"), f"{row.additions:.0f}",
            f"{row.multiplications:.0f}", row.core,
        ))
    header = ("method", "accuracy", "as integers on our core", "time steps",
              "spikes a hidden neuron", "spikes an image", "additions", "multiplications",
              "runs on our core")
    spiking = [row for row in found.rows if isinstance(row, Row)]
    most = max(spiking, key=lambda row: row.accuracy)
    least = min(spiking, key=lambda row: row.spikes_per_neuron)
    sources = [f"* {row.title}: {row.source}." for row in spiking]
    return f"""
Every method gets the same {found.images_train} training images of {report.dataset} in the
same order, bent in the same way, and the hidden layers {"-".join(found.layers)}. A ReLU network
is trained for {found.passes_reference} passes: its accuracy on the {found.images_test} test
images, {found.rows[0].accuracy:.2%}, is the reference of all. Few-spike neurons and T2FSNN
convert it and learn nothing; QCFS, PASCAL and this project's network fine-tune it for
{found.passes} passes; ReL-PSP neurons, which are no ReLUs, are trained from its weights for as
many; LIF networks start from nothing and get the passes of both,
{found.passes_reference + found.passes}. One test image is
{100 / found.images_test:.2f} points; smaller differences than a few of those say nothing, and
one seed is one seed.

{table(header, lines)}

Of the spiking networks, "{most.title}" has most images right ({most.accuracy:.2%}), with
{most.spikes_per_neuron:.2f} spikes of a hidden neuron; "{least.title}" has the fewest of
those, {least.spikes_per_neuron:.2f} ({least.accuracy:.2%}).

**Time steps** are those from the first of the image to the answer: where each layer waits for the
one before, the sum over the maps; where all layers run at once, those of one layer. **Operations**
are those of synapses: a spike costs one addition at each, and a multiplication too if its worth
depends on its time. QCFS, PASCAL and LIF networks get the image as real numbers, which multiply
once; the others get it as spikes, which are counted. In our `serial` datapath, one spike is the
few-spike pulses of its code, and nothing is multiplied. A spike to a ReL-PSP neuron switches on a
slope, one addition. That each neuron then adds its slope in every tick of two windows is not
counted here, as the steps of other neurons are not.

**As integers on our core**: QCFS, PASCAL and few-spike activations have as many values as a neuron
that fires once has ticks, so each of these networks is one that our core runs, with T of each layer
its number of levels and weights of 8 bits, rounded without training. Ours is trained as 4-bit
integers. The leaky neurons of LIF networks, the slopes of ReL-PSP, which stay on, and the spikes of
T2FSNN, which are worth powers of a real number, it cannot run.

Sources of the equations, each in a file of `ttfs_sw/research/neighbours`:

{chr(10).join(sources)}
"""
