# SPDX-License-Identifier: Apache-2.0
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

import dataclasses
import io
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common import plot
from ttfs_sw.common.files import output_folder, write_bytes, write_json, write_text
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.golden import evaluation
from ttfs_sw.golden.torch_model import one_thread
from ttfs_sw.training import distributed, topology
from ttfs_sw.training.checkpoint import Checkpoint
from ttfs_sw.training.config import Config
from ttfs_sw.training.loop import Run
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork
from ttfs_sw.training.reports import Epoch, TrainingReport
from ttfs_sw.training.samples import Data, check, in_parts

__all__ = ["train"]

logger = logging.getLogger(__name__)

#: Training images whose membranes calibrate the windows, at most; and membranes of one layer.
CALIBRATION, CALIBRATION_MEMBRANES = 5000, 1 << 25

@one_thread()
def train(
    config: Config,
    dataset: Dataset,
    output_dir: str | os.PathLike,
    progress: Callable[[int, int], None] | None = None,
    *,
    device: str | None = None,
    resume: bool = False,
) -> TrainingReport:
    """Train a network and write it, with all that explains it, into a folder.

    Parameters
    ----------
    config : :class:`ttfs_sw.training.config.Config`
        What to train and how.
    dataset : :class:`ttfs_sw.data.datasets.Dataset`
        Images to train on and to test on.
    output_dir : path
        Made if needed. Receives ``network.npz``, ``model.pt`` (the parameters of both networks,
        and what pixels were divided by; ``torch.load(..., weights_only=True)``), ``config.toml``,
        ``report.json``, ``history.json`` and ``learning_curve.png``, all at the end: an interrupted
        run leaves them as they were. Until then it has ``checkpoint.npz``, written anew after each
        epoch.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images.
    device : :class:`str` or ``None``
        Of torch; by default a GPU if there is one.
    resume : :class:`bool`
        Go on from the folder's checkpoint. The result is that of a run without an interruption.

    Returns
    -------
    :class:`ttfs_sw.training.reports.TrainingReport`
        What ``report.json`` has. Of several processes that train together (``torchrun``) each
        returns it, and the first has written it.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the images and the configuration do not fit together, the folder cannot be written,
        training diverges, or the checkpoint is not of this run.
    :exc:`ttfs_sw.common.errors.FailureError`
        If no epoch gives a network whose membranes fit ``accumulator_bits``.
    """
    folder = output_folder(output_dir)
    check(config, dataset)
    chosen = torch.device(device or distributed.default_device())
    with distributed.join(chosen) as processes:
        checkpoint = Checkpoint(folder, config, dataset, chosen, processes.count)
        data = Data(config, dataset, chosen, folder)
        run = Run(config, data, progress, checkpoint=checkpoint, processes=processes)
        if resume:
            run.resume()
        elif checkpoint.foreign and processes.leader:
            logger.info("%s of an unfinished run will be replaced", checkpoint.path)
        try:
            relu, quantised, best = _train(config, dataset, data, run)
        except (KeyboardInterrupt, SystemExit):
            if processes.leader and checkpoint.path.exists() and not checkpoint.foreign:
                logger.info("--resume goes on from the last whole epoch: %s", checkpoint.path)
            raise
        network = data.export(quantised)
        report = _report(config, dataset, data, network, relu, best, run)
        if processes.leader:
            parameters: dict[str, Any] = {
                name: {key: value.cpu() for key, value in model.state_dict().items()}
                for name, model in (("relu", relu), ("quantised", quantised))
            } | {"pixel_scale": data.maximum}
            config = dataclasses.replace(config, dataset=data.name)
            _write(folder, config, network, parameters, run.history, report)
            checkpoint.discard()
    return report


def _train(
    config: Config, dataset: Dataset, data: Data, run: Run
) -> tuple[ReluNetwork, QuantisedNetwork, Epoch]:
    """Return both networks, trained, and the record of the epoch that was kept."""
    layers = topology.plan(config.network.texts, dataset.shape, dataset.classes)
    device = data.x.device
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
    return relu, quantised, run.quantised(quantised)


def _report(
    config: Config,
    dataset: Dataset,
    data: Data,
    network: Network,
    relu: ReluNetwork,
    best: Epoch,
    run: Run,
) -> TrainingReport:
    """Look at the test images, once, and say how all that was trained fares on them."""
    pixels = torch.from_numpy(dataset.x_test).to(data.x.device)
    winners = in_parts(lambda part: relu(part / data.maximum), pixels).argmax(dim=1).cpu().numpy()
    tested = evaluation.summary(golden.run(network, dataset.x_test), dataset.y_test)
    return TrainingReport(
        preset=config.name,
        dataset=dataset.name,
        seed=config.seed,
        accuracy_float=float((winners == dataset.y_test).mean()),
        accuracy_network=tested.accuracy,
        accuracy_heldout=best.accuracy_heldout,
        spikes_per_neuron=tested.spikes_per_neuron,
        events_input=tested.events_input,
        events_hidden=tested.events_hidden,
        images=tested.images,
        epoch=best.epoch,
        layers=list(config.network.texts),
        sizes=[data.inputs, *(layer.neurons for layer in network.layers)],
        weight_bits=list(config.network.layer_bits),
        ticks=[config.network.input_ticks, *config.network.layer_ticks],
        bounds=[list(bound) for bound in network.bounds()],
        accumulator_bits=config.network.accumulator_bits,
        sha256=network.sha256,
        seconds=run.seconds,
    )


def _write(
    folder: Path,
    config: Config,
    network: Network,
    parameters: dict[str, Any],
    history: list[Epoch],
    report: TrainingReport,
) -> None:
    """Write the files of a run, each whole or not at all."""
    # Into memory first: torch takes a full disk for a bug of its own.
    content = io.BytesIO()
    torch.save(parameters, content)
    write_bytes(folder / "model.pt", content.getvalue())
    write_text(folder / "config.toml", config.toml())
    entries = [epoch.as_dict() for epoch in history]
    write_json(folder / "history.json", entries)
    plot.learning_curve(folder / "learning_curve.png", entries, title=config.name)
    write_json(folder / "report.json", report.as_dict())
    # Last: whoever sees the network sees all that belongs to it.
    network.save(folder / "network.npz")
