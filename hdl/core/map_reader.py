# SPDX-License-Identifier: Apache-2.0
"""Reads a spike-time map word by word, and says where each word lies in it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import FinalPort, MapReadPort, RunPort, connect_entry, entry_layout
from ttfs_fpga.hdl.table import field_widths

__all__ = ["MapReader", "MapWordPort", "WordPosition", "position_layout"]


def position_layout(config: CoreConfig) -> data.StructLayout:
    """Where a word lies: its ``number`` in the memory, and in its row ``column`` and ``chunk``.

    ``column`` is that of its first pixel, ``chunk`` counts the words of a pixel. ``row_ends`` with
    the last word of a row.
    """
    return data.StructLayout({
        "number": config.map_address_bits,
        "column": config.column_bits,
        "chunk": field_widths(config)["chunk_last"],
        "row_ends": 1,
    })


class MapWordPort(wiring.Signature):
    """A word of a map, and where it lies. Taken in a cycle with ``valid`` and ``ready``.

    No stream: where somebody else reads the map, a word that was not taken is lost, ``valid``
    falls, and it comes again later.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "valid": Out(1),
            "ready": In(1),
            "codes": Out(data.ArrayLayout(config.tick_bits, config.codes_per_word)),
            "position": Out(position_layout(config)),
        })


class WordPosition(wiring.Component):
    """Counts words, pixels and the rows of a map.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    entry : In(entry_layout(config, FIELDS))
        How the map lies in words; must hold.
    seek : In(stream.Signature(config.map_address_bits, always_ready=True))
        The number of the first word.
    start : In(1)
        A row begins with it.
    step : In(1)
        The next word.
    o : Out(position_layout(config))
        Where the word lies.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("row_last", "chunk_last", "slot_shift")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "entry": In(entry_layout(config, self.FIELDS)),
            "seek": In(stream.Signature(config.map_address_bits, always_ready=True)),
            "start": In(1),
            "step": In(1),
            "o": Out(position_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        entry, at = self.entry, self.o
        words_left = Signal.like(entry.row_last)  # of the row, after this one

        def begin_row():
            m.d.sync += [
                at.chunk.eq(0), at.column.eq(0), words_left.eq(entry.row_last),
                at.row_ends.eq(entry.row_last == 0),
            ]

        with m.If(self.step):
            m.d.sync += [
                at.number.eq(at.number + 1), words_left.eq(words_left - 1),
                at.row_ends.eq(words_left == 1),
            ]
            with m.If(at.chunk == entry.chunk_last):
                pixels = self._config.codes_per_word >> entry.slot_shift
                m.d.sync += [at.chunk.eq(0), at.column.eq(at.column + pixels)]
            with m.Else():
                m.d.sync += at.chunk.eq(at.chunk + 1)
            with m.If(at.row_ends):
                begin_row()
        with m.If(self.seek.valid):
            m.d.sync += at.number.eq(self.seek.p)
        with m.If(self.start):
            begin_row()
        return m


class MapReader(wiring.Component):
    """Reads the words of a map, or of a row of it, as soon as they are final.

    Throughput: a word a cycle. Latency: the first one is valid 3 cycles after ``start``.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A map, or a row of it; busy until its last word has been taken.
    entry : In(entry_layout(config, FIELDS))
        The map. Must hold while busy.
    seek : In(stream.Signature(config.map_address_bits, always_ready=True))
        The first word; with ``start`` or before it.
    final : In(FinalPort(config))
        Words that may be read.
    map : Out(MapReadPort(config))
        Reads the map.
    o : Out(MapWordPort(config))
        Its words.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("source_last", "residual", "follows", *WordPosition.FIELDS)

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "seek": In(stream.Signature(config.map_address_bits, always_ready=True)),
            "final": In(FinalPort(config)),
            "map": Out(MapReadPort(config)),
            "o": Out(MapWordPort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        entry, port, word = self.entry, self.map, self.o
        m.submodules.position = position = WordPosition(self._config)
        connect_entry(m, entry, position.entry)
        wiring.connect(m, wiring.flipped(self.seek), position.seek)
        fetching = Signal()  # words remain to be asked for
        allowed = Signal()  # that word is final
        row_ends, lost = Signal(), Signal()
        m.d.comb += [
            position.start.eq(self.run.start),
            position.step.eq(word.valid & word.ready),
            word.position.eq(position.o),
            word.codes.eq(port.data),
            # In a layer with a residual the scan ends with the row.
            row_ends.eq(entry.residual & word.valid & position.o.row_ends),
            port.enable.eq(
                fetching & allowed & ~row_ends & ~port.stall & (word.ready | ~word.valid)),
            lost.eq(port.stall & word.valid & ~word.ready),
            self.run.busy.eq(fetching | word.valid),
        ]
        with m.If(word.ready | ~word.valid | lost):
            m.d.sync += word.valid.eq(port.enable)

        # Words become final in order: that the one after this is final will do, as long as what is
        # final last of all lifts the limit.
        limited = entry.follows & self.final.limited
        m.d.sync += allowed.eq(~limited | (port.address + 1 < self.final.word))
        with m.If(port.enable):
            m.d.sync += [
                port.address.eq(port.address + 1),
                fetching.eq(entry.residual | (port.address != entry.source_last)),
            ]
        with m.Elif(lost):
            m.d.sync += [port.address.eq(port.address - 1), fetching.eq(1)]
        with m.Elif(row_ends):
            m.d.sync += fetching.eq(0)
        with m.If(self.seek.valid):
            m.d.sync += port.address.eq(self.seek.p)
        with m.If(self.run.start):
            m.d.sync += [fetching.eq(1), allowed.eq(0)]
        return m
