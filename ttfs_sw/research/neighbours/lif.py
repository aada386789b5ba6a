# SPDX-License-Identifier: Apache-2.0
"""Leaky integrate-and-fire networks, trained through time with a surrogate gradient.

A neuron with leak β and threshold 1, in steps t = 1 to T, of the current ``I``::

    v_t = β v_{t-1} (1 - z_{t-1}) + I_t      z_t = 1[v_t ≥ 1]      v_0 = u_0, z_0 = 0

Backwards, the step of ``z`` has the derivative of a fast sigmoid of height 1::

    ∂z/∂v = 1 / (1 + α |v - 1|)²

Ledinauskas et al. ("Training Deep Spiking Neural Networks", arXiv 2006.04436): a network of many
layers and steps is as deep as their product, and gradients explode or vanish unless α is tuned;
batch norm, of the currents, with statistics over all steps together, keeps neurons near their
thresholds. Here α is the one for which the gradients of the first and of the last hidden layer's
weights are nearest in size before training.

``u_0`` is 0, or learned for each neuron from a uniform draw of 0.4 to 0.6, without weight decay
("Rethinking the Membrane Dynamics and Optimization Objectives of Spiking Neural Networks", NeurIPS
2024): otherwise a constant current can only make spike trains that begin with silence.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ttfs_sw.training.kinds import batch_norm
from ttfs_sw.training.models import ReluNetwork
from ttfs_sw.training.topology import Topology

__all__ = ["LifModel", "gradient_norms", "spike", "tune"]

#: Slopes among which one is chosen.
SLOPES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 16.0)

#: Where a learned initial potential starts.
INITIAL = (0.4, 0.6)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, above: torch.Tensor, slope: float) -> torch.Tensor:
        ctx.save_for_backward(above)
        ctx.slope = slope
        return (above >= 0).to(above.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (above,) = ctx.saved_tensors
        return gradient / (1 + ctx.slope * above.abs()).square(), None


def spike(above: torch.Tensor, slope: float) -> torch.Tensor:
    """Return 1 where ``above``, the potential over the threshold, is not negative, else 0."""
    return _Spike.apply(above, slope)


class LifModel(nn.Module):
    """A network of leaky integrate-and-fire neurons; the image is a current, the same in all steps.

    Parameters
    ----------
    topology : :class:`ttfs_sw.training.topology.Topology`
        The layers. A residual is added to the current, before its batch norm.
    generator : :class:`torch.Generator`
        Draws weights and initial potentials.
    steps : :class:`int`
        T.
    leak : :class:`float`
        β, 0 to 1.
    slope : :class:`float`
        α; may be set later.
    norm : :class:`bool`
        Whether currents are normalised.
    learn_initial : :class:`bool`
        Whether ``u_0`` is learned; else it is 0.
    """

    def __init__(
        self, topology: Topology, generator: torch.Generator, *, steps: int, leak: float = 0.5,
        slope: float = 1.0, norm: bool = True, learn_initial: bool = False,
    ):
        super().__init__()
        self.steps, self.leak, self.slope = steps, leak, slope
        self.relu = ReluNetwork(topology, generator)
        hidden = topology.layers[:-1]
        self._image_added = any(plan.second_source == -1 for plan in topology.layers)
        self.norms = nn.ModuleList(
            nn.Identity() if not norm
            else batch_norm(plan)
            for plan in hidden
        )
        self.initial = nn.ParameterList()
        if learn_initial:
            for plan in hidden:
                height, width, channels = plan.map_shape
                shape = (1, channels) if plan.form.flat else (1, channels, height, width)
                start = torch.empty(shape).uniform_(*INITIAL, generator=generator)
                self.initial.append(nn.Parameter(start))

    def forward(
        self, values: torch.Tensor, watch: Callable[[int, torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """Return the logits of every step, ``[T, images, classes]``.

        ``watch(index, spikes)``, if given, gets the spikes of each hidden layer, ``[T, images,
        ...]``.
        """
        images = len(values)
        if self._image_added:
            values = values.repeat(self.steps, 1)

        def fire(index: int, received: torch.Tensor) -> torch.Tensor:
            current = self.norms[index](received)
            # Of an image that does not change, the current is computed once.
            current = current.view(-1, images, *current.shape[1:])
            spikes = self._integrate(index, current.expand(self.steps, *current.shape[1:]))
            if watch is not None:
                watch(index, spikes)
            return spikes.flatten(0, 1)

        logits = self.relu(values, fire)
        return logits.view(-1, images, logits.shape[1]).expand(self.steps, -1, -1)

    def _integrate(self, index: int, current: torch.Tensor) -> torch.Tensor:
        """Return the spikes, ``[T, ...]``, of neurons that receive ``current``."""
        potential = torch.zeros_like(current[0])
        if len(self.initial):
            potential = potential + self.initial[index]
        spikes = []
        for received in current:
            potential = self.leak * potential + received
            spikes.append(spike(potential - 1, self.slope))
            # The reset is not differentiated: it only says from where to go on.
            potential = potential * (1 - spikes[-1].detach())
        return torch.stack(spikes)


def gradient_norms(
    model: LifModel, values: torch.Tensor, labels: torch.Tensor,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> list[float]:
    """Return the size of the loss's gradient at the weights of each learned hidden layer.

    Root mean square over the weights, times the root of their fan-in, as if all layers were of one
    width. Nothing of ``model`` is changed, the running means of its batch norms included.
    """
    weights = [layer.weight for layer in model.relu.layers[:-1] if layer.plan.learned]
    fans = [layer.plan.fan_in for layer in model.relu.layers[:-1] if layer.plan.learned]
    kept = {name: value.clone() for name, value in model.named_buffers()}
    model.train()
    found = torch.autograd.grad(loss_of(model(values), labels), weights)
    for name, value in model.named_buffers():
        value.copy_(kept[name])
    return [math.sqrt(gradient.square().mean().item() * fan)
            for gradient, fan in zip(found, fans, strict=True)]


def tune(
    model: LifModel, values: torch.Tensor, labels: torch.Tensor,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    slopes: Sequence[float] = SLOPES,
) -> float:
    """Set the slope of ``model`` to the one that keeps gradients alike over depth; return it.

    Of ``slopes``, the one for which the first and the last hidden layer's gradients
    (:func:`gradient_norms`) differ by the least factor.
    """

    def apart(slope: float) -> float:
        model.slope = slope
        norms = gradient_norms(model, values, labels, loss_of)
        if not min(norms[0], norms[-1]) > 0:
            return math.inf
        return abs(math.log(norms[0] / norms[-1]))

    model.slope = min(slopes, key=apart)
    return model.slope
