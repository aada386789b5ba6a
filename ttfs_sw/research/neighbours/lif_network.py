# SPDX-License-Identifier: Apache-2.0
"""Surrogate-gradient networks as methods: the plain one, and two with learned starts."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from ttfs_sw.common.errors import InputError
from ttfs_sw.research.neighbours.lif import LifModel, tune
from ttfs_sw.research.neighbours.method import Method, Progress, Task, fit, integer, nearest
from ttfs_sw.research.neighbours.operations import Inference, Tally
from ttfs_sw.research.neighbours.time_losses import ANSWERS, LOSSES
from ttfs_sw.training.models import ReluNetwork

__all__ = ["LastStepNetwork", "LifNetwork", "SmoothTetNetwork"]

#: Training images whose gradients the slope is tuned on.
TUNING = 128


class LifNetwork(Method):
    """Leaky integrate-and-fire neurons, trained from nothing with a surrogate gradient.

    Passes over the training images are those of the reference and of a fine-tuning together. The
    image is a current, the same in all T steps; all layers run at once.

    Parameters
    ----------
    layers, shape, classes
        As :class:`ttfs_sw.research.neighbours.method.Method` has them. A max-pool takes the largest
        current.
    steps : :class:`int`
        T.
    leak : :class:`float`
        β, 0 to 1.
    slope : :class:`float` or ``None``
        α of the surrogate; by default it is tuned.
    norm : :class:`bool`
        Batch norm of the currents.
    loss : :class:`str`
        ``"mean"``, ``"last"``, ``"tet"`` or ``"smooth-tet"``
        (:mod:`ttfs_sw.research.neighbours.time_losses`).
    learn_initial : :class:`bool`
        Whether potentials start where they have learned to, and not at 0.
    """

    name = "lif"
    title = "LIF, surrogate gradient"
    source = "Ledinauskas et al., arXiv 2006.04436"
    defaults: ClassVar[dict[str, Any]] = {"loss": "mean", "learn_initial": False}

    def __init__(
        self, layers: Sequence[str], shape: tuple[int, int, int], classes: int, *,
        steps: int = 8, leak: float = 0.5, slope: float | None = None, norm: bool = True,
        loss: str | None = None, learn_initial: bool | None = None,
    ):
        super().__init__(layers, shape, classes)
        self.steps = integer(steps, "steps", 1, 1000)
        if not 0 <= leak <= 1:
            raise InputError(f"leak must be from 0 to 1, not {leak!r}")
        self.loss = self.defaults["loss"] if loss is None else loss
        if self.loss not in LOSSES:
            raise InputError(f"loss {self.loss!r} is not known; {nearest(self.loss, [*LOSSES])}")
        self._leak, self.slope, self._norm = leak, slope, norm
        self._learn_initial = (
            self.defaults["learn_initial"] if learn_initial is None else learn_initial
        )

    def fit(
        self, task: Task, reference: ReluNetwork | None, progress: Progress | None = None
    ) -> None:
        """Train from nothing; of ``reference`` nothing is used."""
        data, training = task.data(), task.config.training
        self._begin(task, data)
        self.model = LifModel(
            self.topology, task.generator(), steps=self.steps, leak=self._leak,
            slope=self.slope or 1.0, norm=self._norm, learn_initial=self._learn_initial,
        ).to(task.device)
        loss_of = LOSSES[self.loss]
        if self.slope is None:
            count = min(TUNING, len(data.x))
            images = data.x[:count].float() / data.maximum
            self.slope = tune(self.model, images, data.y[:count], loss_of)

        def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return loss_of(self.model(pixels / data.maximum), labels)

        fit(self.model, loss, data, task.config, epochs=training.float_epochs + training.epochs,
            rate=training.learning_rate, still=("initial",), progress=progress)

    @torch.no_grad()
    def _run(self, pixels: np.ndarray) -> Inference:
        """Classify images, step by step."""
        tally, logits = Tally(self.topology), []

        def watch(index: int, spikes: torch.Tensor) -> None:
            tally.add(index, spikes.sum(dim=0))

        for values in self._batches(pixels):
            tally.add_analog(values)
            logits.append(ANSWERS[self.loss](self.model(values, watch)))
        return tally.inference(torch.cat(logits), self.steps)


class LastStepNetwork(LifNetwork):
    """With learned initial potentials; the last step's logits are the answer."""

    name = "lif-lts"
    title = "LIF, learned start, last step"
    source = "Rethinking the Membrane Dynamics …, NeurIPS 2024"
    defaults = {"loss": "last", "learn_initial": True}


class SmoothTetNetwork(LifNetwork):
    """With learned initial potentials; every step is to be right, with smoothed labels."""

    name = "lif-tet"
    title = "LIF, learned start, smoothed TET"
    source = "Rethinking the Membrane Dynamics …, NeurIPS 2024"
    defaults = {"loss": "smooth-tet", "learn_initial": True}
