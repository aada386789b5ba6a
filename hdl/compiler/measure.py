# SPDX-License-Identifier: Apache-2.0
"""First pass of the compiler: how large every layer is, and in what order its words come.

Nothing here depends on where anything lies.
"""

import dataclasses
from collections.abc import Sequence

from ttfs_fpga.hdl.compiler.layout import Axis, MapPlan, axis_of, plan_map
from ttfs_fpga.hdl.compiler.placement import Measure, Spot
from ttfs_fpga.hdl.compiler.residual import measure_residual, reads
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_of
from ttfs_fpga.hdl.protocols import Layer, Network

__all__ = ["measure", "packed_kernel"]


def measure(network: Network, config: CoreConfig) -> list[Measure]:
    """The sizes of every layer, in the order of the network."""
    maps = _measure_maps(network, config)
    return [
        _measure(network, index, bounds, maps, config)
        for index, bounds in enumerate(network.bounds())
    ]


def _measure_maps(network: Network, config: CoreConfig) -> dict[int, MapPlan]:
    """Layout of every map, by the index of the layer that fires into it; -1 is the input."""
    layers = network.layers
    structured = {source for layer in layers if not layer.form.flat for source in reads(layer)}
    maps = {-1: plan_map(network.input_shape, -1 not in structured, config, runs=True)}
    for index, layer in enumerate(layers):
        if layer.spiking:
            # What a dense layer fires has no rows; what any other fires keeps them.
            flat = layer.form.flat and index not in structured
            maps[index] = plan_map(layer.map_shape, flat, config, runs=False)
    return maps


@dataclasses.dataclass(frozen=True)
class _Window:
    """Outputs of a layer that are computed, along both axes, and words of the membrane memory."""

    rows: int
    row_words: int
    words: int
    pixel_words: int
    packed: int
    taps: int
    row_axis: Axis
    column_axis: Axis
    column_taps: tuple[int, ...]
    slope_words: int = 0


def _measure(
    network: Network, index: int, bounds: tuple[int, int], maps: dict[int, MapPlan],
    config: CoreConfig,
) -> Measure:
    layer = network.layers[index]
    source, own = maps[layer.source], maps.get(index)
    window = _window(layer, own, config)
    # A dense layer reads its source flat, gaps and all.
    step = int(source.places[-1]) + 1 if layer.form.flat else layer.in_shape[2]
    if (1 << layer.residual_shift) >= 1 << (config.weight_bits - 1):
        # A residual's taps are as far apart as others, and each has a word for every channel.
        step = max(step, layer.out_shape[2])
    tap_words = 1 if layer.form.own_channel else window.pixel_words
    spots = _spots(layer, window.packed, own)
    measured = Measure(
        name=layer.name,
        kind=layer.kind,
        flat=layer.form.flat,
        own_channel=layer.form.own_channel,
        source=layer.source,
        inputs=layer.inputs,
        neurons=layer.outputs,
        spiking=layer.spiking,
        words=window.words,
        pixel_words=window.pixel_words,
        packed=window.packed,
        spots=spots,
        row_words=window.row_words,
        rows=window.rows,
        slope_words=window.slope_words,
        slopes=_slopes(layer, spots),
        source_ticks=(
            network.input_ticks if layer.source < 0 else network.layers[layer.source].ticks),
        map_words=source.words,
        weight_words=window.taps * tap_words * step,
        word_step=step,
        fire_threshold=_fire_threshold(layer, bounds[0], config),
        bounds=bounds,
        source_map=source,
        map=own,
        row_axis=window.row_axis,
        column_axis=window.column_axis,
        column_taps=window.column_taps,
        residual=None,
        datapath=config.datapath,
    )
    if layer.second_source is None:
        return measured
    residual = measure_residual(
        layer, config, maps[layer.second_source], window.rows,
        window.row_words // window.pixel_words, (measured.weight_row_step, step))
    return dataclasses.replace(
        measured, residual=residual, weight_words=measured.weight_words + residual.weight_words,
        map_words=measured.map_words + residual.map.words)


def _window(layer: Layer, own: MapPlan | None, config: CoreConfig) -> _Window:
    # What would fill no window of pooling is not computed.
    rows, columns = (size - size % layer.pool for size in layer.out_shape[:2])
    pixel_words = -(-layer.out_shape[2] // config.lanes)
    slope_words = datapath_of(config).slope_words
    if layer.form.flat:
        axis = axis_of(1, 1, 1, 1, 0)
        return _Window(1, pixel_words, pixel_words, pixel_words, 1, 1, axis, axis, axis.taps,
                       slope_words=slope_words(pixel_words))
    packed = _packed(layer, own, columns, config)
    row_axis, plain_axis, column_axis = (
        axis_of(layer.in_shape[n], size // pixels, packed_kernel(layer, n, pixels),
                layer.stride[n] * pixels, layer.padding[n])
        for n, size, pixels in ((0, rows, 1), (1, columns, 1), (1, columns, packed))
    )
    row_words = columns // packed * pixel_words
    return _Window(
        rows, row_words, rows * columns * pixel_words, pixel_words, packed,
        len(row_axis.order) * len(column_axis.order), row_axis, column_axis, plain_axis.taps,
        slope_words=slope_words(row_words),
    )


def _packed(layer: Layer, own: MapPlan | None, columns: int, config: CoreConfig) -> int:
    """Pixels beside each other that share a membrane word, so that lanes do not idle.

    Of a pooling window two, channel by channel: their spikes have the same place. Else as many as
    the map has in so many places. Logits are not packed, nor what a residual is added to.
    """
    channels = layer.out_shape[2]
    if layer.form.own_channel or own is None or layer.second_source is not None:
        return 1
    if layer.pool > 1:
        return 2 if layer.pool % 2 == 0 and 2 * channels <= config.lanes else 1
    pixels = config.lanes // own.pitch if own.pitch < 2 * channels else 1
    while pixels > 1 and columns % pixels:
        pixels //= 2
    return max(1, pixels)


def packed_kernel(layer: Layer, axis: int, packed: int) -> int:
    """Taps along an axis of a kernel that has ``packed`` neighbouring outputs at once.

    Those outputs are ``stride`` inputs apart: together they are one output of a layer with a wider
    kernel, a longer stride, and more channels.
    """
    return layer.kernel[axis] + (packed - 1) * layer.stride[axis]


def _spots(layer: Layer, packed: int, own: MapPlan | None) -> tuple[Spot, ...]:
    """Pixel and channel of every lane of ``packed`` pixels.

    Lanes are places of the layer's ``own`` map: the sweep adds a lane's number to where the word's
    spikes go, and nothing else. Of two pixels of a pooling window it adds half of it.
    """
    channels = layer.out_shape[2]
    if packed == 1 or own is None:
        return tuple(Spot(0, channel) for channel in range(channels))
    if layer.pool > 1:
        return tuple(Spot(pixel, channel)
                     for channel in range(channels) for pixel in range(packed))
    return tuple(Spot(pixel, channel if channel < channels else -1)
                 for pixel in range(packed) for channel in range(own.pitch))


def _slopes(layer: Layer, spots: Sequence[Spot]) -> int:
    """Slopes to store: one where all channels have the same, else one each; none without firing.

    Of packed pixels each has its own, gaps of the layer's map included.
    """
    if not layer.spiking:
        return 0
    pairs = set(zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True))
    return 1 if len(pairs) == 1 else len(spots)


def _fire_threshold(layer: Layer, lowest: int, config: CoreConfig) -> int:
    """Smallest potential that any neuron of the layer may fire at, a sieve before the requantiser.

    A code is at least 1 if ``V·m + half >= 2^s``. With a slope for each channel, the lowest of
    theirs; the requantiser decides. A neuron that no potential can make fire needs no candidate.
    In the output layer every potential is a logit: it is ``lowest``, the least that there can be.
    """
    if not layer.spiking:
        return lowest
    thresholds = [
        -(-((1 << s) - (1 << s >> 1)) // m)
        for m, s in zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True)
    ]
    return min(min(thresholds), (1 << (config.accumulator_bits - 1)) - 1)
