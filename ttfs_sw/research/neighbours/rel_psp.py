# SPDX-License-Identifier: Apache-2.0
"""ReL-PSP: every spike switches on a slope that stays on, under a threshold that falls in a line.

The rectified linear postsynaptic potential of LC-TTFS (Yang et al., arXiv 2310.14978) and DTA-TTFS
(Wei et al., ICCV 2023). In units of a window, with inputs at t_j from 0 to 1, a bias β and the
layer's own window from 1 to 2::

    V(t) = β + Σ w_j (t - t_j)      θ(t) = 2 - t       fires once, at the first t ≥ 1 with V ≥ θ

over the inputs that fired before. What is sent is how long before the window's end that is. With
``x = 1 - t_j``, ``A = β + Σ w x`` (V at the start) and ``S = Σ w`` (its slope), the difference
``V - θ`` is ``A - 1`` at the start, rises by ``1 + S`` and is ``A + S`` at the end::

    h = 1                      if A ≥ 1: it fires at once, however V goes on
    silent                     if A < 1 and A + S < 0: it never gets there
    h = (A + S) / (1 + S)      else; there 1 + S ≥ 1 - A > 0

The gain is ``1 / (1 + S)``, and S has only what fired: no ReLU. An input that fires at the very
end is no silent one: ``w (1 + x)`` jumps from w to 0. In T ticks a window, a neuron fires at the
first of its ticks k = 0 to T - 1 with ``T V ≥ T - k``: it sends ``⌊T h⌋ / T``, nothing if that is
0.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.common.errors import InputError
from ttfs_sw.common.modules import Modules
from ttfs_sw.research.neighbours.method import (
    Method,
    Progress,
    Task,
    fit,
    integer,
    largest_activations,
)
from ttfs_sw.research.neighbours.operations import Inference, Tally
from ttfs_sw.training.kinds import received, shown
from ttfs_sw.training.models import ReluNetwork
from ttfs_sw.training.topology import LayerPlan

__all__ = ["RelPspModel", "RelPspNetwork", "fire", "integrated",
           "spike_time", "stepped"]

#: Share of the positive activations of the ReLU network that a window covers at first.
WINDOW_QUANTILE = 0.999

#: ``1 + S`` in gradients is at least this, so that they stay finite where V and θ nearly touch.
LEAST_SLOPE = 0.5

#: How far from 0 ``A + S`` may be for the gradient to see that the neuron may come to fire, or not.
JUMP = 0.25

#: Weights of the stepped neurons are multiples of this: sums in float64 are exact in any order.
GRID = 2.0**-20


def spike_time(start: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Return when each neuron fires: 0 to 1 from the start of its window, infinite if it is silent.

    Parameters
    ----------
    start, slope : :class:`torch.Tensor`
        A and S.
    """
    later = (1 - start) / torch.where(start < 1, 1 + slope, 1.0)
    meets = torch.where(start + slope >= 0, later, math.inf)
    return torch.where(start >= 1, 0.0, meets)


class _Fire(torch.autograd.Function):
    """Codes and spikes of A and S; gradients are the closed form's, and a surrogate of the jump."""

    @staticmethod
    def forward(
        ctx: Any, start: torch.Tensor, slope: torch.Tensor, ticks: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        time = spike_time(start, slope)
        ctx.save_for_backward(start, slope, time)
        ctx.ticks = ticks
        codes = ticks - torch.ceil(ticks * time).clamp(max=ticks)
        return codes, (codes > 0).to(codes.dtype)

    @staticmethod
    def backward(
        ctx: Any, of_codes: torch.Tensor, of_fired: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        start, slope, time = ctx.saved_tensors
        inside = (time > 0) & time.isfinite()
        gain = ctx.ticks * of_codes * inside / (1 + slope).clamp(min=LEAST_SLOPE)
        near = (start < 1) & ((start + slope).abs() <= JUMP)
        jump = of_fired * near / (2 * JUMP)
        return gain + jump, gain * torch.where(inside, time, 0.0) + jump, None


def fire(
    start: torch.Tensor, slope: torch.Tensor, ticks: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes of neurons, and their spikes, 0 or 1, with gradients to A and S.

    A code is T - k for tick k, and 0 for silence: ``⌊T h⌋``, with the gradients of ``T h`` where it
    is below T. That a neuron fires at all has those of a line, near ``A + S = 0``.

    Parameters
    ----------
    start, slope : :class:`torch.Tensor`
        A and S.
    ticks : :class:`int`
        T.
    """
    return _Fire.apply(start, slope, ticks)


def stepped(
    arriving: Iterable[torch.Tensor], bias: torch.Tensor, ticks: int
) -> torch.Tensor:
    """Step neurons through their sources' window and their own; return their codes.

    Parameters
    ----------
    arriving : iterable of :class:`torch.Tensor`
        Σ w of the spikes of each tick of the sources, T of them.
    bias : :class:`torch.Tensor`
        β.
    ticks : :class:`int`
        T.
    """
    membrane, slope = integrated(arriving, bias, ticks)
    codes = torch.zeros_like(membrane)
    for threshold in range(ticks, 0, -1):
        fires = (codes == 0) & (membrane >= threshold)
        codes = torch.where(fires, float(threshold), codes)
        membrane = membrane + slope
    return codes


def integrated(
    arriving: Iterable[torch.Tensor], bias: torch.Tensor, ticks: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``T V`` and S at the tick after the sources' window."""
    membrane, slope = ticks * bias, torch.zeros_like(bias)
    for switched_on in arriving:
        # A spike of this tick is not yet worth anything in it.
        slope = slope + switched_on
        membrane = membrane + slope
    return membrane, slope


class _Layer(nn.Module):
    """Weights and biases of a layer, in units of windows."""

    def __init__(self, plan: LayerPlan, weight: torch.Tensor, bias: torch.Tensor):
        super().__init__()
        self.plan = plan
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())

    @property
    def offset(self) -> torch.Tensor:
        """β as it is added to maps."""
        return self.bias if self.plan.form.flat else self.bias[:, None, None]

    def read(self, values: torch.Tensor) -> torch.Tensor:
        """Return a map, or an image in raster order, as this layer reads it."""
        if self.plan.form.flat or values.ndim == 4:
            return shown(self.plan, values)
        return values.view(-1, *self.plan.in_shape).permute(0, 3, 1, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return ``Σ w v`` of values as :meth:`read` gives them."""
        return received(self.plan, values, self.weight)


class RelPspModel(nn.Module):
    """A network of these neurons.

    It starts as ``reference`` in units of windows: the same activations, if S were 0.

    Parameters
    ----------
    reference : :class:`ttfs_sw.training.models.ReluNetwork`
        Weights and biases at first.
    values : :class:`torch.Tensor`
        Images, from 0 to 1, whose activations windows are to cover.
    ticks : :class:`int`
        T of the image and of each hidden layer.
    """

    def __init__(self, reference: ReluNetwork, values: torch.Tensor, ticks: int):
        super().__init__()
        self.ticks = ticks
        windows = [1.0, *largest_activations(reference, values, WINDOW_QUANTILE), 1.0]
        self.layers = Modules(
            _Layer(source.plan, source.weight.detach() * (windows[index] / windows[index + 1]),
                   source.bias.detach() / windows[index + 1])
            for index, source in enumerate(reference.layers)
        )

    def encode(self, values: torch.Tensor) -> torch.Tensor:
        """Return the codes of inputs from 0 to 1: that of the nearest tick."""
        return torch.floor(self.ticks * values + 0.5)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits of inputs from 0 to 1, ``[images, inputs]`` in raster order.

        Spike times are those of the closed form, at whole ticks; gradients are the closed form's.
        """
        codes = self.encode(values)
        fired = (codes > 0).to(codes.dtype)
        for layer in self.layers[:-1]:
            start = layer(layer.read(codes) / self.ticks) + layer.offset
            codes, fired = fire(start, layer(layer.read(fired)), self.ticks)
            if layer.plan.pool > 1:
                codes, first = functional.max_pool2d(codes, layer.plan.pool, return_indices=True)
                # The first spike of a pool goes on.
                fired = fired.flatten(2).gather(2, first.flatten(2)).view_as(codes)
        last = self.layers[-1]
        return last(last.read(codes) / self.ticks) + last.offset

    def step(
        self, values: torch.Tensor, watch: Callable[[int, torch.Tensor], None]
    ) -> torch.Tensor:
        """Logits again, of neurons that are stepped from tick to tick, in units of a tick.

        ``watch(index, codes)`` is called with the codes of the image, index -1, and of each layer.
        The model is to be one of :meth:`exact`.
        """
        codes = self.encode(values).double()
        watch(-1, codes)
        for index, layer in enumerate(self.layers[:-1]):
            codes = stepped(self._arriving(layer, codes), layer.offset, self.ticks)
            if layer.plan.pool > 1:
                codes = functional.max_pool2d(codes, layer.plan.pool)
            watch(index, codes)
        last = self.layers[-1]
        return integrated(self._arriving(last, codes), last.offset, self.ticks)[0]

    def _arriving(self, layer: _Layer, codes: torch.Tensor) -> Iterator[torch.Tensor]:
        """Give what the spikes of each tick switch on in a layer."""
        sent = layer.read(codes)
        return (layer((sent == code).to(sent.dtype)) for code in range(self.ticks, 0, -1))

    @torch.no_grad()
    def exact(self) -> "RelPspModel":
        """Return this network with weights that float64 adds up without rounding."""
        model = copy.deepcopy(self).double()
        for parameter in model.parameters():
            parameter.copy_(torch.round(parameter / GRID) * GRID)
        return model


class RelPspNetwork(Method):
    """Trained from a ReLU network's weights through the closed form, run tick by tick.

    Spikes of training are at whole ticks, as they are when it runs. The image is sent in the same
    way. A layer fires when the one before has ended: T ticks a map. The answer is the membrane of
    the read-out at the end of the last window.

    Parameters
    ----------
    layers, shape, classes
        As :class:`ttfs_sw.research.neighbours.method.Method` has them; max-pools, but no average
        pools and no residuals.
    ticks : :class:`int`
        T.
    """

    name = "rel-psp"
    title = "ReL-PSP, slope stays on"
    source = "Yang et al., arXiv 2310.14978; Wei et al., ICCV 2023"

    def __init__(
        self, layers: Sequence[str], shape: tuple[int, int, int], classes: int, *, ticks: int = 15
    ):
        super().__init__(layers, shape, classes)
        plans = self.topology.layers
        if not all(plan.learned for plan in plans):
            raise InputError(
                f"{self.name} has no average pool, because weights that add up to 1 leave a gain "
                "of 1/2, and another where inputs are silent; write p2 for a2"
            )
        if any(plan.second_source is not None for plan in plans):
            raise InputError(
                f"{self.name} adds no maps, because a spike of an earlier window is a slope that "
                "has risen for longer; leave out the '+' of each layer"
            )
        self.ticks = integer(ticks, "ticks", 1, 1000)

    def fit(
        self, task: Task, reference: ReluNetwork, progress: Progress | None = None
    ) -> None:
        """Train from the weights of ``reference``."""
        data, training = task.data(), task.config.training
        self._begin(task, data)
        self.model = RelPspModel(reference, task.calibration(), self.ticks).to(task.device)

        def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(
                self.model(pixels / data.maximum), labels,
                label_smoothing=training.label_smoothing,
            )

        fit(self.model, loss, data, task.config, epochs=training.epochs,
            rate=training.learning_rate, progress=progress)

    @torch.no_grad()
    def _run(self, pixels: np.ndarray) -> Inference:
        """Classify images, tick by tick."""
        tally, logits, model = Tally(self.topology), [], self.model.exact()

        def watch(index: int, codes: torch.Tensor) -> None:
            tally.add(index, codes > 0)

        for values in self._batches(pixels):
            logits.append(model.step(values, watch))
        return tally.inference(torch.cat(logits), self.ticks * len(self.topology.layers))
