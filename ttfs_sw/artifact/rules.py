# SPDX-License-Identifier: Apache-2.0
"""Rules for single values of a layer or a network, applied when one is made.

Each rule raises :exc:`NetworkError` with one sentence that names the layer and the field.
"""

import math
import re
from typing import Any

import numpy as np

from ttfs_sw.common.errors import InputError

__all__ = ["ARRAYS", "MAX_LAYERS", "NetworkError", "as_array", "integer", "integers",
           "output_size", "real", "read_only", "text"]

#: The integer arrays of a layer and the type each is stored in.
ARRAYS: dict[str, np.dtype] = {
    "weight": np.dtype(np.int8),
    "bias": np.dtype(np.int32),
    "multiplier": np.dtype(np.uint16),
    "shift": np.dtype(np.uint8),
}

#: Layers a network may have.
MAX_LAYERS = 255

#: Largest height, width or number of channels of a map.
MAX_SIZE = 1 << 20

#: Largest left shift of a residual code: with 8-bit codes the product stays within 31 bits.
MAX_RESIDUAL_SHIFT = 23


class NetworkError(InputError):
    """A network, or the file it came from, breaks a rule of the format."""


def integer(value: Any, what: str, low: int, high: int) -> int:
    """Return ``value`` as an :class:`int`, which must lie in ``low`` to ``high``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise NetworkError(f"{what} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise NetworkError(f"{what} must be from {low} to {high}, not {value}")
    return int(value)


def integers(value: Any, what: str, count: int, low: int, high: int) -> tuple[int, ...]:
    """Return ``value`` as a tuple of ``count`` integers, each from ``low`` to ``high``."""
    if not isinstance(value, list | tuple) or len(value) != count:
        raise NetworkError(f"{what} must be {count} integers, not {value!r}")
    return tuple(integer(item, what, low, high) for item in value)


def real(value: Any, what: str) -> float:
    """Return the scale ``value`` as a :class:`float`, which must be finite and positive."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise NetworkError(f"{what} must be a number, not {value!r}")
    if not math.isfinite(value) or value <= 0:
        raise NetworkError(f"{what} must be finite and greater than 0, not {value!r}")
    return float(value)


def text(value: Any, what: str, pattern: str) -> str:
    """Return ``value``, which must be a string that matches ``pattern`` as a whole."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise NetworkError(f"{what} must match {pattern}, not {value!r}")
    return str(value)


def as_array(value: Any, what: str) -> np.ndarray:
    """Return ``value`` as an array, which takes rows of equal length."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise NetworkError(f"{what} must be an array: {error}") from error


def read_only(value: Any, what: str, dtype: np.dtype) -> np.ndarray:
    """Return a read-only copy of the integer array ``value`` as ``dtype``, without losing a bit."""
    array = as_array(value, what)
    if array.dtype.kind not in "iu" and array.size:
        raise NetworkError(f"{what} must be an array of integers, not {array.dtype}")
    limits = np.iinfo(dtype)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise NetworkError(
            f"{what} has values from {array.min()} to {array.max()}, which do not fit {dtype}"
        )
    copy = np.array(array, dtype=dtype, order="C")
    copy.flags.writeable = False
    return copy


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Positions of a window that slides over ``size`` positions padded on both sides."""
    return (size + 2 * padding - kernel) // stride + 1
