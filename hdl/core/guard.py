# SPDX-License-Identifier: Apache-2.0
"""The guard: no image is computed with a layer table that is damaged or makes no sense."""

from typing import TYPE_CHECKING

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ttfs_fpga.hdl import signature
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_of
from ttfs_fpga.hdl.ports import ImageLayoutPort, PurgePort, TableReadPort
from ttfs_fpga.hdl.table import (
    ENTRY_WORDS,
    FIELDS,
    HEADER_FIELDS,
    HEADER_WORDS,
    MAGIC,
    NONZERO,
    Operation,
    field_depths,
    forbidden_bits,
    header_widths,
)

if TYPE_CHECKING:
    # Amaranth has no types; but its enumerations are Python's, with a shape besides.
    import enum
else:
    from amaranth.lib import enum

__all__ = ["CoreError", "Guard"]


class CoreError(enum.Enum, shape=4):
    """Why the core refuses to run the network in its memories, or gave up an image."""

    NONE = 0
    #: The layer table is of another version.
    TABLE_VERSION = 1
    #: An entry of it has an unknown operation, or the last layer is not where the header says.
    LAYER = 2
    #: The table is not as it was made: its words and its checksum do not agree.
    CHECKSUM = 3
    #: An entry of it says an address beyond a memory, or a size that cannot be.
    RANGE = 4
    #: A layer came to no end.
    TIMEOUT = 5


class Guard(wiring.Component):
    """Looks through the layer table before images are taken, and keeps its header.

    The table's words are read as memories are purged, in the same order.
    All of them go through a signature register (:mod:`hdl.signature`): any one wrong word is found
    for certain, several at random but for one chance in 2^32, also if words have changed places;
    and it costs one LUT a bit, which a CRC of 32 bits a cycle does not. One word of the header
    makes the signature 0. In passing, entries are checked word by word.
    Their fields would be wrong only if the compiler were; so what is checked is what can be without
    remembering anything but the word itself.

    Latency: the verdict comes four cycles after the last word was read.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    forget : In(1)
        Memories change: the next table is another one. ``error`` is cleared.
    late : In(1)
        An image is given up: ``TIMEOUT``. None is taken any more until ``forget``.
    purge : In(PurgePort(config))
        Counts the words.
    table : Out(TableReadPort(config))
        Reads each of them that is there; nobody else reads meanwhile.
    layout : Out(ImageLayoutPort(config))
        How an image lies in the input map, if the table is good: ``valid`` falls with the cycle
        after ``forget`` or ``late``.
    error : Out(CoreError)
        What is wrong, when it is known. A table whose header is 0 is none, and no error.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "forget": In(1),
            "late": In(1),
            "purge": In(PurgePort(config)),
            "table": Out(TableReadPort(config)),
            "layout": Out(ImageLayoutPort(config)),
            "error": Out(CoreError),
        })

    def elaborate(self, platform):
        m = Module()
        table, purge = self.table, self.purge
        coming = Signal()  # a word of the table is at `data`
        address = Signal(self._config.table_address_bits)  # which one
        m.d.comb += [
            table.request.eq(
                purge.active & ~purge.start & (purge.word < self._config.table_words)),
            table.address.eq(purge.word),
        ]
        m.d.sync += [coming.eq(table.request), address.eq(table.address)]

        cells = Signal(signature.BITS, init=signature.INIT)
        with m.If(coming):
            m.d.sync += cells.eq(signature.step(cells, table.data))
        with m.If(purge.start):
            m.d.sync += cells.eq(signature.INIT)

        there, layers = self._keep_header(m, coming, address)
        foreign, senseless, beyond = self._check_word(m, coming, address, layers)

        # The verdict, when the last word has gone through.
        pending = Signal(init=1)
        damaged, came = Signal(), Signal()
        m.d.sync += [damaged.eq(cells.any()), came.eq(coming)]
        with m.If(pending & ~purge.active & ~coming & ~came):
            m.d.sync += pending.eq(0)
            with m.If(there & (self.error == CoreError.NONE)):
                with m.If(foreign):
                    m.d.sync += self.error.eq(CoreError.TABLE_VERSION)
                with m.Elif(damaged):
                    m.d.sync += self.error.eq(CoreError.CHECKSUM)
                with m.Elif(senseless):
                    m.d.sync += self.error.eq(CoreError.LAYER)
                with m.Elif(beyond):
                    m.d.sync += self.error.eq(CoreError.RANGE)
                with m.Else():
                    m.d.sync += self.layout.valid.eq(1)
        with m.If(purge.start):
            m.d.sync += pending.eq(1)
        with m.If(self.late):
            m.d.sync += [self.layout.valid.eq(0), self.error.eq(CoreError.TIMEOUT)]
        with m.If(self.forget):
            m.d.sync += [self.layout.valid.eq(0), self.error.eq(CoreError.NONE)]
        return m

    def _keep_header(self, m, coming, address):
        """Keep the header; whether there is one, and its ``layers``."""
        data = self.table.data
        header = {name: Signal(width, name=name)
                  for name, width in header_widths(self._config).items()}
        there = Signal()
        for index in range(HEADER_WORDS):
            with m.If(coming & (address == index)):
                if index == HEADER_FIELDS["magic"].word:
                    m.d.sync += there.eq(_part(data, HEADER_FIELDS["magic"]).any())
                m.d.sync += [
                    kept.eq(_part(data, HEADER_FIELDS[name]))
                    for name, kept in header.items() if HEADER_FIELDS[name].word == index
                ]
        # A datapath of dense layers alone has no runs.
        constants = datapath_of(self._config).constants(self._config)
        m.d.comb += [
            self.layout.last.eq(header["last_input"]),
            *(getattr(self.layout, name).eq(constants.get(name, header[name]))
              for name in ("run_last", "gap")),
        ]
        return there, header["layers"]

    def _check_word(self, m, coming, address, layers):
        """What is wrong with any word so far: of another version, senseless, out of range.

        Whatever is checked of a word is checked in one cycle.
        """
        data = self.table.data
        word_bits = exact_log2(ENTRY_WORDS)
        number, entry = address[:word_bits], address[word_bits:]
        foreign, senseless, beyond = Signal(), Signal(), Signal()
        is_header, is_entry = Signal(), Signal()
        from_input = Signal()  # this entry's events come from there
        m.d.comb += [
            is_header.eq(entry == 0),
            is_entry.eq((entry != 0) & (entry <= layers)),
        ]
        first = number == 0
        operation = _part(data, FIELDS["operation"])
        last, spiking = _part(data, FIELDS["last"]), _part(data, FIELDS["spiking"])
        with m.If(coming):
            with m.If(first & (is_header | is_entry) & (_part(data, FIELDS["check"]) != MAGIC)):
                m.d.sync += foreign.eq(1)
            with m.If(first & (is_header & (_part(data, HEADER_FIELDS["layers"]) == 0)
                               | is_entry & (
                                   ((operation != Operation.FULL)
                                    & (operation != Operation.DEPTHWISE))
                                   | (last != (entry == layers)) | (spiking == last)))):
                m.d.sync += senseless.eq(1)
            with m.If(number == FIELDS["source_input"].word):
                m.d.sync += from_input.eq(_part(data, FIELDS["source_input"]))
            with m.If(self._beyond(m, data, number, is_entry, from_input)):
                m.d.sync += beyond.eq(1)
        with m.If(self.purge.start):
            m.d.sync += [foreign.eq(0), senseless.eq(0), beyond.eq(0)]
        return foreign, senseless, beyond

    def _beyond(self, m, data, number, is_entry, from_input):
        """Whether the word says an address beyond a memory, or a size that cannot be."""
        config = self._config
        # Bits that this core has no use for.
        forbidden = Signal(32)
        with m.Switch(number):
            for index, mask in enumerate(forbidden_bits(config)):
                with m.Case(index):
                    m.d.comb += forbidden.eq(mask)
        found = [is_entry & (data & forbidden).any()]

        def here(*names):
            return is_entry & number.matches(*{FIELDS[name].word for name in names})

        # Depths that are no power of two.
        groups: dict[tuple[int, int, int], list[str]] = {}
        for name, depth in field_depths(config).items():
            groups.setdefault((FIELDS[name].offset, FIELDS[name].width, depth), []).append(name)
        found += [
            here(*names) & (data[offset:offset + width] >= depth)
            for (offset, width, depth), names in groups.items()
        ]
        # Whose depth, is said by a word before.
        for chosen, depth in ((from_input, config.input_words), (~from_input, config.map_words)):
            for name in "source_base", "source_last":
                address = _part(data, FIELDS[name])[:config.map_address_bits]
                beyond = address >= depth
                if not depth & (depth - 1):
                    beyond = address[exact_log2(depth):].any()
                found.append(here(name) & chosen & beyond)
        found += [here(name) & (_part(data, FIELDS[name]) == 0) for name in NONZERO]
        return Cat(found).any()


def _part(word, field):
    return word[field.offset:field.offset + field.width]
