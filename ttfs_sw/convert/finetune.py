# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning: the second stage of training, started from a converted network."""

import dataclasses
from collections.abc import Callable

from ttfs_sw.convert.report import Finetuning
from ttfs_sw.training.config import Config
from ttfs_sw.training.loop import Run, in_parts
from ttfs_sw.training.models import QuantisedNetwork
from ttfs_sw.training.samples import Data

__all__ = ["finetune"]


def finetune(
    network: QuantisedNetwork,
    config: Config,
    data: Data,
    epochs: int,
    progress: Callable[[int, int], None] | None = None,
) -> Finetuning:
    """Train ``network`` as integers and leave it as it was in the best of the last epochs.

    Parameters
    ----------
    network : :class:`ttfs_sw.training.models.QuantisedNetwork`
        Calibrated.
    config : :class:`ttfs_sw.training.config.Config`
        How to train; its table ``[training]``, but for the epochs.
    data : :class:`ttfs_sw.training.samples.Data`
        The images. The held-out ones, on which the epoch is chosen, are not trained on here; the
        float network's own training may have seen them.
    epochs : :class:`int`
        Passes over the training images.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If training diverges.
    :exc:`ttfs_sw.common.errors.FailureError`
        If no epoch gives a network whose membranes fit ``accumulator_bits``.
    """
    logits = in_parts(lambda part: network(data.encode(part)).logits, data.x_heldout)
    before = (logits.argmax(dim=1) == data.y_heldout).double().mean().item()
    # There is a float network already.
    training = dataclasses.replace(config.training, float_epochs=0, epochs=epochs)
    best = Run(dataclasses.replace(config, training=training), data, progress).quantised(network)
    return Finetuning(
        epochs=epochs,
        epoch=best.epoch,
        accuracy_heldout_before=before,
        accuracy_heldout=best.accuracy_heldout,
    )
