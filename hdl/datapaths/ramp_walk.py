# SPDX-License-Identifier: Apache-2.0
"""The walk of the ``ramp`` datapath: over the slopes of a layer, and its potentials with them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import RunPort, TableReadPort, entry_layout
from ttfs_fpga.hdl.shapes import ordered_shape, ramp_update_shape
from ttfs_fpga.hdl.table import ROW_FIELDS

__all__ = ["PlaceReader", "RampWalk", "places_layout"]


def places_layout(config: CoreConfig) -> data.StructLayout:
    """Where a dense layer lies: its first potential, its first slope, and channel 0's weights."""
    word = config.membrane_address_bits
    return data.StructLayout(
        {"membrane": word, "slopes": word, "weight": config.weight_address_bits})


class PlaceReader(wiring.Component):
    """Reads the only row descriptor of a dense layer, and says where the layer lies.

    Latency: 4 cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A new layer; busy until ``o`` has been taken.
    entry : In(entry_layout(config, FIELDS))
        Where the descriptor is, and how far slopes lie behind potentials.
    table : Out(TableReadPort(config))
        Reads the descriptor, first of all readers.
    o : Out(stream.Signature(places_layout(config)))
        The places; taken when the layer ends.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("row_table", "row_step")

    def __init__(self, config: CoreConfig):
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "table": Out(TableReadPort(config)),
            "o": Out(stream.Signature(places_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        table, places = self.table, self.o.p
        asked, coming = Signal(2), Signal(2)  # one-hot: which word of the descriptor
        m.d.comb += [
            table.request.eq(asked.any()),
            table.address.eq(self.entry.row_table + asked[1]),
            self.run.busy.eq(asked.any() | coming.any() | self.o.valid),
        ]
        m.d.sync += [asked.eq(asked << 1), coming.eq(asked)]
        with m.If(coming[0]):
            m.d.sync += places.membrane.eq(ROW_FIELDS["membrane"].of(table.data))
        with m.If(coming[1]):
            m.d.sync += [
                places.weight.eq(ROW_FIELDS["weight"].of(table.data)),
                places.slopes.eq(places.membrane + self.entry.row_step),
                self.o.valid.eq(1),
            ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.run.start):
            m.d.sync += asked.eq(1)
        return m


class RampWalk(wiring.Component):
    """Walks all words of a dense layer, once for each event and once for each tick.

    At the end of a tick slopes and potentials take turns: what has been added to a slope, or read
    of it, is kept and added to its potential.

    Throughput: ⌈N/P⌉ cycles for an event, at least 2; twice ⌈N/P⌉ for the end of a tick, its last
    event included. Latency: 2 cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while operations are made.
    places : In(stream.Signature(places_layout(config)))
        Where the layer lies; taken with the last operation of the last tick.
    i : In(stream.Signature(ordered_shape(config)))
        Events and ends of ticks, in the order of time.
    hold : In(1)
        Issue nothing in this cycle.
    pending : Out(1)
        Operations are left.
    o : Out(stream.Signature(ramp_update_shape(config), always_ready=True))
        Operations.
    passed : Out(stream.Signature(config.tick_bits, always_ready=True))
        The tick whose last operation is issued in this cycle.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("weight_step", "bias_base", "last_word")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "entry": In(entry_layout(config, self.FIELDS)),
            "places": In(stream.Signature(places_layout(config))),
            "i": In(stream.Signature(ordered_shape(config))),
            "hold": In(1),
            "pending": Out(1),
            "o": Out(stream.Signature(ramp_update_shape(config), always_ready=True)),
            "passed": Out(stream.Signature(config.tick_bits, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        begins = Signal()
        next_valid, item = self._take(m, begins)
        self._walk(m, next_valid, item, begins)
        return m

    def _take(self, m, begins):
        """What comes next, and where its weights are."""
        places, valid = self.places, Signal(name="next_valid")
        item = Signal(data.StructLayout({
            "event": 1, "end": 1, "last": 1, "tick": self._config.tick_bits,
            "weight": self._config.weight_address_bits,
        }), name="next")
        m.d.comb += self.i.ready.eq(places.valid & ~valid)
        with m.If(begins):
            m.d.sync += valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                valid.eq(1),
                *(item[name].eq(self.i.p[name]) for name in ("event", "end", "last", "tick")),
                item.weight.eq(places.p.weight + self.i.p.channel),
            ]
        return valid, item

    def _walk(self, m, next_valid, item, begins):
        """The operations, of which the one at ``o`` is the next to be issued."""
        entry, places, update = self.entry, self.places.p, self.o.p
        event, ending, last_tick = Signal(), Signal(), Signal()
        raising = Signal()  # the operation is the update of potentials
        other = Signal.like(update.word)  # the word after it, at the end of a tick
        bias = Signal.like(update.bias)
        words_left, last_word = Signal.like(entry.last_word), Signal()
        issue, final, ends = Signal(), Signal(), Signal()
        alone = Signal()  # a layer of one word, which no two operations in succession may have
        m.d.sync += alone.eq(entry.last_word == 0)
        m.d.comb += [
            issue.eq(self.pending & ~self.hold),
            final.eq(last_word & (raising | ~ending)),
            ends.eq(issue & final),
            begins.eq(next_valid & (~self.pending | (ends & ~(alone & ~ending)))),
            self.o.valid.eq(issue),
            update.event.eq(event & ~raising),
            update.zero.eq(~event & ~raising),
            update.keep.eq(ending & ~raising),
            # Slopes change by events only, and nobody reads them after the last tick.
            update.peek.eq(update.keep & (last_tick | ~event)),
            update.sweep.eq(update.peek & last_tick),
            self.passed.valid.eq(ends & ending),
            self.places.ready.eq(ends & last_tick),
        ]

        def begin():
            m.d.sync += [
                self.pending.eq(1),
                event.eq(item.event), ending.eq(item.end), raising.eq(0),
                self.passed.p.eq(item.tick), last_tick.eq(item.last),
                update.weight.eq(item.weight), update.word.eq(places.slopes), update.bias.eq(0),
                other.eq(places.membrane), bias.eq(entry.bias_base),
                words_left.eq(entry.last_word), last_word.eq(alone),
            ]

        def advance():
            m.d.sync += [
                self.pending.eq(~final),
                update.word.eq(Mux(ending, other, update.word + 1)), other.eq(update.word + 1),
                update.bias.eq(Mux(ending & ~raising, bias, 0)),
                raising.eq(ending & ~raising),
            ]

        def next_neurons():
            m.d.sync += [
                update.weight.eq(update.weight + entry.weight_step), bias.eq(bias + 1),
                words_left.eq(words_left - 1), last_word.eq(words_left == 1),
            ]

        with m.If(begins):
            begin()
        with m.Elif(issue):
            advance()
            with m.If(raising | ~ending):
                next_neurons()
