# SPDX-License-Identifier: Apache-2.0
"""The walk over a rectangle of outputs: one membrane word after another, each with its weights."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.columns import walk_layout
from ttfs_fpga.hdl.ports import connect_entry, entry_layout
from ttfs_fpga.hdl.shapes import update_shape
from ttfs_fpga.hdl.table import Operation

__all__ = ["TapCounter", "Walk"]


class TapCounter(wiring.Component):
    """Counts the updates of a walk: words of a pixel, within columns, within rows of taps.

    Its counters say what follows the update at hand. Whether nothing does is a register beside
    each, and another one for all of them: all that follows hangs on it.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while updates are counted.
    i : In(stream.Signature(walk_layout(config), always_ready=True))
        Walks: from the next cycle on the first update is at hand.
    step : In(1)
        The update at hand is issued: from the next cycle on it is the next one. A walk at ``i``
        goes before.
    at : Out
        Of the update at hand. It is of the last word of a pixel (``last_word``), or of the last
        pixel of a row of taps (``last_column``); it is the last one of all (``final``). The row of
        outputs behind it is the first of the window again (``wraps``). All updates of the walk are
        of one word (``stays``).
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("operation", "last_word")

    def __init__(self, config: CoreConfig):
        super().__init__({
            "entry": In(entry_layout(config, self.FIELDS)),
            "i": In(stream.Signature(walk_layout(config), always_ready=True)),
            "step": In(1),
            "at": Out(data.StructLayout(
                {"last_word": 1, "last_column": 1, "final": 1, "wraps": 1, "stays": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        entry, walk, at = self.entry, self.i.p, self.at
        words_left = Signal.like(entry.last_word)
        columns_left, columns_after = Signal.like(walk.columns), Signal.like(walk.columns)
        rows_left, wrap_left = Signal.like(walk.taps), Signal.like(walk.wrap)
        last_row = Signal()
        one_word = Signal()  # an event has one word of each pixel
        m.d.sync += one_word.eq(
            (entry.operation == Operation.DEPTHWISE) | (entry.last_word == 0))
        single = one_word | at.stays

        def begin():
            single = one_word | walk.second
            m.d.sync += [
                words_left.eq(entry.last_word), at.last_word.eq(single),
                columns_left.eq(walk.columns - 1), columns_after.eq(walk.columns - 1),
                at.last_column.eq(walk.columns == 1),
                rows_left.eq(walk.taps - 1), last_row.eq(walk.taps == 1),
                at.final.eq(single & (walk.columns == 1) & (walk.taps == 1)),
                wrap_left.eq(walk.wrap), at.wraps.eq(walk.wrap == 0),
                at.stays.eq(walk.second),
            ]

        def next_word():
            m.d.sync += [
                words_left.eq(words_left - 1), at.last_word.eq(words_left == 1),
                at.final.eq((words_left == 1) & at.last_column & last_row),
            ]

        def next_column():
            m.d.sync += [
                columns_left.eq(columns_left - 1), at.last_column.eq(columns_left == 1),
                at.final.eq(single & (columns_left == 1) & last_row),
            ]

        def next_row():
            m.d.sync += [
                columns_left.eq(columns_after), at.last_column.eq(columns_after == 0),
                rows_left.eq(rows_left - 1), last_row.eq(rows_left == 1),
                at.final.eq(single & (columns_after == 0) & (rows_left == 1)),
                wrap_left.eq(wrap_left - 1), at.wraps.eq(wrap_left == 1),
            ]

        with m.If(self.i.valid):
            begin()
        with m.Elif(self.step & ~at.last_word):
            next_word()
        with m.Elif(self.step):
            m.d.sync += [words_left.eq(entry.last_word), at.last_word.eq(single)]
            with m.If(~at.last_column):
                next_column()
            with m.Else():
                next_row()
        return m


class Walk(wiring.Component):
    """Makes of the rectangle that an event meets one update for each of its membrane words.

    Throughput: one update a cycle, no bubble between walks, but that a word must not be updated
    twice in succession: then one cycle is lost. Latency: one cycle.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while updates are made.
    i : In(stream.Signature(walk_layout(config)))
        Walks, and ends of rows, of which there are no updates.
    hold : In(1)
        Issue nothing in this cycle.
    pending : Out(1)
        Updates are left.
    o : Out(stream.Signature(update_shape(config), always_ready=True))
        Updates.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("operation", "weight_step", "weight_row_step", "membrane_step", "row_step",
              "wrap_step", "bias_base", "last_word")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "entry": In(entry_layout(config, self.FIELDS)),
            "i": In(stream.Signature(walk_layout(config))),
            "hold": In(1),
            "pending": Out(1),
            "o": Out(stream.Signature(update_shape(config), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        entry, walk, update = self.entry, self.i.p, self.o.p
        m.submodules.counter = counter = TapCounter(self._config)
        connect_entry(m, entry, counter.entry)
        at = counter.at
        begins = self.i.valid & self.i.ready
        issue = Signal()
        again = Signal()  # the word is the one that was updated in the cycle before
        m.d.comb += [
            issue.eq(self.pending & ~self.hold & ~again),
            self.i.ready.eq(~self.pending | (issue & at.final)),
            self.o.valid.eq(issue),
            counter.i.valid.eq(begins),
            counter.i.p.eq(walk),
            counter.step.eq(issue),
        ]
        # A new event can begin where the one before it ended; else words differ, or all are one.
        m.d.sync += again.eq(Mux(
            begins, self.pending & (walk.membrane == update.word), issue & at.stays))

        # The first update of the row of taps.
        first = Signal(data.StructLayout({
            "weight": self._config.weight_address_bits, "word": self._config.membrane_address_bits,
        }))
        # One adder for each address: along the row of taps, or to the next row.
        next_row = at.last_word & at.last_column
        weight, word = Signal.like(update.weight), Signal.like(update.word)
        m.d.comb += [
            weight.eq(
                Mux(next_row, first.weight, update.weight)
                + Mux(next_row, entry.weight_row_step, entry.weight_step)),
            word.eq(
                Mux(next_row, first.word, update.word)
                + Mux(at.stays, 0, Mux(next_row, Mux(at.wraps, entry.wrap_step, entry.row_step),
                                       entry.membrane_step))),
        ]
        with m.If(begins):
            m.d.sync += [
                self.pending.eq(~walk.end & (walk.taps != 0) & (walk.columns != 0)),
                update.weight.eq(walk.weight), first.weight.eq(walk.weight),
                update.word.eq(walk.membrane), first.word.eq(walk.membrane),
                update.bias.eq(walk.bias),
                update.code.eq(walk.code),
            ]
        with m.Elif(issue):
            m.d.sync += [
                self.pending.eq(~at.final), update.weight.eq(weight), update.word.eq(word),
            ]
            with m.If(next_row):
                m.d.sync += [first.weight.eq(weight), first.word.eq(word)]
            # Depthwise, and of a residual, an event has one word of each pixel, and so one bias.
            with m.If(~at.last_word):
                m.d.sync += update.bias.eq(update.bias + 1)
            with m.Elif(~((entry.operation == Operation.DEPTHWISE) | at.stays)):
                m.d.sync += update.bias.eq(entry.bias_base)
        return m
