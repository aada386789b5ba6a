# SPDX-License-Identifier: Apache-2.0
"""What to make of logits that come at every time step: losses, and the answer.

``o_t`` are the logits of step t, ``y`` the label, CE the cross-entropy. From "Rethinking the
Membrane Dynamics and Optimization Objectives of Spiking Neural Networks" (NeurIPS 2024, and the
authors' code), where the mean is the usual way, TET is Deng et al. (ICLR 2022), and the last two
are proposed.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

__all__ = ["ANSWERS", "LOSSES", "last_step", "mean", "smooth_tet", "tet"]

#: Weight and target of TET's regulariser, and the smoothing that takes its place.
WEIGHT, TARGET, SMOOTHING = 0.05, 1.0, 0.01


def mean(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return ``CE(mean_t o_t, y)``, the usual loss; ``logits`` are ``[steps, images, classes]``."""
    return functional.cross_entropy(logits.mean(dim=0), labels)


def last_step(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return ``CE(o_T, y)`` (last time step, LTS): only the last answer counts."""
    return functional.cross_entropy(logits[-1], labels)


def tet(
    logits: torch.Tensor, labels: torch.Tensor, weight: float = WEIGHT, target: float = TARGET
) -> torch.Tensor:
    """Return ``(1 - λ) mean_t CE(o_t, y) + λ mean_t (o_t - φ)²``: every step is to be right.

    The regulariser pulls all logits to φ, the right class's too: against the first term.
    """
    steps = [functional.cross_entropy(step, labels) for step in logits]
    pull = functional.mse_loss(logits, torch.full_like(logits, target))
    return (1 - weight) * torch.stack(steps).mean() + weight * pull


def smooth_tet(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float = SMOOTHING
) -> torch.Tensor:
    """Return ``mean_t CE_ε(o_t, y)``: labels are smoothed by ε instead, which only bounds logits.

    ``CE_ε`` is ``(1 - ε) CE(o, y) + ε mean_c CE(o, c)``.
    """
    steps = [functional.cross_entropy(step, labels, label_smoothing=smoothing) for step in logits]
    return torch.stack(steps).mean()


#: Each loss by name, and what the network answers then.
LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": mean, "last": last_step, "tet": tet, "smooth-tet": smooth_tet,
}
ANSWERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda logits: logits.mean(dim=0), "last": lambda logits: logits[-1],
    "tet": lambda logits: logits.mean(dim=0), "smooth-tet": lambda logits: logits.mean(dim=0),
}
