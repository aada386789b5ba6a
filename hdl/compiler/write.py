# SPDX-License-Identifier: Apache-2.0
"""Third pass of the compiler: the words of every memory, of layers that have their places."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ttfs_fpga.hdl.compiler.measure import packed_kernel
from ttfs_fpga.hdl.compiler.placement import Placement
from ttfs_fpga.hdl.compiler.residual import identity, interleaved, maps_of
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.protocols import Layer, Network
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

__all__ = ["write"]


def write(
    network: Network, config: CoreConfig, placements: Sequence[Placement]
) -> dict[Memory, dict[int, int]]:
    """The 32-bit values of every memory, by load address.

    Parameters
    ----------
    network : :class:`hdl.protocols.Network`
        Where the integers are.
    config : :class:`hdl.CoreConfig`
        Sizes of the core.
    placements : sequence of :class:`hdl.compiler.placement.Placement`
        Where they go.

    Raises
    ------
    :exc:`hdl.table.TooWide`
        If a layer is larger than the layer table can say: the message names it.
    """
    table = dict(enumerate(_header(placements, config)))
    slopes: dict[int, int] = {}
    membrane: dict[int, int] = {}
    weights: dict[int, int] = {}
    for index, (layer, plan) in enumerate(zip(network.layers, placements, strict=True)):
        read = any(source == index for later in placements for source, _ in maps_of(later))
        slopes.update(_slopes(layer, plan, read))
        membrane.update(_biases(layer, plan, config))
        weights.update(_weights(layer, plan, config))
        if plan.residual is not None:
            words = _parts(identity(plan.residual, config), config)
            weights.update(enumerate(words, plan.residual.weight_base * config.weight_parts))
        try:
            for base, descriptors in (
                (plan.row_table, _rows(plan)), (plan.column_table, _columns(plan)),
                ((1 + index) * ENTRY_WORDS, [_entry(layer, plan, placements, index, config)]),
            ):
                table.update(enumerate(itertools.chain.from_iterable(descriptors), base))
        except TooWide as error:
            raise TooWide(f"layer {layer.name} does not fit the layer table: {error}") from error
    table[HEADER_FIELDS["checksum"].word] = checksum(table, config.table_words)
    return {
        Memory.TABLE: table,
        Memory.ENCODER: dict(enumerate(network.input_codes.tolist())),
        Memory.SLOPES: slopes,
        Memory.MEMBRANE: membrane,
        Memory.WEIGHTS: weights,
    }


def _slopes(layer: Layer, plan: Placement, read: bool) -> Iterator[tuple[int, int]]:
    for n in range(plan.slopes):
        assert plan.slope_base is not None
        channel = plan.spots[n].channel if plan.slopes > 1 else 0
        slope = int(layer.multiplier[channel]) | int(layer.shift[channel]) << 16
        # What nobody reads need not fire, and nobody would wipe it: slope 0 keeps it silent.
        yield plan.slope_base + n, slope if read else 1 << 16


def _biases(layer: Layer, plan: Placement, config: CoreConfig) -> Iterator[tuple[int, int]]:
    # Lanes beyond the last channel stay at 0, so that they neither fire nor overflow; in the
    # output layer they stay below all logits, so that they are none.
    idle = 0 if layer.spiking else plan.fire_threshold - 1
    channels = np.array([spot.channel for spot in plan.spots])
    bias = np.full(plan.pixel_words * config.lanes, idle, np.int64)
    bias[:len(channels)] = np.where(channels < 0, idle, layer.bias[channels])
    mask = (1 << config.accumulator_bits) - 1
    yield from enumerate((bias & mask).tolist(), plan.bias_base * config.lanes)


def _header(placements: Sequence[Placement], config: CoreConfig) -> list[int]:
    """Samples come pixel after pixel; gaps of the input map are behind pixels or behind rows."""
    # The first layer can read nothing else.
    input_map = placements[0].source_map
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
            HEADER_FIELDS, HEADER_WORDS, header_widths(config), layers=len(placements), magic=MAGIC,
            last_input=int(input_map.places[-1]), run_last=run - 1, gap=gap, checksum=0,
        )
    except TooWide as error:
        raise TooWide(
            f"the network's input does not fit the layer table: {error}") from error


def _taps(layer: Layer, plan: Placement) -> np.ndarray:
    """Taps of the kernel in the order in which they are stored: ``[taps, c_in, c_out]``.

    Of a layer whose channels read their own: ``[taps, c_in, 1]``.
    """
    weight = layer.weight.astype(np.int64)
    if plan.flat:
        spread = np.zeros((1, plan.source_map.places[-1] + 1, layer.outputs), np.int64)
        spread[0, plan.source_map.places] = weight.reshape(layer.inputs, layer.outputs)
        return spread
    if plan.packed > 1:
        # Of every pixel the kernel, so far along as the pixel is.
        wide = packed_kernel(layer, 1, plan.packed)
        spread = np.zeros((weight.shape[0], wide, weight.shape[2], len(plan.spots)), np.int64)
        for lane, (pixel, channel) in enumerate(plan.spots):
            if channel >= 0:
                start = pixel * layer.stride[1]
                spread[:, start:start + weight.shape[1], :, lane] = weight[..., channel]
        weight = spread
    ordered = weight[np.ix_(plan.row_axis.order, plan.column_axis.order)]
    return ordered.reshape(-1, *weight.shape[2:])


def _weights(layer: Layer, plan: Placement, config: CoreConfig) -> Iterator[tuple[int, int]]:
    """Weights in the order in which they are walked: taps, words of a pixel, then input channels.

    Where channels read their own, one has weights in one word only, and only that one is stored.
    """
    lanes = config.lanes
    taps = _taps(layer, plan)
    count, inputs, outputs = taps.shape
    if plan.own_channel:
        channels = np.arange(inputs)
        words = np.zeros((count, plan.word_step, lanes), np.int64)
        words[:, channels, channels % lanes] = taps[:, :, 0]
        return enumerate(_parts(words, config), plan.weight_base * config.weight_parts)
    padded = np.zeros((count, plan.word_step, plan.pixel_words * lanes), np.int64)
    padded[:, :inputs, :outputs] = taps
    pixels = padded.reshape(count, plan.word_step, plan.pixel_words, lanes).transpose(0, 2, 1, 3)
    return enumerate(_parts(pixels, config), plan.weight_base * config.weight_parts)


def _parts(words: np.ndarray, config: CoreConfig) -> list[int]:
    """The 32-bit parts of weight words ``[..., lanes]``, one word after another."""
    lanes, bits, parts = config.lanes, config.weight_bits, config.weight_parts
    fields = words.reshape(-1, parts, lanes // parts) & ((1 << bits) - 1)
    values = (fields << (bits * np.arange(lanes // parts))).sum(axis=2)
    return values.reshape(-1).tolist()


def _entry(
    layer: Layer, plan: Placement, placements: Sequence[Placement], index: int, config: CoreConfig
) -> list[int]:
    source, own = plan.source_map, plan.map
    later = {source for other in placements[index + 1:] for source, _ in maps_of(other)}
    second = plan.residual
    widths = field_widths(config)
    return pack(
        FIELDS, ENTRY_WORDS, widths,
        operation=Operation.DEPTHWISE if plan.own_channel else Operation.FULL,
        spiking=int(layer.spiking),
        last=int(index + 1 == len(placements)),
        residual=int(second is not None),
        source_input=int(layer.source < 0),
        follows=int(layer.source >= 0 and layer.source == index - 1),
        ticks=layer.ticks,
        check=MAGIC,
        source_base=plan.source_base or 0,
        source_last=(plan.source_base or 0) + source.words - 1,
        row_last=(source.words if plan.flat else source.row_words) - 1,
        chunk_last=source.words - 1 if plan.flat else source.chunk_last,
        slot_shift=config.slot_bits if plan.flat else source.slot_shift,
        weight_step=plan.word_step,
        membrane_step=plan.pixel_words if plan.own_channel else 1,
        weight_row_step=plan.weight_row_step,
        row_table=plan.row_table,
        column_table=plan.column_table,
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
        pitch=0 if plan.flat or own is None else min(
            own.pitch * (1 if layer.pool > 1 else plan.packed), (1 << widths["pitch"]) - 1),
        pool_last=layer.pool - 1,
        across_last=layer.pool // plan.packed - 1 if layer.pool > 1 else 0,
        halves=int(layer.pool > 1 and plan.packed > 1),
        per_channel=int(plan.slopes > 1),
        destination_base=plan.destination_base or 0,
        destination_row=0 if own is None else own.row_words,
        final_step=(0 if own is None else config.lanes // config.codes_per_word
                    if plan.flat else own.row_words),
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
            "second_column_table": plan.column_table + len(plan.column_axis.taps),
        },
    )


def _rows(plan: Placement) -> Iterator[list[int]]:
    order, residual = list(interleaved(plan)), plan.residual
    for number, (second, row, completes) in enumerate(order):
        if second and residual is not None:
            axis, taps, weight = residual.row_axis, residual.row_taps, residual.weight_base
            base, words = residual.base, residual.map.row_words
        else:
            axis, taps, weight = plan.row_axis, 1, plan.weight_base
            base, words = plan.source_base, plan.source_map.row_words
        place = axis.first[row] % plan.window_rows
        yield pack(
            ROW_FIELDS, ROW_WORDS,
            membrane=plan.membrane_base + place * plan.row_words,
            taps=axis.taps[row] * taps,
            wrap=min(7, plan.window_rows - 1 - place),
            opens=0 if second else axis.opens[row],
            completes=completes,
            second=int(second),
            last=int(number == len(order) - 1),
            weight=weight + axis.start[row] * plan.weight_row_step,
            map=0 if residual is None else (base or 0) + row * words,
        )


def _columns(plan: Placement) -> Iterator[list[int]]:
    axis = plan.column_axis
    step = plan.word_step * plan.tap_words
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
