# SPDX-License-Identifier: Apache-2.0
"""Asks the membrane memory for the words of rows that are complete."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import MembranePort, RunPort, WindowPort, entry_layout, lanes_layout

__all__ = ["WordRequests", "swept_layout"]

#: What is known of a word when it is asked for, and comes with it: it is the last of its row, of
#: its layer, of its pixel.
_KNOWN = data.StructLayout({"row_ends": 1, "layer_ends": 1, "pixel_ends": 1})


def swept_layout(config: CoreConfig) -> data.StructLayout:
    """One word of a complete row, and what it is the last of."""
    return data.StructLayout({"potentials": lanes_layout(config), **_KNOWN.members})


class WordRequests(wiring.Component):
    """Sweeps the words of a layer, row after row, each row when it is complete.

    One word at a time, so that it need not wait when it comes: until then the candidates of the
    word before it leave, if nothing stops them. While nobody else wants the memory, one after
    another.

    Throughput: a word a cycle while nobody else wants the memory, else one in 4 cycles, or in 5 if
    the memory takes as long as weights in block RAM.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A new layer; busy until its last word has been taken.
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while busy.
    accumulating : In(1)
        Rows of the layer are complete as ``window`` says; otherwise all of them are.
    window : In(WindowPort(config))
        Output rows.
    spare : In(1)
        The word that was taken last will have left when one comes that is asked for now.
    membrane : Out(MembranePort(config))
        Sweeps words.
    o : Out(stream.Signature(swept_layout(config)))
        The words.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("membrane_base", "membrane_last", "sweep_last", "rows_last", "bias_base", "last_word")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "accumulating": In(1),
            "window": In(WindowPort(config)),
            "spare": In(1),
            "membrane": Out(MembranePort(config)),
            "o": Out(stream.Signature(swept_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        memory, window = self.membrane, self.window
        request = memory.valid
        rows_open, row_open = Signal(), Signal()  # rows are left, words of this one are left
        row_begins = Signal()
        last = Signal()  # the word that is asked for is the last one of its row
        sent = Signal()  # one was asked for in the cycle before, and is not coming yet
        rapid = Signal()  # nobody else may have the memory, because that is what we do
        under_way, alone, more = Signal(), Signal(), Signal()
        m.d.comb += [
            memory.sweep.eq(1),
            memory.stall.eq(self.o.valid & ~self.o.ready),
            window.hold.eq(request | rapid),
            under_way.eq(request | sent | memory.coming | memory.sweeping),
            alone.eq(~under_way & self.spare),
            more.eq((row_open & ~(request & last)) | row_begins),
            self.run.busy.eq(rows_open | row_open | under_way),
        ]
        asked = self._count(m, rows_open, row_open, row_begins, last)
        self._accompany(m, request, asked, sent)
        with m.If(~(request & memory.stall)):
            m.d.sync += request.eq(more & (~window.pending | alone))
            with m.If(more & ~window.pending & ~alone):
                m.d.sync += rapid.eq(1)
            with m.Elif(~under_way):
                m.d.sync += rapid.eq(0)
        return m

    def _count(self, m, rows_open, row_open, row_begins, last):
        """Which word is asked for, and what is known of it."""
        entry, memory, window = self.entry, self.membrane, self.window
        row = Signal.like(window.completed)  # the next one to begin
        complete = Signal()
        words_left = Signal.like(entry.sweep_last)  # after the one that is asked for
        part = Signal.like(entry.last_word)  # of a pixel
        asked = Signal(_KNOWN)
        waits = memory.valid & memory.stall
        m.d.comb += [
            asked.row_ends.eq(last),
            asked.layer_ends.eq(last & ~rows_open),
            asked.pixel_ends.eq(part == entry.last_word),
            row_begins.eq(rows_open & complete & (~row_open | (memory.valid & last))),
        ]
        m.d.sync += complete.eq(~self.accumulating | (row != window.completed))

        def next_word():
            m.d.sync += [
                words_left.eq(words_left - 1), last.eq(words_left == 1), row_open.eq(~last),
                memory.word.eq(Mux(
                    memory.word == entry.membrane_last, entry.membrane_base, memory.word + 1)),
                part.eq(part + 1), memory.bias.eq(memory.bias + 1),
            ]
            with m.If(asked.pixel_ends):
                m.d.sync += [part.eq(0), memory.bias.eq(entry.bias_base)]

        def begin_row():
            m.d.sync += [
                complete.eq(0), row_open.eq(1), words_left.eq(entry.sweep_last),
                last.eq(entry.sweep_last == 0),
                row.eq(row + 1), rows_open.eq(row != entry.rows_last),
            ]

        def begin_layer():
            m.d.sync += [
                rows_open.eq(1), complete.eq(0), row.eq(0), part.eq(0),
                memory.word.eq(entry.membrane_base), memory.bias.eq(entry.bias_base),
            ]

        with m.If(memory.valid & ~memory.stall):
            next_word()
        with m.If(row_begins & ~waits):
            begin_row()
        with m.If(self.run.start):
            begin_layer()
        return asked

    def _accompany(self, m, request, asked, sent):
        """What is known of a word comes with it."""
        memory, word = self.membrane, self.o.p
        coming, here = Signal(_KNOWN), Signal(_KNOWN)
        with m.If(~memory.stall):
            m.d.sync += here.eq(coming)
            if self._config.weight_latency == 1:
                m.d.sync += coming.eq(asked)
            else:
                # The memory's answer waits as updates do, for their weights.
                waiting = Signal(_KNOWN)
                m.d.sync += [sent.eq(request), waiting.eq(asked), coming.eq(waiting)]
        m.d.comb += [
            self.o.valid.eq(memory.sweeping),
            word.potentials.eq(memory.potentials),
            *(word[name].eq(here[name]) for name in _KNOWN.members),
        ]
        row_left = Signal()
        m.d.sync += row_left.eq(self.o.valid & self.o.ready & here.row_ends)
        m.d.comb += self.window.swept.eq(row_left & self.accumulating)
