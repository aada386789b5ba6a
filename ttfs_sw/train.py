"""Training: from labelled images to the integers of a network, and a report of what it reaches.

In two stages. First a ReLU network in real numbers, the reference that the report calls float. Then
the quantised network, started from its weights and from windows calibrated on its membranes, with
the integer contract in its forward pass. The training images are distorted anew each time they are
seen. An activity penalty makes silence cheap: a hidden neuron with the code ``a`` costs
``min(a, 2) / 2``. So a spike costs the same whatever its time, and the gradient pulls only at the
late, weak spikes that say least; a penalty on the sum of the codes, which pulls at all of them,
costs more accuracy for the same silence.

Every choice - which of the last epochs is kept - is made on held-out training images. Test images
are looked at once, at the end, by the golden model.
"""

import copy
import io
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ttfs_sw import evaluation, golden, plot, quantise, topology
from ttfs_sw.config import Config
from ttfs_sw.datasets import Dataset
from ttfs_sw.errors import FailureError, InputError
from ttfs_sw.files import output_folder, write_bytes, write_json, write_text
from ttfs_sw.golden_torch import one_thread
from ttfs_sw.models import QuantisedNetwork, ReluNetwork
from ttfs_sw.network import Network
from ttfs_sw.training_data import Data, check

__all__ = ["train"]

logger = logging.getLogger(__name__)

#: Code from which on a spike costs its full price.
FULL_PRICE = 2.0

#: Share of the epochs after which one may be kept: the steps are small, and the neurons silent.
SETTLED = 0.75

#: Training images whose membranes calibrate the windows, at most; and membranes of one layer.
CALIBRATION, CALIBRATION_MEMBRANES = 5000, 1 << 25

#: Images classified together, where nothing is learned from them.
BATCH = 1000


@one_thread()
def train(
    config: Config,
    dataset: Dataset,
    output_dir: str | os.PathLike,
    progress: Callable[[int, int], None] | None = None,
    *,
    device: str | None = None,
) -> dict[str, Any]:
    """Train a network and write it, with all that explains it, into a folder.

    Parameters
    ----------
    config : :class:`ttfs_sw.config.Config`
        What to train and how.
    dataset : :class:`ttfs_sw.datasets.Dataset`
        Images to train on and to test on.
    output_dir : path
        Made if needed. Receives ``network.npz``, ``model.pt`` (the parameters of both networks;
        ``torch.load(..., weights_only=True)``), ``config.toml``, ``report.json``, ``history.json``
        and ``learning_curve.png``, all at the end: an interrupted run changes nothing.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images.
    device : :class:`str` or ``None``
        Of torch; by default a GPU if there is one.

    Returns
    -------
    :class:`dict`
        What ``report.json`` has.

    Raises
    ------
    :exc:`ttfs_sw.errors.InputError`
        If the images and the configuration do not fit together, the folder cannot be written, or
        training diverges.
    :exc:`ttfs_sw.errors.FailureError`
        If no epoch gives a network whose membranes fit ``accumulator_bits``.
    """
    started = time.perf_counter()
    folder = output_folder(output_dir)
    check(config, dataset)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    data = Data(config, dataset, torch.device(device))
    run = _Run(config, data, progress)

    layers = topology.plan(config.network.texts, dataset.shape, dataset.classes)
    # Weights are drawn on the CPU, so that they are the same with a GPU.
    relu = ReluNetwork(layers, torch.Generator().manual_seed(config.seed)).to(device)
    run.relu(relu)
    quantised = QuantisedNetwork(
        layers, config.network.layer_bits,
        (config.network.input_ticks, *config.network.layer_ticks),
        per_channel=config.network.per_channel,
    ).to(device)
    largest = max(math.prod(layer.out_shape) for layer in layers.layers)
    count = min(CALIBRATION, max(CALIBRATION_MEMBRANES // largest, 1))
    start = data.encode(data.x[:count].float())
    quantised.start_from(relu, start, config.network.window)
    best = run.quantised(quantised)

    network = data.export(quantised)
    pixels = torch.from_numpy(dataset.x_test).to(device)
    winners = _in_parts(lambda part: relu(part / data.maximum), pixels).argmax(dim=1).cpu().numpy()
    tested = evaluation.summary(golden.run(network, dataset.x_test), dataset.y_test)
    report = {
        "preset": config.name,
        "dataset": dataset.name,
        "seed": config.seed,
        "accuracy_float": float((winners == dataset.y_test).mean()),
        "accuracy_network": tested["accuracy"],
        "accuracy_heldout": best["accuracy_heldout"],
        "spikes_per_neuron": tested["spikes_per_neuron"],
        "events_input": tested["events_input"],
        "events_hidden": tested["events_hidden"],
        "images": tested["images"],
        "epoch": best["epoch"],
        "layers": list(config.network.texts),
        "sizes": [data.inputs, *(layer.neurons for layer in network.layers)],
        "weight_bits": list(config.network.layer_bits),
        "ticks": [config.network.input_ticks, *config.network.layer_ticks],
        "bounds": [list(bound) for bound in network.bounds()],
        "accumulator_bits": config.network.accumulator_bits,
        "sha256": network.sha256,
        "seconds": time.perf_counter() - started,
    }
    checkpoint = {
        name: {key: value.cpu() for key, value in model.state_dict().items()}
        for name, model in (("relu", relu), ("quantised", quantised))
    }
    _write(folder, config, network, checkpoint, run.history, report)
    return report


class _Run:
    """The two stages of training, with one history and one count of images done."""

    def __init__(
        self, config: Config, data: Data, progress: Callable[[int, int], None] | None
    ):
        self.history: list[dict[str, Any]] = []
        self._training = config.training
        self._bits = config.network.accumulator_bits
        self._data = data
        self._progress = progress
        self._done = 0
        self._total = len(data.x) * (config.training.float_epochs + config.training.epochs)

    def relu(self, model: ReluNetwork) -> None:
        """Train the ReLU network; its last epoch is the one that counts."""
        data, training = self._data, self._training

        def loss(pixels, labels):
            return self._entropy(model(pixels / data.maximum), labels)

        rate = training.float_learning_rate
        for entry in self._fit("float", model, loss, training.float_epochs, rate):
            logits = _in_parts(lambda part: model(part / data.maximum), data.x_heldout)
            self._record(entry, logits)

    def quantised(self, model: QuantisedNetwork) -> dict[str, Any]:
        """Train the quantised network, leave it as it was in its best epoch, return that entry."""
        data, training = self._data, self._training
        # The running mean of the parameters wanders less than the parameters do.
        mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(training.average))
        heldout = data.encode(data.x_heldout.float())
        penalties = training.penalties(len(model.fires))

        def loss(pixels, labels):
            result = model(data.encode(pixels), data.move)
            cost = sum(
                penalty / len(labels) * (codes.clamp(max=FULL_PRICE).sum() / FULL_PRICE)
                for penalty, codes in zip(penalties, result.spikes, strict=True)
            )
            return self._entropy(result.logits, labels) + cost

        def classify(codes):
            result = mean.module(codes)
            fired.extend(int(torch.count_nonzero(layer)) for layer in result.codes)
            return result.logits

        hidden = sum(math.prod(layer.plan.map_shape) for layer in model.layers[:-1])

        best, kept, problem = None, None, None
        for entry in self._fit(
            "network", model, loss, training.epochs, training.learning_rate,
            after_step=lambda: mean.update_parameters(model),
        ):
            fired = []
            logits = _in_parts(classify, heldout)
            entry["spikes_per_neuron"] = sum(fired) / (hidden * len(heldout))
            self._record(entry, logits)
            if entry["epoch"] <= int(SETTLED * training.epochs):
                continue
            problem = quantise.overflow(data.export(mean.module), self._bits)
            if problem is None and (best is None or _merit(entry) >= _merit(best)):
                best, kept = entry, copy.deepcopy(mean.module.state_dict())
        if best is None:
            raise FailureError(
                f"{problem}; give the layer fewer inputs, weight_bits or ticks, raise "
                "weight_decay, or choose hardware with wider accumulators"
            )
        model.load_state_dict(kept)
        return best

    def _fit(
        self,
        stage: str,
        model: nn.Module,
        loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        epochs: int,
        rate: float,
        after_step: Callable[[], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Train ``model``; give the entry of each epoch as it ends, for the caller to complete."""
        optimizer = torch.optim.AdamW(
            [
                # Matrices decay; biases and scales do not.
                {"params": [p for p in model.parameters() if p.ndim > 1],
                 "weight_decay": self._training.weight_decay},
                {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=rate, fused=True,
        )
        steps, step = epochs * self._data.steps, 0
        for epoch in range(1, epochs + 1):
            started, total = time.perf_counter(), 0.0
            for pixels, labels in self._data.batches():
                step += 1
                for group in optimizer.param_groups:
                    group["lr"] = rate * _schedule(step / steps, self._training.warmup)
                loss = loss_of(pixels, labels)
                if not math.isfinite(loss.item()):
                    raise InputError(
                        f"training diverged in epoch {epoch} of the {stage} stage: the loss is "
                        f"{loss.item()}; lower the learning rate, now {rate}"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if after_step is not None:
                    after_step()
                total += loss.item() * len(labels)
                self._done += len(labels)
                if self._progress is not None:
                    self._progress(self._done, self._total)
            yield {
                "stage": stage, "epoch": epoch, "loss": total / len(self._data.x),
                "seconds": time.perf_counter() - started,
            }

    def _entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        smoothing = self._training.label_smoothing
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)

    def _record(self, entry: dict[str, Any], logits: torch.Tensor) -> None:
        """Complete ``entry`` with how the held-out images fared, and keep it."""
        labels = self._data.y_heldout
        entry["loss_heldout"] = functional.cross_entropy(logits, labels).item()
        entry["accuracy_heldout"] = (logits.argmax(dim=1) == labels).double().mean().item()
        self.history.append(entry)
        logger.info(
            "%(stage)s epoch %(epoch)d: loss %(loss).4f, held-out accuracy %(accuracy_heldout).4f",
            entry,
        )


@torch.no_grad()
def _in_parts(
    classify: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> torch.Tensor:
    """Return the logits of many images, of which only so many are computed at a time."""
    return torch.cat([classify(part.float()) for part in images.split(BATCH)])


def _merit(entry: dict[str, Any]) -> tuple[float, float]:
    """What makes one epoch better than another: held-out accuracy, then held-out loss."""
    return entry["accuracy_heldout"], -entry["loss_heldout"]


def _schedule(done: float, warmup: float) -> float:
    """Share of the full learning rate at the step that completes the share ``done`` of all."""
    if done < warmup:
        return done / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (done - warmup) / max(1 - warmup, 1e-9))


def _write(
    folder: os.PathLike,
    config: Config,
    network: Network,
    checkpoint: dict[str, Any],
    history: list[dict[str, Any]],
    report: dict[str, Any],
) -> None:
    """Write the files of a run, each whole or not at all."""
    # Into memory first: torch takes a full disk for a bug of its own.
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_bytes(folder / "model.pt", content.getvalue())
    write_text(folder / "config.toml", config.toml())
    write_json(folder / "history.json", history)
    plot.learning_curve(folder / "learning_curve.png", history, title=config.name)
    write_json(folder / "report.json", report)
    # Last: whoever sees the network sees all that belongs to it.
    network.save(folder / "network.npz")
