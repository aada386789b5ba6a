# SPDX-License-Identifier: Apache-2.0
"""How many levels each layer of a QCFS network needs.

PASCAL orders layers by a number of their activations' histogram, the AL metric ``A b`` (authors'
code), with n = 5 bins and their counts' skewness g and excess kurtosis k::

    A = 1 - (n_valid - 1) / (n - 1)        n_valid: bins with at least the mean count
    b = (g² + 1) (k + 3 n² / ((n - 2)(n - 3)))

A high one says that few levels are enough. How a metric becomes a number of levels, the authors'
code leaves to the user. Here the layers are taken from the highest metric to the lowest, and the
levels of each are halved for as long as the held-out images allow it.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ttfs_sw.research.neighbours.qcfs import QcfsModel
from ttfs_sw.training.samples import Data

__all__ = ["al_metric", "choose", "metrics"]

BINS = 5


def al_metric(counts: Sequence[int]) -> float:
    """Return the AL metric of a histogram with :data:`BINS` bins or more."""
    heights = np.asarray(counts, float)
    bins = len(heights)
    valid = int((heights >= heights.mean()).sum())
    spread = 1 - (valid - 1) / (bins - 1)
    away = heights - heights.mean()
    variance = (away**2).mean()
    # Equal counts have no shape; every bin is valid then, and the metric is 0 whatever b is.
    skewness = (away**3).mean() / variance**1.5 if variance else 0.0
    kurtosis = (away**4).mean() / variance**2 - 3 if variance else 0.0
    bimodality = (skewness**2 + 1) * (kurtosis + 3 * bins**2 / ((bins - 2) * (bins - 3)))
    return float(spread * bimodality)


@torch.no_grad()
def metrics(model: QcfsModel, values: torch.Tensor) -> list[float]:
    """Return the AL metric of each hidden layer, of its activations for ``values``."""
    found = []

    def fire(index: int, received: torch.Tensor) -> torch.Tensor:
        sent = model.fires[index](received)
        counts = torch.histc(sent.float().cpu(), BINS, 0.0, model.windows[index])
        found.append(al_metric(counts.tolist()))
        return sent

    model.relu(values, fire)
    return found


@torch.no_grad()
def choose(
    model: QcfsModel, data: Data, values: torch.Tensor, tolerance: float = 0.005
) -> list[int]:
    """Set the levels of each layer of ``model`` in place, and return them.

    Parameters
    ----------
    model : :class:`ttfs_sw.research.neighbours.qcfs.QcfsModel`
        Trained, with as many levels everywhere as there may be.
    data : :class:`ttfs_sw.training.samples.Data`
        Its held-out images decide.
    values : :class:`torch.Tensor`
        Training images from 0 to 1, whose activations give the metric.
    tolerance : :class:`float`
        How much less of the held-out images may be right, in all.
    """

    def accuracy() -> float:
        logits = model(data.x_heldout.float() / data.maximum)
        return (logits.argmax(dim=1) == data.y_heldout).double().mean().item()

    least = accuracy() - tolerance
    found = metrics(model, values)
    for index in sorted(range(len(found)), key=lambda layer: -found[layer]):
        fire = model.fires[index]
        while fire.levels > 1:
            kept, fire.levels = fire.levels, fire.levels // 2
            if accuracy() < least:
                fire.levels = kept
                break
    return model.levels
