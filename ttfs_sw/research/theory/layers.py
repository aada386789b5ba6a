# SPDX-License-Identifier: Apache-2.0
"""One layer of neurons that fire once, of any kind that a topology has, in either model.

Both models are the two-regime neuron of the paper, with A the slope that it has of itself before
its window opens, and B the one with which it meets its threshold (eqs. 1, 2 and 4)::

    V(t_min)  = A (t_min - t_min of the source) + sum of w_j (t_min - t_j)
    threshold = A (t_min - t_min of the source) + B (t_max - t_min) - D
    x = t_max - t = max(0, (sum of w_j x_j + D) / B)

=============  =====================  =====================================================
``"b1"``       A = 0, B = 1           constant slope at threshold: ``w`` and ``D`` are the
                                      weights and the bias of a ReLU neuron, unchanged
``"alpha"``    A = a, B = a + sum w   the slope that the inputs have given goes on: the ReLU
                                      neuron's weights are ``w / B``
=============  =====================  =====================================================
"""

import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.research.theory.fire import fire
from ttfs_sw.research.theory.spikes import Spikes
from ttfs_sw.training.kinds import received, shown, weight_shape
from ttfs_sw.training.topology import LayerPlan

__all__ = ["MODELS", "TtfsLayer", "pool"]

MODELS = ("b1", "alpha")


class TtfsLayer(nn.Module):
    """Weights, and what they make of spikes.

    Parameters
    ----------
    plan : :class:`ttfs_sw.training.topology.LayerPlan`
        What to compute. The alpha-model has dense layers and convolutions; average pools and
        residuals are for B1.
    model : :class:`str`
        ``"b1"`` or ``"alpha"``.
    alpha : :class:`float`
        Of the alpha-model.

    Members
    -------
    weight : as torch has them. They start at 0: a mapping or an initialisation sets them.
    bias : D, ``[channels]``; or a map ``[channels, height, width]``, where neurons at the border
        differ.
    signs : ``[channels]``. Where it is -1 a max-pool lets the last spike through: the channel is
        read through a batch-norm of negative scale.
    """

    signs: torch.Tensor

    def __init__(self, plan: LayerPlan, model: str = "b1", alpha: float = 1.0):
        super().__init__()
        if model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, not {model!r}")
        if model == "alpha" and (not plan.learned or plan.second_source is not None):
            raise ValueError("the alpha-model has neither average pools nor residuals; choose b1")
        self.plan, self.model, self.alpha = plan, model, alpha
        channels = plan.out_shape[2]
        if plan.learned:
            self.weight = nn.Parameter(torch.zeros(weight_shape(plan), dtype=torch.float64))
            self.bias = nn.Parameter(torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("signs", torch.ones(channels, dtype=torch.float64))

    @property
    def slope(self) -> torch.Tensor:
        """B of each channel."""
        if self.model == "b1":
            return torch.ones_like(self.signs)
        return self.alpha + self.weight.flatten(1).sum(dim=1)

    @property
    def drift(self) -> float:
        """A."""
        return 0.0 if self.model == "b1" else self.alpha

    def gather(self, source: Spikes, second: Spikes | None = None) -> torch.Tensor:
        """What the inputs have given the membranes when their window closes, without D and A."""
        plan, values = self.plan, source.values
        if plan.learned:
            # Padding is silent: a neuron that fires when its window ends is worth 0.
            found = received(plan, shown(plan, values), self.weight)
        else:
            found = functional.avg_pool2d(values, plan.kernel)
        if second is None:
            return found
        # A membrane that no spike drives stays where it is, until its own window opens.
        return found + shown(plan, second.values)

    def forward(self, source: Spikes, window: float, second: Spikes | None = None) -> Spikes:
        """Fire in a window of the given length, which opens when the source's closes; then pool."""
        before = self.drift * (source.end - source.start)
        received = self.gather(source, second)
        slope = per_channel(self.slope, received)
        threshold = before + slope * window
        if self.plan.learned:
            threshold = threshold - per_channel(self.bias, received)
        start, end = source.end, source.end + window
        times = fire(before + received, threshold, slope, start, end)
        return Spikes(pool(times, self.plan.pool, self.signs), start, end)

    def read_out(self, source: Spikes, second: Spikes | None = None) -> torch.Tensor:
        """Membranes of a layer that does not fire, as logits.

        The bias is a current ``D / (end - start)`` that flows while the source's window lasts.
        """
        received = self.gather(source, second)
        return received + per_channel(self.bias, received)


def per_channel(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``[channels]``, or a whole map, so that it broadcasts over ``[images, channels, ...]``."""
    return values.view(-1, *[1] * (like.ndim - 2)) if values.ndim == 1 else values


def pool(times: torch.Tensor, size: int, signs: torch.Tensor) -> torch.Tensor:
    """The first spike of each ``size`` x ``size`` window; the last where the sign is -1."""
    if size == 1:
        return times
    signs = signs.view(-1, 1, 1)
    return -signs * functional.max_pool2d(-signs * times, size)
