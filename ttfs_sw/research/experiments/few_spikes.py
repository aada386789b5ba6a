# SPDX-License-Identifier: Apache-2.0
"""Few-spike neurons: conversion in few steps, other activations, and the form our core runs."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional

from ttfs_sw import golden
from ttfs_sw.common.plot import BLUE, GREEN, GREY, ORANGE, save, tidy
from ttfs_sw.common.report import FLAT, Report
from ttfs_sw.research.experiments import Claim, ExperimentReport, Options, claim
from ttfs_sw.research.experiments.comparison import accuracy, task
from ttfs_sw.research.experiments.pages import table
from ttfs_sw.research.neighbours import Task, build
from ttfs_sw.research.neighbours.few_spike import FewSpike
from ttfs_sw.research.neighbours.few_spike_fit import fit as fit_coefficients
from ttfs_sw.research.neighbours.few_spike_network import bit_serial
from ttfs_sw.research.neighbours.method import fit
from ttfs_sw.training import topology
from ttfs_sw.training.models import ReluNetwork

__all__ = ["Drawn", "FewSpikes", "Fit", "Point", "Serial", "Silu", "figure", "page", "run"]

logger = logging.getLogger(__name__)

#: Steps of few-spike neurons, and of rate-coded ones.
STEPS, RATE_STEPS = tuple(range(1, 11)), (1, 2, 4, 8, 16, 32, 64, 128)

#: What is fitted: the function, its interval, and the steps of the neuron.
FUNCTIONS = {"sigmoid": (-8.0, 8.0, 8), "silu": (-8.0, 12.0, 12)}

#: Iterations of a fit, and the largest root mean square error that it may leave.
ITERATIONS, ERROR = 600, 0.12

#: Steps at which conversion is to be as good as the ReLU network, and to how many points.
ENOUGH, LOST = 8, 0.5

#: Points on which a neuron is compared with its closed form, and on which curves are drawn.
POINTS, DRAWN = 100_001, 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point(Report):
    """A converted network: steps of a layer, share of the test images that are right, mean spikes
    of a hidden neuron and image, and mean additions of an image."""

    steps: int
    accuracy: float
    spikes_per_neuron: float
    additions: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn(Report):
    """A fitted neuron.

    Parameters
    ----------
    threshold, reset, worth : list of :class:`float`
        Its coefficients, one a step.
    mean_spikes : :class:`float`
        Over the interval.
    input, output, wanted : list of :class:`float`
        Points of the interval, what the neuron makes of them, and what it should.
    """

    threshold: list[float]
    reset: list[float]
    worth: list[float]
    mean_spikes: float
    input: list[float]
    output: list[float]
    wanted: list[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit(Report):
    """A fitted neuron, its interval, its steps, and the root of its mean square error."""

    drawn: Drawn = dataclasses.field(metadata=FLAT)
    low: float
    high: float
    steps: int
    rms_error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Silu(Report):
    """A network of silu neurons: accuracy with them and with few-spike ones in their places, least
    and largest value that those received, and their mean spikes of a neuron and image."""

    accuracy_float: float
    accuracy: float
    received: list[float]
    spikes_per_neuron: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serial(Report):
    """A converted network as integers, run with codes and bit by bit.

    Parameters
    ----------
    steps : :class:`int`
        Bits of a code.
    accuracy : :class:`float`
        Share of the test images.
    different_logits, different_codes : :class:`int`
        Between the two, over all images.
    events, pulses : :class:`float`
        Mean spikes of an image with codes, and bit by bit.
    """

    steps: int
    accuracy: float
    different_logits: int
    different_codes: int
    events: float
    pulses: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewSpikes(Report):
    """What was found.

    Parameters
    ----------
    layers : list of :class:`str`
        Hidden layers.
    images_test : :class:`int`
        Test images.
    accuracy_float : :class:`float`
        Of the ReLU network.
    claims : list of :class:`ttfs_sw.research.experiments.Claim`
    curves : dict of lists of :class:`Point`
        ``published``, ``half_step`` (few spikes) and ``rate``, each by its steps.
    fits : dict of :class:`Fit`
        By the name of the function.
    silu : :class:`Silu`
    serial : :class:`Serial`
    """

    layers: list[str]
    images_test: int
    accuracy_float: float
    claims: list[Claim]
    curves: dict[str, list[Point]]
    fits: dict[str, Fit]
    silu: Silu
    serial: Serial


def run(options: Options) -> FewSpikes:
    """Convert, fit, and run bit by bit."""
    work = task(options)
    passes = work.config.training.float_epochs * len(work.data().x)
    total = 2 * passes + len(STEPS) + len(RATE_STEPS) + len(FUNCTIONS)
    options.step(0, total)
    reference = work.reference(lambda done, _: options.step(done, total))
    done = passes
    best = accuracy(reference, work)

    curves: dict[str, list[Point]] = {"published": [], "half_step": [], "rate": []}
    for steps in STEPS:
        for name in ("published", "half_step"):
            curves[name].append(
                _measure(work, reference, "few-spike", steps=steps, half_step=name == "half_step")
            )
        done += 1
        options.step(done, total)
    # The same network, not fine-tuned, with neurons that send rates.
    untrained = dataclasses.replace(
        work, config=dataclasses.replace(
            work.config, training=dataclasses.replace(work.config.training, epochs=0)),
    )
    for steps in RATE_STEPS:
        curves["rate"].append(_measure(untrained, reference, "qcfs", steps=steps))
        done += 1
        options.step(done, total)

    fits: dict[str, Fit] = {}
    neurons: dict[str, FewSpike] = {}
    for name, (low, high, steps) in FUNCTIONS.items():
        function = getattr(torch, name, None) or getattr(functional, name)
        neurons[name], error = fit_coefficients(
            function, low, high, steps, iterations=ITERATIONS, seed=options.seed
        )
        drawn = _drawn(neurons[name], function, low, high)
        fits[name] = Fit(drawn=drawn, low=low, high=high, steps=steps, rms_error=error**0.5)
        done += 1
        options.step(done, total)
    silu = _silu(work, neurons["silu"], lambda step: options.step(done + step, total))
    serial = _serial(work, reference)
    exact = _closed_form()
    enough = curves["published"][STEPS.index(ENOUGH)]
    claims = [
        claim("values of a ReLU neuron that differ from their closed form, K = 1 to 10", exact,
              at_most=0),
        claim(f"points lost by conversion with K = {ENOUGH}",
              100 * (best - enough.accuracy), at_most=LOST),
        claim("logits that differ from the golden model's, network run bit by bit",
              serial.different_logits, at_most=0),
        claim("codes of neurons that differ", serial.different_codes, at_most=0),
        *(claim(f"root mean square error of the fitted {name}, K = {found.steps}",
                found.rms_error, at_most=ERROR) for name, found in fits.items()),
        claim("points lost by conversion of a network of silu neurons",
              100 * (silu.accuracy_float - silu.accuracy), at_most=1.0),
    ]
    return FewSpikes(
        layers=list(work.layers), images_test=len(work.dataset.y_test), accuracy_float=best,
        claims=claims, curves=curves, fits=fits, silu=silu, serial=serial,
    )


def _measure(work: Task, reference: ReluNetwork, name: str, **choices: Any) -> Point:
    """Convert and run; return what the curves show."""
    method = build(name, work.layers, work.dataset.shape, work.dataset.classes, **choices)
    method.fit(work, reference)
    result = method.predict(work.dataset.x_test)
    return Point(
        steps=choices["steps"],
        accuracy=float((result.winners == work.dataset.y_test).mean()),
        spikes_per_neuron=result.spikes_per_neuron,
        additions=result.additions,
    )


def _closed_form() -> int:
    """Values of ReLU neurons that are not those of their closed form, over all of :data:`STEPS`."""
    different = 0
    for steps in STEPS:
        # Steps of a power of two, so that the closed form itself does not round.
        values = torch.linspace(-2.0, 34.0, POINTS, dtype=torch.float64)
        least = 32 * 2.0**-steps
        wanted = least * (torch.ceil(values / least) - 1).clamp(0, (1 << steps) - 1)
        different += int((FewSpike.relu(steps, 32.0)(values)[0] != wanted).sum())
    return different


def _drawn(
    neuron: FewSpike, function: Callable[[torch.Tensor], torch.Tensor], low: float, high: float
) -> Drawn:
    """Coefficients of a fitted neuron, and its curve."""
    values = torch.linspace(low, high, DRAWN)
    output, spikes = neuron(values)

    def rounded(tensor: torch.Tensor) -> list[float]:
        return [round(value, 4) for value in tensor.tolist()]

    return Drawn(
        threshold=rounded(neuron.threshold), reset=rounded(neuron.reset),
        worth=rounded(neuron.worth), mean_spikes=spikes.sum(dim=0).mean().item(),
        input=rounded(values), output=rounded(output), wanted=rounded(function(values)),
    )


def _silu(work: Task, neuron: FewSpike, progress: Callable[[int], None]) -> Silu:
    """Train a network of silu neurons, and put few-spike neurons in their places."""
    data, training = work.data(), work.config.training
    layers = topology.plan(work.layers, work.dataset.shape, work.dataset.classes)
    model = ReluNetwork(layers, work.generator()).to(work.device)
    range_seen = [0.0, 0.0]
    sent = []

    def silu(index: int, received: torch.Tensor) -> torch.Tensor:
        return functional.silu(received)

    def few_spikes(index: int, received: torch.Tensor) -> torch.Tensor:
        range_seen[0] = min(range_seen[0], received.min().item())
        range_seen[1] = max(range_seen[1], received.max().item())
        output, spikes = neuron(received)
        sent.append(spikes.sum().item())
        return output

    def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(pixels / data.maximum, silu), labels)

    fit(model, loss, data, work.config, epochs=training.float_epochs,
        rate=training.float_learning_rate, progress=lambda done, _: progress(done))
    before = accuracy(lambda values: model(values, silu), work)
    after = accuracy(lambda values: model(values, few_spikes), work)
    hidden = sum(int(np.prod(plan.map_shape)) for plan in layers.layers[:-1])
    return Silu(
        accuracy_float=before, accuracy=after, received=range_seen,
        spikes_per_neuron=sum(sent) / (hidden * len(work.dataset.y_test)),
    )


def _serial(work: Task, reference: ReluNetwork) -> Serial:
    """Run the converted network as integers, once bit by bit, and compare."""
    method = build("few-spike", work.layers, work.dataset.shape, work.dataset.classes, steps=4)
    method.fit(work, reference)
    network, pixels = method.network(), work.dataset.x_test
    assert network is not None, "four steps are few enough for the core's codes"
    trace = golden.run(network, pixels)
    codes, logits, sent = bit_serial(network, pixels)
    return Serial(
        steps=4,
        accuracy=float((trace.winners == work.dataset.y_test).mean()),
        different_logits=int((logits != trace.logits).sum()),
        different_codes=sum(
            int((ours != theirs).sum()) for ours, theirs in zip(codes, trace.codes, strict=True)
        ),
        events=trace.events.sum(axis=1).mean().item(),
        pulses=sent.sum(axis=1).mean().item(),
    )


def figure(path: Path, report: ExperimentReport[FewSpikes]) -> None:
    """Draw accuracy and spikes against steps, and the fitted curves."""
    found = report.found
    picture = Figure(figsize=(10.8, 3.4), layout="constrained")
    right, spikes, *fitted = picture.subplots(1, 2 + len(found.fits))
    names = {"published": ("few spikes", BLUE), "half_step": ("few spikes, half step", GREEN),
             "rate": ("rate", ORANGE)}
    for name, (label, colour) in names.items():
        curve = found.curves[name]
        steps = [entry.steps for entry in curve]
        right.plot(steps, [100 * entry.accuracy for entry in curve], "o-", markersize=3,
                   color=colour, label=label)
        spikes.plot(steps, [entry.spikes_per_neuron for entry in curve], "o-", markersize=3,
                    color=colour)
    right.axhline(100 * found.accuracy_float, color=GREY, linestyle=":", label="ReLU network")
    right.set(title="accuracy of a converted network", ylabel="%", ylim=(40, 101))
    right.legend(frameon=False, fontsize=8, loc="center right")
    spikes.set(title="spikes of a hidden neuron", yscale="log")
    for axes in (right, spikes):
        axes.set(xscale="log", xlabel="time steps of a layer")
        axes.set_xticks([1, 2, 4, 8, 16, 32, 64, 128], labels=[1, 2, 4, 8, 16, 32, 64, 128])
        axes.minorticks_off()
    for axes, (name, fit_) in zip(fitted, found.fits.items(), strict=True):
        drawn = fit_.drawn
        axes.plot(drawn.input, drawn.wanted, color=GREY, linewidth=3, alpha=0.5, label=name)
        axes.step(drawn.input, drawn.output, color=BLUE, linewidth=1, where="mid",
                  label=f"{fit_.steps} steps")
        axes.set(title=f"fitted {name}")
        axes.legend(frameon=False, fontsize=8)
    for axes in (right, spikes, *fitted):
        tidy(axes)
    save(picture, path)


def page(report: ExperimentReport[FewSpikes]) -> str:
    """What was done and what came out."""
    found = report.found
    best, curves, serial, silu = found.accuracy_float, found.curves, found.serial, found.silu
    rows = []
    for plain, rounded in zip(curves["published"], curves["half_step"], strict=True):
        rows.append((
            plain.steps, f"{plain.accuracy:.2%}", f"{rounded.accuracy:.2%}",
            f"{plain.spikes_per_neuron:.2f}", f"{plain.additions:.0f}",
        ))
    rates = ", ".join(f"{entry.accuracy:.2%} in {entry.steps}" for entry in curves["rate"])
    before, last = curves["published"][-2:]
    more = last.spikes_per_neuron - before.spikes_per_neuron
    more /= last.steps - before.steps
    fits = "; ".join(
        f"{name} on [{each.low:g}, {each.high:g}] in {each.steps} steps to a root mean "
        f"square error of {each.rms_error:.3f}, with {each.drawn.mean_spikes:.1f} spikes on "
        "average"
        for name, each in found.fits.items()
    )
    low, high = silu.received
    return f"""
A few-spike neuron says one of 2^K values in K steps, with at most K spikes, where a rate needs
nearly 2^K steps: its spikes are the bits of its value, the most significant first. A ReLU network
with the hidden layers {"-".join(found.layers)} ({best:.2%} of {found.images_test} test
images of {report.dataset}) is converted, and nothing is trained:

{table(("steps K", "accuracy", "with a half step", "spikes a hidden neuron", "additions"), rows)}

The published neuron rounds down, layer after layer; half of the last threshold more at the start
makes it round, and fewer steps are enough.

The same network with rate-coded neurons: {rates} steps. The steps of a layer are not those of an
image: few-spike layers wait for each other, so that an image takes K steps for each of its
{len(found.layers) + 1} maps, and rate-coded layers all run at once and get the image as real
numbers. Where few values are enough, as on easy images, rates do with few steps too. But their
spikes double with each doubling of the steps, where one step more of a few-spike neuron is about
{more:.1f} of a spike more.

**Other activations.** The same neuron with fitted thresholds, resets and worths stands for other
functions: {fits}. A network of silu neurons with {silu.accuracy_float:.2%} has
{silu.accuracy:.2%} when its neurons are replaced by fitted ones, at
{silu.spikes_per_neuron:.2f} spikes a neuron; its neurons receive {low:.1f} to {high:.1f}.

**On our core.** The bits of a code are what the `serial` datapath sends, so a network whose neurons
fire once is, there, a few-spike network. The network converted with K = {serial.steps} and
rounded to 8-bit weights ({serial.accuracy:.2%}) is run twice, with codes and bit by bit
(`V = 2 V + Σ w`): the logits are the same. {serial.events:.0f} spikes an image become
{serial.pulses:.0f} pulses.
"""
