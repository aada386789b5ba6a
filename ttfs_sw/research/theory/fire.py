# SPDX-License-Identifier: Apache-2.0
"""The spike time of a neuron and its gradients, in closed form.

Two regimes (eqs. 1 and 2 of the paper): until ``start`` = t_min the membrane gathers its inputs,
and then it rises with the constant slope B until it meets the threshold::

    t = start + (threshold - potential) / B     if that is before end, else silent: t = end

    dt/d potential = -1 / B      dt/d threshold = 1 / B      dt/dB = -(t - start) / B

and all three are 0 for a silent neuron. With B = 1 these are, term by term, the derivatives of a
ReLU of ``end - t``: hence the equal training trajectories.
"""

from typing import Any

import torch
from torch.autograd import Function

__all__ = ["fire"]


def fire(
    potential: torch.Tensor,
    threshold: torch.Tensor,
    slope: torch.Tensor,
    start: float,
    end: float,
) -> torch.Tensor:
    """Spike times of neurons whose membrane is ``potential`` at ``start``.

    ``potential`` has the shape of the result; ``threshold`` and ``slope`` broadcast to it. A neuron
    whose slope is not positive never meets its threshold from below: it is silent. A time before
    ``start`` says that the window is too short for the activation, and is not clipped.
    """
    return _Fire.apply(potential, threshold, slope, start, end)


class _Fire(Function):
    @staticmethod
    def forward(
        ctx: Any, potential: torch.Tensor, threshold: torch.Tensor, slope: torch.Tensor,
        start: float, end: float,
    ) -> torch.Tensor:
        times = start + (threshold - potential) / slope
        # A slope of exactly 0 gives no number, which no comparison lets through.
        fired = (times < end) & (slope > 0)
        times = torch.where(fired, times, end)
        ctx.save_for_backward(times, fired, slope)
        ctx.start, ctx.shapes = start, (threshold.shape, slope.shape)
        return times

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        times, fired, slope = ctx.saved_tensors
        threshold, rise = ctx.shapes
        scaled = torch.where(fired, gradient / slope, 0.0)
        of_slope = -scaled * (times - ctx.start) if ctx.needs_input_grad[2] else None
        return (
            -scaled,
            scaled.sum_to_size(threshold),
            None if of_slope is None else of_slope.sum_to_size(rise),
            None,
            None,
        )
