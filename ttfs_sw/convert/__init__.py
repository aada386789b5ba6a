# SPDX-License-Identifier: Apache-2.0
"""A trained PyTorch network becomes integers, without training or with a little: ``ttfs convert``.

:mod:`~ttfs_sw.convert.source` and :mod:`~ttfs_sw.convert.archive` read a model without running
anything foreign, :mod:`~ttfs_sw.convert.graph` makes layers of its operations,
:mod:`~ttfs_sw.convert.proof` shows that they compute the same,
:mod:`~ttfs_sw.convert.calibrate` finds scales and windows, :mod:`~ttfs_sw.convert.report` says what
they cost, :mod:`~ttfs_sw.convert.verdict` whether that is too much.
"""

import dataclasses
import io
import logging
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ttfs_sw.common.errors import FailureError, InputError
from ttfs_sw.common.files import output_folder, write_bytes, write_text
from ttfs_sw.convert import archive, graph, report, source, state, verdict
from ttfs_sw.convert.calibrate import Calibration, calibrate, relu_network, settle_constants
from ttfs_sw.convert.finetune import finetune
from ttfs_sw.convert.layers import Folded
from ttfs_sw.convert.pixels import Pixels
from ttfs_sw.convert.pixels import check as check_pixels
from ttfs_sw.convert.pixels import settle as settle_pixels
from ttfs_sw.convert.proof import prove
from ttfs_sw.convert.texts import texts
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.golden.torch_model import one_thread
from ttfs_sw.training import quantise, topology
from ttfs_sw.training.config import Config
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork
from ttfs_sw.training.samples import Data, check

__all__ = ["convert", "keep", "read_model"]

logger = logging.getLogger(__name__)

#: Training images that calibrate, at most; and membranes of the largest layer.
CALIBRATION, CALIBRATION_MEMBRANES = 5000, 1 << 24

#: What a conversion writes, besides its report.
RESULTS = ("network.npz", "model.pt", "config.toml")

_FUNCTION = re.compile(r"(?P<path>.+\.py):(?P<name>\w+)")


@one_thread()
def convert(
    model: str | os.PathLike | nn.Module,
    dataset: Dataset,
    output_dir: str | os.PathLike,
    config: Config,
    *,
    weights: str | os.PathLike | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float | None = None,
    epochs: int = 0,
    max_loss: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> report.Conversion:
    """Convert a trained ReLU network and write ``network.npz``.

    Parameters
    ----------
    model : :class:`str`, path or :class:`torch.nn.Module`
        A module; ``"module.py:function"`` that gives one; an archive of ``torch.export.save``
        (``.pt2``); or a state dict whose layers are those of ``config``.
    dataset : :class:`ttfs_sw.data.datasets.Dataset`
        Training images calibrate; test images are read once, for the report.
    output_dir : path
        Made if needed. Receives ``network.npz``, ``model.pt`` (both networks, as training writes
        them) and ``config.toml`` (the layers, as ``ttfs train`` takes them).
    config : :class:`ttfs_sw.training.config.Config`
        Bits of the weights, ticks, width of the membranes; its layers are replaced by the model's.
    weights : path or ``None``
        A state dict to put into the module.
    mean, std : sequences of :class:`float` or ``None``
        The model was trained on ``(x - mean) / std`` of pixels ``x`` from 0 to 1; one a channel or
        one for all.
    scale : :class:`float` or ``None``
        What bytes are divided by to be such pixels; by default what the dataset or the file of
        weights says, else 255.
    epochs : :class:`int`
        Passes of training as integers, after the conversion.
    max_loss : :class:`float` or ``None``
        Points of accuracy that the integers may lose, as :func:`ttfs_sw.convert.verdict.judge`
        takes it; with 100 nothing is judged.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images of that training.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the model, the weights, the images and the configuration do not fit together, or an
        operation does not convert.
    :exc:`ttfs_sw.common.errors.FailureError`
        If a membrane could leave ``accumulator_bits``. As
        :exc:`ttfs_sw.convert.verdict.RejectedError`, which has the report, if the float network
        does not know the images or the integers lose too much; then ``output_dir`` holds no
        network, not even one of before.
    """
    started = time.perf_counter()
    folder = output_folder(output_dir)
    keep(folder, model, weights)
    read = read_model(
        model, dataset, config, weights=weights, mean=mean, std=std, scale=scale)
    folded, pixel = read.folded, read.pixels
    config = _fitted(config, folded, dataset)
    check(config, dataset)
    data = Data(config, dataset, torch.device("cpu"), folder, pixel.maximum)
    largest = max(math.prod(plan.out_shape) for plan in folded.topology.layers)
    pixels = data.x[: min(CALIBRATION, max(CALIBRATION_MEMBRANES // largest, 1))].float()
    images = pixels / data.maximum
    relu = relu_network(folded)
    prove(folded, read.module, images, **read.norms)
    settle_constants(relu, folded.constants, images)
    check_pixels(pixel, relu, dataset.x_train, dataset.y_train)
    quantised = QuantisedNetwork(
        folded.topology, config.network.layer_bits,
        (config.network.input_ticks, *config.network.layer_ticks),
        per_channel=config.network.per_channel,
    )
    codes = data.encode(pixels)
    calibrate(quantised, relu, images, codes, config.network.window, folded.constants)
    tuned = finetune(quantised, config, data, epochs, progress) if epochs else None
    network = data.export(quantised)
    problem = quantise.overflow(network, config.network.accumulator_bits)
    if problem:
        raise FailureError(
            f"{problem}; take fewer weight bits or ticks with --set weight_bits or --set ticks, or "
            "allow a wider accumulator with --set accumulator_bits"
        )
    compared = report.compare(network, relu, folded, dataset, data.maximum)
    bounds = network.bounds()
    found = report.Conversion(
        **vars(compared),
        model=type(model).__name__ if isinstance(model, nn.Module) else str(model),
        weights=None if weights is None else str(weights),
        finetune=tuned,
        pixel_scale=pixel.scale,
        pixel_scale_from=pixel.origin,
        brightest_pixel=pixel.brightest,
        dataset=dataset.name,
        seed=config.seed,
        calibrated_on=len(images),
        bounds=[list(bound) for bound in bounds],
        accumulator_bits=max(
            max(high.bit_length(), (-low - 1).bit_length()) + 1 for low, high in bounds),
        notes=folded.notes,
        sha256=network.sha256,
        seconds=time.perf_counter() - started,
    )
    for note in folded.notes:
        logger.info("%s", note)
    count = len(images)
    calibration = Calibration(
        data.x[:count].numpy(), images, codes, data.y[:count].numpy())
    try:
        found = verdict.judge(
            found, network, quantised, relu, folded, calibration, max_loss,
            weights=weights is not None or not _FUNCTION.fullmatch(str(model)))
    except verdict.RejectedError as error:
        if not (folder / "network.npz").exists():
            raise
        # Nothing is lost; but it must not be taken for this one's.
        raise verdict.RejectedError(
            f"{error}; {folder / 'network.npz'} is still that of an earlier conversion",
            error.report) from error
    config = dataclasses.replace(config, dataset=data.name)
    _write(folder, config, relu, quantised, data.maximum)
    # Last: whoever sees the network sees all that belongs to it.
    network.save(folder / "network.npz")
    return dataclasses.replace(found, files=[str(folder / "network.npz")])


def keep(folder: Path, *inputs: object) -> None:
    """Refuse to write over what a conversion reads.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If one of ``inputs`` is the path of a file that a conversion writes in ``folder``.
    """
    for path in inputs:
        if not isinstance(path, str | os.PathLike) or not Path(path).is_file():
            continue
        if any((folder / name).exists() and (folder / name).samefile(path) for name in RESULTS):
            raise InputError(
                f"{path} would be written over by what is made of it; give another folder with -o")


@dataclasses.dataclass(frozen=True)
class Read:
    """A model that was read.

    Parameters
    ----------
    folded : :class:`ttfs_sw.convert.layers.Folded`
        Its layers, which read bytes divided by ``pixels.maximum``.
    pixels : :class:`ttfs_sw.convert.pixels.Pixels`
        What its images are.
    module : :class:`torch.nn.Module` or ``None``
        Itself, if it can be run.
    norms : :class:`dict`
        ``mean`` and ``std`` of what the layers read, as :func:`ttfs_sw.convert.graph.fold` takes
        them.
    """

    folded: Folded
    pixels: Pixels
    module: nn.Module | None
    norms: dict[str, np.ndarray]


def read_model(
    model: str | os.PathLike | nn.Module,
    dataset: Dataset,
    config: Config,
    *,
    weights: str | os.PathLike | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float | None = None,
) -> Read:
    """Return a model's layers, and the model itself if it can be run.

    Parameters and exceptions are those of :func:`convert`.
    """
    shape, trained = dataset.shape, None
    module: nn.Module | None = None
    name, function = str(model), None
    if isinstance(model, nn.Module):
        module, name = model, type(model).__name__
    elif function := _FUNCTION.fullmatch(name):
        module = source.build(function["path"], function["name"])
    if module is not None:
        if weights is not None:
            source.load_weights(module, weights)
        program = source.program_of(module, shape, name, function and function["path"])
    elif weights is not None:
        raise InputError(f"--weights go with a module.py:function, but {model} has its own weights")
    elif Path(name).suffix == ".pt2":
        program = archive.read(name, name)
    elif Path(name).suffix == ".py":
        raise InputError(f"say which function of {model} gives the model: {model}:FUNCTION")
    else:
        tensors = source.load_tensors(name)
        if source.PIXEL_SCALE in tensors:
            trained = tensors.pop(source.PIXEL_SCALE).item()
        elif all(name.startswith(state.OURS) for name in tensors):
            # A checkpoint from before it said so: training divides by the brightest pixel.
            trained = float(dataset.x_train.max())
        layers = topology.plan(config.network.texts, shape, dataset.classes)
        program = state.program_of(tensors, layers, str(model))
    pixel = settle_pixels(scale, dataset, trained)
    # What is read of a byte divided by the maximum, the model reads times pixel.worth.
    norms = {
        name: _each_channel(values, shape[2], name, default) / pixel.worth
        for name, values, default in (("mean", mean, 0.0), ("std", std, 1.0))
    }
    with np.errstate(all="ignore"):  # whatever comes of it is looked at next
        folded = graph.fold(program, shape, **norms)
    _check_classes(folded.topology.layers[-1].out_shape[2], program.source, dataset)
    return Read(folded, pixel, module, norms)


def _check_classes(outputs: int, name: str, dataset: Dataset) -> None:
    """Refuse a model whose outputs are not the classes of the images."""
    if outputs == dataset.classes:
        return
    lowest, highest = int(dataset.y_train.min()), int(dataset.y_train.max())
    has = f"{name} has {outputs} output{'s' * (outputs > 1)}"
    if lowest and outputs == highest - lowest + 1:
        raise InputError(
            f"{has}, but the labels of {dataset.name} are {lowest} to {highest}; they must count "
            f"from 0: subtract {lowest} from y_train and y_test"
        )
    if outputs == 1:
        raise InputError(
            f"{has}, but one for each class is needed: a neuron that wins says the class. Of a "
            "logit z for two classes make the two -z/2 and z/2: an nn.Linear with two rows, its "
            "weights and bias times -0.5 and 0.5"
        )
    hint = (
        f"give it a last layer of {dataset.classes} outputs, or images of all {outputs} classes"
        if outputs > dataset.classes else "choose another dataset with --dataset"
    )
    raise InputError(
        f"{has}, but {dataset.name} has {dataset.classes} classes, labels 0 to "
        f"{dataset.classes - 1}; {hint}"
    )


def _each_channel(
    values: Sequence[float] | None, channels: int, name: str, default: float
) -> np.ndarray:
    if values is None:
        return np.full(channels, default)
    if len(values) not in (1, channels):
        raise InputError(
            f"--{name} has {len(values)} numbers, but an image has {channels} channels"
        )
    if not all(map(math.isfinite, values)) or (name == "std" and min(values) <= 0):
        raise InputError(f"--{name} must be finite" + ", and above 0" * (name == "std"))
    return np.asarray(values, np.float64)


def _fitted(config: Config, folded: Folded, dataset: Dataset) -> Config:
    """The configuration with the model's layers, and with images left to train on."""
    network = dataclasses.replace(config.network, layers=texts(folded.topology))
    for key, what in (("weight_bits", "layers with weights"), ("ticks", "layers that fire")):
        value = getattr(network, key)
        if isinstance(value, tuple) and len(value) != network.lengths[key]:
            raise InputError(
                f"{key} has {len(value)} entries, but the model has {network.lengths[key]} {what}: "
                f"{', '.join(network.layers)} and the read-out"
            )
    heldout = config.training.heldout
    if heldout >= len(dataset.y_train):
        heldout = max(len(dataset.y_train) // 5, 1)
    training = dataclasses.replace(config.training, heldout=heldout)
    return dataclasses.replace(
        config, dataset=dataset.name, network=network, training=training
    )


def _write(
    folder: Path, config: Config, relu: ReluNetwork, quantised: QuantisedNetwork, maximum: int
) -> None:
    content = io.BytesIO()
    torch.save({"relu": relu.state_dict(), "quantised": quantised.state_dict(),
                source.PIXEL_SCALE: maximum}, content)
    write_bytes(folder / "model.pt", content.getvalue())
    write_text(folder / "config.toml", config.toml())
