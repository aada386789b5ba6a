# SPDX-License-Identifier: Apache-2.0
"""Where the channels of images stand: last, as here and in TensorFlow, or first, as in PyTorch.

The bytes of a file do not say it. Often the shape does: 1 x 28 x 28 is a grey image with its
channel first, 32 x 32 x 3 a coloured one with its channels last. Where both readings are images, or
neither is, the user is asked.
"""

from typing import TYPE_CHECKING

from ttfs_sw.common.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LAYOUTS", "channels_last"]

#: PyTorch's order of the axes, images first, and TensorFlow's.
LAYOUTS = ("nchw", "nhwc")

#: Channels that an image has at most, for its shape to tell: grey, with transparency, colours,
#: both. Networks take any number; the user has to say so then.
MOST_CHANNELS = 4

Shape = tuple[int, int, int]


def channels_last(
    images: "np.ndarray", where: object, *, layout: str | None = None,
    expected: Shape | None = None,
) -> "np.ndarray":
    """Return images of four axes with the channels last.

    Parameters
    ----------
    images : :class:`numpy.ndarray`
        One image an entry of the first axis.
    where : object
        What messages name.
    layout : :class:`str` or ``None``
        One of :data:`LAYOUTS`, if the user said so.
    expected : (:class:`int`, :class:`int`, :class:`int`) or ``None``
        Height, width and channels of the images that a network reads: the reading that gives them
        is the right one.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the layout is not known, or cannot be told from the shape.
    """
    if layout is None:
        first, second, third = map(int, images.shape[1:])
        layout = _told((first, second, third), expected)
    if layout is None:
        size = " x ".join(map(str, images.shape[1:]))
        raise InputError(
            f"{where} has images of {size}, which may be channels, rows, columns or rows, columns, "
            "channels; say which with --layout nchw or --layout nhwc"
        )
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    return images.transpose(0, 2, 3, 1) if layout == "nchw" else images


def _told(axes: Shape, expected: Shape | None) -> str | None:
    """The layout that the shape of an image tells; ``None`` if it does not."""
    readings = {"nhwc": axes, "nchw": (*axes[1:], axes[0])}
    fits = [layout for layout, shape in readings.items() if shape == expected]
    if len(fits) == 1:
        return fits[0]
    for layout, other in (LAYOUTS, LAYOUTS[::-1]):
        if _is_picture(readings[layout]) and not _may_be_meant(readings[other]):
            return layout
    return None


def _is_picture(shape: Shape) -> bool:
    """Whether images of this shape are ordinary pictures."""
    height, width, channels = shape
    return channels <= MOST_CHANNELS and (height == width or min(height, width) >= MOST_CHANNELS)


def _may_be_meant(shape: Shape) -> bool:
    """Whether somebody may have images of this shape: small ones, and series of many channels."""
    height, width, channels = shape
    # As many channels as samples are no series but a square picture, read wrongly.
    series = min(height, width) == 1 and channels != max(height, width)
    return channels <= MOST_CHANNELS or series
