# SPDX-License-Identifier: Apache-2.0
"""The layer table: what the core must know of each layer, in 32-bit words.

One place says where each field lives; the compiler writes entries with it and the controller reads
them with it. Counts are stored less one, as the number of the last item: hardware compares a
counter with that directly, and a count of zero cannot be said. Entry 0 is the header; entry
``1 + l`` belongs to layer ``l``; behind the entries lie the descriptors of rows and columns.
"""

import dataclasses
from collections.abc import Mapping

from amaranth.hdl import Value
from amaranth.utils import ceil_log2

from ttfs_fpga.hdl import signature
from ttfs_fpga.hdl.config import LAYOUT_VERSION, CoreConfig

__all__ = ["ACCUMULATE_FIELDS", "ACCUMULATE_WORDS", "COLUMN_FIELDS", "ENTRY_WORDS", "FIELDS",
           "FIRE_FIELDS", "FIRE_WORDS", "HEADER_FIELDS", "HEADER_WORDS", "MAGIC", "MAP_WORDS",
           "MAX_KERNEL", "MODULAR", "NONZERO", "ROW_FIELDS", "ROW_WORDS", "SECOND", "SECOND_FIELDS",
           "Field", "Operation", "TooWide", "checksum", "field_depths", "field_widths",
           "forbidden_bits", "header_widths", "pack"]

#: Words from one entry to the next.
ENTRY_WORDS = 16
#: Words of the header that mean something.
HEADER_WORDS = 4
#: Words of a row descriptor.
ROW_WORDS = 2
#: First half of a valid header word, so that a memory full of zeros or noise runs nothing.
MAGIC = 0x7F00 | LAYOUT_VERSION
#: Largest kernel: descriptors count its taps in three bits.
MAX_KERNEL = 7


class TooWide(ValueError):
    """A value is larger than its field of the table."""


class Operation:
    """Operations of a layer. 0 is none, so that an empty table is an error and not a layer."""

    #: Every event reaches all channels: dense layers and convolutions.
    FULL = 1
    #: Every event reaches its own channel.
    DEPTHWISE = 2


@dataclasses.dataclass(frozen=True)
class Field:
    """Place of a field in an entry."""

    word: int
    offset: int
    width: int

    def of(self, word: Value) -> Value:
        """The field, cut out of its word."""
        return word[self.offset:self.offset + self.width]


#: The header, entry 0.
HEADER_FIELDS = {
    "layers": Field(0, 0, 16),
    "magic": Field(0, 16, 16),
    "last_input": Field(1, 0, 32),  # place of an image's last sample in the input map
    # Samples lie in the input map in runs, with a gap behind each.
    "run_last": Field(2, 0, 24),
    "gap": Field(2, 24, 8),
    "checksum": Field(3, 0, 32),  # makes the signature of the whole table 0
}

#: Every field of a layer's entry. Addresses count words of the memory that they point into.
FIELDS = {
    "operation": Field(0, 0, 4),
    "spiking": Field(0, 4, 1),  # the layer fires; otherwise its potentials are the logits
    "last": Field(0, 5, 1),  # no layer follows
    "residual": Field(0, 6, 1),  # a second map is added, row by row between those of the first
    "ticks": Field(0, 8, 8),  # T of the codes that the layer emits
    "check": Field(0, 16, 16),  # MAGIC
    # Accumulation: the source map ...
    "source_base": Field(8, 0, 16),  # first map word to scan
    "source_last": Field(8, 16, 16),  # the last one
    "row_last": Field(2, 0, 16),  # map words of a row, less one
    "chunk_last": Field(2, 16, 12),  # map words of a pixel, less one
    "slot_shift": Field(2, 28, 4),  # codes of a pixel within a word, as a power of two
    "source_input": Field(1, 14, 1),  # events come from the input map, not from the map memory
    "follows": Field(1, 15, 1),  # they come from the layer before, which may still be firing
    "clears": Field(1, 16, 1),  # no later layer reads the source map: it is left silent
    "column_table": Field(1, 17, 15),  # first column descriptor
    # ... the same of a residual's map, in words whose number is SECOND more ...
    "second_row_last": Field(6, 0, 16),
    "second_chunk_last": Field(6, 16, 12),
    "second_slot_shift": Field(6, 28, 4),
    "second_input": Field(5, 14, 1),
    "second_follows": Field(5, 15, 1),
    "second_clears": Field(5, 16, 1),
    "second_column_table": Field(5, 17, 15),
    # ... and where its events go.
    "weight_step": Field(3, 0, 24),  # from the weights of a membrane word to the next one's
    "membrane_step": Field(3, 24, 8),  # from a membrane word of an event to the next in its row
    "weight_row_step": Field(4, 0, 24),  # from a row of taps to the next
    "row_table": Field(5, 0, 14),  # first row descriptor
    "row_step": Field(13, 0, 16),  # membrane words of an output row
    "wrap_step": Field(13, 16, 16),  # the same from the window's last row to its first, mod 2**16
    "bias_base": Field(7, 0, 16),
    "last_word": Field(7, 16, 16),  # membrane words of a pixel, less one
    "window_rows": Field(1, 0, 14),  # output rows in the membrane memory
    "source_ticks": Field(4, 24, 8),  # T of the codes that the layer reads
    # Firing: the window ...
    "membrane_base": Field(9, 0, 16),
    "membrane_last": Field(9, 16, 16),  # last word of the window
    "sweep_last": Field(10, 0, 16),  # membrane words of an output row, less one
    "rows_last": Field(10, 16, 16),  # output rows, less one
    # ... and where its spikes go.
    "pitch": Field(11, 0, 16),  # codes from a pixel to the next; 0 is a layer without rows
    "pool_last": Field(11, 16, 3),  # side of the pooling window, less one
    # A word may hold two pixels of a pooling window beside each other, channel by channel.
    "halves": Field(11, 19, 1),
    "across_last": Field(11, 21, 3),  # words of a row of the pooling window, less one
    "per_channel": Field(11, 20, 1),  # a slope for each channel, not one for the layer
    "destination_base": Field(12, 0, 16),  # first map word to write
    "destination_row": Field(12, 16, 16),  # map words of a row
    "final_step": Field(15, 0, 16),  # map words that a row, or a membrane word, makes final
    "slope_base": Field(15, 16, 16),
    "fire_threshold": Field(14, 0, 32),  # smallest potential that may fire, two's complement
}

#: A row of the source: where its events meet the window of output rows.
ROW_FIELDS = {
    "membrane": Field(0, 0, 16),  # first membrane word of the first output row that it reaches
    "taps": Field(0, 16, 3),  # output rows that it reaches; 0 is none
    "wrap": Field(0, 19, 3),  # of these, rows before the window's last one
    "opens": Field(0, 22, 4),  # output rows that it is the first to reach
    "completes": Field(0, 26, 4),  # output rows that no later row reaches
    "second": Field(0, 30, 1),  # it is one of a residual's map: events stay in one membrane word
    "last": Field(0, 31, 1),  # the layer ends with it
    "weight": Field(1, 0, 20),  # weights of the first tap and channel 0
    "map": Field(1, 20, 12),  # its first map word, in a layer with a residual
}

#: A column of the source.
COLUMN_FIELDS = {
    "weight": Field(0, 0, 16),  # added to the row's
    "membrane": Field(0, 16, 13),  # added to the row's
    "taps": Field(0, 29, 3),  # output columns that it reaches; 0 is none
}

#: Words that the controller reads before a layer accumulates, and before it fires.
ACCUMULATE_WORDS = (0, 3, 4, 5, 7, 8, 13, 2, 1)
FIRE_WORDS = (0, 7, 9, 10, 11, 12, 14, 15)
#: So many words at the end of those that a layer accumulates with describe the map that is scanned.
#: In a layer with a residual they are read again before each row; those of the second map have the
#: bit SECOND set in their number.
MAP_WORDS = 2
SECOND = 4
SECOND_FIELDS = tuple(name for name in FIELDS if name.startswith("second_"))
ACCUMULATE_FIELDS = tuple(
    name for name, field in FIELDS.items()
    if field.word in ACCUMULATE_WORDS and name not in ("ticks", "check", *SECOND_FIELDS)
)
FIRE_FIELDS = ("spiking", "last", "ticks", "bias_base", "last_word",
               *(name for name, field in FIELDS.items() if field.word in FIRE_WORDS[2:]))


#: Fields that cannot be 0.
NONZERO = ("window_rows",)
#: Fields of which a core uses as many bits as its addresses have: those above say nothing.
MODULAR = ("weight_step", "membrane_step", "weight_row_step", "row_step", "wrap_step",
           "destination_row", "final_step", "fire_threshold")

def checksum(words: Mapping[int, int], depth: int) -> int:
    """The header's ``checksum`` for a table of so many words; those not given are 0."""
    return signature.closing_word(words, HEADER_FIELDS["checksum"].word, depth)


def header_widths(config: CoreConfig) -> dict[str, int]:
    """Bits of each field of the header that a core of this size keeps."""
    return {
        "layers": config.layer_bits, "last_input": config.sample_bits,
        "run_last": config.sample_bits, "gap": config.slot_bits,
    }


def forbidden_bits(config: CoreConfig) -> list[int]:
    """Of each word of an entry, bits of fields that a core has no memory for: they must be 0."""
    words = [0] * ENTRY_WORDS
    for name, kept in field_widths(config).items():
        field = FIELDS[name]
        if name not in MODULAR:
            words[field.word] |= ((1 << field.width) - (1 << kept)) << field.offset
    return words


def field_depths(config: CoreConfig) -> dict[str, int]:
    """Fields that are addresses, with the depth of their memory where it is no power of two.

    ``source_base`` and ``source_last`` are left out: which memory they mean depends on the layer.
    """
    depths = {
        "destination_base": config.map_words, "slope_base": config.slopes,
        "membrane_base": config.membrane_words, "membrane_last": config.membrane_words,
        "bias_base": config.membrane_words,
        **dict.fromkeys(("row_table", "column_table", "second_column_table"), config.table_words),
    }
    widths = field_widths(config)
    return {name: depth for name, depth in depths.items() if depth < 1 << widths[name]}


def field_widths(config: CoreConfig) -> dict[str, int]:
    """Bits of each field that a core of this size keeps; the compiler checks that values fit."""
    widths = {name: field.width for name, field in FIELDS.items()}
    groups = (
        (config.map_address_bits, (
            "source_base", "source_last", "row_last", "chunk_last", "destination_base",
            "destination_row", "final_step")),
        (config.membrane_address_bits, (
            "membrane_base", "membrane_last", "bias_base", "last_word", "row_step", "wrap_step",
            "sweep_last")),
        (config.weight_address_bits, ("weight_step", "weight_row_step")),
        (config.row_bits, ("window_rows", "rows_last")),
    )
    for bits, names in groups:
        for name in names:
            widths[name] = min(bits, widths[name])
    widths |= {
        "membrane_step": min(config.membrane_address_bits, 8),
        "row_table": config.table_address_bits,
        "column_table": config.column_bits,
        "slot_shift": ceil_log2(config.slot_bits + 1),
        "pool_last": 3,
        "across_last": 3,
        "pitch": min(16, config.neuron_bits),
        "fire_threshold": config.accumulator_bits,
        "slope_base": config.slope_address_bits,
        "ticks": config.tick_bits,
        "source_ticks": config.tick_bits,
    }
    # Word 5 as word 1, which costs nothing; the same for word 6 costs a dozen logic cells.
    return widths | {"second_column_table": config.column_bits}


def pack(
    fields: dict[str, Field], count: int, widths: Mapping[str, int] | None = None, /, **values: int
) -> list[int]:
    """The ``count`` 32-bit words of an entry or descriptor, from every field by name.

    ``widths`` are the bits that the core keeps of a field, where these are less than it has. A
    value that needs more is :exc:`TooWide`.
    """
    widths = widths or {}
    if values.keys() != fields.keys():
        raise TypeError(f"fields {sorted(values.keys() ^ fields.keys())} are unknown or missing")
    words = [0] * count
    for name, value in values.items():
        field = fields[name]
        width = field.width if name in MODULAR else widths.get(name, field.width)
        if not 0 <= value < 1 << width:
            raise TooWide(f"{name} = {value} does not fit {width} bits")
        words[field.word] |= value << field.offset
    return words
