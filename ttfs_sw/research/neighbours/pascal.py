# SPDX-License-Identifier: Apache-2.0
"""PASCAL: spike trains that add up to a QCFS activation exactly; each layer has its own length.

A neuron with L levels and window λ has the threshold ``θ = λ/L`` (Ramesh & Srinivasan, "PASCAL:
Precise and Efficient ANN-SNN Conversion using Spike Accumulation and Adaptive Layerwise
Activation", TMLR 2025, arXiv 2505.01730, and the authors' code). For a train of T1 steps:

1. it starts at θ/2 and integrates and fires, counting its spikes, for T1 steps;
2. it goes on without input for ``max(T1, L) - 1`` steps: a potential of θ or more is a spike, one
   below 0 takes a spike back;
3. it sends as many spikes as it has counted, one a step from the first on, L at most.

What it sends is ``h(Σ x)`` of QCFS, whatever the order in which the input came.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch

from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.research.neighbours import export, levels
from ttfs_sw.research.neighbours.method import Method, Progress, Task, integer
from ttfs_sw.research.neighbours.operations import Inference, Tally
from ttfs_sw.research.neighbours.qcfs import start_model, train_model
from ttfs_sw.training.models import ReluNetwork

__all__ = ["PascalNetwork", "accumulate"]

#: Share of a threshold that rounding errors may take from a potential that reaches it.
TOLERANCE = 1e-9


def accumulate(received: torch.Tensor, window: float, count: int) -> torch.Tensor:
    """Return the train that a neuron sends for the train that it receives.

    Parameters
    ----------
    received : :class:`torch.Tensor`
        ``[T1, ...]``, float64.
    window : :class:`float`
        λ.
    count : :class:`int`
        L.

    Returns
    -------
    :class:`torch.Tensor`
        0 or 1, ``[L, ...]``.
    """
    threshold = window / count
    slack = TOLERANCE * threshold
    potential = torch.full_like(received[0], threshold / 2)
    sent = torch.zeros_like(potential)
    for step in received:
        potential = potential + step
        fired = (potential >= threshold - slack).to(potential.dtype)
        potential = potential - threshold * fired
        sent = sent + fired
    for _ in range(max(len(received), count) - 1):
        change = (potential >= threshold - slack).to(potential.dtype)
        change = change - (potential < -slack).to(potential.dtype)
        potential = potential - threshold * change
        sent = sent + change
    steps = torch.arange(count, device=sent.device).view(-1, *[1] * sent.ndim)
    return (steps < sent).to(received.dtype)


class PascalNetwork(Method):
    """Fine-tuned with QCFS, with as few levels in each layer as it needs, run with PASCAL's trains.

    Half of the passes go before the levels are chosen (:mod:`ttfs_sw.research.neighbours.levels`),
    half after. The image is a current in one step. A layer begins when the one before has ended.

    Parameters
    ----------
    layers, shape, classes
        As :class:`ttfs_sw.research.neighbours.method.Method` has them; average pools, but no
        max-pools and no residuals.
    levels : :class:`int`
        The most levels of a layer, 1 to 255.
    tolerance : :class:`float`
        How much less of the held-out images may be right with fewer levels, before the second half.
    weight_bits : :class:`int`
        Of the integers for our core, in which the levels become T of each layer.
    """

    name = "pascal"
    title = "PASCAL, levels of each layer"
    source = "Ramesh & Srinivasan, TMLR 2025, arXiv 2505.01730"
    core = "mac, serial (one spike a neuron)"

    def __init__(
        self, layers: Sequence[str], shape: tuple[int, int, int], classes: int, *,
        levels: int = 15, tolerance: float = 0.005, weight_bits: int = 8,
    ):
        super().__init__(layers, shape, classes)
        self._refuse_max_pools("the longest of several trains is not known before the last step")
        if any(plan.second_source is not None for plan in self.topology.layers):
            raise InputError(
                f"{self.name} adds no maps, because their trains may differ in length; leave out "
                "the '+' of each layer, or choose qcfs"
            )
        self._most = integer(levels, "levels", 1, 255)
        self._tolerance = tolerance
        self._weight_bits = integer(weight_bits, "weight_bits", 2, 8)

    def fit(
        self, task: Task, reference: ReluNetwork, progress: Progress | None = None
    ) -> None:
        """Fine-tune ``reference``, choose the levels on held-out images, and fine-tune again."""
        data, values = task.data(), task.calibration()
        self._begin(task, data)
        self._task = task
        total = task.config.training.epochs
        count = total * len(data.x)
        half = total - total // 2

        def shown(offset: int) -> Progress | None:
            return progress and (lambda done, _: progress(offset + done, count))

        hidden = len(self.topology.layers) - 1
        self.model = start_model(reference, values, [self._most] * hidden)
        train_model(self.model, task, half, shown(0))
        self.metrics = levels.metrics(self.model, values)
        levels.choose(self.model, data, values, self._tolerance)
        if total > half:
            train_model(self.model, task, total - half, shown(half * len(data.x)))

    @property
    def levels(self) -> list[int]:
        """L of each hidden layer; after :meth:`fit`."""
        return self.model.levels

    @torch.no_grad()
    def _run(self, pixels: np.ndarray) -> Inference:
        """Classify images, step by step."""
        windows, counts = self.model.windows, self.model.levels
        # A bias comes in equal parts with every step of the train that a layer receives.
        relu = copy.deepcopy(self.model.relu).double()
        for layer, steps in zip(relu.layers[1:], counts, strict=True):
            if layer.plan.learned:
                layer.bias.div_(steps)
        tally, logits = Tally(self.topology), []

        def send(index: int, received: torch.Tensor) -> torch.Tensor:
            steps = counts[index - 1] if index else 1
            train = received.view(steps, -1, *received.shape[1:])
            spikes = accumulate(train, windows[index], counts[index])
            tally.add(index, spikes.sum(dim=0))
            return spikes.flatten(0, 1) * (windows[index] / counts[index])

        for values in self._batches(pixels):
            tally.add_analog(values)
            received = relu(values.double(), send)
            logits.append(received.view(-1, len(values), received.shape[1]).sum(dim=0))
        return tally.inference(torch.cat(logits), 1 + sum(counts))

    @torch.no_grad()
    def qcfs_logits(self, pixels: np.ndarray) -> np.ndarray:
        """Logits of the QCFS network that the trains stand for, in the same precision."""
        model = copy.deepcopy(self.model).double()
        logits = [model(values.double()) for values in self._batches(pixels)]
        return torch.cat(logits).cpu().numpy()

    def network(self) -> Network:
        """The same activations, as neurons that fire once; T of each layer is its L."""
        return export.integers(
            self._task, self.topology, self.model.relu, self.model.windows, self.model.levels,
            self._weight_bits,
        )
