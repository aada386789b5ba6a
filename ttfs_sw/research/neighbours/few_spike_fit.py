# SPDX-License-Identifier: Apache-2.0
"""Coefficients of few-spike neurons for activations other than the ReLU, found by training.

The function is fitted on an interval by Adam, from many starts at once, of which the best is kept.
With ``u = (v - T)/(|v| + 1)`` a spike has the pseudo-derivative ``max(0, 1 - |u|)``, and potentials
that leave its reach cost ``ρ Σ_t mean(max(|u| - 1, 0))²`` (Stöckl & Maass, arXiv 2002.00860, and
the authors' code, whose ρ is near 0.1).
"""

from collections.abc import Callable
from typing import Any

import torch

from ttfs_sw.research.neighbours.few_spike import FewSpike

__all__ = ["fit"]

#: Points of the interval that are fitted; learning rates; weight of potentials out of reach.
POINTS, RATES, REACH = 256, (0.01, 0.2), 0.1

#: Spread of the starts, as a share.
SPREAD = 0.25


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scaled: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scaled)
        return (scaled > 0).to(scaled.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (scaled,) = ctx.saved_tensors
        return gradient * (1 - scaled.abs()).clamp(min=0)


def fit(
    function: Callable[[torch.Tensor], torch.Tensor],
    low: float,
    high: float,
    steps: int,
    *,
    starts: int = 12,
    iterations: int = 400,
    seed: int = 0,
) -> tuple[FewSpike, float]:
    """Return a neuron of ``steps`` steps for ``function``, and its mean squared error.

    Parameters
    ----------
    function : callable
        From a tensor to one of the same shape.
    low, high : :class:`float`
        The interval.
    steps : :class:`int`
        K.
    starts, iterations : :class:`int`
        Coefficients that are trained beside each other, and for how long.
    seed : :class:`int`
        Of the starts.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    values = torch.linspace(low, high, POINTS)
    wanted = function(values)
    # Half of the starts write the place in the interval as a binary number: their thresholds count
    # from its lower end. The other half count from 0, as the ReLU's do. A spike is worth what it
    # would be for a straight line.
    halves = 2.0 ** -torch.arange(1, steps + 1)
    from_low = torch.arange(starts).unsqueeze(1) % 2 == 0
    span = torch.where(from_low, high - low, max(high, (high - low) / 2)) * halves
    first = torch.where(from_low, float(low), 0.0)
    rise = torch.where(from_low, (wanted[-1] - wanted[0]) / (high - low),
                       wanted[-1] / max(high, (high - low) / 2))
    noise = 1 + SPREAD * (2 * uniform(3, starts, steps) - 1)
    begin = torch.stack([first + span, span, rise * span]) * noise
    # Steps of each start are scaled by its own learning rate, so that one Adam trains them all.
    rates = RATES[0] * (RATES[1] / RATES[0]) ** uniform(starts, 1)
    moved = torch.zeros_like(begin, requires_grad=True)
    optimiser = torch.optim.Adam([moved], lr=1.0)
    best = torch.full((starts,), torch.inf)
    kept = begin.clone()
    for iteration in range(iterations + 1):
        coefficients = begin + rates * moved
        output, reach = _run(coefficients, values)
        errors = (output - wanted).square().mean(dim=1)
        with torch.no_grad():
            better = errors < best
            best = torch.where(better, errors, best)
            kept[:, better] = coefficients[:, better]
        if iteration == iterations:
            break
        fall = 1 - iteration / iterations
        for group in optimiser.param_groups:
            group["lr"] = fall
        optimiser.zero_grad()
        (errors + REACH * reach).sum().backward()
        optimiser.step()
    neuron = FewSpike(*kept[:, best.argmin()].detach())
    return neuron, (neuron(values)[0] - wanted).square().mean().item()


def _run(coefficients: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs ``[starts, points]``, and how far potentials are out of reach."""
    thresholds, resets, worths = coefficients.unsqueeze(-1).unbind()
    potential = values.expand(thresholds.shape[0], -1)
    output, reach = torch.zeros_like(potential), torch.zeros(len(thresholds))
    for step in range(thresholds.shape[1]):
        scaled = (potential - thresholds[:, step]) / (potential.abs() + 1)
        fired = _Spike.apply(scaled)
        output = output + worths[:, step] * fired
        potential = potential - resets[:, step] * fired
        reach = reach + (scaled.abs() - 1).clamp(min=0).mean(dim=1).square()
    return output, reach
