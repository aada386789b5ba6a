"""Quantisation-aware layers: what they compute forwards is what the hardware computes.

Every tensor that stands for integers holds integers, as floats wide enough to carry them exactly.
So export is a copy, and a test compares every code of every neuron with :mod:`ttfs_sw.golden`.

Backwards, rounding is straight-through, and the staircase of firing has the gradients of the
clipped ramp it approximates (QCFS; Bu et al. 2022): with membrane ``z``, window ``λ`` and
``h = (λ/T) clip(⌊zT/λ + ½⌋, 0, T)``, they are ``∂h/∂z = 1[0 ≤ z ≤ λ]`` and
``∂h/∂λ = (h - z)/λ`` inside, 1 above and 0 below. A QCFS unit is a neuron that fires once, at
tick ``T - hT/λ`` of its window: ``λ = T s_y``.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ttfs_sw import quantise
from ttfs_sw.quantise import DenseIntegers

__all__ = ["Activity", "Fire", "QuantisedLinear", "QuantisedNetwork", "ReluNetwork"]

#: Biases are kept within this, so that a membrane is exact in the float that carries it.
MAX_BIAS = 1 << 23

#: Share of the positive membranes of a ReLU network that its calibrated window covers.
WINDOW_QUANTILE = 0.999


class _Round(torch.autograd.Function):
    """Nearest integer, halves up; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, value):
        return torch.floor(value + 0.5)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class _Staircase(torch.autograd.Function):
    """Codes of integer membranes, with the gradients of the clipped ramp ``V ratio``."""

    @staticmethod
    def forward(ctx, membrane, ratio, ticks):
        ctx.save_for_backward(membrane, ratio)
        ctx.ticks = ticks
        if not 0 < ratio.item() < math.inf:
            # Training has diverged. The loss becomes NaN, and that is where it is looked for.
            return torch.full_like(membrane, math.nan)
        multiplier, shift = quantise.slope(ratio.item())
        # V m stays below 2^53, the limit of exact integers in float64, up to V = 2^37.
        scaled = membrane.clamp(min=0).double().mul_(multiplier)
        half = (1 << shift) >> 1
        return scaled.add_(half).mul_(2.0**-shift).floor_().clamp_(max=ticks).to(membrane.dtype)

    @staticmethod
    def backward(ctx, gradient):
        membrane, ratio = ctx.saved_tensors
        inside = (membrane >= 0) & (membrane * ratio <= ctx.ticks)
        gradient = gradient * inside
        return gradient * ratio, (gradient * membrane).sum(), None


class QuantisedLinear(nn.Module):
    """A dense layer from codes to membranes, in integers: ``V = β + Σ w a``.

    Parameters
    ----------
    inputs, outputs : :class:`int`
        Sizes.
    weight_bits : :class:`int`
        2 to 8; weights are symmetric about zero.
    source_ticks : :class:`int`
        Largest code that arrives.

    Members
    -------
    weight, bias : real parameters ``[outputs, inputs]`` and ``[outputs]``, rounded on each use.
    log_scale : logarithm of the weight scale, learned too. Steps in it are relative, as they are
        for the weights, whatever the scale is.
    """

    def __init__(self, inputs: int, outputs: int, *, weight_bits: int, source_ticks: int):
        super().__init__()
        self.weight_bits = weight_bits
        self.source_ticks = source_ticks
        self.limit = quantise.weight_limit(weight_bits)
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.log_scale = nn.Parameter(torch.zeros(()))
        reach = inputs * source_ticks * self.limit + MAX_BIAS
        self.dtype = torch.float32 if reach <= 1 << 24 else torch.float64

    def integers(self, source_scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Integer weights ``[outputs, inputs]`` and biases, for codes worth ``source_scale``."""
        scale = self.log_scale.exp()
        weight = _Round.apply((self.weight / scale).clamp(-self.limit, self.limit))
        bias = _Round.apply((self.bias / (scale * source_scale)).clamp(-MAX_BIAS, MAX_BIAS))
        return weight, bias

    def forward(
        self, codes: torch.Tensor, source_scale: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the membranes, and the real value of one unit of them."""
        weight, bias = self.integers(source_scale)
        membrane = functional.linear(
            codes.to(self.dtype), weight.to(self.dtype), bias.to(self.dtype)
        )
        return membrane, self.log_scale.exp() * source_scale

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set the weight scale to the one with the least squared error of the rounded weights."""
        top = self.weight.abs().max().clamp(min=1e-8) / self.limit
        scales = top * torch.linspace(0.2, 1.0, 33, device=top.device)
        errors = torch.stack([
            ((self.weight / scale).round().clamp(-self.limit, self.limit) * scale - self.weight)
            .square().sum()
            for scale in scales
        ])
        self.log_scale.copy_(scales[errors.argmin()].log())

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, weight_bits={self.weight_bits}, ticks={self.source_ticks}"


class Fire(nn.Module):
    """From membranes to codes: ``a = min(T, (max(V, 0) m + 2^(s-1)) >> s)``.

    Parameters
    ----------
    ticks : :class:`int`
        T.

    Members
    -------
    log_scale : logarithm of ``s_y``, the real value of one step of the codes, learned. The window
        is ``T s_y``, and ``m / 2^s`` is the nearest to the membrane's unit by ``s_y``.
    """

    def __init__(self, ticks: int):
        super().__init__()
        self.ticks = ticks
        self.log_scale = nn.Parameter(torch.zeros(()))

    def ratio(self, unit: torch.Tensor) -> torch.Tensor:
        """Codes per unit of the membrane, the real number that ``m / 2^s`` stands for."""
        return unit / self.log_scale.exp()

    def forward(
        self, membrane: torch.Tensor, unit: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes, and the real value of one step of them."""
        codes = _Staircase.apply(membrane, self.ratio(unit), self.ticks)
        return codes, self.log_scale.exp()

    def spikes(self, membrane: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """Return the same codes, but with no gradient for the window.

        For an activity penalty: silence is to come from weaker membranes. A wider window would
        give it too, but with fewer different codes for those that fire.
        """
        return _Staircase.apply(membrane, unit / self.log_scale.exp().detach(), self.ticks)

    @torch.no_grad()
    def calibrate(self, membrane: torch.Tensor, unit: torch.Tensor) -> None:
        """Set the window so that it covers nearly all positive membranes."""
        positive = membrane[membrane > 0].double()
        window = torch.quantile(positive[:1_000_000], WINDOW_QUANTILE) if len(positive) else 1.0
        self.log_scale.copy_(torch.as_tensor(window / self.ticks).log() + unit.log())

    def extra_repr(self) -> str:
        return f"ticks={self.ticks}"


class Activity(NamedTuple):
    """What a forward pass gives: real logits, and the codes of every hidden layer.

    Members
    -------
    spikes : the codes again, as :meth:`Fire.spikes` gives them.
    """

    logits: torch.Tensor
    codes: list[torch.Tensor]
    spikes: list[torch.Tensor]


class ReluNetwork(nn.Module):
    """The network in real numbers that training starts from: dense layers and ReLUs.

    Parameters
    ----------
    sizes : sequence of :class:`int`
        Inputs, hidden neurons, classes.
    generator : :class:`torch.Generator`
        Draws the weights, He-normal.
    """

    def __init__(self, sizes: Sequence[int], generator: torch.Generator):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(sizes)
        )
        with torch.no_grad():
            for layer in self.layers:
                deviation = math.sqrt(2 / layer.in_features)
                layer.weight.normal_(0, deviation, generator=generator)
                layer.bias.zero_()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits of inputs from 0 to 1."""
        *hidden, last = self.layers
        for layer in hidden:
            values = functional.relu(layer(values))
        return last(values)


class QuantisedNetwork(nn.Module):
    """A network of dense layers that computes the integer contract.

    Parameters
    ----------
    sizes : sequence of :class:`int`
        Inputs, hidden neurons, classes.
    weight_bits : sequence of :class:`int`
        One a layer.
    ticks : sequence of :class:`int`
        T of the input, then of each hidden layer.
    """

    def __init__(self, sizes: Sequence[int], weight_bits: Sequence[int], ticks: Sequence[int]):
        super().__init__()
        self.layers = nn.ModuleList(
            QuantisedLinear(inputs, outputs, weight_bits=bits, source_ticks=source)
            for inputs, outputs, bits, source in zip(
                sizes[:-1], sizes[1:], weight_bits, ticks, strict=True
            )
        )
        self.fires = nn.ModuleList(Fire(layer_ticks) for layer_ticks in ticks[1:])
        # Not a parameter: an image is worth 0 to 1, as it is for the ReLU network.
        self.register_buffer("input_scale", torch.tensor(1 / ticks[0]))

    def forward(self, codes: torch.Tensor) -> Activity:
        """Classify input codes, ``[images, inputs]`` as floats."""
        scale, hidden, spikes = self.input_scale, [], []
        for layer, fire in zip(self.layers, self.fires, strict=False):
            membrane, unit = layer(codes, scale)
            codes, scale = fire(membrane, unit)
            hidden.append(codes)
            spikes.append(fire.spikes(membrane, unit))
        membrane, unit = self.layers[-1](codes, scale)
        return Activity(membrane * unit, hidden, spikes)

    @torch.no_grad()
    def start_from(self, relu: ReluNetwork, codes: torch.Tensor) -> None:
        """Take over a ReLU network's weights, and set every scale from how it treats ``codes``."""
        scale = self.input_scale
        for index, (layer, source) in enumerate(zip(self.layers, relu.layers, strict=True)):
            layer.weight.copy_(source.weight)
            layer.bias.copy_(source.bias)
            layer.calibrate()
            membrane, unit = layer(codes, scale)
            if index < len(self.fires):
                self.fires[index].calibrate(membrane, unit)
                codes, scale = self.fires[index](membrane, unit)

    @torch.no_grad()
    def integers(self) -> list[DenseIntegers]:
        """The integers that :meth:`forward` computes with, layer by layer."""
        found, scale = [], self.input_scale
        for index, layer in enumerate(self.layers):
            weight, bias = (value.cpu().double().numpy() for value in layer.integers(scale))
            unit = layer.log_scale.exp() * scale
            fields = {
                "weight": weight.T.astype("int8"),
                "bias": bias.astype("int32"),
                "weight_bits": layer.weight_bits,
                "weight_scale": layer.log_scale.exp().item(),
            }
            if index < len(self.fires):
                fire = self.fires[index]
                multiplier, shift = quantise.slope(fire.ratio(unit).item())
                scale = fire.log_scale.exp()
                fields |= {"ticks": fire.ticks, "multiplier": multiplier, "shift": shift}
            else:
                scale = unit
            found.append(DenseIntegers(**fields, output_scale=scale.item()))
        return found
