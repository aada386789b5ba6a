# SPDX-License-Identifier: Apache-2.0
"""Sizes of a core: the one parameter object from which every width of the hardware is derived."""

import dataclasses
import json
import zlib
from collections.abc import Sequence
from typing import Protocol

from amaranth.utils import ceil_log2, exact_log2

__all__ = ["DATAPATHS", "LAYER_CYCLES_BITS", "LAYOUT_VERSION", "MAX_WEIGHT_BITS", "CoreConfig",
           "DatapathSizes"]

#: Changes whenever the layout of the layer table or of a memory changes, so that an image made for
#: another layout is refused by its fingerprint.
LAYOUT_VERSION = 3

#: Widest weight of any core.
MAX_WEIGHT_BITS = 8

#: A layer that has come to no end after ``2 ** LAYER_CYCLES_BITS`` cycles is given up: a network in
#: which one might take so long is not compiled. Half of what the core's counters of cycles hold.
LAYER_CYCLES_BITS = 23


class DatapathSizes(Protocol):
    """What sizes of the core depend on, of a datapath."""

    def purge_words(self, config: "CoreConfig") -> int:
        """Words of its own memory that are forgotten with those of other memories."""
        ...


#: Ways from an event to the potentials, by name; all give the same spikes and logits.
#: :mod:`hdl.datapaths` puts them here, and says the rest of them.
DATAPATHS: dict[str, DatapathSizes] = {}


@dataclasses.dataclass(frozen=True)
class CoreConfig:
    """Sizes of a :class:`hdl.Core`. One per board; a network fits it or is refused by name.

    Parameters
    ----------
    lanes : :class:`int`
        Neurons updated a cycle, P. A power of two, 1 to 256.
    weight_bits : :class:`int`
        Width of a signed weight, 2 to 8. A network with narrower weights fits too.
    tick_bits : :class:`int`
        Width of an activation code; T is at most ``2**tick_bits - 1``.
    accumulator_bits : :class:`int`
        Width of a membrane potential, two's complement.
    weight_words : :class:`int`
        Depth of the weight memory, in words of ``lanes`` weights.
    weight_memory : :class:`str`
        ``"block"`` (block RAM, may have initial contents) or ``"spram"`` (the single-port RAM of
        the iCE40 UP5K, which wakes up undefined and must be loaded).
    membrane_words : :class:`int`
        Depth of the membrane memory, in words of ``lanes`` potentials. Biases live there too.
    input_words : :class:`int`
        Depth of one bank of the input map, in words of :attr:`codes_per_word` codes.
    map_words : :class:`int`
        Depth of the map memory between layers, in words of :attr:`codes_per_word` codes.
    slopes : :class:`int`
        Depth of the slope memory: one (m, s) pair a layer, or a channel where they differ.
    layers : :class:`int`
        Layers that the layer table can hold.
    table_words : :class:`int`
        Depth of the layer table's memory, in words of 32 bits: an entry a layer, and descriptors
        of the rows and columns of its source.
    datapath : :class:`str`
        How an event reaches the potentials, one of :data:`DATAPATHS`: ``"mac"`` multiplies,
        ``"serial"`` shifts and adds once for each set bit of the code, ``"ramp"`` only adds, and
        lets the membrane ramp (dense layers only).
    samples : :class:`int`
        Samples that one transfer may bring into the core, 1 or 2.
    """

    lanes: int = 16
    weight_bits: int = 4
    tick_bits: int = 4
    accumulator_bits: int = 16
    weight_words: int = 16384
    weight_memory: str = "block"
    membrane_words: int = 256
    input_words: int = 256
    map_words: int = 256
    slopes: int = 256
    layers: int = 15
    table_words: int = 256
    datapath: str = "mac"
    samples: int = 1

    def __post_init__(self):
        def check(name, low, high):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")

        check("lanes", 1, 256)
        if self.lanes & (self.lanes - 1):
            raise ValueError(f"lanes must be a power of two, not {self.lanes}")
        check("weight_bits", 2, MAX_WEIGHT_BITS)
        check("tick_bits", 1, 8)
        check("accumulator_bits", 8, 32)
        check("weight_words", 2, 1 << 20)
        check("membrane_words", 2, 1 << 15)
        check("input_words", 2, 1 << 15)
        check("map_words", 2, 1 << 15)
        check("slopes", 2, 1 << 15)
        check("layers", 1, 63)
        check("table_words", 32, 1 << 14)
        check("samples", 1, 2)
        if not isinstance(self.datapath, str) or self.datapath not in DATAPATHS:
            raise ValueError(
                f"datapath must be one of {', '.join(DATAPATHS)}, not {self.datapath!r}")
        if self.weight_memory not in ("block", "spram"):
            raise ValueError(
                f"weight_memory must be 'block' or 'spram', not {self.weight_memory!r}"
            )
        if self.weight_memory == "spram" and (
            self.weight_width != 64 or self.weight_words != 16384
        ):
            raise ValueError(
                "weight_memory 'spram' is four 16384-word memories of 16 bits: lanes * weight_bits "
                f"must be 64 and weight_words 16384, not {self.weight_width} and "
                f"{self.weight_words}"
            )
        if not self.loadable(self.weight_width):
            raise ValueError(
                "lanes * weight_bits must be at most 32 or 32 times a power of two, because "
                f"weights are loaded 32 bits at a time, not {self.weight_width}"
            )

    @staticmethod
    def loadable(weight_width: int) -> bool:
        """Whether words of so many bits can be loaded in parts of 32, numbered without division."""
        parts, rest = divmod(weight_width, 32)
        return weight_width <= 32 or (not rest and parts & (parts - 1) == 0)

    @property
    def max_ticks(self) -> int:
        """Largest T that a layer may have."""
        return (1 << self.tick_bits) - 1

    @property
    def codes_per_word(self) -> int:
        """Codes in one word of a spike-time map."""
        # At most 32 bits, two block RAMs side by side on iCE40; a power of two, so that a neuron's
        # number splits into word and slot without a division.
        return 1 << ((32 // self.tick_bits).bit_length() - 1)

    @property
    def map_width(self) -> int:
        """Bits in one word of a spike-time map."""
        return self.codes_per_word * self.tick_bits

    @property
    def weight_width(self) -> int:
        """Bits in one word of the weight memory."""
        return self.lanes * self.weight_bits

    @property
    def weight_parts(self) -> int:
        """32-bit (or narrower) parts in which one word of the weight memory is loaded."""
        return max(1, self.weight_width // 32)

    @property
    def weight_latency(self) -> int:
        """Cycles from an address of the weight memory to its word.

        Block RAM takes so long that a register stands behind it. What meets the weights waits as
        long: codes in the core, potentials in the membrane memory, answers in the sweep.
        """
        return 2 if self.weight_memory == "block" else 1

    @property
    def split_product(self) -> bool:
        """Whether the requantiser multiplies in two steps.

        A device whose weights lie in block RAM may have no multiplier of that width.
        """
        return self.weight_memory == "block"

    def pack_weights(self, weights: Sequence[int]) -> list[int]:
        """The 32-bit parts of a weight word, lane 0 lowest, from the weight of every lane."""
        mask = (1 << self.weight_bits) - 1
        each = self.lanes // self.weight_parts
        return [
            sum((int(weight) & mask) << n * self.weight_bits
                for n, weight in enumerate(weights[part:part + each]))
            for part in range(0, self.lanes, each)
        ]

    @property
    def weight_address_bits(self) -> int:
        """Width of a weight memory address."""
        return ceil_log2(self.weight_words)

    @property
    def membrane_address_bits(self) -> int:
        """Width of a membrane memory address."""
        return ceil_log2(self.membrane_words)

    @property
    def map_address_bits(self) -> int:
        """Width of a map word address: one bank of the input map, or the maps between layers."""
        return ceil_log2(max(self.input_words, self.map_words))

    @property
    def slope_address_bits(self) -> int:
        """Width of a slope memory address."""
        return ceil_log2(self.slopes)

    @property
    def table_address_bits(self) -> int:
        """Width of an address of the layer table's memory."""
        return ceil_log2(self.table_words)

    @property
    def column_bits(self) -> int:
        """Width of a column's number: every column of a source has a word of the table."""
        return self.table_address_bits

    @property
    def row_bits(self) -> int:
        """Width of a count of rows: every row of a source has two words of the table."""
        return self.table_address_bits

    @property
    def slot_bits(self) -> int:
        """Width of a code's place within its map word."""
        return exact_log2(self.codes_per_word)

    @property
    def lane_bits(self) -> int:
        """Width of a lane's number."""
        return exact_log2(self.lanes)

    @property
    def map_places(self) -> int:
        """Codes that the largest map may hold: one bank of the input map, or the map memory."""
        return max(self.input_words, self.map_words) * self.codes_per_word

    @property
    def neuron_bits(self) -> int:
        """Width of a neuron's number within its layer."""
        return ceil_log2(self.map_places)

    @property
    def sample_bits(self) -> int:
        """Width of a place in the input map."""
        return ceil_log2(self.input_words * self.codes_per_word)

    @property
    def layer_bits(self) -> int:
        """Width of a layer's number."""
        return ceil_log2(self.layers + 1)

    def as_dict(self) -> dict[str, int | str]:
        """The parameters by name, for reports and files."""
        return dataclasses.asdict(self)

    @property
    def fingerprint(self) -> int:
        """CRC-32 of layout version and parameters: what a network image must have been made for."""
        parameters = self.as_dict()
        if self.samples == 1:
            # As before there were two: images made then are still good.
            del parameters["samples"]
        text = json.dumps({"layout": LAYOUT_VERSION, **parameters}, sort_keys=True)
        return zlib.crc32(text.encode())
