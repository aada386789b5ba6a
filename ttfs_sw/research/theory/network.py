# SPDX-License-Identifier: Apache-2.0
"""Layers whose windows tile one time axis, and how long those windows are."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from ttfs_sw.common.modules import Modules
from ttfs_sw.research.theory.layers import TtfsLayer
from ttfs_sw.research.theory.spikes import Spikes, encode
from ttfs_sw.training.kinds import raster
from ttfs_sw.training.topology import Topology

__all__ = ["GAMMA", "ZETA", "TtfsTrace", "TtfsNetwork"]

#: A window is this much longer than the largest activation that it was calibrated on: 1 + ZETA.
ZETA = 0.5

#: During training a window is at least this many times the largest activation of the batch.
GAMMA = 10.0


@dataclasses.dataclass(frozen=True)
class TtfsTrace:
    """What a network did for a batch of images.

    Parameters
    ----------
    maps : sequence of :class:`ttfs_sw.research.theory.spikes.Spikes`
        The input, then each hidden layer, after pooling.
    logits : :class:`torch.Tensor`
        ``[images, classes]``.
    """

    maps: Sequence[Spikes]
    logits: torch.Tensor

    @property
    def early(self) -> int:
        """Neurons that fired before their window opened."""
        return sum(spikes.early for spikes in self.maps)

    @property
    def spikes_per_neuron(self) -> float:
        """Mean over images and hidden neurons."""
        fired = [spikes.fired for spikes in self.maps[1:]]
        total = sum(layer.numel() for layer in fired)
        return sum(int(torch.count_nonzero(layer)) for layer in fired) / max(total, 1)


class TtfsNetwork(nn.Module):
    """A network in which time is real, for training and for proof.

    Parameters
    ----------
    topology : :class:`ttfs_sw.training.topology.Topology`
        The shape of the images, and the layers; the last is the read-out, which does not fire.
    model : :class:`str`
        ``"b1"`` or ``"alpha"``: see :mod:`ttfs_sw.research.theory.layers`.
    low, high : :class:`float`
        The range of the inputs. They enter the first window as spikes from 0 to 1.

    Members
    -------
    windows : float64 ``[hidden layers]``, the length of each. In B1 and in the alpha-model alike no
        activation depends on them; they only have to be long enough for every spike.
    """

    windows: torch.Tensor

    def __init__(
        self, topology: Topology, model: str = "b1", *, alpha: float = 1.0, low: float = 0.0,
        high: float = 1.0,
    ):
        super().__init__()
        self.topology, self.model, self.low, self.high = topology, model, low, high
        # The read-out has no threshold to meet, so the models do not differ there.
        last = len(topology.layers) - 1
        self.layers = Modules(
            TtfsLayer(plan, model if index < last else "b1", alpha)
            for index, plan in enumerate(topology.layers)
        )
        self.register_buffer("windows", torch.ones(last, dtype=torch.float64))

    def run(self, values: torch.Tensor) -> TtfsTrace:
        """Simulate images ``[images, inputs]`` in raster order; everything that happened."""
        images = values.view(-1, *self.topology.input_shape).permute(0, 3, 1, 2)
        maps = [encode(images, self.low, self.high)]
        windows = self.windows.tolist()
        for layer, window in zip(self.layers, windows, strict=False):
            spikes = layer(maps[-1], window, self._second(layer, maps))
            if spikes.times.ndim == 2:
                spikes = dataclasses.replace(spikes, times=spikes.times[:, :, None, None])
            maps.append(spikes)
        last = self.layers[-1]
        return TtfsTrace(maps, last.read_out(maps[-1], self._second(last, maps)))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits of images ``[images, inputs]`` in raster order."""
        return self.run(values).logits

    @staticmethod
    def _second(layer: TtfsLayer, maps: Sequence[Spikes]) -> Spikes | None:
        second = layer.plan.second_source
        return None if second is None else maps[second + 1]

    @torch.no_grad()
    def adapt(self, trace: TtfsTrace, gamma: float = GAMMA) -> None:
        """Lengthen windows after a batch, as its spikes demand (adaptive t_max).

        ``t_max <- t_min + max(t_max - t_min, gamma (t_max - earliest spike))``
        """
        for index, spikes in enumerate(trace.maps[1:]):
            largest = gamma * (spikes.end - spikes.times.min())
            self.windows[index] = torch.maximum(self.windows[index], largest)

    @torch.no_grad()
    def calibrate(self, values: torch.Tensor, zeta: float = ZETA) -> None:
        """Set every window to ``1 + zeta`` times the largest activation that ``values`` cause."""
        for index, spikes in enumerate(self.run(values).maps[1:]):
            largest = (spikes.end - spikes.times.min()).item()
            # A layer that stays silent keeps a window: a spike in it is still possible.
            self.windows[index] = (1 + zeta) * largest or 1.0

    def activations(self, trace: TtfsTrace) -> list[torch.Tensor]:
        """Activations of the hidden layers, ``[images, neurons]`` in raster order."""
        return [raster(spikes.values) for spikes in trace.maps[1:]]
