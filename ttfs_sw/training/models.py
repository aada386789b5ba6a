# SPDX-License-Identifier: Apache-2.0
"""The two networks of a training run: the ReLU network, and the quantised one that follows it.

Maps are ``[images, channels, height, width]`` inside, as torch has them. Images come in and codes
go out in raster order (row, column, channel), and a dense layer reads maps in raster order too, so
that its weights need no permutation.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.common.modules import Modules
from ttfs_sw.training import quantise
from ttfs_sw.training.kinds import raster, received, shown, weight_shape
from ttfs_sw.training.qat import Fire, QuantisedLayer
from ttfs_sw.training.quantise import LayerIntegers
from ttfs_sw.training.topology import LayerPlan, Topology

__all__ = ["Activity", "QuantisedNetwork", "ReluNetwork"]


class Activity(NamedTuple):
    """What a forward pass gives: real logits, and the codes of every hidden layer.

    Members
    -------
    codes : after pooling, ``[images, neurons]`` in raster order.
    spikes : the codes again, with the gradients that :meth:`Fire.forward` gives them.
    """

    logits: torch.Tensor
    codes: list[torch.Tensor]
    spikes: list[torch.Tensor]


class ReluLayer(nn.Module):
    """Weights and biases of one layer in real numbers.

    Parameters
    ----------
    plan : :class:`ttfs_sw.training.topology.LayerPlan`
        What to compute.
    generator : :class:`torch.Generator`
        Draws the weights, He-normal.
    """

    def __init__(self, plan: LayerPlan, generator: torch.Generator):
        super().__init__()
        self.plan = plan
        if plan.learned:
            deviation = math.sqrt(2 / plan.fan_in)
            weight = torch.empty(weight_shape(plan))
            self.weight = nn.Parameter(weight.normal_(0, deviation, generator=generator))
            self.bias = nn.Parameter(torch.zeros(plan.out_shape[2]))

    def forward(self, values: torch.Tensor, second: torch.Tensor | None = None) -> torch.Tensor:
        """Return what the neurons receive, before pooling."""
        plan = self.plan
        if not plan.learned:
            return functional.avg_pool2d(values, plan.kernel)
        found = received(plan, values, self.weight, self.bias)
        return found if second is None else found + second


class ReluNetwork(nn.Module):
    """The network in real numbers that training starts from: layers, max-pools and ReLUs.

    Parameters
    ----------
    topology : :class:`ttfs_sw.training.topology.Topology`
        The shape of the images, and the layers.
    generator : :class:`torch.Generator`
        Draws the weights.
    """

    def __init__(self, topology: Topology, generator: torch.Generator):
        super().__init__()
        self.input_shape = topology.input_shape
        self.layers = Modules(ReluLayer(plan, generator) for plan in topology.layers)

    def forward(
        self, values: torch.Tensor, fire: Callable[[int, torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Logits of inputs from 0 to 1, ``[images, inputs]`` in raster order.

        ``fire(index, received)``, if given, stands for the ReLU of hidden layer ``index``: it gets
        what the neurons receive, after pooling, and returns what they send.
        """
        fire = fire or (lambda index, received: functional.relu(received))
        maps = _Maps(values, self.input_shape)
        for index, layer in enumerate(self.layers):
            received = layer(*maps.read(index, layer.plan))
            if index < len(self.layers) - 1:
                maps.add(fire(index, _pooled(received, layer.plan)))
        # The last layer is dense, and has no ReLU.
        return received


class QuantisedNetwork(nn.Module):
    """A network that computes the integer contract.

    Parameters
    ----------
    topology : :class:`ttfs_sw.training.topology.Topology`
        The shape of the images, and the layers.
    weight_bits : sequence of :class:`int`
        One a layer with weights to learn.
    ticks : sequence of :class:`int`
        T of the input, then of each hidden layer.
    per_channel : :class:`bool`
        Whether each channel of a hidden layer has a weight scale of its own, and so m and s. The
        read-out has one for all classes, because its membranes are compared. A layer that adds a
        residual, and an average pool, have none.
    """

    input_scale: torch.Tensor

    def __init__(
        self, topology: Topology, weight_bits: Sequence[int], ticks: Sequence[int], *,
        per_channel: bool = False,
    ):
        super().__init__()
        self.input_shape = topology.input_shape
        bits, last = iter(weight_bits), len(topology.layers) - 1
        self.layers = Modules(
            QuantisedLayer(
                plan, weight_bits=next(bits) if plan.learned else 2, source_ticks=source,
                second_ticks=0 if plan.second_source is None else ticks[plan.second_source + 1],
                per_channel=per_channel and index < last,
            )
            for index, (plan, source) in enumerate(zip(topology.layers, ticks, strict=True))
        )
        self.fires = Modules(Fire(layer_ticks) for layer_ticks in ticks[1:])
        # Not a parameter: an image is worth 0 to 1, as it is for the ReLU network.
        self.register_buffer("input_scale", torch.tensor(1 / ticks[0]))

    def forward(
        self, codes: torch.Tensor,
        move: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
    ) -> Activity:
        """Classify input codes, ``[images, inputs]`` as floats in raster order.

        ``move(codes, T)``, if given, moves the spikes of every map on their way to the next layer,
        the image's too. Gradients pass as if it had not, and the result's codes are those before.
        """
        codes = codes if move is None else move(codes, self.layers[0].source_ticks)
        maps, scales = _Maps(codes, self.input_shape), [self.input_scale]
        hidden, active = [], []
        for index, (layer, fire) in enumerate(zip(self.layers, self.fires, strict=False)):
            membrane, unit = self._membrane(index, maps, scales)
            # The largest code of a window is that of its largest membrane: they rise together.
            codes, scale, spikes = fire(_pooled(membrane, layer.plan), unit)
            sent = codes if move is None else codes + (move(codes, fire.ticks) - codes).detach()
            maps.add(sent)
            scales.append(scale)
            hidden.append(raster(codes))
            active.append(raster(spikes))
        membrane, unit = self._membrane(len(self.layers) - 1, maps, scales)
        return Activity(membrane * unit, hidden, active)

    def _membrane(
        self, index: int, maps: "_Maps", scales: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Membranes of layer ``index`` before pooling, and the real value of one unit of them."""
        layer = self.layers[index]
        codes, second = maps.read(index, layer.plan)
        return layer(codes, scales[index], second, self._second_scale(index, scales))

    def _second_scale(self, index: int, scales: list[torch.Tensor]) -> torch.Tensor | None:
        second = self.layers[index].plan.second_source
        return None if second is None else scales[second + 1]

    @torch.no_grad()
    def start_from(self, relu: ReluNetwork, codes: torch.Tensor, window: float = 1.0) -> None:
        """Take over a ReLU network's weights, and set every scale from how it treats ``codes``.

        Each layer's window is the share ``window`` of what covers nearly all of its membranes.
        """
        maps, scales = _Maps(codes, self.input_shape), [self.input_scale]
        for index, (layer, source) in enumerate(zip(self.layers, relu.layers, strict=True)):
            if layer.plan.learned:
                layer.weight.copy_(source.weight)
                layer.bias.copy_(source.bias)
            layer.calibrate(scales[index], self._second_scale(index, scales))
            if index < len(self.fires):
                membrane, unit = self._membrane(index, maps, scales)
                membrane = _pooled(membrane, layer.plan)
                self.fires[index].calibrate(membrane, unit, window)
                codes, scale, _ = self.fires[index](membrane, unit)
                maps.add(codes)
                scales.append(scale)

    @torch.no_grad()
    def integers(self) -> list[LayerIntegers]:
        """The integers that :meth:`forward` computes with, layer by layer."""
        found, scales = [], [self.input_scale]
        for index, layer in enumerate(self.layers):
            source = scales[index], self._second_scale(index, scales)
            weight, bias = (value.cpu().double().numpy() for value in layer.integers(*source))
            unit = layer.unit(*source)
            scale, ticks, slopes = unit, 0, []
            if index < len(self.fires):
                fire = self.fires[index]
                slopes = [quantise.slope(ratio) for ratio in fire.ratio(unit).view(-1).tolist()]
                scale, ticks = fire.log_scale.exp(), fire.ticks
            residual = layer.plan.second_source is not None
            scales.append(scale)
            found.append(LayerIntegers(
                plan=layer.plan,
                weight=quantise.stored(weight, layer.plan.form).astype("int8"),
                bias=bias.astype("int32"),
                weight_bits=layer.weight_bits,
                # Of scales that differ between channels, their geometric mean.
                weight_scale=layer.weight_scale(*source).log().mean().exp().item()
                if unit.ndim else layer.weight_scale(*source).item(),
                output_scale=scale.item(),
                ticks=ticks,
                multiplier=tuple(multiplier for multiplier, _ in slopes),
                shift=tuple(shift for _, shift in slopes),
                residual_shift=int(layer.residual_shift) if residual else 0,
            ))
        return found


class _Maps:
    """The maps of a forward pass, from the input on, as later layers read them."""

    def __init__(self, images: torch.Tensor, shape: tuple[int, int, int]):
        self._maps = [images.view(-1, *shape).permute(0, 3, 1, 2)]

    def add(self, values: torch.Tensor) -> None:
        """Keep the map of the next layer."""
        self._maps.append(values if values.ndim == 4 else values[:, :, None, None])

    def read(self, index: int, plan: LayerPlan) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What layer ``index`` reads, and what it adds; a dense layer's are in raster order."""
        second = plan.second_source
        added = None if second is None else shown(plan, self._maps[second + 1])
        return shown(plan, self._maps[index]), added


def _pooled(values: torch.Tensor, plan: LayerPlan) -> torch.Tensor:
    return functional.max_pool2d(values, plan.pool) if plan.pool > 1 else values
