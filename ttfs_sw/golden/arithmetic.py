# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of one layer that every form of the golden model shares. numpy only.

A silent neuron has code 0 and spike time T; a neuron that fires at tick k has code T - k.
"""

import numpy as np

from ttfs_sw.artifact.network import Layer, Network

__all__ = ["chunks", "encode", "exact_float", "fire", "first_potential", "matrix", "pool",
           "thresholds"]

#: Elements of the matrix of windows that a convolution gathers at a time: what a cache holds.
WINDOW_ELEMENTS = 1 << 20


def thresholds(multiplier: int, shift: int, ticks: int) -> np.ndarray:
    """Return the falling threshold: entry k is the least potential that fires at tick k or before.

    The entries are int64, positive and never rise. A membrane that ramps with slope
    ``2**shift / multiplier`` per tick and reaches the top of its window fires at the first tick k
    with ``V >= thresholds[k]``, which is what :func:`fire` computes in one step.
    """
    # floor((V m + half) / 2^s) >= c  <=>  V m >= c 2^s - half  <=>  V >= ceil((c 2^s - half) / m)
    codes = np.arange(ticks, 0, -1, dtype=np.int64)
    half = (1 << shift) >> 1
    return -((half - (codes << shift)) // multiplier)


def first_potential(layer: Layer) -> np.ndarray:
    """Return the least potential that fires at the first tick, int64, one a slope of ``layer``."""
    shift = layer.shift.astype(np.int64)
    half = np.left_shift(1, shift) >> 1
    return -((half - (layer.ticks << shift)) // layer.multiplier.astype(np.int64))


def fire(membrane: np.ndarray, layer: Layer) -> np.ndarray:
    """Return the uint8 codes of int64 potentials, whose last axis is the layer's channels."""
    shift = layer.shift.astype(np.int64)
    multiplier = layer.multiplier.astype(np.int64)
    half = np.left_shift(1, shift) >> 1
    # Potentials beyond the one that fires first change nothing, and without them V m stays small.
    scaled = np.clip(membrane, 0, first_potential(layer)) * multiplier
    return np.minimum((scaled + half) >> shift, layer.ticks).astype(np.uint8)


def pool(codes: np.ndarray, size: int) -> np.ndarray:
    """Return the first spike, the largest code, of each ``size`` x ``size`` window of maps.

    ``codes`` are ``[images, height, width, channels]``; rows and columns that do not fill a window
    are dropped.
    """
    if size == 1:
        return codes
    images, height, width, channels = codes.shape
    height, width = height // size, width // size
    codes = codes[:, :height * size, :width * size]
    return codes.reshape(images, height, size, width, size, channels).max(axis=(2, 4))


def encode(network: Network, pixels: np.ndarray) -> np.ndarray:
    """Return the input codes of uint8 pixels of any shape."""
    return np.take(network.input_codes, pixels)


def matrix(layer: Layer) -> np.ndarray:
    """Return the weights of any kind of layer with one column a channel."""
    return layer.weight.reshape(-1, layer.out_shape[2])


def exact_float(layer: Layer, ticks: int) -> type[np.floating]:
    """Return the narrowest float in which the sums of ``w a`` of ``layer`` are exact integers.

    The products w a are integers, and whatever the order in which they are added, and whether
    multiplications are fused into additions, every intermediate value is a sum of some of them.
    That lies between ``ticks`` x the sum of a channel's negative weights and ``ticks`` x the sum of
    its positive ones, over all taps and inputs; windows at the border see fewer. Integers up to
    2^24 in magnitude are exact in float32, and up to 2^53 in float64, so a channel that stays
    within the limit is computed without rounding. Weights of 8 bits would need 2^38 of them in one
    channel to leave float64. Biases and residuals are added to integers, or in float64.
    """
    weight = matrix(layer).astype(np.int64)
    reach = ticks * max(int(np.maximum(weight, 0).sum(axis=0).max()),
                        int(np.maximum(-weight, 0).sum(axis=0).max()))
    return np.float32 if reach <= 1 << 24 else np.float64


def chunks(layer: Layer, images: int) -> list[slice]:
    """Cut a batch into parts whose windows, gathered into a matrix, fit a cache."""
    height, width, _ = layer.out_shape
    taps = layer.weight.size // layer.out_shape[2]
    step = max(1, WINDOW_ELEMENTS // (height * width * taps))
    return [slice(start, start + step) for start in range(0, images, step)]
