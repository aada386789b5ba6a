# SPDX-License-Identifier: Apache-2.0
"""Spike times of a map of neurons, and the window that they lie in."""

import dataclasses

import torch

__all__ = ["Spikes", "encode"]


@dataclasses.dataclass(frozen=True)
class Spikes:
    """When the neurons of one map fired.

    Parameters
    ----------
    times : :class:`torch.Tensor`
        Any shape that starts with images. A silent neuron has the time ``end``.
    start, end : :class:`float`
        The window ``start <= t < end``, on the time axis of the whole network.
    """

    times: torch.Tensor
    start: float
    end: float

    @property
    def values(self) -> torch.Tensor:
        """What the spikes are worth to a membrane when the window closes: ``x = end - t``."""
        return self.end - self.times

    @property
    def fired(self) -> torch.Tensor:
        """Which neurons fired."""
        return self.times < self.end

    @property
    def early(self) -> int:
        """How many neurons fired before the window opened: only a window too short has any."""
        return int(torch.count_nonzero(self.times < self.start))


def encode(
    values: torch.Tensor, low: float = 0.0, high: float = 1.0, window: float = 1.0
) -> Spikes:
    """Input values from ``low`` to ``high`` as spikes: the largest first, the least silent.

    ``t = window (1 - (x - low) / (high - low))``. What reads them sees inputs from 0 to ``window``;
    :func:`ttfs_sw.research.theory.fusing.fuse` gives weights and biases that undo this.
    """
    # From the end of the window, so that a value of `low` is silent exactly.
    return Spikes(window - window * ((values - low) / (high - low)), 0.0, window)
