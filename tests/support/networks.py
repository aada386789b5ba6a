# SPDX-License-Identifier: Apache-2.0
"""Random networks of every kind that the format allows, for the tests of all four packages.

It needs numpy, hypothesis and the artifact only, so that it can be used without torch. A test
imports it as ``networks``, once the folder ``tests`` is on the path.
"""

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from ttfs_sw.artifact.network import Layer, Network, linear_codes

__all__ = ["networks", "random_images", "random_network"]

#: T of a map is one of these.
TICKS = (1, 3, 7, 15, 255)

#: Share of neurons that are taken to fire, when slopes and biases are chosen.
DENSITY = 0.4


def random_network(
    rng: np.random.Generator,
    *,
    max_layers: int = 4,
    lanes: int | None = None,
    weight_bits: int | None = 4,
    max_weight_bits: int = 8,
    ticks: int | None = None,
    max_ticks: int = 255,
    kinds: Sequence[str] = ("dense", "conv2d", "depthwise"),
    max_size: int = 12,
    max_channels: int = 20,
    max_neurons: int = 1500,
    max_kernel: int = 7,
    square: bool = False,
    pools: bool = True,
    residuals: bool = True,
    jumps: bool = True,
    blocks: bool = False,
    codes: int | None = None,
) -> Network:
    """Return a random network; half of them have three layers or more.

    Layers are chained, but now and then one reads an earlier map. Slopes and biases fit the
    weights, so that codes come out silent, in between and saturated; one layer in twelve never
    fires, and one in twelve always does.

    Parameters
    ----------
    rng : :class:`numpy.random.Generator`
        The same state gives the same network.
    max_layers : :class:`int`
        Read-out included.
    lanes : :class:`int` or ``None``
        If given, half of the channel counts are a multiple of it, or one off.
    weight_bits, ticks : :class:`int` or ``None``
        Width of weights, and T of every map; ``None`` draws each layer's.
    max_weight_bits, max_ticks : :class:`int`
        Upper limits of both where they are drawn.
    kinds : sequence of :class:`str`
        Kinds of layers to draw from.
    max_size, max_channels : :class:`int`
        Limits of the height and width, and of the channels, of every map before pooling.
    max_neurons : :class:`int`
        Limit of the neurons of every map before pooling, and of the input.
    max_kernel : :class:`int`
        Limit of kernels; beyond 5 only 7 is drawn, and seldom.
    square : :class:`bool`
        Whether kernel, stride and padding must be the same along both axes.
    pools, residuals, jumps : :class:`bool`
        Whether there may be max-pools, residuals, and layers that read an earlier map than the last
        one.
    blocks : :class:`bool`
        Most networks have three layers or more, most layers keep the shape of the map that they
        read, many read an earlier one than the last, and most residuals are of another map than the
        layer reads, where there is one.
    codes : :class:`int` or ``None``
        Codes of a word of a map. If given, most layers are convolutions that keep an even width,
        with so few channels that two pixels or more find room in ``lanes``, half of them with more
        channels than two words have codes, where there are such; pools and residuals are few.
    """
    draw = _Draw(rng, lanes, max_channels, max_neurons)
    packs = codes is not None
    choices = [value for value in TICKS if value <= max_ticks]
    input_ticks = ticks or int(rng.choice(choices))
    deep = 0.9 if blocks else 0.5
    count = int(rng.integers(3, max_layers + 1)) if max_layers > 2 and rng.random() < deep \
        else int(rng.integers(1, min(max_layers, 2) + 1))
    # Square maps are usual; lines and single pixels are the corner cases.
    height = int(rng.integers(1, max_size + 1))
    width = height if rng.random() < 0.5 else int(rng.integers(1, max_size + 1))
    if packs and max_size > 1:
        width = int(rng.integers(1, max_size // 2 + 1)) * 2
    shapes = [(height, width, draw.channels(height * width, small=True))]
    map_ticks, layers = [input_ticks], []
    for index in range(count):
        last = index == count - 1
        source = index - 1
        if jumps and index and rng.random() < (0.4 if blocks else 0.15):
            source = int(rng.integers(-1, index))
        layer_ticks = 0 if last else ticks or int(rng.choice(choices))
        bits = weight_bits or int(rng.integers(2, max_weight_bits + 1))
        # Most networks end with a dense layer, as classifiers do.
        kind = "dense" if last and "dense" in kinds and rng.random() < 0.8 else rng.choice(kinds)
        if packs and not last and "conv2d" in kinds and rng.random() < 0.8:
            kind = "conv2d"
        geometry = _geometry(
            draw, str(kind), shapes[source + 1], max_size, max_kernel, square,
            0.8 if blocks else 0.35)
        if packs and kind == "conv2d" and rng.random() < 0.8:
            geometry = _narrow(draw, shapes[source + 1], min(max_kernel, 5), codes)
        out = geometry["out_shape"]
        pool = 1
        if pools and not last and kind != "dense" and rng.random() < (
                0.25 if blocks or packs else 0.5):
            pool = int(rng.integers(1, min(3, out[0], out[1]) + 1))
        seconds = [at - 1 for at, shape in enumerate(shapes) if shape == out]
        second = None
        if blocks and rng.random() < 0.8:
            seconds = [at for at in seconds if at != source] or seconds
        if residuals and seconds and rng.random() < (0.2 if packs else 0.6):
            second = int(rng.choice(seconds))
        layers.append(Layer(
            name=f"layer{index + 1}", kind=str(kind), source=source, second_source=second,
            pool=pool, spiking=not last, ticks=layer_ticks, weight_bits=bits,
            weight_scale=1.0, output_scale=1.0, **geometry,
            **_integers(rng, str(kind), geometry, bits, layer_ticks, map_ticks[source + 1],
                        None if second is None else map_ticks[second + 1]),
        ))
        shapes.append(layers[-1].map_shape)
        map_ticks.append(layer_ticks)
    table = linear_codes(input_ticks)
    if rng.random() < 0.3:
        table = rng.integers(0, input_ticks + 1, 256)
    return Network(
        input_shape=shapes[0], input_ticks=input_ticks, input_codes=table, input_scale=1.0,
        layers=tuple(layers),
    )


def networks(**options) -> st.SearchStrategy[Network]:
    """Return a strategy for :func:`random_network`, whose ``options`` it takes.

    What fails is shrunk to fewer layers, smaller maps, fewer channels and a single kind of layer.
    """
    kinds = tuple(options.pop("kinds", ("dense", "conv2d", "depthwise")))
    limits = {"max_layers": 4, "max_size": 12, "max_channels": 20}
    limits = {name: options.pop(name, value) for name, value in limits.items()}

    def make(seed, kinds, max_layers, max_size, max_channels):
        return random_network(
            np.random.default_rng(seed), kinds=kinds, max_layers=max_layers, max_size=max_size,
            max_channels=max_channels, **options,
        )

    # The full range most of the time: a limit is drawn so that it can shrink, not to be small.
    sizes = {
        name: st.one_of(st.integers(1, high), st.just(high), st.just(high))
        for name, high in limits.items()
    }
    chosen = st.one_of(st.sampled_from([(kind,) for kind in kinds]), st.just(kinds), st.just(kinds))
    return st.builds(make, seed=st.integers(0, 2**32 - 1), kinds=chosen, **sizes)


def random_images(rng: np.random.Generator, network: Network, count: int = 6) -> np.ndarray:
    """Return pixels, uint8 ``[count + 2, inputs]``: of any density, then none, then all bright."""
    pixels = rng.integers(1, 256, (count, network.inputs))
    pixels *= rng.random(pixels.shape) < rng.random((count, 1))
    ends = np.repeat([[0], [255]], network.inputs, axis=1)
    return np.concatenate([pixels, ends]).astype(np.uint8)


class _Draw:
    """Draws the sizes of layers within the limits of :func:`random_network`."""

    def __init__(self, rng: np.random.Generator, lanes: int | None, channels: int, neurons: int):
        self.rng = rng
        self._lanes = lanes
        self._channels = channels
        self.neurons = neurons

    def channels(self, positions: int, *, small: bool = False) -> int:
        """Channels of a map of so many positions."""
        most = max(1, min(self._channels, self.neurons // positions))
        if small and self.rng.random() < 0.6:
            return int(self.rng.integers(1, min(most, 3) + 1))
        drawn = int(self.rng.integers(1, most + 1))
        if self._lanes and self.rng.random() < 0.5:
            groups = int(self.rng.integers(1, max(most // self._lanes, 1) + 1))
            drawn = groups * self._lanes + int(self.rng.integers(-1, 2))
        return min(max(drawn, 1), most)

    def narrow_channels(self, positions: int, codes: int) -> int:
        """So few that two pixels find room in the lanes, maybe more than two words of codes."""
        most = max(1, min(self._channels, self.neurons // positions, (self._lanes or 2) // 2))
        least = 2 * codes + 1 if 2 * codes < most and self.rng.random() < 0.6 else 1
        return int(self.rng.integers(least, most + 1))

    def axis(self, size: int, limit: int, max_kernel: int) -> tuple[int, int, int, int]:
        """Kernel, stride, padding and output size along an axis of ``size``."""
        while True:
            kernel = int(self.rng.integers(1, min(5, max_kernel) + 1))
            if max_kernel >= 7 and self.rng.random() < 0.08:
                kernel = 7
            stride = int(self.rng.integers(1, 3))
            padding = int(self.rng.integers(0, kernel))
            if self.rng.random() < 0.4:
                padding = kernel // 2
            out = (size + 2 * padding - kernel) // stride + 1
            if size + 2 * padding >= kernel and out <= limit:
                return kernel, stride, padding, out


def _geometry(
    draw: _Draw, kind: str, source: tuple[int, int, int], max_size: int, max_kernel: int,
    square: bool, same: float,
) -> dict[str, tuple[int, ...]]:
    """Draw shapes, kernel, stride and padding of a layer that reads a map of shape ``source``."""
    height, width, c_in = source
    if kind == "dense":
        # Now and then as many as were read, so that a residual may be added.
        inputs = math.prod(source)
        keeps = height * width == 1 and draw.rng.random() < (0.3 if same < 0.5 else same)
        outputs = c_in if keeps else draw.channels(1)
        return {"in_shape": (1, 1, inputs), "out_shape": (1, 1, outputs), "kernel": (1, 1),
                "stride": (1, 1), "padding": (0, 0)}
    if draw.rng.random() < same:
        # The shape that was read, as in the blocks that residuals bridge.
        kernel = int(draw.rng.choice([size for size in (1, 3, 5) if size <= max_kernel]))
        return {"in_shape": source, "out_shape": source, "kernel": (kernel, kernel),
                "stride": (1, 1), "padding": (kernel // 2, kernel // 2)}
    while True:
        rows = draw.axis(height, max_size, max_kernel)
        columns = draw.axis(width, max_size, max_kernel)
        if square or draw.rng.random() < 0.7:
            # The same window along both axes, if the width can take it.
            kernel, stride, padding, _ = rows
            columns = (kernel, stride, padding, (width + 2 * padding - kernel) // stride + 1)
            if width + 2 * padding < kernel or columns[3] > max_size:
                continue
        positions = rows[3] * columns[3]
        channels = c_in if kind == "depthwise" else draw.channels(positions)
        if positions * channels > max(draw.neurons, math.prod(source)):
            continue
        return {"in_shape": source, "out_shape": (rows[3], columns[3], channels),
                "kernel": (rows[0], columns[0]), "stride": (rows[1], columns[1]),
                "padding": (rows[2], columns[2])}


def _narrow(
    draw: _Draw, source: tuple[int, int, int], max_kernel: int, codes: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of a convolution that keeps height and width, and leaves lanes idle."""
    height, width, _ = source
    kernel = 2 * int(draw.rng.integers((max_kernel + 1) // 2)) + 1
    return {"in_shape": source,
            "out_shape": (height, width, draw.narrow_channels(height * width, codes)),
            "kernel": (kernel, kernel), "stride": (1, 1), "padding": (kernel // 2, kernel // 2)}


def _integers(
    rng: np.random.Generator, kind: str, geometry: dict, bits: int, ticks: int, source_ticks: int,
    second_ticks: int | None,
) -> dict[str, np.ndarray | int]:
    """Draw weights, and biases and slopes that fit them."""
    c_in, c_out = geometry["in_shape"][2], geometry["out_shape"][2]
    shape = {"dense": (c_in, c_out), "conv2d": (*geometry["kernel"], c_in, c_out),
             "depthwise": (*geometry["kernel"], c_in, 1)}[kind]
    limit = 1 << (bits - 1)
    weight = rng.integers(-limit, limit, shape)
    columns = weight.reshape(-1, c_out)
    # Mean and spread of the membranes, were codes independent and uniform where neurons fire.
    mean = columns.sum(axis=0) * DENSITY * (source_ticks + 1) / 2
    size = np.sqrt((columns**2).sum(axis=0) * DENSITY / 3) * source_ticks + 1.0
    residual_shift = 0
    if second_ticks is not None:
        residual_shift = int(np.clip(np.log2(size.mean() / second_ticks), 0, 8))
        residual_shift = max(0, residual_shift + int(rng.integers(-1, 2)))
        mean = mean + DENSITY * (second_ticks << residual_shift) / 2
        size = np.hypot(size, DENSITY * (second_ticks << residual_shift))
    bias = size * rng.uniform(-0.8, 0.8, c_out) - mean * rng.random()
    multiplier = shift = np.zeros(0, int)
    if ticks:
        # One code is 2^s / m of the membrane; two sizes fill the window.
        step = 2 * size / ticks * rng.uniform(0.3, 3.0, c_out)
        if rng.random() < 0.7:
            step = np.full(c_out, step.mean())
        shift = np.clip(np.floor(15 + np.log2(step)), 0, 31).astype(int)
        multiplier = np.clip(np.round(2.0**shift / step), 1, 65535).astype(int)
        extreme = rng.random()
        if extreme < 1 / 12:  # never
            bias = -np.maximum(columns, 0).sum(axis=0) * source_ticks - 1.0
            bias -= 0 if second_ticks is None else second_ticks << residual_shift
        elif extreme > 11 / 12:  # always, at least at the last tick
            bias = np.maximum(-columns, 0).sum(axis=0) * source_ticks + np.ceil(step)
    return {"weight": weight, "bias": np.rint(bias).astype(int), "multiplier": multiplier,
            "shift": shift, "residual_shift": residual_shift}
