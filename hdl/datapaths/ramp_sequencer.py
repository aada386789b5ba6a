"""The sequencer of the ``ramp`` datapath: events raise slopes, ends of ticks raise potentials."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import ordered_shape, ramp_update_shape
from ttfs_fpga.hdl.table import ROW_FIELDS, field_widths

__all__ = ["RampSequencer"]


class RampSequencer(wiring.Component):
    """Walks the membrane words of a dense layer, once for each event and once for each tick.

    An event adds its weights to the slopes, ``S += w``. At the end of a tick every word of slopes
    is added to the potentials, ``V += S``, right behind the update by the tick's last event if it
    had any. So after tick k a potential is its bias plus ``w · (k + 1 - k_j)`` of every spike j
    that came at a tick ``k_j <= k``. Slopes begin at 0 and are read for the last time at the last
    tick, which leaves them at 0.

    Potentials lie at ``membrane`` of the layer's only row descriptor, slopes ``row_step`` words
    behind them.

    Throughput: ⌈N/P⌉ cycles for an event, at least 2; twice ⌈N/P⌉ for the end of a tick, its last
    event included. Latency: 2 cycles. ``hold`` stops updates for as long as it is high.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        A new layer begins; only while not ``busy``.
    weight_step, row_step, bias_base, last_word, row_table : In
        Fields of the layer table; must hold while events come.
    i : In(stream.Signature(ordered_shape(config)))
        Events and ends of ticks, in the order of time.
    ask, address, words
        Read port of the table's memory, for the descriptor: data one cycle after ``ask``.
    hold : In(1)
        Issue nothing in this cycle.
    o : Out(stream.Signature(ramp_update_shape(config), always_ready=True))
        Operations of the membrane memory and the lanes.
    walking : Out(1)
        Operations are left.
    completed : Out(1)
        The potentials of this layer are complete.
    tick : Out(config.tick_bits), ticked : Out(1)
        With ``ticked``, the potentials in the membrane memory are those at the end of ``tick``, and
        they stay so for this cycle and the next.
    busy : Out(1)
        From the cycle after ``start`` until the last operation has been issued.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("weight_step", "row_step", "bias_base", "last_word", "row_table")

    def __init__(self, config: CoreConfig):
        self._config = config
        #: Cycles from the last operation of a tick until what it writes is in the memory.
        self.latency = config.weight_latency + 2
        widths = field_widths(config)
        super().__init__({
            "start": In(1),
            **{name: In(widths[name]) for name in self.FIELDS},
            "i": In(stream.Signature(ordered_shape(config))),
            "ask": Out(1),
            "address": Out(config.table_address_bits),
            "words": In(32),
            "hold": In(1),
            "o": Out(stream.Signature(ramp_update_shape(config), always_ready=True)),
            "walking": Out(1),
            "completed": Out(1),
            "tick": Out(config.tick_bits),
            "ticked": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        word_bits = config.membrane_address_bits
        membrane, slopes = Signal(word_bits), Signal(word_bits)
        weight = Signal(config.weight_address_bits)

        # The descriptor, two words.
        asked = Signal(2)  # one-hot: which word is asked for
        coming = Signal(2)
        loaded = Signal()
        m.d.comb += [
            self.ask.eq(asked.any()), self.address.eq(self.row_table + asked[1]),
        ]
        m.d.sync += [asked.eq(asked << 1), coming.eq(asked)]
        with m.If(coming[0]):
            first = ROW_FIELDS["membrane"]
            m.d.sync += membrane.eq(self.words[first.offset:first.offset + word_bits])
        with m.If(coming[1]):
            m.d.sync += [
                weight.eq(self.words[:config.weight_address_bits]),
                slopes.eq(membrane + self.row_step),
                loaded.eq(1),
            ]

        # A: what comes next, and where its weights are.
        next_valid, next_event, next_end, next_last = (Signal() for _ in range(4))
        next_tick = Signal.like(self.tick)
        next_weight = Signal.like(weight)
        begins = Signal()
        m.d.comb += self.i.ready.eq(loaded & ~next_valid)
        with m.If(begins):
            m.d.sync += next_valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                next_valid.eq(1),
                next_event.eq(self.i.p.event),
                next_end.eq(self.i.p.end),
                next_last.eq(self.i.p.last),
                next_tick.eq(self.i.p.tick),
                next_weight.eq(weight + self.i.p.channel),
            ]

        # The walk. At the end of a tick, slopes and potentials take turns: ``other`` is the word
        # after the one at ``o``.
        walking, update = self.walking, self.o.p
        event = Signal()
        ending = Signal()  # of a tick
        tick, last_tick = Signal.like(self.tick), Signal()
        raising = Signal()  # the operation at ``o`` is the update of potentials
        other = Signal(word_bits)
        bias = Signal(config.membrane_address_bits)
        left = Signal.like(self.last_word)
        last_left = Signal()
        issue, final, ends = Signal(), Signal(), Signal()
        alone = Signal()  # a layer of one word, which no two operations in succession may have
        m.d.sync += alone.eq(self.last_word == 0)
        m.d.comb += [
            issue.eq(walking & ~self.hold),
            final.eq(last_left & (raising | ~ending)),
            ends.eq(issue & final),
            begins.eq(next_valid & (~walking | (ends & ~(alone & ~ending)))),
            self.o.valid.eq(issue),
            update.event.eq(event & ~raising),
            update.zero.eq(~event & ~raising),
            update.keep.eq(ending & ~raising),
            # Slopes change by events only, and nobody reads them after the last tick.
            update.peek.eq(update.keep & (last_tick | ~event)),
            update.sweep.eq(update.peek & last_tick),
        ]
        with m.If(begins):
            m.d.sync += [
                walking.eq(1),
                event.eq(next_event),
                ending.eq(next_end),
                tick.eq(next_tick),
                last_tick.eq(next_last),
                raising.eq(0),
                update.weight.eq(next_weight),
                update.word.eq(slopes),
                update.bias.eq(0),
                other.eq(membrane),
                bias.eq(self.bias_base),
                left.eq(self.last_word),
                last_left.eq(alone),
            ]
        with m.Elif(issue):
            m.d.sync += [
                walking.eq(~final),
                update.word.eq(Mux(ending, other, update.word + 1)),
                update.bias.eq(Mux(ending & ~raising, bias, 0)),
                other.eq(update.word + 1),
                raising.eq(ending & ~raising),
            ]
            with m.If(raising | ~ending):
                m.d.sync += [
                    update.weight.eq(update.weight + self.weight_step),
                    bias.eq(bias + 1), left.eq(left - 1), last_left.eq(left == 1),
                ]

        # Time: a tick has passed when its last potential has been written.
        passed = ends & ending
        for _ in range(self.latency):
            tick_before, passed_before = tick, passed
            tick, passed = Signal.like(tick), Signal()
            m.d.sync += [tick.eq(tick_before), passed.eq(passed_before)]
        m.d.comb += [self.tick.eq(tick), self.ticked.eq(passed)]
        with m.If(ends & last_tick):
            m.d.sync += [self.completed.eq(1), loaded.eq(0)]
        m.d.comb += self.busy.eq(asked.any() | coming.any() | loaded)
        with m.If(self.start):
            m.d.sync += [asked.eq(1), self.completed.eq(0)]
        return m
