# SPDX-License-Identifier: Apache-2.0
"""Whether a conversion is one: the float network knows its images, and the integers follow it.

What is asked, on the training images that calibrated and then on the test images:

* Does every layer of the float network fire, and does it tell the classes apart better than a guess
  does? A network that does not was trained on other images, or on others' numbers, or not at all.
* Do the integers recognise as many images as it does, but for ``max_loss`` points? If they do not,
  :mod:`ttfs_sw.convert.blame` says which layer costs most.

The verdict is read off the report and steers nothing: no choice is made on a test image.
"""

import dataclasses
import math

import numpy as np

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import FailureError
from ttfs_sw.convert import blame
from ttfs_sw.convert.calibrate import Calibration, activations
from ttfs_sw.convert.layers import Folded
from ttfs_sw.convert.report import Conversion, Figures, TrainingFigures, figures
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork

__all__ = ["ANY_LOSS", "MAX_LOSS", "RejectedError", "judge"]

#: Points that integers may lose, and a number of points with which nothing is judged.
MAX_LOSS, ANY_LOSS = 0.5, 100.0

#: A float network must be at least this part of the way from guessing to knowing.
KNOWS = 0.1

#: Images on which layers are blamed, at most, and images that are computed together.
BLAMED, BATCH = 1000, 500

#: What takes the result as it is.
ANYWAY = f"--max-loss {ANY_LOSS:g} takes the result as it is"


class RejectedError(FailureError):
    """The conversion was done and is not good enough; nothing but its report is kept.

    Parameters
    ----------
    message : :class:`str`
        What is wrong and what to change.
    report : :class:`ttfs_sw.convert.report.Conversion`
        What :func:`ttfs_sw.convert.convert` would have returned.
    """

    def __init__(self, message: str, report: Conversion):
        super().__init__(message)
        self.report = report


def judge(
    report: Conversion, network: Network, quantised: QuantisedNetwork, relu: ReluNetwork,
    folded: Folded, calibration: Calibration, max_loss: float | None, *, weights: bool = True,
) -> Conversion:
    """Return ``report`` with what the training images say, or reject the conversion if it is none.

    Parameters
    ----------
    report : :class:`ttfs_sw.convert.report.Conversion`
        Of the conversion.
    network, quantised : :class:`ttfs_sw.artifact.network.Network`, its torch twin
        The integers.
    relu, folded : :class:`ttfs_sw.training.models.ReluNetwork`,
    :class:`ttfs_sw.convert.layers.Folded`
        What they stand for.
    calibration : :class:`Calibration`
        The training images.
    max_loss : :class:`float` or ``None``
        Points that may be lost, counted as they are. ``None``: :data:`MAX_LOSS`, and of test
        images as much more as the standard error of the difference, which is little where images
        are many.
    weights : :class:`bool`
        Whether somebody said which weights the model has.

    Raises
    ------
    :exc:`RejectedError`
        With ``report``, if the float network does not know its images, or the integers lose more.
    """
    right = np.concatenate([
        relu(part).argmax(dim=1).numpy() for part in calibration.images.split(BATCH)
    ]) == calibration.labels
    trace = golden.run(network, calibration.pixels)
    known = TrainingFigures(**vars(figures(right, trace.winners == calibration.labels)))
    allowed = MAX_LOSS if max_loss is None else max_loss
    report = dataclasses.replace(report, training=known, max_loss=allowed)
    if max_loss is not None and max_loss >= ANY_LOSS:
        return report
    if problem := _silent(relu, folded, calibration):
        raise RejectedError(problem, report)
    known = dataclasses.replace(known, recall_float=_recall(right, calibration.labels))
    report = dataclasses.replace(report, training=known)
    if problem := _ignorant(known, network.classes, weights):
        raise RejectedError(problem, report)
    # Training images are many; of few test images two more or less say nothing.
    problem = (
        _lossy("training", known, allowed)
        or _lossy("test", report, allowed, few=max_loss is None)
    )
    if problem:
        costs = blame.costs(quantised, relu, calibration.first(BLAMED))
        tuned = 0 if report.finetune is None else report.finetune.epochs
        advice = blame.advice(costs, quantised, folded.names, tuned)
        raise RejectedError(
            f"{problem}; {advice}; {ANYWAY}",
            dataclasses.replace(report, costs=[cost.report(folded.names) for cost in costs]))
    return report


def _silent(relu: ReluNetwork, folded: Folded, calibration: Calibration) -> str | None:
    """A layer of the float network in which nothing happens, or nothing finite."""
    images = calibration.images[:BLAMED]
    for index, received in enumerate(activations(relu, images)):
        name = f"layer {folded.names[index]}"
        if not received.isfinite().all():
            return (
                f"{name} of the float network gives values that are no finite numbers; train it "
                "again with smaller steps, or give weights from before that"
            )
        if index < len(folded.names) - 1 and not (received > 0).any():
            return (
                f"no neuron of {name} fires on any of {len(images)} training images, in the float "
                f"network already; {_REASONS}; {ANYWAY}"
            )
    return None


_REASONS = (
    "were these the images that it was trained on (--dataset), with these pixels (--scale, "
    "--mean, --std), and are these its weights?"
)


def _recall(right: np.ndarray, labels: np.ndarray) -> float:
    """The mean over the classes: a network that always says the same has a guesser's."""
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def _ignorant(known: TrainingFigures, classes: int, weights: bool) -> str | None:
    """Whether the float network knows no more of its images than a guess does."""
    assert known.recall_float is not None
    if known.recall_float >= 1 / classes + KNOWS * (1 - 1 / classes):
        return None
    reasons = _REASONS if weights else (
        "its weights are those that it was made with: give trained ones with --weights"
    )
    return (
        f"the float network recognises {_percent(known.accuracy_float)} of {known.images} training "
        f"images, hardly more than a guess ({_percent(1 / classes)}); {reasons}; {ANYWAY}"
    )


def _lossy(kind: str, found: Figures, allowed: float, *, few: bool = False) -> str | None:
    """Whether the integers recognise too few of the images that the float network does.

    Where images are ``few``, the standard error of the difference may be lost besides.
    """
    lost = found.lost - found.gained
    noise = math.sqrt(found.lost + found.gained) if few else 0.0
    if 100 * (lost - noise) <= allowed * found.images:
        return None
    return (
        f"the integers recognise {_percent(found.accuracy_network)} of {found.images} {kind} "
        f"images and the float network {_percent(found.accuracy_float)}: "
        f"{100 * lost / found.images:.2f} points are lost, more than the {allowed:g} of --max-loss"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
