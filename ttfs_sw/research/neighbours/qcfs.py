# SPDX-License-Identifier: Apache-2.0
"""QCFS: a quantised ReLU to train with, and the integrate-and-fire neurons that stand for it.

Quantisation-clip-floor-shift (Bu et al., "Optimal ANN-SNN Conversion for High-accuracy and
Ultra-low-latency Spiking Neural Networks", ICLR 2022, arXiv 2303.04347, and the authors' code),
with L levels and a window λ that is learned::

    h(z) = λ/L · ⌊L clip(z/λ, 0, 1) + ½⌋
    ∂h/∂z = 1[0 ≤ z ≤ λ]      ∂h/∂λ = (h - z)/λ inside, 1 above, 0 below

A rate-coded neuron stands for it: it starts at λ/2, fires when it reaches λ, is lowered by λ then,
and sends spikes worth λ, of which the mean over T steps counts. For a constant input and T = L it
gives ``h`` exactly. Behind other such neurons the input is not constant, and it does not. A neuron
that fires once, at tick ``T - L h/λ`` of T = L, gives it always: that is the network of our core.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.artifact.network import Network
from ttfs_sw.common.modules import Modules
from ttfs_sw.research.neighbours import export
from ttfs_sw.research.neighbours.method import (
    Method,
    Progress,
    Task,
    fit,
    integer,
    largest_activations,
)
from ttfs_sw.research.neighbours.operations import Inference, Tally
from ttfs_sw.training.models import ReluNetwork

__all__ = ["IntegrateFire", "Qcfs", "QcfsModel", "QcfsNetwork", "start_model", "train_model"]

#: Share of the positive activations that a window covers at first, and what it never falls below.
WINDOW_QUANTILE, MIN_WINDOW = 0.999, 1e-3


class _Floor(torch.autograd.Function):
    """The integer below; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return torch.floor(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class Qcfs(nn.Module):
    """The activation ``h``.

    Parameters
    ----------
    levels : :class:`int`
        L.
    window : :class:`float`
        λ at first; it is the parameter ``window``.
    """

    def __init__(self, levels: int, window: float = 1.0):
        super().__init__()
        self.levels = levels
        self.window = nn.Parameter(torch.tensor(float(window)))

    def forward(self, received: torch.Tensor) -> torch.Tensor:
        window = self.window.clamp(min=MIN_WINDOW)
        # In this order, what is exact in the published form is exact here.
        level = (self.levels * received / window).clamp(0, self.levels)
        return window * _Floor.apply(level + 0.5) / self.levels

    def extra_repr(self) -> str:
        return f"levels={self.levels}, window={self.window.item():g}"


class IntegrateFire:
    """Rate-coded integrate-and-fire neurons of one layer, for one batch of images.

    Parameters
    ----------
    window : :class:`float`
        λ: threshold, and worth of a spike. The potential starts at half of it.
    """

    def __init__(self, window: float):
        self._window = window
        self._potential: torch.Tensor | None = None
        self._count: torch.Tensor | None = None

    def __call__(self, received: torch.Tensor) -> torch.Tensor:
        """Take what is received in a step, and return what is sent in it: 0 or λ."""
        if self._potential is None or self._count is None:
            self._potential = torch.full_like(received, self._window / 2)
            self._count = torch.zeros_like(received)
        self._potential = self._potential + received
        fired = (self._potential >= self._window).to(received.dtype)
        self._potential = self._potential - self._window * fired
        self._count = self._count + fired
        return self._window * fired

    @property
    def count(self) -> torch.Tensor:
        """Spikes of each neuron so far, of which there is at least a step."""
        assert self._count is not None, "neurons that have received nothing have no shape"
        return self._count


class QcfsModel(nn.Module):
    """A network of QCFS activations.

    Members
    -------
    relu : weights and biases.
    fires : :class:`Qcfs` of each hidden layer.
    """

    def __init__(self, relu: ReluNetwork, fires: Sequence[Qcfs]):
        super().__init__()
        self.relu = relu
        self.fires = Modules(fires)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits of inputs from 0 to 1, ``[images, inputs]`` in raster order."""
        return self.relu(values, lambda index, received: self.fires[index](received))

    @property
    def windows(self) -> list[float]:
        """λ of each hidden layer."""
        return [max(fire.window.item(), MIN_WINDOW) for fire in self.fires]

    @property
    def levels(self) -> list[int]:
        """L of each hidden layer."""
        return [fire.levels for fire in self.fires]


def start_model(reference: ReluNetwork, values: torch.Tensor, levels: Sequence[int]) -> QcfsModel:
    """Return the network of ``levels`` a layer with a ReLU network's weights, and windows of it."""
    relu = copy.deepcopy(reference)
    windows = largest_activations(relu, values, WINDOW_QUANTILE)
    fires = [Qcfs(count, window) for count, window in zip(levels, windows, strict=True)]
    return QcfsModel(relu, fires).to(values.device)


def train_model(
    model: QcfsModel, task: Task, epochs: int, progress: Progress | None = None
) -> None:
    """Fine-tune ``model`` in place."""
    data, training = task.data(), task.config.training

    def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(
            model(pixels / data.maximum), labels, label_smoothing=training.label_smoothing
        )

    fit(model, loss, data, task.config, epochs=epochs, rate=training.learning_rate,
        progress=progress)


class QcfsNetwork(Method):
    """Fine-tuned with QCFS, run as rate-coded integrate-and-fire neurons.

    The image is a current, the same in every step. All layers run at once: T steps in all.

    Parameters
    ----------
    layers, shape, classes
        As :class:`ttfs_sw.research.neighbours.method.Method` has them; average pools, but no
        max-pools.
    levels : :class:`int`
        L, 1 to 255.
    steps : :class:`int` or ``None``
        T; by default L.
    weight_bits : :class:`int`
        Of the integers for our core.
    """

    name = "qcfs"
    title = "QCFS, rate-coded"
    source = "Bu et al., ICLR 2022, arXiv 2303.04347"
    core = "mac, serial (one spike a neuron)"

    def __init__(
        self, layers: Sequence[str], shape: tuple[int, int, int], classes: int, *,
        levels: int = 15, steps: int | None = None, weight_bits: int = 8,
    ):
        super().__init__(layers, shape, classes)
        self._refuse_max_pools("the largest of several rates is not known before the last step")
        self.levels = integer(levels, "levels", 1, 255)
        self.steps = self.levels if steps is None else integer(steps, "steps", 1, 10_000)
        self._weight_bits = integer(weight_bits, "weight_bits", 2, 8)

    def fit(
        self, task: Task, reference: ReluNetwork, progress: Progress | None = None
    ) -> None:
        """Fine-tune ``reference`` with QCFS activations."""
        self._begin(task, task.data())
        self._task = task
        levels = [self.levels] * (len(self.topology.layers) - 1)
        self.model = start_model(reference, task.calibration(), levels)
        train_model(self.model, task, task.config.training.epochs, progress)

    @torch.no_grad()
    def _run(self, pixels: np.ndarray) -> Inference:
        """Classify images, step by step."""
        tally, logits = Tally(self.topology), []
        for values in self._batches(pixels):
            neurons = [IntegrateFire(window) for window in self.model.windows]
            logits.append(self._mean(values, neurons))
            tally.add_analog(values)
            for index, neuron in enumerate(neurons):
                tally.add(index, neuron.count)
        return tally.inference(torch.cat(logits), self.steps)

    def _mean(self, values: torch.Tensor, neurons: Sequence[IntegrateFire]) -> torch.Tensor:
        """Return the logits of a batch, the mean over all steps."""
        def send(index: int, received: torch.Tensor) -> torch.Tensor:
            return neurons[index](received)

        return sum(self.model.relu(values, send) for _ in range(self.steps)) / self.steps

    def network(self) -> Network:
        """The same activations, as neurons that fire once at one of T = L ticks."""
        return export.integers(
            self._task, self.topology, self.model.relu, self.model.windows, self.model.levels,
            self._weight_bits,
        )
