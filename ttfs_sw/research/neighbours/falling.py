# SPDX-License-Identifier: Apache-2.0
"""Falling thresholds: a neuron integrates first, and fires when its threshold has come down to it.

In the firing phase the potential ``V`` does not change, and the threshold of tick k = 0 to T - 1
falls along an exponential (T2FSNN; Park et al., DAC 2020, arXiv 2003.11741, and its code)::

    θ(k) = θ₀ exp(-(k - d) / τ)       fires at the first k with V ≥ θ(k), and never again
    a spike of tick k is worth θ(k) to the synapses it reaches: w · θ(k)

so the value sent is the largest θ(k) that is not above V: ``θ(k) ≤ V < θ(k) e^{1/τ}``. Early
spikes are large values, as they are in our networks, whose threshold falls along a line.
"""

import copy
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from ttfs_sw.research.neighbours.method import Method, Progress, Task, integer
from ttfs_sw.research.neighbours.operations import Inference, Tally
from ttfs_sw.training.models import ReluNetwork

__all__ = ["FallingNetwork", "FallingThreshold", "calibrate"]

#: Values of a layer that calibration looks at.
SAMPLE = 20_000


class FallingThreshold:
    """A layer's thresholds and the worths of its spikes.

    Parameters
    ----------
    thresholds, worths : :class:`torch.Tensor`
        One a tick, ``[T]``; thresholds fall, strictly.
    """

    def __init__(self, thresholds: torch.Tensor, worths: torch.Tensor):
        self._rising = thresholds.double().flip(0).contiguous()
        self._worths = torch.cat([torch.zeros(1, dtype=torch.float64), worths.double().flip(0)])
        self.ticks = len(thresholds)

    @classmethod
    def exponential(cls, ticks: int, top: float, tau: float, delay: float) -> "FallingThreshold":
        """T2FSNN's: ``θ₀ exp(-(k - d)/τ)`` for ``top`` θ₀, ``tau`` τ and ``delay`` d."""
        times = torch.arange(ticks, dtype=torch.float64)
        values = top * torch.exp(-(times - delay) / tau)
        return cls(values, values)

    @classmethod
    def linear(cls, ticks: int, window: float) -> "FallingThreshold":
        """Our own: ``λ/T (T - k - ½)``, for spikes worth ``λ/T (T - k)``: the values of QCFS."""
        codes = torch.arange(ticks, 0, -1, dtype=torch.float64)
        return cls(window / ticks * (codes - 0.5), window / ticks * codes)

    def __call__(self, potential: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tick at which each neuron fires, T for never, and the value that it sends."""
        rising = self._rising.to(potential.device)
        passed = torch.bucketize(potential.double().contiguous(), rising, right=True)
        sent = self._worths.to(potential.device)[passed]
        return self.ticks - passed, sent.to(potential.dtype)


def calibrate(ticks: int, values: torch.Tensor) -> FallingThreshold:
    """Return the exponential that sends activations with the least squared error.

    θ₀ is the largest activation; τ and d are the best of a grid. (The authors descend the gradient
    of this error, and of those of the least and the largest value.)

    Parameters
    ----------
    ticks : :class:`int`
        T.
    values : :class:`torch.Tensor`
        Activations of training images, of any shape; those that are not positive are left out.
    """
    positive = values[values > 0].double().cpu()
    if not len(positive):
        return FallingThreshold.exponential(ticks, 1.0, max(ticks / 4, 1.0), 0.0)
    positive = positive.sort().values
    top = positive[-1].item()
    sample = positive[::len(positive) // SAMPLE + 1]
    candidates = [
        FallingThreshold.exponential(ticks, top, share * ticks, delay)
        for share, delay in itertools.product(np.geomspace(0.05, 2.0, 16), (0.0, 0.25, 0.5, 0.75))
    ]
    return min(
        candidates, key=lambda neuron: (sample - neuron(sample)[1]).square().mean().item()
    )


class FallingNetwork(Method):
    """A ReLU network converted to exponentially falling thresholds; nothing is trained.

    The image is sent in the same way. A layer fires when the one before has ended: T ticks a map.

    Parameters
    ----------
    layers, shape, classes
        As :class:`ttfs_sw.research.neighbours.method.Method` has them.
    ticks : :class:`int`
        T.
    """

    name = "t2fsnn"
    title = "T2FSNN, falling threshold"
    source = "Park et al., DAC 2020, arXiv 2003.11741"

    def __init__(
        self, layers: Sequence[str], shape: tuple[int, int, int], classes: int, *, ticks: int = 15
    ):
        super().__init__(layers, shape, classes)
        self.ticks = integer(ticks, "ticks", 1, 1000)

    @torch.no_grad()
    def fit(
        self, task: Task, reference: ReluNetwork, progress: Progress | None = None
    ) -> None:
        """Convert ``reference``: find θ₀, τ and d of each layer."""
        self._begin(task, task.data())
        self._model = copy.deepcopy(reference)
        values = task.calibration()
        self._neurons = [calibrate(self.ticks, values)]

        def watch(index: int, received: torch.Tensor) -> torch.Tensor:
            sent = functional.relu(received)
            self._neurons.append(calibrate(self.ticks, sent))
            return sent

        self._model(values, watch)

    @torch.no_grad()
    def _run(self, pixels: np.ndarray) -> Inference:
        """Classify images, each neuron at the tick of its threshold."""
        tally, logits = Tally(self.topology, weighted=True), []

        def send(index: int, received: torch.Tensor) -> torch.Tensor:
            times, sent = self._neurons[index + 1](received)
            tally.add(index, times < self.ticks)
            return sent

        for values in self._batches(pixels):
            logits.append(self._model(send(-1, values), send))
        return tally.inference(torch.cat(logits), self.ticks * len(self._neurons))
