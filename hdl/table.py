"""The layer table: what the core must know of each layer, in 32-bit words.

One place says where each field lives; the compiler writes entries with it and the controller reads
them with it. Counts are stored less one, as the number of the last item: hardware compares a
counter with that directly, and a count of zero cannot be said. Entry 0 is the header; entry
``1 + l`` belongs to layer ``l``.
"""

import dataclasses

from amaranth.utils import ceil_log2

from hdl.config import LAYOUT_VERSION, CoreConfig

__all__ = ["ACCUMULATE_WORDS", "ENTRY_WORDS", "FETCHED_WORDS", "FIELDS", "FIRE_FIELDS",
           "HEADER_WORDS", "MAGIC", "Field", "Operation", "entry_words", "field_widths",
           "header_words"]

#: Words from one entry to the next. Convolution will use those that a dense layer leaves free.
ENTRY_WORDS = 16
#: Words of the header that mean something: how many layers and what they are for.
HEADER_WORDS = 2
#: First half of a valid header word, so that a memory full of zeros or noise runs nothing.
MAGIC = 0x7F00 | LAYOUT_VERSION


class Operation:
    """Operations of a layer. 0 is none, so that an empty table is an error and not a layer."""

    DENSE = 1


@dataclasses.dataclass(frozen=True)
class Field:
    """Place of a field in an entry."""

    word: int
    offset: int
    width: int


#: Every field of an entry. Addresses count words of the memory that they point into.
FIELDS = {
    "operation": Field(0, 0, 4),
    "spiking": Field(0, 4, 1),  # the layer fires; otherwise its potentials are the logits
    "last": Field(0, 5, 1),  # no layer follows
    "source_input": Field(0, 6, 1),  # events come from the input map, not from the map memory
    "per_channel": Field(0, 7, 1),  # a slope for each neuron, not one for the layer
    "ticks": Field(0, 8, 8),  # T of the codes that the layer emits
    "check": Field(0, 16, 16),  # MAGIC
    "source_base": Field(1, 0, 16),  # first map word to scan
    "source_last": Field(1, 16, 16),  # map words to scan, less one
    "last_lane": Field(2, 0, 8),  # lane of neuron N - 1 in the last word
    "last_word": Field(2, 16, 16),  # W - 1, where W = ceil(N / lanes)
    "weight_base": Field(3, 0, 24),
    "weight_stride": Field(4, 0, 24),  # from a word of weights to the next of the same event
    "membrane_base": Field(5, 0, 16),
    "bias_base": Field(5, 16, 16),
    "destination_base": Field(6, 0, 16),  # first map word to write
    "destination_last": Field(6, 16, 16),  # map words to clear before, less one
    "fire_threshold": Field(7, 0, 32),  # smallest potential that may fire, two's complement
    "slope_base": Field(8, 0, 16),
}

#: Words of an entry that the controller reads.
FETCHED_WORDS = 1 + max(field.word for field in FIELDS.values())
#: The first of them, which are all that accumulation needs; the others come while it runs.
ACCUMULATE_WORDS = 1 + FIELDS["destination_last"].word
#: Fields that firing needs. They are copied when it begins, so that the entry may become the next
#: layer's in the meantime.
FIRE_FIELDS = ("spiking", "last", "per_channel", "ticks", "last_lane", "last_word",
               "destination_base", "fire_threshold", "slope_base")


def field_widths(config: CoreConfig) -> dict[str, int]:
    """Bits of each field that a core of this size keeps; the compiler checks that values fit."""
    widths = {name: field.width for name, field in FIELDS.items()}
    for name in ("source_base", "source_last", "destination_base", "destination_last"):
        widths[name] = config.map_address_bits
    for name in ("membrane_base", "bias_base", "last_word"):
        widths[name] = config.membrane_address_bits
    for name in ("weight_base", "weight_stride"):
        widths[name] = config.weight_address_bits
    return widths | {
        "last_lane": ceil_log2(config.lanes),
        "fire_threshold": config.accumulator_bits,
        "slope_base": config.slope_address_bits,
        "ticks": config.tick_bits,
    }


def entry_words(**values: int) -> list[int]:
    """The 32-bit words of one entry, from every field but ``check`` by name."""
    values = {"check": MAGIC, **values}
    if values.keys() != FIELDS.keys():
        raise TypeError(f"fields {sorted(values.keys() ^ FIELDS.keys())} are unknown or missing")
    words = [0] * ENTRY_WORDS
    for name, value in values.items():
        field = FIELDS[name]
        if not 0 <= value < 1 << field.width:
            raise ValueError(f"{name} = {value} does not fit {field.width} bits")
        words[field.word] |= value << field.offset
    return words


def header_words(layers: int, inputs: int) -> list[int]:
    """The words of entry 0: magic and number of layers, then samples of one image, less one."""
    return [MAGIC << 16 | layers, inputs - 1]
