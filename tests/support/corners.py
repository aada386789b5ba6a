# SPDX-License-Identifier: Apache-2.0
"""Networks from the corners of the format: whatever ``docs/network-format.md`` allows, seldom met.

They are drawn without asking what any core can do: long strides, wide padding, kernels and pools
beyond the limits, thousands of channels, residuals of every shift, layers that nobody reads.
"""

import math
from collections.abc import Sequence

import numpy as np

from ttfs_sw.artifact.network import Layer, Network, linear_codes

__all__ = ["corner_network"]

SIZES = (1, 1, 2, 5, 8, 16, 40)
CHANNELS = (1, 2, 3, 5, 8, 9, 12, 17, 20, 24, 33, 64, 100, 300)
KERNELS = (1, 1, 2, 3, 3, 4, 5, 6, 7)
STRIDES = (1, 1, 1, 2, 2, 3, 4, 5, 7, 8, 16, 40)
SHIFTS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 23)

#: Most weights of a layer, so that thousands of networks take no hours.
WEIGHTS = 300_000


def corner_network(
    rng: np.random.Generator, *, max_ticks: int = 255, max_weight_bits: int = 8,
    kinds: Sequence[str] = ("dense", "conv2d", "depthwise"), residuals: bool = True,
) -> Network:
    """Return a network of one to eight layers; the options as of ``networks.random_network``."""

    def pick(values):
        return values[int(rng.integers(len(values)))]

    def axis(size):
        while True:
            kernel = pick(KERNELS) if rng.random() < 0.99 else 9
            stride, padding = pick(STRIDES), int(rng.integers(kernel))
            if size + 2 * padding >= kernel:
                return kernel, stride, padding, (size + 2 * padding - kernel) // stride + 1

    ticks = [value for value in (1, 3, 7, 15, 255) if value <= max_ticks]
    bits = [value for value in (2, 3, 4, 4, 8, 8) if value <= max_weight_bits]
    shapes = [(pick(SIZES), pick(SIZES), pick(CHANNELS))]
    if rng.random() < 0.1:
        shapes = [(1, 1, pick((1000, 5000, 20000)))]
    input_ticks, layers = pick(ticks), []
    count = pick((1, 2, 2, 3, 4, 5, 8))
    for index in range(count):
        last = index == count - 1
        source = index - 1 if rng.random() < 0.7 else int(rng.integers(-1, index))
        read, kind = shapes[source + 1], str(pick(kinds))
        if kind == "dense":
            inputs = math.prod(read)
            channels = pick((1, 2, 10, 32, 64, 100, 300))
            rows = columns = (1, 1, 0, 1)
            in_shape = (1, 1, inputs)
            channels = channels if inputs * channels <= WEIGHTS else 1
            weight_shape: tuple[int, ...] = (inputs, channels)
        else:
            rows, columns, in_shape = axis(read[0]), axis(read[1]), read
            taps = rows[0] * columns[0]
            channels = read[2] if kind == "depthwise" else pick(CHANNELS)
            if kind == "conv2d" and taps * read[2] * channels > WEIGHTS:
                channels = 1
            weight_shape = (rows[0], columns[0], read[2], 1 if kind == "depthwise" else channels)
        out_shape = (rows[3], columns[3], channels)
        pool = 1
        if not last and rng.random() < 0.4:
            pool = int(rng.integers(1, min(10, *out_shape[:2]) + 1))
        seconds = [at - 1 for at, shape in enumerate(shapes) if shape == out_shape]
        added = residuals and bool(seconds) and rng.random() < 0.8
        width = pick(bits)
        multiplier = rng.integers(1, 65536, 0 if last else channels)
        shift = rng.integers(0, 32, len(multiplier))
        if rng.random() < 0.6:
            multiplier[:], shift[:] = multiplier[:1], shift[:1]
        layers.append(Layer(
            name=f"layer{index + 1}", kind=kind, source=source,
            second_source=pick(seconds) if added else None,
            residual_shift=pick(SHIFTS) if added else 0,
            in_shape=in_shape, out_shape=out_shape, kernel=(rows[0], columns[0]),
            stride=(rows[1], columns[1]), padding=(rows[2], columns[2]), pool=pool,
            spiking=not last, ticks=0 if last else pick(ticks), weight_bits=width,
            weight=rng.integers(-(1 << (width - 1)), 1 << (width - 1), weight_shape),
            bias=rng.integers(-300, 300, channels), multiplier=multiplier, shift=shift,
            weight_scale=1.0, output_scale=1.0,
        ))
        shapes.append(layers[-1].map_shape)
    return Network(shapes[0], input_ticks, linear_codes(input_ticks), 1.0, tuple(layers))
