# SPDX-License-Identifier: Apache-2.0
"""Spikes that come too early or too late: in training, and when a network is judged.

Spike times are noisy where time is physical. Here a spike at tick ``k`` moves to the tick nearest
to ``k + n``, with ``n`` normal of a given deviation in ticks, and stays inside its window: its code
``a = T - k`` stays from 1 to T. A silent neuron stays silent. The spikes that move are those that a
map sends, the image's too; the read-out sends none. (Stanojevic et al. 2024 add the same noise to
real spike times; theirs wakes silent neurons too.)
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ttfs_sw.artifact.network import Network
from ttfs_sw.golden.arithmetic import encode
from ttfs_sw.golden.numpy_model import forward

__all__ = ["accuracy", "moved", "mover"]

#: Images computed together.
BATCH = 500


def moved(codes: Any, ticks: int, noise: Any) -> Any:
    """Return ``codes`` after their spikes moved by ``noise`` ticks.

    Parameters
    ----------
    codes, noise : :class:`numpy.ndarray` or :class:`torch.Tensor`
        Of one shape; the noise is of floats.
    ticks : :class:`int`
        T.
    """
    return (codes + noise).round().clip(1, ticks) * (codes > 0)


def mover(deviation: float, generator: Any) -> Callable[[Any, int], Any] | None:
    """Return what moves the spikes of torch tensors by random ticks; ``None`` without deviation.

    Parameters
    ----------
    deviation : :class:`float`
        Standard deviation, in ticks.
    generator : :class:`torch.Generator`
        Draws it, on the device of the codes.
    """
    if not deviation:
        return None

    def move(codes: Any, ticks: int) -> Any:
        noise = codes.new_empty(codes.shape).normal_(0, deviation, generator=generator)
        return moved(codes, ticks, noise)

    return move


def accuracy(
    network: Network, pixels: np.ndarray, labels: np.ndarray, deviation: float, *, seed: int = 0
) -> float:
    """Return the share of images that ``network`` gets right when its spikes move.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        The network.
    pixels, labels : :class:`numpy.ndarray`
        uint8 ``[images, inputs]`` and integers ``[images]``.
    deviation : :class:`float`
        Standard deviation of the moves, in ticks of each map.
    seed : :class:`int`
        Start of the random moves.
    """
    generator, right = np.random.default_rng(seed), 0

    def move(codes: np.ndarray, ticks: int) -> np.ndarray:
        noise = deviation * generator.standard_normal(codes.shape, np.float32)
        return moved(codes, ticks, noise).astype(np.uint8)

    for start in range(0, len(pixels), BATCH):
        part = slice(start, start + BATCH)
        _, logits = forward(network, encode(network, pixels[part]), move)
        right += int((logits.argmax(axis=1) == labels[part]).sum())
    return right / len(labels)
