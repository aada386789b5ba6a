# SPDX-License-Identifier: Apache-2.0
"""What the bytes of an image are worth: what the model's pixels were divided by.

A model was trained on bytes that its user's code divided by something: torchvision's ``ToTensor``
by 255, whatever the brightest byte of the images is. Nothing in the model tells by what. Only the
images can show that an assumption was wrong: they are then recognised better with another one.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch

from ttfs_sw.common.errors import InputError
from ttfs_sw.data.datasets import Dataset

__all__ = ["BYTES", "Pixels", "check", "settle"]

#: What bytes are divided by unless somebody says otherwise.
BYTES = 255

#: Another divisor shows that an assumed one is wrong if it leaves at most this share of the errors,
#: and at least so many points (a share of the images) fewer.
SHARE, POINTS = 0.5, 0.02

#: Training images that are looked at for this, at most, and at a time.
CHECKED, BATCH = 1000, 250

#: Who said what pixels are divided by, as the report has it.
GIVEN, DECLARED, TRAINED, ASSUMED = "option", "dataset", "weights", "assumed"


@dataclasses.dataclass(frozen=True)
class Pixels:
    """How bytes become the numbers that a model reads, and the codes that a network reads.

    Parameters
    ----------
    scale : :class:`float`
        The model reads a byte divided by this.
    origin : :class:`str`
        Who says so: ``"option"``, ``"dataset"``, ``"weights"``, or nobody: ``"assumed"``.
    brightest : :class:`int`
        The largest byte of the training images.
    """

    scale: float
    origin: str
    brightest: int

    @property
    def maximum(self) -> int:
        """The byte with the code T, which the layers read as 1.

        It is the scale if that costs less than a bit of the codes, so that no byte below is clipped
        even if training images have none as bright; otherwise the brightest byte that was seen.
        """
        if float(self.scale).is_integer() and self.brightest <= self.scale < 2 * self.brightest:
            return int(self.scale)
        return max(self.brightest, 1)

    @property
    def worth(self) -> float:
        """What the model reads for a byte of :attr:`maximum`."""
        return self.maximum / self.scale


def settle(scale: float | None, dataset: Dataset, trained: float | None = None) -> Pixels:
    """Decide what the pixels of ``dataset`` are divided by.

    Parameters
    ----------
    scale : :class:`float` or ``None``
        What the user says.
    trained : :class:`float` or ``None``
        What is written beside the model's weights.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If ``scale`` is no positive number.
    """
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise InputError(f"--scale must be above 0, not {scale:g}: pixels are divided by it")
    said = ((scale, GIVEN), (trained, TRAINED), (dataset.white, DECLARED), (BYTES, ASSUMED))
    value, origin = next((value, origin) for value, origin in said if value is not None)
    return Pixels(float(value), origin, int(dataset.x_train.max()))


@torch.no_grad()
def check(
    pixels: Pixels, classify: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Refuse an assumption that training images contradict.

    Parameters
    ----------
    classify : callable
        Gives the logits of images whose bytes were divided by the pixels' ``maximum``.
    images, labels : :class:`numpy.ndarray`
        Training images as bytes, a row each, and their labels.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If far more of them are recognised with another divisor that people use: 255, the brightest
        byte, or 1. What the user has said is not questioned.
    """
    if pixels.origin in (GIVEN, TRAINED):
        return
    # From everywhere: files are often sorted by class.
    chosen = np.unique(np.linspace(0, len(labels) - 1, CHECKED).astype(np.int64))
    x, y = torch.from_numpy(images[chosen]).float(), torch.from_numpy(labels[chosen])

    def errors(scale: float) -> float:
        factor = pixels.scale / scale / pixels.maximum
        logits = torch.cat([classify(part * factor) for part in x.split(BATCH)])
        return (logits.argmax(dim=1) != y).double().mean().item()

    found = errors(pixels.scale)
    others = {scale: errors(scale) for scale in {BYTES, max(pixels.brightest, 1), 1}
              if scale != pixels.scale}
    best = min(others, key=others.__getitem__, default=None)
    if best is not None and others[best] <= min(SHARE * found, found - POINTS):
        who = "as assumed" if pixels.origin == ASSUMED else "as the dataset says"
        raise InputError(
            f"of {len(y)} training images the model recognises {1 - found:.1%} if pixels "
            f"are divided by {pixels.scale:g}, {who}, but {1 - others[best]:.1%} if by {best}; say "
            f"what it was trained with: --scale {best} or --scale {pixels.scale:g}, and --mean and "
            "--std if its images were normalised"
        )
