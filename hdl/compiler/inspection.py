# SPDX-License-Identifier: Apache-2.0
"""Inspection of a layer table: whether a core that runs it stays within its memories.

The core itself looks through a table before it takes an image (:mod:`hdl.core.guard`), word by word
and remembering nothing. Here is what takes more than one word to see: a whole table is followed as
the core would follow it, every field, every descriptor and every window. The compiler does so at
its end, so that what it says of a table and what the table says cannot differ without being
noticed; and so does whoever is about to send a table that came from a file.
"""

import itertools
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from ttfs_fpga.hdl import signature
from ttfs_fpga.hdl.compiler.placement import Placement
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_of
from ttfs_fpga.hdl.table import (
    COLUMN_FIELDS,
    ENTRY_WORDS,
    FIELDS,
    HEADER_FIELDS,
    MAGIC,
    ROW_FIELDS,
    ROW_WORDS,
    Field,
    Operation,
    forbidden_bits,
)

__all__ = ["BadTable", "check_table"]


class BadTable(ValueError):
    """A layer table that makes no sense for a core: the message names the layer and the reason."""


def check_table(
    table: Mapping[int, int], config: CoreConfig, plans: Sequence[Placement] = ()
) -> None:
    """Follow a layer table as the core would, and refuse what it should not run.

    Parameters
    ----------
    table : mapping of :class:`int` to :class:`int`
        Its words; those not given are 0.
    config : :class:`hdl.CoreConfig`
        The core.
    plans : sequence of :class:`hdl.compiler.placement.Placement`
        What the layers are meant to be, if that is known: their names, and how many columns and
        channels of a map have neurons. Without, no more of them is assumed than there must be.

    Raises
    ------
    :exc:`BadTable`
        If the table is damaged or of another version, if an entry has an unknown operation, an
        address beyond its memory or a size that cannot be, if its window is not as large as its
        rows, or if an event would touch anything outside the window or the weights.
    """
    header = _read(table, 0, HEADER_FIELDS)
    _demand(header.magic == MAGIC, "the layer table",
            f"begins with {header.magic:#06x} instead of {MAGIC:#06x}: it is of another version")
    state = signature.INIT
    for address in range(config.table_words):
        state = signature.step(state, table.get(address, 0))
    _demand(not state, "the layer table", "and its checksum do not agree")
    _demand(1 <= header.layers <= config.layers, "the layer table",
            f"has {header.layers} layers and the core runs 1 to {config.layers}")
    free = ENTRY_WORDS * (1 + header.layers)
    _demand(max(table) < config.table_words and free < config.table_words, "the layer table",
            f"is longer than the core's, which has {config.table_words} words")
    places = config.input_words * config.codes_per_word
    _demand(header.run_last <= header.last_input < places, "the layer table",
            f"says samples up to place {header.last_input} of an input map of {places}")
    known: Sequence[Placement | None] = plans or [None] * header.layers
    _demand(len(known) == header.layers, "the layer table",
            f"has {header.layers} layers instead of {len(known)}")
    layers = [_Layer(table, config, index, header.layers, plan)
              for index, plan in enumerate(known)]
    for layer in layers:
        layer.check()
    for layer, following in itertools.pairwise(layers):
        layer.demand(_apart(layer.window, following.window),
                     f"has a window that overlaps that of {following.where}")
    for layer in layers:
        for other in layers:
            layer.demand(_apart(layer.window, other.biases),
                         f"has a window that overlaps the biases of {other.where}")


class _Layer:
    """A layer's entry and descriptors, in a table whose header is good."""

    def __init__(self, table, config, index, count, plan):
        self.where = f"layer {index + 1 if plan is None else plan.name}"
        self.table, self.config, self.plan = table, config, plan
        self.index, self.last = index, index + 1 == count
        self.free = ENTRY_WORDS * (1 + count)
        self.base = ENTRY_WORDS * (1 + index)
        self.f = f = _read(table, self.base, FIELDS)
        self.window = range(f.membrane_base, f.membrane_last + 1)
        self.biases = range(f.bias_base, f.bias_base + f.last_word + 1)

    def demand(self, good: bool, reason: str) -> None:
        _demand(good, self.where, reason)

    def check(self) -> None:
        """Refuse what is wrong with the layer alone."""
        f, config = self.f, self.config
        self.demand(f.check == MAGIC, f"begins with {f.check:#06x} instead of {MAGIC:#06x}: its "
                    "entry is of another version")
        self.demand(f.operation in (Operation.FULL, Operation.DEPTHWISE),
                    f"has the unknown operation {f.operation}")
        self.demand(f.last == self.last and f.spiking != f.last,
                    "is not what its place in the table says: all layers fire but the last one")
        for word, forbidden in enumerate(forbidden_bits(config)):
            value = self.table.get(self.base + word, 0)
            self.demand(not value & forbidden, f"has {value:#010x} in word {word} of its entry, "
                        "and this core has no memory for that")
        self._check_window()
        if f.spiking:
            self._check_map()
        self.demand(self.plan is None or bool(f.residual) == (self.plan.residual is not None),
                    "does not read as many maps as it is meant to")
        rows, columns, channels = self._source("")
        second_columns = self._source("second_")[1] if f.residual else 0
        seconds = self._check_rows(rows)
        self._check_events(seconds[0], f.column_table, columns, channels)
        if f.residual:
            self._check_events(seconds[1], f.second_column_table, second_columns, 1, second=True)

    def _check_window(self) -> None:
        f, config = self.f, self.config
        words = config.membrane_words
        self.demand(f.window_rows > 0, "has a window of no rows")
        self.demand(f.membrane_last < words, f"has a window up to word {f.membrane_last} of a "
                    f"membrane memory of {words}")
        slopes = datapath_of(config).slope_words(f.row_step)
        self.demand(len(self.window) == f.window_rows * f.row_step + slopes,
                    f"has a window of {f.window_rows} rows of {f.row_step} words in the words "
                    f"{f.membrane_base} to {f.membrane_last}")
        self.demand(f.window_rows <= f.rows_last + 1, "has a window with more rows than outputs")
        self.demand(f.sweep_last + 1 == f.row_step and not f.row_step % (f.last_word + 1),
                    f"has rows of {f.row_step} words, of which {f.sweep_last + 1} are swept, "
                    f"{f.last_word + 1} for each pixel")
        self.demand(f.wrap_step == (1 - f.window_rows) * f.row_step % (1 << 16),
                    f"wraps by {f.wrap_step}, which is not its window")
        # Word 0 is what biases are made from.
        self.demand(f.bias_base >= 1 and self.biases[-1] < words and f.membrane_base,
                    f"has its biases in the words {f.bias_base} to {self.biases[-1]} of {words}")
        limit = 1 << (config.accumulator_bits - 1)
        threshold = f.fire_threshold - (f.fire_threshold >> 31 << 32)
        self.demand(-limit <= threshold < limit, f"fires at {threshold}, which is no potential")

    def _check_map(self) -> None:
        """Where its spikes go."""
        f, config = self.f, self.config
        codes, side = config.codes_per_word, f.pool_last + 1
        first = f.slope_base + f.per_channel * f.last_word * config.lanes
        self.demand(first < config.slopes, f"has a slope {first} of {config.slopes}")
        self.demand(f.ticks > 0, "has no ticks")
        self.demand(not (f.rows_last + 1) % side,
                    f"pools {f.rows_last + 1} rows, {side} at a time")
        pixels = f.row_step // (f.last_word + 1)
        across = f.across_last + 1
        self.demand(not pixels % across, f"pools {pixels} words of a row, {across} at a time")
        if f.pitch:
            words = (f.rows_last + 1) // side * f.destination_row
            room = (pixels // across - 1) * f.pitch < f.destination_row * codes
            self.demand(room and f.final_step == f.destination_row,
                        f"has {pixels // across} pixels of {f.pitch} places in a row of "
                        f"{f.destination_row} words")
        else:
            words = f.last_word * config.lanes // codes + 1
        if self.plan is not None:
            self.demand(words <= self.plan.destination_words,
                        f"has a map of {words} words instead of {self.plan.destination_words}")
        self.demand(f.destination_base + words <= config.map_words,
                    f"fires into {words} words from {f.destination_base} on, of a map memory of "
                    f"{config.map_words}")

    def _source(self, which: str) -> tuple[int, int, int]:
        """Rows, columns and channels of a map it reads; rows are said for the first one alone."""
        f, config = self.f, self.config

        def get(name):
            return getattr(f, which + name)

        what = "second map" if which else "source"
        of_input = f.second_input if which else f.source_input
        self.demand(not (of_input and (get("follows") or get("clears")))
                    and not (get("follows") and not self.index),
                    f"has a {what} that is both the input and a map")
        row_words, chunk_words = get("row_last") + 1, get("chunk_last") + 1
        shift = get("slot_shift")
        self.demand(shift <= config.slot_bits and not row_words % chunk_words
                    and (chunk_words == 1 or shift == config.slot_bits),
                    f"has a {what} with pixels of {chunk_words} words in rows of {row_words}")
        rows = 0
        if not which:
            words = f.source_last - f.source_base + 1
            depth = config.input_words if of_input else config.map_words
            self.demand(words > 0 and f.source_last < depth and not words % row_words,
                        f"reads the words {f.source_base} to {f.source_last}, rows of {row_words}, "
                        f"of a map of {depth}")
            rows = words // row_words
        # Of the last word of a row, and of a pixel, only one place must be in use.
        pixels = config.codes_per_word >> shift if chunk_words == 1 else 1
        columns = (row_words // chunk_words - 1) * pixels + 1
        channels = (chunk_words - 1) * config.codes_per_word + 1
        if self.plan is not None:
            shape = (self.plan.residual.map if which else self.plan.source_map).shape
            if self.plan.flat and not which:
                shape = (1, 1, int(self.plan.source_map.places[-1]) + 1)
            self.demand(columns <= shape[1] <= columns + pixels - 1 and channels <= shape[2]
                        and rows in (0, shape[0]), f"reads a {what} of another shape than {shape}")
            columns, channels = shape[1:]
        return rows, columns, channels

    def _check_rows(self, expected: int) -> tuple[list, list]:
        """The descriptors of rows: of the source, and of the second map."""
        f, config = self.f, self.config
        found: tuple[list, list] = ([], [])
        address, opened, completed, last = f.row_table, 0, 0, False
        while not last:
            self.demand(self.free <= address <= config.table_words - ROW_WORDS,
                        f"has a row's descriptor at word {address}, where none can be")
            row = _read(self.table, address, ROW_FIELDS)
            where = f"has a row's descriptor at word {address} that"
            found[row.second].append(row)
            opened += row.opens
            self.demand(opened - completed <= f.window_rows,
                        f"{where} opens more rows than the window of {f.window_rows} has")
            completed += row.completes
            self.demand(bool(f.residual) or not row.second, f"{where} is of a second map")
            if row.second:
                depth = config.input_words if f.second_input else config.map_words
                words = f.second_row_last + 1
            else:
                depth = config.input_words if f.source_input else config.map_words
                words = f.row_last + 1
            self.demand(not f.residual or row.map + words <= depth,
                        f"{where} says map word {row.map} of {depth}")
            # Every output row that it reaches, as the sequencer walks them.
            word, left = row.membrane, row.wrap
            for _ in range(1 if row.second else row.taps):
                place, within = divmod(word - f.membrane_base, f.row_step)
                self.demand(not within and 0 <= place < f.window_rows,
                            f"{where} reaches membrane word {word}, where no row begins")
                word += f.row_step if left else f.wrap_step
                word &= (1 << config.membrane_address_bits) - 1
                left -= 1
            address, last = address + ROW_WORDS, bool(row.last)
        self.demand(len(found[0]) == expected, f"has descriptors of {len(found[0])} rows of its "
                    f"source, which has {expected}")
        self.demand(opened <= completed == f.rows_last + 1,
                    f"completes {completed} output rows of {f.rows_last + 1}")
        return found

    def _check_events(self, rows, column_table, columns, channels, *, second=False) -> None:
        """Whatever an event of any row and column touches."""
        f, config = self.f, self.config
        self.demand(self.free <= column_table <= config.table_words - columns,
                    f"has {columns} columns' descriptors at word {column_table}, where they cannot "
                    "be")
        single = second or f.operation == Operation.DEPTHWISE
        words = 1 if single else f.last_word + 1
        farthest = -1
        for number in range(columns):
            column = _read(self.table, column_table + number, COLUMN_FIELDS)
            if column.taps:
                end = column.membrane + (0 if second else (column.taps * words - 1)
                                         * f.membrane_step) + (f.last_word if single else 0)
                self.demand(end < f.row_step, f"reaches word {end} of rows of {f.row_step} from "
                            f"column {number}")
                farthest = max(farthest, column.weight + (column.taps * words - 1) * f.weight_step)
        reached = [row.weight + (row.taps - 1) * f.weight_row_step for row in rows if row.taps]
        end = max(reached, default=-1) + farthest + channels - 1
        self.demand(not reached or farthest < 0 or end < config.weight_words,
                    f"has weights up to word {end} of {config.weight_words}")


def _read(table: Mapping[int, int], address: int, fields: Mapping[str, Field]) -> SimpleNamespace:
    return SimpleNamespace(**{
        name: table.get(address + field.word, 0) >> field.offset & ((1 << field.width) - 1)
        for name, field in fields.items()
    })


def _apart(one: range, other: range) -> bool:
    return one.stop <= other.start or other.stop <= one.start


def _demand(good: bool, where: str, reason: str) -> None:
    if not good:
        raise BadTable(f"{where} {reason}")
