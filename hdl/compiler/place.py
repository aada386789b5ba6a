# SPDX-License-Identifier: Apache-2.0
"""Second pass of the compiler: where every layer lies in the memories of the core.

What does not fit is refused here, with the layer, the memory and the amount.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ttfs_fpga.hdl.compiler.placement import Measure, Placement, ResidualPlacement, fields_of
from ttfs_fpga.hdl.compiler.refusal import DoesNotFit, require
from ttfs_fpga.hdl.compiler.residual import maps_of
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.table import ENTRY_WORDS, ROW_WORDS

__all__ = ["place"]


def place(measures: Sequence[Measure], config: CoreConfig, *, spare: bool) -> list[Placement]:
    """Give every layer its place.

    Parameters
    ----------
    measures : sequence of :class:`hdl.compiler.placement.Measure`
        The layers.
    config : :class:`hdl.CoreConfig`
        Sizes of the core.
    spare : :class:`bool`
        Whether windows get more rows than they need, where there is room.

    Raises
    ------
    :exc:`hdl.compiler.refusal.DoesNotFit`
        If a memory is too small.
    """
    _check_input(measures, config)
    maps = _place_maps(measures, config)
    biases, regions, rows = _place_membrane(measures, config, spare)
    placements: list[Placement] = []
    weights = slopes = 0
    table = ENTRY_WORDS * (1 + len(measures))
    for index, measure in enumerate(measures):
        residual = None
        if measure.residual is not None:
            second = measure.residual
            residual = ResidualPlacement(
                **fields_of(second),
                base=maps.get(second.source),
                weight_base=weights + measure.weight_words - second.weight_words,
            )
        placements.append(Placement(
            **{**fields_of(measure), "residual": residual},
            window_rows=rows[index],
            weight_base=weights,
            bias_base=biases[index],
            membrane_base=regions[index % 2],
            source_base=maps.get(measure.source),
            destination_base=maps.get(index),
            slope_base=slopes if measure.spiking else None,
            row_table=table,
            column_table=table + ROW_WORDS * _rows(measure),
        ))
        weights += measure.weight_words
        slopes += measure.slopes
        table += measure.table_words

    def most(sizes: Iterable[int]) -> str:
        return measures[max(range(len(measures)), key=list(sizes).__getitem__)].name

    require("weights", weights, config.weight_words, "weight",
            most(measure.weight_words for measure in measures), config.lanes)
    require("slopes", slopes, config.slopes, "slope", most(each.slopes for each in measures), 1)
    require("table", table, config.table_words, "table",
            most(len(measure.row_axis.taps) for measure in measures), 1)
    return placements


def _rows(measure: Measure) -> int:
    """Rows that are read, of one map or of two."""
    second = measure.residual
    return len(measure.row_axis.taps) + (0 if second is None else len(second.row_axis.taps))


def _check_input(measures: Sequence[Measure], config: CoreConfig) -> None:
    # The first layer can read nothing else.
    words = measures[0].source_map.words
    available = config.input_words * config.codes_per_word
    needed = words * config.codes_per_word
    if needed > available:
        raise DoesNotFit(
            f"the network's input needs {needed} values and the core's input map holds "
            f"{available}: {needed - available} too many"
        )


def _place_maps(measures: Sequence[Measure], config: CoreConfig) -> dict[int, int]:
    """First map word of each spiking layer: the lowest place free while its map is needed."""
    last_reader: dict[int, int] = {}
    for index, measure in enumerate(measures):
        last_reader.update((source, index) for source, _ in maps_of(measure))
    bases: dict[int, int] = {}
    for index, measure in enumerate(measures):
        if measure.map is None:
            continue
        size = measure.map.words
        # A map is written while its source is read: one whose last reader is this layer lives.
        alive = sorted(
            (bases[other], bases[other] + measures[other].destination_words)
            for other in bases if last_reader.get(other, other) >= index
        )
        base = 0
        for low, high in alive:
            if base + size <= low:
                break
            base = max(base, high)
        if base + size > config.map_words:
            over = base + size - config.map_words
            raise DoesNotFit(
                f"layer {measure.name} needs {size} map words at {base} and the core's map "
                f"memory has {config.map_words}: {over} too many; what would fit is "
                f"{(size - over) * config.codes_per_word} neurons" if over < size else
                f"layer {measure.name} needs {size} map words and the core's map memory "
                f"has none of its {config.map_words} left"
            )
        bases[index] = base
    return bases


def _place_membrane(
    measures: Sequence[Measure], config: CoreConfig, spare: bool
) -> tuple[list[int], tuple[int, int], list[int]]:
    """Bias words of every layer, the two regions of potentials, and the rows of every window.

    Successive layers take turns in the two regions, so that one may accumulate while the one before
    it fires. What is left goes into spare rows: while one is swept, the next one is accumulated.
    """
    # Word 0 stays 0: what biases are made from.
    biases = np.cumsum([1, *(measure.pixel_words for measure in measures)]).tolist()
    rows = [measure.row_axis.live for measure in measures]

    def sizes(rows: Sequence[int]) -> tuple[list[int], list[int]]:
        words = [count * measure.row_words + measure.slope_words
                 for count, measure in zip(rows, measures, strict=True)]
        return [max(words[turn::2], default=0) for turn in (0, 1)], words

    def total(rows: Sequence[int]) -> int:
        return biases[-1] + sum(sizes(rows)[0])

    words = sizes(rows)[1]
    require("membrane", total(rows), config.membrane_words, "membrane",
            measures[words.index(max(words))].name, config.lanes)
    for _ in range(2 * spare):
        for index, measure in enumerate(measures):
            more = [*rows[:index], rows[index] + 1, *rows[index + 1:]]
            if rows[index] < measure.rows and total(more) <= config.membrane_words:
                rows = more
    regions = (biases[-1], biases[-1] + sizes(rows)[0][0])
    return biases, regions, rows
