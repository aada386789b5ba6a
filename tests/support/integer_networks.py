# SPDX-License-Identifier: Apache-2.0
"""Networks of random integers and stated shapes, and the code of one neuron in plain Python."""

import math
from collections.abc import Sequence

import numpy as np

from ttfs_sw.artifact.network import Layer, Network, linear_codes

__all__ = ["code", "make_network", "shaped_network"]


def code(v, m, s, ticks):
    """The requantiser in Python integers."""
    return min(ticks, (max(v, 0) * m + ((1 << s) >> 1)) >> s)


def make_network(
    rng: np.random.Generator,
    sizes: Sequence[int],
    *,
    sources: Sequence[int] | None = None,
    ticks: int | Sequence[int] = 15,
    weight_bits: int = 4,
    per_channel: bool = False,
    bias: int = 40,
    slope: float = 1.0,
    input_codes: Sequence[int] | None = None,
) -> Network:
    """A dense network of random integers over the whole range of its weights.

    Parameters
    ----------
    rng : :class:`numpy.random.Generator`
        Where the integers come from.
    sizes : sequence of :class:`int`
        Inputs, then neurons of each layer.
    sources : sequence of :class:`int` or None
        The map that each layer reads, -1 for the input; by default the one before it.
    ticks : :class:`int` or sequence of :class:`int`
        T of the input and of every hidden layer.
    weight_bits, bias : :class:`int`
        Width of the weights, and the largest bias.
    per_channel : :class:`bool`
        A slope for each neuron.
    slope : :class:`float`
        How steep: at 1 a typical potential fills half a window. At 0 all neurons are silent, and at
        infinity all that fire do so at tick 0.
    input_codes : sequence of :class:`int` or None
        By default the input code rises with the pixel.
    """
    hidden = len(sizes) - 2
    ticks = [ticks] * (hidden + 1) if np.ndim(ticks) == 0 else list(ticks)
    sources = list(range(-1, hidden)) if sources is None else list(sources)
    high = 1 << (weight_bits - 1)
    layers = []
    for index, outputs in enumerate(sizes[1:]):
        source, inputs, spiking = sources[index], sizes[1 + sources[index]], index < hidden
        count = outputs if spiking else 0
        multiplier, shift = np.ones(count, int), np.full(count, 31)
        if slope == np.inf:
            multiplier, shift = 65535 * multiplier, 0 * shift
        elif slope and spiking:
            # A typical potential becomes a code in the middle of the window.
            typical = high * ticks[1 + source] * np.sqrt(inputs) / 2 + bias
            shift = rng.integers(4, 17, count if per_channel else None) + 0 * shift
            wanted = slope * (ticks[1 + index] / 2) / typical * 2.0**shift
            factor = rng.uniform(0.5, 2, count if per_channel else None)
            multiplier = np.clip(wanted * factor, 1, 65535).astype(int)
        layers.append(Layer(
            name=f"hidden{index + 1}" if spiking else "output",
            kind="dense", source=source, second_source=None, residual_shift=0,
            in_shape=(1, 1, inputs), out_shape=(1, 1, outputs),
            kernel=(1, 1), stride=(1, 1), padding=(0, 0), pool=1, spiking=spiking,
            ticks=ticks[1 + index] if spiking else 0, weight_bits=weight_bits,
            weight=rng.integers(-high, high, (inputs, outputs)),
            bias=rng.integers(-bias, bias + 1, outputs),
            multiplier=multiplier, shift=shift, weight_scale=1.0, output_scale=1.0,
        ))
    codes = linear_codes(ticks[0]) if input_codes is None else np.array(input_codes)
    return Network((1, 1, sizes[0]), ticks[0], codes, 1.0, tuple(layers))


def shaped_network(
    rng: np.random.Generator, shape: tuple[int, int, int], layers: Sequence[dict], *,
    ticks: int = 15, slope: float = 1.0,
) -> Network:
    """A network of any kinds of layers, with random integers.

    Parameters
    ----------
    rng : :class:`numpy.random.Generator`
        Where the integers come from.
    shape : tuple of :class:`int`
        Height, width and channels of the input.
    layers : sequence of :class:`dict`
        For each layer ``kind``, ``channels`` (not of a depthwise one) and, where they are not 1, 1,
        0 and 1, ``kernel``, ``stride``, ``padding`` and ``pool``; ``source`` if it is not the layer
        before; ``second`` and ``shift`` of a residual. The last one is the output.
    ticks : :class:`int`
        T of all maps.
    slope : :class:`float`
        As in :func:`make_network`.
    """
    shapes, made = [tuple(shape)], []
    for index, spec in enumerate(layers):
        spec = {"kernel": 1, "stride": 1, "padding": 0, "pool": 1, "source": index - 1} | spec
        kind, kernel, spiking = spec["kind"], spec["kernel"], index < len(layers) - 1
        source = shapes[1 + spec["source"]]
        if kind == "dense":
            source = (1, 1, math.prod(source))
        channels = spec.get("channels", source[2])
        outputs = tuple((size + 2 * spec["padding"] - kernel) // spec["stride"] + 1
                        for size in source[:2])
        weight_shape = {
            "dense": (source[2], channels), "conv2d": (kernel, kernel, source[2], channels),
            "depthwise": (kernel, kernel, channels, 1)}[kind]
        fan_in = math.prod(weight_shape) // channels
        count = channels if spiking else 0
        multiplier, shift = np.ones(count, int), np.full(count, 31)
        if slope == np.inf:
            multiplier, shift = 65535 * multiplier, 0 * shift
        elif slope:
            wanted = slope * (ticks / 2) / (4 * ticks * np.sqrt(fan_in)) * 2**14
            multiplier, shift = np.full(count, max(1, int(wanted))), np.full(count, 14)
        made.append(Layer(
            name=f"layer{index + 1}", kind=kind, source=spec["source"],
            second_source=spec.get("second"), residual_shift=spec.get("shift", 0),
            in_shape=source, out_shape=(*outputs, channels),
            kernel=(kernel, kernel), stride=(spec["stride"],) * 2, padding=(spec["padding"],) * 2,
            pool=spec["pool"], spiking=spiking, ticks=ticks if spiking else 0, weight_bits=4,
            weight=rng.integers(-8, 8, weight_shape), bias=rng.integers(-20, 80, channels),
            multiplier=multiplier, shift=shift, weight_scale=1.0, output_scale=1.0,
        ))
        shapes.append(made[-1].map_shape)
    return Network(tuple(shape), ticks, linear_codes(ticks), 1.0, tuple(made))
