# SPDX-License-Identifier: Apache-2.0
"""Where training starts: draws that keep the slope at threshold, and so the gradients, in bounds.

The Jacobian of one layer's spike times is ``diag(fired) w / B``. B1 has B = 1, so an ordinary draw
for a ReLU network is a good one. The alpha-model has ``B = a + sum w``: drawn like that, B comes
close to 0 for some neurons of every layer, whose spike times then depend on anything without bound.
The cure is to draw the ReLU network's weights, balanced, and to map them.
"""

import itertools

import torch

from ttfs_sw.research.theory.mapping import to_ttfs
from ttfs_sw.research.theory.network import TtfsNetwork
from ttfs_sw.training.models import ReluNetwork
from ttfs_sw.training.topology import Topology

__all__ = ["LOWER", "UPPER", "balance", "naive", "rescale", "smart"]

#: Bounds between which :func:`rescale` brings the sum of a neuron's weights.
LOWER, UPPER = -10.0, 0.99


@torch.no_grad()
def rescale(relu: ReluNetwork, lower: float = LOWER, upper: float = UPPER) -> None:
    """Make every hidden neuron's weights add up to something from ``lower`` to ``upper``.

    In place, and without changing the logits: what a neuron's own weights and bias are divided by,
    the weights that read it are multiplied by. For dense layers and convolutions one after another.
    """
    layers = list(relu.layers)
    for layer, reader in itertools.pairwise(layers):
        plans = layer.plan, reader.plan
        if any(not p.learned or p.form.own_channel or p.second_source is not None for p in plans):
            raise ValueError("only dense layers and convolutions without residuals can be rescaled")
        total = layer.weight.flatten(1).sum(dim=1)
        factor = torch.maximum(total / upper, total / lower).clamp(min=1)
        layer.weight.div_(factor.view(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.div_(factor)
        if reader.plan.form.flat:
            # Raster order: the channels of one position lie side by side.
            reader.weight.mul_(factor.repeat(reader.weight.shape[1] // len(factor)))
        else:
            reader.weight.mul_(factor.view(1, -1, 1, 1))


@torch.no_grad()
def balance(relu: ReluNetwork) -> None:
    """Shift the weights of every hidden neuron by one amount, so that they add up to 0. In place.

    For a fresh draw: it is another function, as likely as the one before. The alpha-model then
    starts with the slope ``alpha`` everywhere. :func:`rescale` keeps the function, but each layer
    passes its factors on to the next, and in a deep network they pile up.
    """
    for layer in list(relu.layers)[:-1]:
        if layer.plan.learned:
            weight = layer.weight.view(len(layer.weight), -1)
            weight -= weight.mean(dim=1, keepdim=True)


def naive(topology: Topology, generator: torch.Generator, *, alpha: float = 1.0) -> TtfsNetwork:
    """An alpha-model network whose own weights are drawn as a ReLU network's are (He-normal)."""
    drawn = ReluNetwork(topology, generator).double()
    network = TtfsNetwork(topology, "alpha", alpha=alpha)
    with torch.no_grad():
        for layer, source in zip(network.layers, drawn.layers, strict=True):
            layer.weight.copy_(source.weight)
    return network


def smart(topology: Topology, generator: torch.Generator, *, alpha: float = 1.0) -> TtfsNetwork:
    """An alpha-model network that computes what a freshly drawn, balanced ReLU network does."""
    drawn = ReluNetwork(topology, generator).double()
    balance(drawn)
    return to_ttfs(drawn, topology, "alpha", alpha=alpha)
