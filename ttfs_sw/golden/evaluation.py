# SPDX-License-Identifier: Apache-2.0
"""How good the integer network is on labelled images, and how much it spikes."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from ttfs_sw.artifact.network import Network
from ttfs_sw.common.report import Report
from ttfs_sw.golden.trace import Trace, run

__all__ = ["Evaluation", "Summary", "evaluate", "summary"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary(Report):
    """Accuracy and activity of a network on labelled images.

    Parameters
    ----------
    images : :class:`int`
        How many were classified.
    accuracy : :class:`float`
        Share of them that got their label.
    spikes_per_neuron : :class:`float`
        Mean spikes of a hidden neuron in one image.
    events_input : :class:`float`
        Mean spikes of the input in one image.
    events_hidden : list of :class:`float`
        Mean spikes of each spiking layer in one image.
    ties : :class:`int`
        Images whose largest logit occurs twice, where the lower class wins.
    """

    images: int
    accuracy: float
    spikes_per_neuron: float
    events_input: float
    events_hidden: list[float]
    ties: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(Summary):
    """A summary, and how fast the golden model was.

    Parameters
    ----------
    images_per_second : :class:`float`
        Of the golden model alone.
    seconds : :class:`float`
        That it took for all of them.
    """

    images_per_second: float
    seconds: float


def evaluate(
    network: Network,
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Classify ``pixels`` with the golden model and report what it did.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        The network; what the golden model does not compute is refused by name.
    pixels, labels : :class:`numpy.ndarray`
        uint8 ``[images, inputs]`` and integers ``[images]``.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images.
    """
    # Importing torch takes seconds and is not the model's speed.
    run(network, pixels[:1])
    started = time.perf_counter()
    trace = run(network, pixels, progress=progress)
    elapsed = time.perf_counter() - started
    found = summary(trace, labels)
    return Evaluation(
        **vars(found), images_per_second=len(labels) / elapsed, seconds=elapsed
    )


def summary(trace: Trace, labels: np.ndarray) -> Summary:
    """Accuracy and activity of ``trace``, the run of a network on images with these ``labels``."""
    largest = trace.logits.max(axis=1, keepdims=True)
    events = trace.events.mean(axis=0)
    return Summary(
        images=len(labels),
        accuracy=float((trace.winners == labels).mean()),
        spikes_per_neuron=trace.spikes_per_neuron,
        events_input=float(events[0]),
        events_hidden=[float(mean) for mean in events[1:]],
        ties=int(((trace.logits == largest).sum(axis=1) > 1).sum()),
    )
