"""What goes into the memories of a core: entries, descriptors, biases, weights, slopes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ttfs_fpga.hdl.compiler.layout import MapPlan
from ttfs_fpga.hdl.compiler.program import LayerPlan
from ttfs_fpga.hdl.compiler.residual import identity, interleaved, reads
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import (
    COLUMN_FIELDS,
    ENTRY_WORDS,
    FIELDS,
    HEADER_FIELDS,
    HEADER_WORDS,
    MAGIC,
    ROW_FIELDS,
    ROW_WORDS,
    SECOND_FIELDS,
    Operation,
    TooWide,
    checksum,
    field_widths,
    header_widths,
    pack,
)

__all__ = ["contents", "fire_threshold", "packed_kernel", "slope_count"]


def contents(
    network: Any, config: CoreConfig, plans: Sequence[LayerPlan], input_map: MapPlan
) -> dict[Memory, dict[int, int]]:
    """The 32-bit values of every memory, by load address.

    Parameters
    ----------
    network : ``ttfs_sw.artifact.network.Network`` or alike
        Where the integers are.
    plans : sequence of :class:`hdl.compiler.program.LayerPlan`
        Where they go.
    input_map : :class:`hdl.compiler.layout.MapPlan`
        How an image lies in the input map.

    Raises
    ------
    :exc:`hdl.table.TooWide`
        If a layer is larger than the layer table can say: the message names it.
    """
    table = dict(enumerate(_header(plans, input_map, config)))
    slopes: dict[int, int] = {}
    membrane: dict[int, int] = {}
    weights: dict[int, int] = {}
    free = ENTRY_WORDS * (1 + len(plans))
    for index, (layer, plan) in enumerate(zip(network.layers, plans, strict=True)):
        lanes = np.array([channel for _, channel in _lanes_of(layer, plan.packed, plan.map)])
        count = slope_count(layer, plan.packed, plan.map)
        read = any(index in reads(later) for later in network.layers)
        for n in range(count):
            # What nobody reads need not fire, and nobody would wipe it: slope 0 keeps it silent.
            channel = lanes[n] if count > 1 else 0
            slope = int(layer.multiplier[channel]) | int(layer.shift[channel]) << 16
            slopes[plan.slope_base + n] = slope if read else 1 << 16
        # Lanes beyond the last channel stay at 0, so that they neither fire nor overflow; in the
        # output layer they stay below all logits, so that they are none.
        first = plan.bias_base * config.lanes
        idle = 0 if layer.spiking else plan.fire_threshold - 1
        bias = np.full(plan.pixel_words * config.lanes, idle, np.int64)
        bias[:len(lanes)] = np.where(lanes < 0, idle, layer.bias[lanes])
        mask = (1 << config.accumulator_bits) - 1
        membrane.update(enumerate((bias & mask).tolist(), first))
        weights.update(_weights(layer, plan, config))
        if plan.residual is not None:
            words = _packed(identity(plan, config), config)
            weights.update(enumerate(words, plan.residual.weight_base * config.weight_parts))
        try:
            rows = [word for words in _rows(layer, plan) for word in words]
            columns = [word for words in _columns(plan) for word in words]
            entry = _entry(
                layer, plan, network.layers, index, free, free + len(rows), count, config)
        except TooWide as error:
            raise TooWide(f"layer {layer.name} does not fit the layer table: {error}") from error
        table.update(enumerate(entry, (1 + index) * ENTRY_WORDS))
        table.update(enumerate(rows + columns, free))
        free += len(rows) + len(columns)
    table[HEADER_FIELDS["checksum"].word] = checksum(table, config.table_words)
    return {
        Memory.TABLE: table,
        Memory.ENCODER: dict(enumerate(network.input_codes.tolist())),
        Memory.SLOPES: slopes,
        Memory.MEMBRANE: membrane,
        Memory.WEIGHTS: weights,
    }


def fire_threshold(layer: Any, lowest: int, config: CoreConfig) -> int:
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


def slope_count(layer: Any, packed: int, own: MapPlan | None) -> int:
    """Slopes to store: one where all channels have the same, else one each; none without firing.

    Of ``packed`` pixels each has its own, gaps of the layer's ``own`` map included.
    """
    if not layer.spiking:
        return 0
    pairs = set(zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True))
    return 1 if len(pairs) == 1 else len(_lanes_of(layer, packed, own))


def packed_kernel(layer: Any, axis: int, packed: int) -> int:
    """Taps along an axis of a kernel that has ``packed`` neighbouring outputs at once.

    Those outputs are ``stride`` inputs apart: together they are one output of a layer with a wider
    kernel, a longer stride, and more channels.
    """
    return layer.kernel[axis] + (packed - 1) * layer.stride[axis]


def _lanes_of(layer, packed, own):
    """Pixel and channel of every lane of ``packed`` pixels; -1 is an idle lane.

    Lanes are places of the layer's ``own`` map: the sweep adds a lane's number to where the word's
    spikes go, and nothing else. Of two pixels of a pooling window it adds half of it.
    """
    channels = layer.out_shape[2]
    if packed == 1:
        return [(0, channel) for channel in range(channels)]
    if layer.pool > 1:
        return [(pixel, channel) for channel in range(channels) for pixel in range(packed)]
    return [(pixel, channel if channel < channels else -1)
            for pixel in range(packed) for channel in range(own.pitch)]


def _header(plans, input_map, config):
    """Samples come pixel after pixel; gaps of the input map are behind pixels or behind rows."""
    height, width, channels = input_map.shape
    if (height, width) == (1, 1):
        run, gap = channels, 0
    elif input_map.pitch == channels:
        run = width * channels
        gap = input_map.row_words * input_map.codes_per_word - run
    else:
        run, gap = channels, input_map.pitch - channels
    try:
        return pack(
            HEADER_FIELDS, HEADER_WORDS, header_widths(config), layers=len(plans), magic=MAGIC,
            last_input=int(input_map.places[-1]), run_last=run - 1, gap=gap, checksum=0,
        )
    except TooWide as error:
        raise TooWide(
            f"the network's input does not fit the layer table: {error}") from error


def _taps(layer, plan):
    """Taps of the kernel in the order in which they are stored: ``[taps, c_in, c_out]``.

    Of a depthwise layer, whose channels read one channel each: ``[taps, c_in, 1]``.
    """
    weight = layer.weight.astype(np.int64)
    if layer.kind == "dense":
        spread = np.zeros((1, plan.source_map.places[-1] + 1, layer.outputs), np.int64)
        spread[0, plan.source_map.places] = weight.reshape(layer.inputs, layer.outputs)
        return spread
    if plan.packed > 1:
        # Of every pixel the kernel, so far along as the pixel is.
        lanes = _lanes_of(layer, plan.packed, plan.map)
        wide = packed_kernel(layer, 1, plan.packed)
        spread = np.zeros((weight.shape[0], wide, weight.shape[2], len(lanes)), np.int64)
        for lane, (pixel, channel) in enumerate(lanes):
            if channel >= 0:
                start = pixel * layer.stride[1]
                spread[:, start:start + weight.shape[1], :, lane] = weight[..., channel]
        weight = spread
    ordered = weight[np.ix_(plan.row_axis.order, plan.column_axis.order)]
    return ordered.reshape(-1, *weight.shape[2:])


def _weights(layer, plan, config):
    """Weights in the order in which they are walked: taps, words of a pixel, then input channels.

    In a depthwise layer a channel has weights in one word only, and only that one is stored.
    """
    lanes = config.lanes
    taps = _taps(layer, plan)
    count, inputs, outputs = taps.shape
    if layer.kind == "depthwise":
        channels = np.arange(inputs)
        words = np.zeros((count, plan.word_step, lanes), np.int64)
        words[:, channels, channels % lanes] = taps[:, :, 0]
        return enumerate(_packed(words, config), plan.weight_base * config.weight_parts)
    padded = np.zeros((count, plan.word_step, plan.pixel_words * lanes), np.int64)
    padded[:, :inputs, :outputs] = taps
    words = padded.reshape(count, plan.word_step, plan.pixel_words, lanes).transpose(0, 2, 1, 3)
    return enumerate(_packed(words, config), plan.weight_base * config.weight_parts)


def _packed(words, config):
    """The 32-bit parts of weight words ``[..., lanes]``, one word after another."""
    lanes, bits, parts = config.lanes, config.weight_bits, config.weight_parts
    fields = words.reshape(-1, parts, lanes // parts) & ((1 << bits) - 1)
    values = (fields << (bits * np.arange(lanes // parts))).sum(axis=2)
    return values.reshape(-1).tolist()


def _entry(layer, plan, layers, index, row_table, column_table, slopes, config):
    flat = layer.kind == "dense"
    source, own = plan.source_map, plan.map
    depthwise = layer.kind == "depthwise"
    step = plan.word_step
    later = set().union(*(reads(other) for other in layers[index + 1:]))
    second = plan.residual
    widths = field_widths(config)
    return pack(
        FIELDS, ENTRY_WORDS, widths,
        operation=Operation.DEPTHWISE if depthwise else Operation.FULL,
        spiking=int(layer.spiking),
        last=int(index + 1 == len(layers)),
        residual=int(second is not None),
        source_input=int(layer.source < 0),
        follows=int(layer.source >= 0 and layer.source == index - 1),
        ticks=layer.ticks,
        check=MAGIC,
        source_base=plan.source_base or 0,
        source_last=(plan.source_base or 0) + source.words - 1,
        row_last=(source.words if flat else source.row_words) - 1,
        chunk_last=source.words - 1 if flat else source.chunk_last,
        slot_shift=config.slot_bits if flat else source.slot_shift,
        weight_step=step,
        membrane_step=plan.pixel_words if depthwise else 1,
        weight_row_step=step * len(plan.column_axis.order) * (
            1 if depthwise else plan.pixel_words),
        row_table=row_table,
        column_table=column_table,
        row_step=plan.row_words,
        wrap_step=(1 - plan.window_rows) * plan.row_words % (1 << 16),
        bias_base=plan.bias_base,
        last_word=plan.pixel_words - 1,
        window_rows=plan.window_rows,
        membrane_base=plan.membrane_base,
        membrane_last=plan.membrane_base + plan.membrane_words - 1,
        sweep_last=plan.row_words - 1,
        rows_last=plan.rows - 1,
        # One that is larger than the core's maps is of a single pixel, and only must not be 0.
        pitch=0 if flat or own is None else min(
            own.pitch * (1 if layer.pool > 1 else plan.packed), (1 << widths["pitch"]) - 1),
        pool_last=layer.pool - 1,
        across_last=layer.pool // plan.packed - 1 if layer.pool > 1 else 0,
        halves=int(layer.pool > 1 and plan.packed > 1),
        per_channel=int(slopes > 1),
        destination_base=plan.destination_base or 0,
        destination_row=own.row_words if layer.spiking else 0,
        final_step=(0 if own is None else config.lanes // config.codes_per_word if flat
                    else own.row_words),
        # Of a map that is both, a row of the source is read first.
        clears=int(layer.source >= 0 and layer.source not in later | {layer.second_source}),
        source_ticks=plan.source_ticks,
        slope_base=plan.slope_base or 0,
        fire_threshold=plan.fire_threshold & 0xFFFFFFFF,
        **dict.fromkeys(SECOND_FIELDS, 0) if second is None else {
            "second_row_last": second.map.row_words - 1,
            "second_chunk_last": second.map.chunk_last,
            "second_slot_shift": second.map.slot_shift,
            "second_input": int(second.source < 0),
            "second_follows": int(second.source >= 0 and second.source == index - 1),
            "second_clears": int(second.source >= 0 and second.source not in later),
            "second_column_table": column_table + len(plan.column_axis.taps),
        },
    )


def _rows(layer, plan):
    step = plan.word_step * len(plan.column_axis.order) * (
        1 if layer.kind == "depthwise" else plan.pixel_words)
    order = list(interleaved(plan))
    for number, (second, row, completes) in enumerate(order):
        part = plan.residual if second else plan
        axis = part.row_axis
        place = axis.first[row] % plan.window_rows
        base = plan.residual.base if second else plan.source_base
        words = (plan.residual.map if second else plan.source_map).row_words
        yield pack(
            ROW_FIELDS, ROW_WORDS,
            membrane=plan.membrane_base + place * plan.row_words,
            taps=axis.taps[row] * (plan.residual.row_taps if second else 1),
            wrap=min(7, plan.window_rows - 1 - place),
            opens=0 if second else axis.opens[row],
            completes=completes,
            second=int(second),
            last=int(number == len(order) - 1),
            weight=part.weight_base + axis.start[row] * step,
            map=0 if plan.residual is None else (base or 0) + row * words,
        )


def _columns(plan):
    axis = plan.column_axis
    step = plan.word_step * (1 if plan.kind == "depthwise" else plan.pixel_words)
    for column in range(len(axis.taps)):
        yield pack(
            COLUMN_FIELDS, 1,
            weight=axis.start[column] * step,
            membrane=axis.first[column] * plan.pixel_words,
            taps=axis.taps[column],
        )
    if plan.residual is not None:
        axis = plan.residual.column_axis
        for column, taps in enumerate(axis.taps):
            yield pack(
                COLUMN_FIELDS, 1, weight=0, membrane=axis.first[column] * plan.pixel_words,
                taps=taps * plan.residual.column_taps,
            )
