# SPDX-License-Identifier: Apache-2.0
"""The two stages of training, epoch by epoch, with a checkpoint after each."""

import contextlib
import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ttfs_sw.common.errors import FailureError, InputError
from ttfs_sw.training import quantise
from ttfs_sw.training.checkpoint import Checkpoint
from ttfs_sw.training.config import Config
from ttfs_sw.training.distributed import Processes
from ttfs_sw.training.models import Activity, QuantisedNetwork, ReluNetwork
from ttfs_sw.training.reports import Epoch
from ttfs_sw.training.samples import Data, in_parts

__all__ = ["Run"]

logger = logging.getLogger(__name__)

#: Code from which on a spike costs its full price.
FULL_PRICE = 2.0

#: Share of the epochs after which one may be kept: the steps are small, and the neurons silent.
SETTLED = 0.75


class _Pass(NamedTuple):
    """One pass over the training images, before anybody has looked at the held-out ones.

    Members
    -------
    stage, epoch, loss, seconds : as :class:`ttfs_sw.training.reports.Epoch` has them.
    left : seconds that the rest of the stage will take.
    """

    stage: str
    epoch: int
    loss: float
    seconds: float
    left: float


class Run:
    """The two stages of training, with one history and one count of images done.

    Parameters
    ----------
    config : :class:`ttfs_sw.training.config.Config`
        How to train.
    data : :class:`ttfs_sw.training.samples.Data`
        The images.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images.
    checkpoint : :class:`ttfs_sw.training.checkpoint.Checkpoint` or ``None``
        Where the state goes after each epoch.
    processes : :class:`ttfs_sw.training.distributed.Processes`
        Who trains together; the first one writes and logs.

    Members
    -------
    history : a record of each epoch that is done.
    """

    def __init__(
        self,
        config: Config,
        data: Data,
        progress: Callable[[int, int], None] | None = None,
        *,
        checkpoint: Checkpoint | None = None,
        processes: Processes | None = None,
    ):
        self.history: list[Epoch] = []
        self._training = config.training
        self._bits = config.network.accumulator_bits
        self._data = data
        self._progress = progress
        self._checkpoint = checkpoint
        self._processes = processes or Processes()
        self._done = 0
        self._total = len(data.x) * (config.training.float_epochs + config.training.epochs)
        self._started, self._seconds_before = time.perf_counter(), 0.0
        # Both networks and all that belongs to them, by name, as far as training has come.
        self._parts: dict[str, nn.Module] = {}
        self._kept: dict[str, torch.Tensor] | None = None
        self._best: Epoch | None = None
        self._saved: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """How long the run has taken, before it was interrupted and since."""
        return self._seconds_before + time.perf_counter() - self._started

    def resume(self) -> None:
        """Go on from the checkpoint: the stages that follow begin where it was written.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If there is none, or not of this run.
        """
        assert self._checkpoint is not None, "only a run that has a checkpoint can go on"
        saved = self._checkpoint.load()
        with self._checkpoint.restoring():
            self.history = [Epoch(**entry) for entry in saved["history"]]
            self._seconds_before = float(saved["seconds"])
            self._done = len(self._data.x) * len(self.history)
            self._data.random_state = saved["random"]
            self._kept = saved["kept"]
            if self._kept is not None:
                self._best = self.history[saved["best"]]
        self._saved = saved

    def relu(self, model: ReluNetwork) -> None:
        """Train the ReLU network; its last epoch is the one that counts."""
        data, training = self._data, self._training
        self._add("relu", model)

        def loss(
            forward: nn.Module, pixels: torch.Tensor, labels: torch.Tensor
        ) -> torch.Tensor:
            return self._entropy(forward(pixels / data.maximum), labels)

        rate = training.float_learning_rate
        for done in self._fit("float", model, loss, training.float_epochs, rate):
            logits = in_parts(lambda part: model(part / data.maximum), data.x_heldout)
            self._record(done, logits, training.float_epochs)

    def quantised(self, model: QuantisedNetwork) -> Epoch:
        """Train the quantised network, leave it as it was in its best epoch, return that epoch.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.FailureError`
            If in no epoch all membranes fit ``accumulator_bits``.
        """
        data, training = self._data, self._training
        # The running mean of the parameters wanders less than the parameters do.
        mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(training.average))
        averaged = mean.module
        assert isinstance(averaged, QuantisedNetwork), "it is a copy of the model"
        self._add("quantised", model)
        self._add("mean", mean)
        heldout = data.encode(data.x_heldout.float())
        penalties = training.penalties(len(model.fires))

        def loss(
            forward: nn.Module, pixels: torch.Tensor, labels: torch.Tensor
        ) -> torch.Tensor:
            result: Activity = forward(data.encode(pixels), data.move)
            cost = sum(
                penalty / len(labels) * (codes.clamp(max=FULL_PRICE).sum() / FULL_PRICE)
                for penalty, codes in zip(penalties, result.spikes, strict=True)
            )
            return self._entropy(result.logits, labels) + cost

        def classify(codes: torch.Tensor) -> torch.Tensor:
            result: Activity = averaged(codes)
            fired.extend(int(torch.count_nonzero(layer)) for layer in result.codes)
            return result.logits

        hidden = sum(math.prod(layer.plan.map_shape) for layer in model.layers[:-1])

        for done in self._fit(
            "network", model, loss, training.epochs, training.learning_rate,
            after_step=lambda: mean.update_parameters(model),
        ):
            fired: list[int] = []
            logits = in_parts(classify, heldout)
            spikes = sum(fired) / (hidden * len(heldout))
            entry = self._record(done, logits, training.epochs, spikes)
            if entry.epoch <= int(SETTLED * training.epochs):
                continue
            problem = quantise.overflow(data.export(averaged), self._bits)
            if problem is None and (self._best is None or _merit(entry) >= _merit(self._best)):
                self._best, self._kept = entry, copy.deepcopy(averaged.state_dict())
        if self._best is None:
            self._discard()
            problem = quantise.overflow(data.export(averaged), self._bits)
            raise FailureError(
                f"{problem}; give the layer fewer inputs, weight_bits or ticks, raise "
                "weight_decay, or choose hardware with wider accumulators"
            )
        assert self._kept is not None, "the best epoch's parameters are kept with it"
        model.load_state_dict(self._kept)
        return self._best

    def _fit(
        self,
        stage: str,
        model: nn.Module,
        loss_of: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor],
        epochs: int,
        rate: float,
        after_step: Callable[[], None] | None = None,
    ) -> Iterator[_Pass]:
        """Train ``model``; give each pass as it ends, for the caller to make a record of."""
        done = sum(entry.stage == stage for entry in self.history)
        if done == epochs:
            return
        optimizer = torch.optim.AdamW(
            [
                # Matrices decay; biases and scales do not.
                {"params": [p for p in model.parameters() if p.ndim > 1],
                 "weight_decay": self._training.weight_decay},
                {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=rate, fused=True,
        )
        if done:
            self._restore(optimizer)
        forward = self._processes.together(model)
        sizes = self._data.sizes
        steps, step = epochs * len(sizes), done * len(sizes)
        begun, first = time.perf_counter(), done
        for epoch in range(done + 1, epochs + 1):
            started, total = time.perf_counter(), 0.0
            batches = self._data.batches(self._processes.share)
            for size, (pixels, labels) in zip(sizes, batches, strict=True):
                step += 1
                for group in optimizer.param_groups:
                    group["lr"] = rate * _schedule(step / steps, self._training.warmup)
                loss = loss_of(forward, pixels, labels) * self._processes.weight(size)
                value = self._processes.mean(loss).item()
                if not math.isfinite(value):
                    self._discard()
                    raise InputError(
                        f"training diverged in epoch {epoch} of the {stage} stage: the loss is "
                        f"{value}; lower the learning rate, now {rate}"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if after_step is not None:
                    after_step()
                total += value * size
                self._done += size
                if self._progress is not None:
                    self._progress(self._done, self._total)
            pace = (time.perf_counter() - begun) / (epoch - first)
            yield _Pass(
                stage, epoch, loss=total / len(self._data.x),
                seconds=time.perf_counter() - started, left=pace * (epochs - epoch),
            )
            self._save(optimizer)

    def _entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        smoothing = self._training.label_smoothing
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)

    def _record(
        self, done: _Pass, logits: torch.Tensor, epochs: int, spikes: float | None = None
    ) -> Epoch:
        """The record of ``done`` with how the held-out images fared; keep it, and tell of it."""
        labels = self._data.y_heldout
        entry = Epoch(
            stage=done.stage, epoch=done.epoch, loss=done.loss, seconds=done.seconds,
            spikes_per_neuron=spikes,
            loss_heldout=functional.cross_entropy(logits, labels).item(),
            accuracy_heldout=(logits.argmax(dim=1) == labels).double().mean().item(),
        )
        self.history.append(entry)
        if self._processes.leader:
            logger.info(
                "%s epoch %d of %d: loss %.4f, held-out accuracy %.4f%s, %d:%02d left",
                entry.stage, entry.epoch, epochs, entry.loss, entry.accuracy_heldout,
                "" if spikes is None else f", spikes per neuron {spikes:.3f}",
                *divmod(math.ceil(done.left), 60),
            )
        return entry

    def _add(self, name: str, part: nn.Module) -> None:
        """Take ``part`` into the checkpoint from now on; bring it up to what was resumed from."""
        self._parts[name] = part
        if self._saved and name in self._saved["parts"]:
            with self._restoring():
                part.load_state_dict(self._saved["parts"][name])

    def _restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring ``optimizer`` to what was resumed from; its settings are the configuration's."""
        assert self._saved is not None, "epochs are done already, so they were resumed from"
        with self._restoring():
            state = self._saved["optimizer"]
            optimizer.load_state_dict({
                "state": {int(index): dict(moments) for index, moments in state.items()},
                "param_groups": optimizer.state_dict()["param_groups"],
            })

    def _restoring(self) -> contextlib.AbstractContextManager[None]:
        """Wherever what was saved is used, it may turn out to be another run's."""
        assert self._checkpoint is not None, "it is what was resumed from"
        return self._checkpoint.restoring()

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint of all that the next epoch depends on."""
        if self._checkpoint is None or not self._processes.leader:
            return
        state = optimizer.state_dict()["state"]
        self._checkpoint.save({
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "optimizer": {str(index): moments for index, moments in state.items()},
            "random": self._data.random_state,
            "history": [entry.as_dict() for entry in self.history],
            "kept": self._kept,
            "best": None if self._best is None else self.history.index(self._best),
            "seconds": self.seconds,
        })

    def _discard(self) -> None:
        """Remove a checkpoint from which training could only fail again."""
        if self._checkpoint is not None and self._processes.leader:
            self._checkpoint.discard()


def _merit(entry: Epoch) -> tuple[float, float]:
    """What makes one epoch better than another: held-out accuracy, then held-out loss."""
    return entry.accuracy_heldout, -entry.loss_heldout


def _schedule(done: float, warmup: float) -> float:
    """Share of the full learning rate at the step that completes the share ``done`` of all."""
    if done < warmup:
        return done / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (done - warmup) / max(1 - warmup, 1e-9))
