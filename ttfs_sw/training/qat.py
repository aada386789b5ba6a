# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware layers: what they compute forwards is what the hardware computes.

Every tensor that stands for integers holds integers, as floats wide enough to carry them exactly.
So export is a copy, and a test compares every code of every neuron with :mod:`ttfs_sw.golden`.
:mod:`ttfs_sw.training.models` makes networks of these layers.

Backwards, rounding is straight-through, and the staircase of firing has the gradients of the
clipped ramp it approximates (QCFS; Bu et al. 2022): with membrane ``z``, window ``λ`` and
``h = (λ/T) clip(⌊zT/λ + ½⌋, 0, T)``, they are ``∂h/∂z = 1[0 ≤ z ≤ λ]`` and
``∂h/∂λ = (h - z)/λ`` inside, 1 above and 0 below. A QCFS unit is a neuron that fires once, at
tick ``T - hT/λ`` of its window: ``λ = T s_y``.
"""

import math
from typing import Any

import torch
from torch import nn

from ttfs_sw.training import quantise
from ttfs_sw.training.kinds import received, weight_shape
from ttfs_sw.training.topology import LayerPlan

__all__ = ["Fire", "QuantisedLayer"]

#: Biases are kept within this, so that a membrane is exact in the float that carries it.
MAX_BIAS = 1 << 23

#: Left shifts of a residual are kept within this, for the same reason.
MAX_RESIDUAL_SHIFT = 14

#: A channel's weight scale is at least this share of the layer's largest.
SMALLEST_SCALE = 1 / 64

#: Share of the positive membranes of a ReLU network that its calibrated window covers.
WINDOW_QUANTILE = 0.999

#: Membranes that are looked at to find that share.
MAX_QUANTILE = 1_000_000


class _Round(torch.autograd.Function):
    """Nearest integer, halves up; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return torch.floor(value + 0.5)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class _Staircase(torch.autograd.Function):
    """Codes of integer membranes, with the gradients of the clipped ramp ``V ratio``.

    Given twice, with a ratio each: both have the same value, but not the same gradients. A ratio is
    one number, or one a channel; channels are the second axis of the membranes.
    """

    @staticmethod
    def forward(
        ctx: Any, membrane: torch.Tensor, ratio: torch.Tensor, spikes_ratio: torch.Tensor,
        ticks: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(membrane, ratio)
        ctx.ticks = ticks
        ctx.set_materialize_grads(False)
        if not all(0 < value < math.inf for value in ratio.view(-1).tolist()):
            # Training has diverged. The loss becomes NaN, and that is where it is looked for.
            return torch.full_like(membrane, math.nan), torch.full_like(membrane, math.nan)
        multiplier, half, step = _slopes(ratio, membrane.ndim)
        # V m stays below 2^53, the limit of exact integers in float64, up to V = 2^37.
        scaled = membrane.clamp(min=0).double().mul_(multiplier)
        scaled = scaled.add_(half).mul_(step).floor_().clamp_(max=ticks)
        codes = scaled.to(membrane.dtype)
        return codes, codes.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        membrane, ratio = ctx.saved_tensors
        others = [axis for axis in range(membrane.ndim) if axis != 1]
        each = _along_channels(ratio, membrane.ndim, 1)
        inside = (membrane >= 0) & (membrane * each <= ctx.ticks)
        of_membrane: torch.Tensor | None = None
        of_ratios: list[torch.Tensor | None] = []
        for gradient in gradients:
            if gradient is None:
                of_ratios.append(None)
                continue
            gradient = gradient * inside
            product = gradient * membrane
            of_ratios.append(product.sum(others) if ratio.ndim else product.sum())
            gradient = gradient * each
            of_membrane = gradient if of_membrane is None else of_membrane + gradient
        return of_membrane, *of_ratios, None


def _along_channels(values: torch.Tensor, axes: int, channel: int) -> torch.Tensor:
    """One number, or one a channel, so that it broadcasts over tensors of so many axes."""
    if not values.ndim:
        return values
    return values.view([-1 if axis == channel else 1 for axis in range(axes)])


def _slopes(ratio: torch.Tensor, axes: int) -> tuple[Any, Any, Any]:
    """``m``, ``2^(s-1)`` (0 for s = 0) and ``2^-s`` of a ratio or of one a channel."""
    found = [quantise.slope(value) for value in ratio.view(-1).tolist()]
    numbers = [(multiplier, (1 << shift) >> 1, 2.0**-shift) for multiplier, shift in found]
    if not ratio.ndim:
        return numbers[0]
    columns = torch.tensor(numbers, dtype=torch.float64, device=ratio.device).T
    multiplier, half, step = (_along_channels(column, axes, 1) for column in columns)
    return multiplier, half, step


class QuantisedLayer(nn.Module):
    """A layer from codes to membranes, in integers: ``V = β + Σ w a (+ a₂ << r)``.

    Maps are ``[images, channels, height, width]``, as torch has them; a dense layer reads and gives
    ``[images, neurons]``.

    A residual must be worth in the membrane what it is worth in its own map, ``s_2``, so the unit
    of the membrane is ``s_2 / 2^r``: the layer has no weight scale of its own, and calibration
    finds ``r``. An average has weights of 1 and no bias, and its unit is ``s_x / K²``.

    Parameters
    ----------
    plan : :class:`ttfs_sw.training.topology.LayerPlan`
        What to compute.
    weight_bits : :class:`int`
        2 to 8; weights are symmetric about zero.
    source_ticks, second_ticks : :class:`int`
        Largest code that arrives from the source, and from the second source.
    per_channel : :class:`bool`
        Whether each output channel has a weight scale of its own, as far as the layer has any.

    Members
    -------
    weight, bias : real parameters, rounded on each use: ``[outputs, inputs]``, or ``[c_out, c_in,
        ky, kx]``, or depthwise ``[c, 1, ky, kx]``; and ``[c_out]``.
    log_scale : logarithm of the weight scale, or of one a channel; learned too. Steps in it are
        relative, as they are for the weights, whatever the scale is.
    residual_shift : r, found by calibration.
    """

    residual_shift: torch.Tensor

    def __init__(
        self, plan: LayerPlan, *, weight_bits: int, source_ticks: int, second_ticks: int = 0,
        per_channel: bool = False,
    ):
        super().__init__()
        self.plan = plan
        self.weight_bits = weight_bits if plan.learned else 2
        self.source_ticks = source_ticks
        self.limit = quantise.weight_limit(self.weight_bits)
        self._residual = plan.second_source is not None
        if plan.learned:
            self.weight = nn.Parameter(torch.zeros(weight_shape(plan)))
            self.bias = nn.Parameter(torch.zeros(plan.out_shape[2]))
            if not self._residual:
                scales = (plan.out_shape[2],) if per_channel else ()
                self.log_scale = nn.Parameter(torch.zeros(scales))
        if self._residual:
            self.register_buffer("residual_shift", torch.tensor(0))
        reach = plan.fan_in * source_ticks * self.limit + MAX_BIAS
        reach += second_ticks << MAX_RESIDUAL_SHIFT if self._residual else 0
        self.dtype = torch.float32 if reach <= 1 << 24 else torch.float64

    def unit(
        self, source_scale: torch.Tensor, second_scale: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Real value of one unit of the membrane, or of each channel's membranes."""
        if self._residual:
            assert second_scale is not None, "a residual comes with its scale"
            return second_scale * 2.0 ** -int(self.residual_shift)
        if not self.plan.learned:
            return source_scale / self.plan.fan_in
        return self.log_scale.exp() * source_scale

    def weight_scale(
        self, source_scale: torch.Tensor, second_scale: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Real value of one step of a weight, or of each channel's weights."""
        if self.plan.learned and not self._residual:
            return self.log_scale.exp()
        return self.unit(source_scale, second_scale) / source_scale

    def integers(
        self, source_scale: torch.Tensor, second_scale: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Integer weights and biases, for codes worth ``source_scale`` and ``second_scale``."""
        if not self.plan.learned:
            channels = self.plan.out_shape[2]
            return (
                torch.ones(weight_shape(self.plan), device=source_scale.device),
                torch.zeros(channels, device=source_scale.device),
            )
        scale = self.weight_scale(source_scale, second_scale)
        weight_step = _along_channels(scale, self.weight.ndim, 0)
        weight = _Round.apply((self.weight / weight_step).clamp(-self.limit, self.limit))
        bias = _Round.apply((self.bias / (scale * source_scale)).clamp(-MAX_BIAS, MAX_BIAS))
        return weight, bias

    def forward(
        self,
        codes: torch.Tensor,
        source_scale: torch.Tensor,
        second: torch.Tensor | None = None,
        second_scale: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the membranes, and the real value of one unit of them."""
        weight, bias = self.integers(source_scale, second_scale)
        codes, weight, bias = (value.to(self.dtype) for value in (codes, weight, bias))
        membrane = received(self.plan, codes, weight, bias)
        if not self.plan.form.flat:
            # On a GPU torch may pick Winograd's algorithm, which is off by far less than a half.
            with torch.no_grad():
                membrane.round_()
        if self._residual:
            assert second is not None, "a layer with a residual is given it"
            membrane = membrane + second.to(self.dtype) * 2.0 ** int(self.residual_shift)
        return membrane, self.unit(source_scale, second_scale)

    @torch.no_grad()
    def calibrate(
        self, source_scale: torch.Tensor, second_scale: torch.Tensor | None = None
    ) -> None:
        """Set the weight scale to the one with the least squared error of the rounded weights."""
        if not self.plan.learned:
            return
        if self._residual:
            assert second_scale is not None, "a residual comes with its scale"
            # Each shift stands for a scale, half as large as that of the shift before.
            scales = second_scale / source_scale * 2.0 ** -torch.arange(
                MAX_RESIDUAL_SHIFT + 1.0, device=source_scale.device
            )
            errors = torch.stack([self.errors(scale).sum() for scale in scales])
            self.residual_shift.copy_(errors.argmin())
            return
        weights = self.weight.abs()
        top = weights.flatten(1).amax(1) if self.log_scale.ndim else weights.max()
        # A channel without weights, or nearly so, has a bias to be counted in its units all the
        # same: they must not be endlessly smaller than those of the others.
        top = top.clamp(min=max(top.max().item() * SMALLEST_SCALE, 1e-8)) / self.limit
        # The coarsest first: of scales that are as good it is the one to take.
        shares = torch.linspace(0.2, 1.0, 33, device=top.device).flip(0)
        scales = top * _along_channels(shares, top.ndim + 1, 0)
        errors = torch.stack([self.errors(scale) for scale in scales])
        best = errors.argmin(0, keepdim=True)
        self.log_scale.copy_(scales.gather(0, best).squeeze(0).log())

    def errors(self, scale: torch.Tensor, weighed: torch.Tensor | None = None) -> torch.Tensor:
        """Squared error of the weights rounded with ``scale``; one a channel if that has any.

        ``weighed``, if given, broadcasts over the weights and multiplies the square of each error.
        """
        step = _along_channels(scale, self.weight.ndim, 0)
        rounded = (self.weight / step).round().clamp(-self.limit, self.limit) * step
        squares = (rounded - self.weight).square()
        if weighed is not None:
            squares = squares * weighed
        return squares.flatten(1).sum(1) if scale.ndim else squares.sum()

    def extra_repr(self) -> str:
        return f"{self.plan}, weight_bits={self.weight_bits}, ticks={self.source_ticks}"


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
        """Codes per unit of the membrane, the real number that ``m / 2^s`` stands for.

        One for the layer, or one a channel, as the ``unit`` is.
        """
        return unit / self.log_scale.exp()

    def forward(
        self, membrane: torch.Tensor, unit: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the codes, the real value of one step of them, and the codes as spikes.

        Spikes are the same codes, but with no gradient for the window. They are for an activity
        penalty: silence is to come from weaker membranes. A wider window would give it too, but
        with fewer different codes for those that fire.
        """
        fixed = unit / self.log_scale.exp().detach()
        codes, spikes = _Staircase.apply(membrane, self.ratio(unit), fixed, self.ticks)
        return codes, self.log_scale.exp(), spikes

    @torch.no_grad()
    def calibrate(
        self, membrane: torch.Tensor, unit: torch.Tensor, share: float = 1.0
    ) -> None:
        """Set the window to a ``share`` of what covers nearly all positive membranes."""
        # Channels whose units differ are compared in the largest of them.
        largest = unit.max()
        membrane = membrane * _along_channels(unit / largest, membrane.ndim, 1)
        positive = membrane[membrane > 0]
        positive = positive[::len(positive) // MAX_QUANTILE + 1].double()
        window = torch.quantile(positive, WINDOW_QUANTILE) if len(positive) else 1.0
        window = share * window / self.ticks
        self.log_scale.copy_(torch.as_tensor(window).log() + largest.log())

    def extra_repr(self) -> str:
        return f"ticks={self.ticks}"
