"""Classifying on a board, and whether its answers are the golden model's."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.link.host import Client
from ttfs_sw.link.protocol import LoadState
from ttfs_sw.link.transport import Transport

__all__ = ["infer", "switched_on"]

#: How long a simulated board is left alone before it is asked (again) whether it has booted; longer
#: than it keeps itself in reset.
BOOT_CYCLES = 20_000


class SimulatedDevice(Transport, contextlib.AbstractContextManager, Protocol):
    """A board whose time passes only when it is told to."""

    def run(self, cycles: int) -> None:
        """Let time pass."""


@contextlib.contextmanager
def switched_on(device: SimulatedDevice, patience: int = 1000) -> Iterator[Client]:
    """Switch a simulated board on, let it boot from its flash, and give a client for it.

    Parameters
    ----------
    device : :class:`sim.device.SimulatedBoard`
        The board, still off.
    patience : :class:`int`
        How often it is asked at most whether it has booted; what it lacks then, it says when it is
        asked to classify.
    """
    with device:
        device.run(BOOT_CYCLES)
        client = Client(device, name="the simulated board")
        for _ in range(patience):
            if client.status().load_state not in (LoadState.EMPTY, LoadState.LOADING):
                break
            device.run(BOOT_CYCLES)
        yield client


def infer(
    client: Client,
    network: Network,
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Classify images on a board and compare every answer with the golden model's.

    Parameters
    ----------
    client : :class:`ttfs_sw.link.host.Client`
        The board, with ``network`` in it.
    network : :class:`ttfs_sw.artifact.network.Network`
        What the board should compute.
    pixels, labels : :class:`numpy.ndarray`
        uint8 ``[images, inputs]`` and integers ``[images]``.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images.

    Returns
    -------
    :class:`dict`
        ``images``, ``accuracy``, ``mismatched_images`` (winner or any logit differs),
        ``first_mismatch`` (a sentence, or ``None``), ``cycles`` as the board counted them, and
        ``images_per_second``, the serial line and all.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If the board is silent or refuses.
    """
    trace = golden.run(network, pixels)
    first, wrong, correct, cycles = None, 0, 0, []
    started = time.monotonic()
    for index, image in enumerate(pixels):
        result = client.classify(image)
        winner = int(trace.winners[index])
        # A board keeps the first logits of many; the winner is right however many there are.
        logits = tuple(trace.logits[index][:len(result.logits)].tolist())
        if (result.winner, result.logits) != (winner, logits):
            wrong += 1
            first = first or (
                f"image {index}: golden model gives class {winner} with logits {list(logits)}, "
                f"the board class {result.winner} with {list(result.logits)}"
            )
        correct += result.winner == labels[index]
        cycles.append(result.cycles)
        if progress is not None:
            progress(index + 1, len(pixels))
    elapsed = time.monotonic() - started
    return {
        "images": len(pixels),
        "accuracy": float(correct / len(pixels)),
        "mismatched_images": wrong,
        "first_mismatch": first,
        "cycles": {
            "min": min(cycles),
            "median": float(np.median(cycles)),
            "mean": float(np.mean(cycles)),
            "max": max(cycles),
        },
        "images_per_second": len(pixels) / elapsed,
        "seconds": elapsed,
    }
