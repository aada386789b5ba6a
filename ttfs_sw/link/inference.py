# SPDX-License-Identifier: Apache-2.0
"""Classifying on a board, and whether its answers are the golden model's."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.report import Report
from ttfs_sw.link.host import Client
from ttfs_sw.link.protocol import LoadState
from ttfs_sw.link.transport import Transport

__all__ = ["Cycles", "Inference", "infer", "switched_on"]

#: How long a simulated board is left alone before it is asked (again) whether it has booted; longer
#: than it keeps itself in reset.
BOOT_CYCLES = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cycles(Report):
    """Clock cycles an image, as the board counted them: least, median, mean and most."""

    min: int
    median: float
    mean: float
    max: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inference(Report):
    """What a board answered, beside what it should have.

    Parameters
    ----------
    images : :class:`int`
        How many were classified.
    accuracy : :class:`float`
        Share of them to which the board gave their label.
    mismatched_images : :class:`int`
        Images whose winner, or any logit, is not the golden model's.
    first_mismatch : :class:`str` or ``None``
        A sentence about the first of those.
    cycles : :class:`Cycles`
        An image.
    images_per_second : :class:`float`
        The serial line and all.
    seconds : :class:`float`
        That all of them took.
    """

    images: int
    accuracy: float
    mismatched_images: int
    first_mismatch: str | None
    cycles: Cycles
    images_per_second: float
    seconds: float


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
) -> Inference:
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
    return Inference(
        images=len(pixels),
        accuracy=float(correct / len(pixels)),
        mismatched_images=wrong,
        first_mismatch=first,
        cycles=Cycles(
            min=min(cycles),
            median=float(np.median(cycles)),
            mean=float(np.mean(cycles)),
            max=max(cycles),
        ),
        images_per_second=len(pixels) / elapsed,
        seconds=elapsed,
    )
