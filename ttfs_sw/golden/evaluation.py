"""How good the integer network is on labelled images, and how much it spikes."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ttfs_sw.artifact.network import Network
from ttfs_sw.golden.trace import Trace, run

__all__ = ["evaluate", "summary"]


def evaluate(
    network: Network,
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Classify ``pixels`` with the golden model and report what it did.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        The network; what the golden model does not compute is refused by name.
    pixels, labels : :class:`numpy.ndarray`
        uint8 ``[images, inputs]`` and integers ``[images]``.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images.

    Returns
    -------
    :class:`dict`
        :func:`summary` of the run, and ``images_per_second`` of the golden model alone.
    """
    # Importing torch takes seconds and is not the model's speed.
    run(network, pixels[:1])
    started = time.perf_counter()
    trace = run(network, pixels, progress=progress)
    elapsed = time.perf_counter() - started
    return {
        **summary(trace, labels),
        "images_per_second": len(labels) / elapsed,
        "seconds": elapsed,
    }


def summary(trace: Trace, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy and activity of ``trace``, the run of a network on images with these ``labels``.

    Means over the images: ``events_input`` and ``events_hidden`` (one a spiking layer) in spikes,
    ``spikes_per_neuron`` over all hidden neurons. ``ties`` counts images whose largest logit occurs
    twice, where the lower class wins.
    """
    largest = trace.logits.max(axis=1, keepdims=True)
    events = trace.events.mean(axis=0)
    return {
        "images": len(labels),
        "accuracy": float((trace.winners == labels).mean()),
        "spikes_per_neuron": trace.spikes_per_neuron,
        "events_input": float(events[0]),
        "events_hidden": [float(mean) for mean in events[1:]],
        "ties": int(((trace.logits == largest).sum(axis=1) > 1).sum()),
    }
