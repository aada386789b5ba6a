# SPDX-License-Identifier: Apache-2.0
"""The images that a training run sees: held-out part, batches, distortion, encoding."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets
from ttfs_sw.data import paths as dataset_paths
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.golden import jitter
from ttfs_sw.training import quantise, topology
from ttfs_sw.training.augment import Augmenter
from ttfs_sw.training.config import Config
from ttfs_sw.training.models import QuantisedNetwork

__all__ = ["Data", "check", "in_parts"]

#: Images classified together, where nothing is learned from them.
BATCH = 1000



class Data:
    """The images of a run on its device: training and held-out parts, and their encoding.

    Parameters
    ----------
    config : :class:`ttfs_sw.training.config.Config`
        Its held-out count, seed, ticks, dead zone and augmentation.
    dataset : :class:`ttfs_sw.data.datasets.Dataset`
        The images.
    device : :class:`torch.device`
        Where tensors live.
    folder : path or ``None``
        Where the network will be written: what it calls its dataset is found from there.
    maximum : :class:`int` or ``None``
        The byte with the code T; by default the brightest of the training images.

    Members
    -------
    x, y, x_heldout, y_heldout : tensors; pixels are bytes.
    maximum : the byte that is worth 1 and encoded as T.
    name : what files in the folder call the dataset.
    move : moves spikes by random ticks, or ``None``; see :mod:`ttfs_sw.golden.jitter`.
    """

    def __init__(
        self, config: Config, dataset: Dataset, device: torch.device,
        folder: str | os.PathLike | None = None, maximum: int | None = None,
    ):
        parts = datasets.split_holdout(dataset, config.training.heldout, config.seed)
        self.x, self.y, self.x_heldout, self.y_heldout = (
            torch.from_numpy(part).to(device) for part in parts
        )
        self.maximum = int(dataset.x_train.max()) if maximum is None else maximum
        self.inputs = dataset.x_train.shape[1]
        shape = config.network
        table = quantise.code_table(shape.input_ticks, self.maximum, shape.dead_zone)
        self._table = torch.from_numpy(table).to(device).float()
        self._generator = torch.Generator(device).manual_seed(config.seed)
        self._augmenter = Augmenter(config.augmentation, dataset.shape, self._generator)
        self._batch = config.training.batch
        self._noise = torch.Generator(device)
        self.move = jitter.mover(config.training.jitter, self._noise)
        self.name = dataset.name if folder is None else dataset_paths.remembered(
            dataset.name, folder)
        # What the file says of its origin. A path that it cannot hold is left out.
        name = self.name if len(self.name) <= 200 and self.name.isprintable() else ""
        self._origin: dict[str, Any] = {
            "input_shape": dataset.shape, "input_ticks": shape.input_ticks, "input_codes": table,
            "input_scale": 1 / shape.input_ticks, "dataset": name, "preset": config.name,
        }

    @property
    def sizes(self) -> list[int]:
        """Images in each batch of one pass over the training images."""
        whole, rest = divmod(len(self.x), self._batch)
        return [self._batch] * whole + [rest] * (rest > 0)

    @property
    def random_state(self) -> torch.Tensor:
        """Where the random numbers of order and distortion stand."""
        return self._generator.get_state()

    @random_state.setter
    def random_state(self, state: torch.Tensor) -> None:
        self._generator.set_state(state)

    def batches(
        self, share: Callable[[int], slice] = slice
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Give the training images once, in random order, as distorted float pixels, and labels.

        Parameters
        ----------
        share : callable
            Given the size of a batch, which part of it to give. Order and distortions are those of
            whole batches, whatever the part.
        """
        device = self.x.device
        order = torch.randperm(len(self.x), generator=self._generator, device=device)
        for batch in order.split(self._batch):
            part = share(len(batch))
            if self.move is not None:
                # How many moves are drawn depends on the network and on the part. That there is one
                # draw here, whatever they are, keeps images and distortions the same for all.
                seed = torch.randint(1 << 62, (), generator=self._generator, device=device)
                self._noise.manual_seed(int(seed.item()) + (part.start or 0))
            distortions = self._augmenter.draw(len(batch))
            chosen = batch[part]
            yield self._augmenter.bend(self.x[chosen].float(), distortions[part]), self.y[chosen]

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the input codes of float pixels, rounded to bytes first, as floats."""
        return self._table.index_select(0, (pixels + 0.5).int().view(-1)).view(pixels.shape)

    def export(self, model: QuantisedNetwork) -> Network:
        """Return the integers of ``model`` as a network for these images."""
        return quantise.network(model.integers(), **self._origin)


@torch.no_grad()
def in_parts(
    classify: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> torch.Tensor:
    """Return the logits of many images, of which only so many are computed at a time."""
    return torch.cat([classify(part.float()) for part in images.split(BATCH)])


def check(config: Config, dataset: Dataset) -> None:
    """Refuse what would only fail, or mean nothing, after minutes of training.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If images, labels and configuration do not fit together.
    """
    for part, x, y in (
        ("training", dataset.x_train, dataset.y_train), ("test", dataset.x_test, dataset.y_test)
    ):
        if not len(x) or len(x) != len(y):
            raise InputError(f"{dataset.name} has {len(x)} {part} images and {len(y)} labels")
        if y.min() < 0 or y.max() >= dataset.classes:
            raise InputError(
                f"{dataset.name}: {part} labels must be from 0 to {dataset.classes - 1}, not from "
                f"{y.min()} to {y.max()}"
            )
    if len(np.unique(dataset.y_train)) < 2:
        raise InputError(
            f"{dataset.name} has training images of one class only; there is nothing to tell apart"
        )
    if not dataset.x_train.any():
        raise InputError(f"{dataset.name}: every pixel of the training images is 0")
    if dataset.x_train.max() < config.network.dead_zone:
        raise InputError(
            f"network.dead_zone {config.network.dead_zone} silences every pixel of {dataset.name}, "
            f"whose brightest is {dataset.x_train.max()}; lower it"
        )
    try:
        topology.plan(config.network.texts, dataset.shape, dataset.classes)
    except InputError as error:
        raise InputError(f"network.layers do not fit {dataset.name}: {error}") from error
    if config.augmentation.active and 1 in dataset.shape[:2]:
        raise InputError(
            f"the rows of {dataset.name} are not images; set everything in [augmentation] to 0"
        )
