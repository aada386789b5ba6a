# SPDX-License-Identifier: Apache-2.0
"""Batch-norm and the range of the inputs, taken into weights and biases exactly.

In use, a batch-norm is ``y = k x + c`` for each channel, with ``k = gamma / sqrt(variance + eps)``
and ``c = beta - mean k``.

* *Before* the ReLU it belongs to the layer before: ``W' = k W``, ``D' = k b + c``.
* *After* the ReLU it belongs to the layer that reads: ``W' = W k``, ``D' = b + sum of W c`` over
  the taps that lie inside the map. Padding is 0 of ``y`` and no neuron of the map, so neurons at
  the border have fewer terms: a 3 x 3 convolution of padding 1 has nine biases a channel.
* Inputs from ``low`` to ``high`` enter as spikes from 0 to 1: the same with ``k = high - low``
  and ``c = low``.
* A max-pool that stands after a batch-norm of negative ``k`` takes the least ReLU: the last spike
  of its window instead of the first.
"""

import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.common.modules import Modules
from ttfs_sw.research.theory.network import TtfsNetwork
from ttfs_sw.training.kinds import batch_norm, raster, shown
from ttfs_sw.training.models import ReluNetwork
from ttfs_sw.training.topology import LayerPlan, Topology

__all__ = ["PLACES", "NormalisedNetwork", "fuse"]

PLACES = ("before", "after")

_Norm = nn.BatchNorm1d | nn.BatchNorm2d


class NormalisedNetwork(nn.Module):
    """A ReLU network with a batch-norm at every hidden layer, in float64.

    Parameters
    ----------
    topology : :class:`ttfs_sw.training.topology.Topology`
        Dense layers and convolutions, without residuals.
    place : :class:`str`
        ``"before"`` or ``"after"`` the ReLU. A max-pool comes last in either case.
    generator : :class:`torch.Generator`
        Draws the weights.
    """

    def __init__(self, topology: Topology, place: str, generator: torch.Generator):
        super().__init__()
        if place not in PLACES:
            raise ValueError(f"place must be one of {', '.join(PLACES)}, not {place!r}")
        if any(not p.learned or p.second_source is not None for p in topology.layers):
            raise ValueError("only dense layers and convolutions without residuals have batch-norm")
        self.topology, self.place = topology, place
        self.layers = ReluNetwork(topology, generator).double().layers
        self.norms: Modules[_Norm] = Modules(
            batch_norm(plan).double() for plan in topology.layers[:-1]
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits of images ``[images, inputs]`` in raster order."""
        values = values.view(-1, *self.topology.input_shape).permute(0, 3, 1, 2)
        for layer, norm in zip(self.layers, self.norms, strict=False):
            received = layer(shown(layer.plan, values))
            if self.place == "before":
                values = functional.relu(norm(received))
            else:
                values = norm(functional.relu(received))
            if layer.plan.pool > 1:
                values = functional.max_pool2d(values, layer.plan.pool)
        return self.layers[-1](raster(values))


@torch.no_grad()
def fuse(network: NormalisedNetwork, low: float = 0.0, high: float = 1.0) -> TtfsNetwork:
    """The B1 network that computes what ``network`` does in evaluation.

    Parameters
    ----------
    network : :class:`NormalisedNetwork`
        With the running statistics that it has learned.
    low, high : :class:`float`
        The range of its inputs. A value outside would be a spike outside the first window.
    """
    fused = TtfsNetwork(network.topology, low=low, high=high).to(network.layers[0].weight.device)
    scale = torch.full((network.topology.input_shape[2],), high - low).to(fused.windows)
    offset = torch.full_like(scale, low)
    for index, (target, source) in enumerate(zip(fused.layers, network.layers, strict=True)):
        # What the source's map is read through: scale and offset of each of its channels.
        weight, bias = _read_through(source.weight, source.bias, source.plan, scale, offset)
        scale, offset = torch.ones_like(source.bias), torch.zeros_like(source.bias)
        if index < len(network.norms):
            k, c = _scale_and_offset(network.norms[index])
            if network.place == "before":
                weight = weight * _along(k, weight)
                bias = bias * _along(k, bias) + _along(c, bias)
            else:
                scale, offset = k, c
                target.signs.copy_(torch.where(k < 0, -1.0, 1.0))
        target.weight.copy_(weight)
        target.bias = nn.Parameter(bias.clone())
    return fused


def _scale_and_offset(norm: _Norm) -> tuple[torch.Tensor, torch.Tensor]:
    """``k`` and ``c`` of a batch-norm in use."""
    assert norm.running_mean is not None and norm.running_var is not None, "it has learned them"
    k = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return k, norm.bias - norm.running_mean * k


def _along(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """One value for each of the first axis of ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _read_through(
    weight: torch.Tensor, bias: torch.Tensor, plan: LayerPlan, scale: torch.Tensor,
    offset: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases of a layer that reads ``x`` and was made to read ``scale x + offset``.

    The bias is a map where the border makes it one, else ``[channels]``.
    """
    if plan.form.flat:
        # Raster order: the channels of one position lie side by side.
        positions = weight.shape[1] // len(scale)
        return weight * scale.repeat(positions), bias + weight @ offset.repeat(positions)
    own = plan.form.own_channel
    if (offset != 0).any():
        height, width, channels = plan.in_shape
        constant = offset.view(1, -1, 1, 1).expand(1, channels, height, width)
        # The convolution pads with 0, as the network does: taps outside the map are left out.
        bias = functional.conv2d(
            constant, weight, bias, plan.stride, plan.padding, groups=plan.form.groups(channels)
        )[0]
    return weight * scale.view((-1, 1, 1, 1) if own else (1, -1, 1, 1)), bias
