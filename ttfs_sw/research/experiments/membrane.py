# SPDX-License-Identifier: Apache-2.0
"""Where a membrane starts, which step's answer counts, and spike trains that add up exactly.

Two publications. "Rethinking the Membrane Dynamics and Optimization Objectives of Spiking Neural
Networks" (NeurIPS 2024): neurons that all start at 0 make few spike trains and are of little use in
the first steps; learned starts, and losses of the last step or of every step, mend that. Ramesh &
Srinivasan, "PASCAL" (TMLR 2025, arXiv 2505.01730): a spiking network that is its QCFS network
exactly, with as many time steps in each layer as it needs.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ttfs_sw.common.plot import BLUE, GREEN, GREY, ORANGE, save, tidy
from ttfs_sw.research.experiments import Claim, ExperimentReport, Options, claim, short
from ttfs_sw.research.experiments.comparison import accuracy
from ttfs_sw.research.experiments.membrane_report import Count, Lif, Membrane, Pascal, PascalOfSeed
from ttfs_sw.research.experiments.pages import table
from ttfs_sw.research.neighbours import Task, build
from ttfs_sw.research.neighbours.lif_network import LifNetwork
from ttfs_sw.research.neighbours.method import parts
from ttfs_sw.research.neighbours.pascal import PascalNetwork
from ttfs_sw.research.neighbours.time_losses import ANSWERS
from ttfs_sw.research.neighbours.trains import closed_form, trains
from ttfs_sw.research.neighbours.ttfs import of_network
from ttfs_sw.training import config
from ttfs_sw.training.models import ReluNetwork

__all__ = ["figure", "page", "run"]

logger = logging.getLogger(__name__)

#: Steps up to which spike trains are counted, and those that the claims speak of.
COUNTED, TIME = 12, 6

#: The networks of part two: name, loss, and whether initial potentials are learned.
STARTS = {
    "u₀ = 0, mean": ("mean", False), "learned u₀, mean": ("mean", True),
    "learned u₀, last step": ("last", True), "learned u₀, smooth TET": ("smooth-tet", True),
}
BASE, LEARNED, LAST, TET = STARTS

#: Seeds, from that of the experiment on, over which parts two and three are meaned.
SEEDS = 3

#: Preset of each dataset and what is changed: layers of LIF networks and of PASCAL's, passes.
DIGITS = ("digits-mlp", {"float_epochs": 10, "epochs": 10})
OTHERS = ("mnist-mlp", {"float_epochs": 1, "epochs": 2, "dead_zone": 0})
LIF_LAYERS, PASCAL_LAYERS = ["64", "64"], ["64", "64", "64", "64"]

#: Levels of every layer alike, and what the adaptive ones start from with each tolerance, in
#: points of the held-out images.
LEVELS, MOST, TOLERANCES = (1, 2, 4, 8, 16), 16, (0.5, 1.0, 2.0, 4.0)

#: Share of the time steps that adaptive levels may take, and points that integers may lose.
SHARE, LOST = 0.6, 1.0

#: Share of the held-out images that halving the levels may cost: less than nothing, so that no
#: level is ever halved.
NEVER = -2.0


def run(options: Options) -> Membrane:
    """Count trains; train LIF networks; fine-tune PASCAL's with levels alike and adaptive ones."""
    names = [(f"{count} levels", {"levels": count, "tolerance": NEVER}) for count in LEVELS]
    names += [(f"adaptive, {points:g} points", {"levels": MOST, "tolerance": points / 100})
              for points in TOLERANCES]
    total = SEEDS * (len(STARTS) + 1 + len(names))
    done = 0
    lif: dict[str, list[Lif]] = {name: [] for name in STARTS}
    pascal: dict[str, list[PascalOfSeed]] = {name: [] for name, _ in names}
    relu: list[float] = []

    def step(*_: Any) -> None:
        nonlocal done
        done += 1
        options.step(done, total)

    for seed in range(options.seed, options.seed + SEEDS):
        work = _task(options, seed, LIF_LAYERS)
        for name, (loss, learned) in STARTS.items():
            lif[name].append(_over_time(work, loss, learned))
            step()
        work = _task(options, seed, PASCAL_LAYERS)
        reference = work.reference()
        relu.append(accuracy(reference, work))
        step()
        for name, choices in names:
            pascal[name].append(_pascal(work, reference, choices))
            logger.info("seed %d, %s: accuracy %.4f", seed, name, pascal[name][-1].accuracy)
            step()
    counts = [
        Count(steps=steps, zero=len(trains(steps, any_start=False)),
              any=len(trains(steps, any_start=True))) for steps in range(1, COUNTED + 1)
    ]
    over_time = {name: _lif_means(found) for name, found in lif.items()}
    levels = {name: _pascal_means(found) for name, found in pascal.items()}
    return Membrane(
        time_steps=TIME, seeds=SEEDS, images_test=len(options.dataset.y_test),
        lif_layers=LIF_LAYERS, pascal_layers=PASCAL_LAYERS, most=MOST, counts=counts,
        lif=over_time, accuracy_relu=_mean(relu), pascal=levels,
        claims=_claims(counts, over_time, levels),
    )


def _task(options: Options, seed: int, layers: list[str]) -> Task:
    """Return the task of one seed."""
    dataset = options.dataset
    preset, changes = DIGITS if dataset.name == "digits" else OTHERS
    made = config.load(preset, {**changes, "hidden": [int(text) for text in layers], "seed": seed,
                                "activity_penalty": 0.0})
    heldout = min(made.training.heldout, max(len(dataset.y_train) // 5, 1))
    training = dataclasses.replace(made.training, heldout=heldout)
    return Task(dataclasses.replace(made, training=training), dataset, torch.device(options.device))


@torch.no_grad()
def _over_time(work: Task, loss: str, learned: bool) -> Lif:
    """Train a LIF network; accuracy of each step's own logits, and of its answer."""
    method = build("lif", work.layers, work.dataset.shape, work.dataset.classes, steps=TIME,
                   loss=loss, learn_initial=learned)
    assert isinstance(method, LifNetwork)
    with torch.enable_grad():
        method.fit(work, None)
    dataset = work.dataset
    steps, answers = [], []
    for values in parts(dataset.x_test, int(dataset.x_train.max()), work.device):
        logits = method.model(values)
        steps.append(logits.argmax(dim=2).cpu())
        answers.append(ANSWERS[loss](logits).argmax(dim=1).cpu())
    right = torch.cat(steps, dim=1).numpy() == dataset.y_test
    answered = torch.cat(answers).numpy() == dataset.y_test
    starts = [start.detach().flatten() for start in method.model.initial]
    return Lif(steps=right.mean(axis=1).tolist(), answer=float(answered.mean()),
               start=float(torch.cat(starts).mean()) if starts else 0.0)


def _pascal(work: Task, reference: ReluNetwork, choices: dict[str, Any]) -> PascalOfSeed:
    """Fine-tune, run the spiking network, and hold it against its QCFS network and its integers."""
    dataset = work.dataset
    method = build("pascal", work.layers, dataset.shape, dataset.classes, **choices)
    assert isinstance(method, PascalNetwork)
    method.fit(work, reference)
    result = method.predict(dataset.x_test)
    wanted = method.qcfs_logits(dataset.x_test)
    network = method.network()
    core = of_network(network, method.topology, dataset.x_test)
    return PascalOfSeed(
        accuracy=float((result.winners == dataset.y_test).mean()),
        accuracy_core=float((core.winners == dataset.y_test).mean()),
        time_steps=float(result.time_steps),
        mean_levels=float(np.mean(method.levels)),
        spikes_per_neuron=result.spikes_per_neuron,
        levels=[layer.ticks for layer in network.layers[:-1]],
        different=int((wanted.argmax(axis=1) != result.winners).sum()),
        logits=float(np.abs(wanted - result.logits).max()),
    )


def _mean(values: list[float]) -> float:
    return short(float(np.mean(values)))


def _lif_means(found: list[Lif]) -> Lif:
    """Means over seeds."""
    steps = np.mean([one.steps for one in found], axis=0)
    return Lif(steps=[*map(short, steps.tolist())], answer=_mean([one.answer for one in found]),
               start=_mean([one.start for one in found]))


def _pascal_means(found: list[PascalOfSeed]) -> Pascal:
    """Means over seeds; of levels each seed's, and of what must be 0 the largest."""
    return Pascal(
        accuracy=_mean([one.accuracy for one in found]),
        accuracy_core=_mean([one.accuracy_core for one in found]),
        time_steps=_mean([one.time_steps for one in found]),
        mean_levels=_mean([one.mean_levels for one in found]),
        spikes_per_neuron=_mean([one.spikes_per_neuron for one in found]),
        levels=[one.levels for one in found],
        different=max(one.different for one in found),
        logits=max(one.logits for one in found),
    )


def _claims(
    counts: list[Count], lif: dict[str, Lif], pascal: dict[str, Pascal]
) -> list[Claim]:
    """What the publications say; without a limit where so few images cannot tell."""
    wrong_zero = sum(entry.zero != closed_form(entry.steps, False) for entry in counts)
    wrong_any = sum(entry.any != closed_form(entry.steps, True) for entry in counts)
    chosen = next(entry for entry in counts if entry.steps == TIME)
    alike, tight, loose = (pascal[name] for name in (
        f"{MOST} levels", *(f"adaptive, {points:g} points" for points in TOLERANCES[-2:])))

    def points(first: float, second: float) -> float:
        return short(100 * (first - second))

    adaptive = _rows(pascal, True)
    return [
        claim(f"u₀ = 0: numbers of trains, T = 1 to {COUNTED}, other than T + 1", wrong_zero,
              at_most=0),
        claim(f"any u₀: numbers of trains, T = 1 to {COUNTED}, other than T + 1 + ⌊T²/4⌋",
              wrong_any, at_most=0),
        claim(f"trains of {TIME} steps: how many times as many with any u₀",
              short(chosen.any / chosen.zero), at_least=2),
        claim("u₀ = 0: points that the last step is ahead of the first",
              points(lif[BASE].steps[-1], lif[BASE].steps[0])),
        claim("first step: points that learned u₀ gains",
              points(lif[LEARNED].steps[0], lif[BASE].steps[0])),
        claim("answer: points that learned u₀ gains",
              points(lif[LEARNED].answer, lif[BASE].answer)),
        claim("last step: points that its own loss gains",
              points(lif[LAST].steps[-1], lif[LEARNED].steps[-1])),
        claim("answer: points that the last step's loss gains",
              points(lif[LAST].answer, lif[LEARNED].answer)),
        claim("answer: points that smooth TET gains",
              points(lif[TET].answer, lif[LEARNED].answer)),
        claim("PASCAL: images with another answer than the QCFS network",
              max(found.different for found in pascal.values()), at_most=0),
        claim("PASCAL: largest difference of a logit from the QCFS network",
              max(found.logits for found in pascal.values()), at_most=1e-6),
        *(claim(f"points lost by adaptive levels, tolerance {allowed:g} points",
                points(alike.accuracy, found.accuracy), at_most=allowed)
          for allowed, found in zip(TOLERANCES[-2:], (tight, loose), strict=True)),
        claim(f"time steps of adaptive levels, tolerance {TOLERANCES[-1]:g} points, as a share of "
              f"those of {MOST} alike", short(loose.time_steps / alike.time_steps),
              at_most=SHARE),
        claim("points that adaptive levels are ahead of levels alike in as many time steps",
              _mean([100 * (found.accuracy - _between(pascal, found.time_steps))
                     for found in adaptive])),
        claim("adaptive levels as integers of the core: points lost, mean",
              _mean([100 * (found.accuracy - found.accuracy_core) for found in adaptive]),
              at_most=LOST),
    ]


def _rows(pascal: dict[str, Pascal], adaptive: bool) -> list[Pascal]:
    """The rows of adaptive levels, or of those that are alike."""
    return [found for name, found in pascal.items() if name.startswith("adaptive") == adaptive]


def _between(pascal: dict[str, Pascal], steps: float) -> float:
    """Accuracy that levels alike would have in so many time steps, on a line between two."""
    alike = _rows(pascal, False)
    return float(np.interp(steps, [found.time_steps for found in alike],
                           [found.accuracy for found in alike]))


def figure(path: Path, report: ExperimentReport[Membrane]) -> None:
    """Draw numbers of trains, accuracy at each time step, and accuracy against time steps."""
    picture = Figure(figsize=(12, 3.9), layout="constrained")
    counts, right, levels = picture.subplots(1, 3)
    measured = report.found
    steps = [entry.steps for entry in measured.counts]
    for numbers, colour, label in (
            ([entry.any for entry in measured.counts], GREEN, "any u₀ from 0 to 1"),
            ([entry.zero for entry in measured.counts], BLUE, "u₀ = 0")):
        counts.plot(steps, numbers, "o-", color=colour, markersize=4, label=label)
    counts.set(title="spike trains of a constant current", xlabel="time steps T",
               ylabel="different trains", ylim=(0, None))
    styles = dict(zip(measured.lif, ((BLUE, "o-"), (GREEN, "o-"), (ORANGE, "s-"), (GREY, "^-")),
                      strict=True))
    last = measured.time_steps
    for name, found in measured.lif.items():
        colour, line = styles[name]
        right.plot(range(1, last + 1), [100 * share for share in found.steps], line,
                   color=colour, markersize=4, label=name)
        right.plot(last + 1, 100 * found.answer, line[0], color=colour, markersize=7)
    right.set(title="LIF: each step's own logits", ylabel="accuracy, %", xlabel="time step",
              xticks=[*range(1, last + 1), last + 1],
              xticklabels=[*range(1, last + 1), "answer"])
    low, high = right.get_ylim()
    right.set_ylim(low - 0.55 * (high - low), high)
    for adaptive, name, colour, line in (
            (False, "levels alike", BLUE, "o-"), (True, "adaptive levels", GREEN, "s")):
        rows = _rows(measured.pascal, adaptive)
        times = [row.time_steps for row in rows]
        levels.plot(times, [100 * row.accuracy for row in rows], line, color=colour,
                    markersize=5, label=name)
        levels.plot(times, [100 * row.accuracy_core for row in rows], "_", color=ORANGE,
                    markersize=11, label="as integers on our core" if line == "s" else None)
    levels.axhline(100 * measured.accuracy_relu, color=GREY, linestyle=":", label="ReLU network")
    levels.set(title="PASCAL: exact trains", xlabel="time steps of an image", ylabel="accuracy, %")
    for axes, place in ((counts, "upper left"), (right, "lower center"), (levels, "lower right")):
        axes.legend(frameon=False, fontsize=8, loc=place, ncols=2 if axes is right else 1)
        tidy(axes)
    save(picture, path)


def page(report: ExperimentReport[Membrane]) -> str:
    """What was done and what came out."""
    measured = report.found
    last, seeds = measured.time_steps, measured.seeds
    counts = [(entry.steps, entry.zero, entry.any, 2 ** entry.steps)
              for entry in measured.counts if entry.steps in (1, 2, 4, last, 8, COUNTED)]
    lif = [(name, *(f"{share:.1%}" for share in found.steps), f"{found.answer:.1%}",
            f"{found.start:.2f}") for name, found in measured.lif.items()]
    pascal = [
        (name, "; ".join(dict.fromkeys("-".join(map(str, row)) for row in found.levels)),
         f"{found.mean_levels:.1f}", f"{found.time_steps:.0f}", f"{found.accuracy:.1%}",
         f"{found.accuracy_core:.1%}", f"{found.spikes_per_neuron:.2f}")
        for name, found in measured.pascal.items()
    ]
    over = [found.accuracy - _between(measured.pascal, found.time_steps)
            for found in _rows(measured.pascal, True)]
    zero, learned, final, tet = measured.lif.values()

    def gain(steps: list[float], step: int, others: list[float], other: int) -> str:
        return f"{100 * (steps[step] - others[other]):+.1f}"

    header = ("levels", "of each layer, seed by seed", "mean", "time steps", "accuracy",
              "as integers on our core", "spikes a hidden neuron")
    return f"""
**Spike trains.** A constant current into a neuron that starts at 0 makes a train of one period:
with T steps one of T + 1. From a start between 0 and 1 the first spike may come early, and there
are T + 1 + ⌊T²/4⌋. Both are counted exactly, by cutting the plane of current and start into what
fires and what does not (`ttfs_sw/research/neighbours/trains.py`), and do not depend on the leak:

{table(("T", "u₀ = 0", "any u₀ in [0, 1)", "all there are"), counts)}

**Accuracy over time.** LIF networks {"-".join(measured.lif_layers)} with {last} time steps and
batch norm of currents, trained alike but for their start and loss; mean of {seeds} seeds on the
{measured.images_test} test images of {report.dataset}. Each column is what that step's own
logits have right; the answer is the last step's for the loss of the last step, else the mean of
all:

{table(("network", *(f"step {step}" for step in range(1, last + 1)), "answer", "mean u₀"), lif)}

The publication finds that accuracy rises from step to step as potentials move away from 0, and
that learned starts, the last step's loss and smooth TET help. Here, from a start at 0, the last
step is {gain(zero.steps, -1, zero.steps, 0)} points ahead of the first: where a normalised
current can cross the threshold in the first step, nothing need rise. A learned start is worth
{100 * (learned.answer - zero.answer):+.1f} points of the answer, the loss of the last step
{gain(final.steps, -1, learned.steps, -1)} points of the last step and
{100 * (final.answer - learned.answer):+.1f} of the answer, smooth TET
{gain(tet.steps, 0, learned.steps, 0)} of the first step and
{100 * (tet.answer - learned.answer):+.1f} of the answer. These have no limits: one image is
{100 / measured.images_test:.2f} points, and few seeds were tried.

**PASCAL.** A ReLU network {"-".join(measured.pascal_layers)} ({measured.accuracy_relu:.1%}) is
fine-tuned with QCFS activations and run as spike trains, with as many levels in all layers, or
with those that held-out images allow, from {measured.most} down, at several tolerances. The
spiking network answers what its QCFS network answers:

{table(header, pascal)}

Levels are the time steps of a layer, and layers wait for each other. The integer network has them
as T of each layer, and is run by the golden model. Adaptive levels save time steps within their
tolerance. Against levels alike in as many steps (on a line between two) they are
{100 * np.mean(over):+.1f} points ahead on average, which has no limit: the held-out images that
choose them are few, and in networks this small no layer has much more to say than another. The
authors weight the steps of
layers (T_eff) by constants that they do not explain; "mean" is the plain mean over hidden layers.
"""
