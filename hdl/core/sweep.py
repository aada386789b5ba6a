"""The sweep: reads complete output rows and passes on, one by one, the potentials that matter."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.onehot import encode, lowest_set, select
from ttfs_fpga.hdl.shapes import candidate_shape
from ttfs_fpga.hdl.table import field_widths

__all__ = ["Sweep"]


class Sweep(wiring.Component):
    """Sweeps the output rows of a layer, each when its input window has closed.

    One comparison a lane, ``V >= threshold``, tells which neurons may fire; a priority encoder
    emits them in raster order. In the output layer the threshold is so low that all are emitted,
    but lanes beyond the last channel, whose bias is lower still.
    The word is kept here meanwhile, so that the membrane memory goes on with other updates.

    With pooling, the neurons of a window have the same ``place``: with ``halves`` neurons ``2c``
    and ``2c + 1`` of a word, and those of the next words.

    Throughput: a word with n candidates takes ``n + 2`` cycles while nothing else needs the
    membrane memory; else up to ``n + 4``, of which one of the memory's; ``n + 5`` if it takes
    as long as weights in block RAM.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        A new layer begins; only while not ``busy``.
    membrane_base, membrane_last, sweep_last, rows_last, bias_base, last_word, pitch,
    pool_last, across_last, halves, destination_base, destination_row, spiking : In
        Fields of the layer table. They and ``threshold`` must hold until ``busy`` falls.
    threshold : In
        Smallest potential that may fire; in the output layer the lowest number there is.
    ready : In(1)
        The next output row, number ``row``, is complete.
    row : Out
        Number of the next row to begin.
    left : Out(1)
        The last word of a row has been read: its place in the window is free.
    ask, word, bias : Out
        Asks the membrane memory to sweep a word, until there is no ``stall``.
    coming, sweeping, potentials, stall
        The memory's answer when it has it, announced one cycle before, and what delays it.
    quiet : In(1)
        Nobody else wants the membrane memory: ask for words before the one kept has left.
    rapid : Out(1)
        Nobody else may have it, because that is what we do.
    o : Out(stream.Signature(candidate_shape(config)))
        Candidates in raster order; ``last`` marks the last neuron of an output layer.
    pooled : Out(1)
        Neurons of several words have the same place; known from the second cycle of a layer on.
    written : Out(1)
        With the last candidate of a row, a pooled one if there is pooling: that row of the layer's
        map gets no more codes. With every word where there are no rows, which is ``pitch`` 0.
    busy : Out(1)
        From the cycle after ``start`` until the last potential has been taken.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        widths = field_widths(config)
        super().__init__({
            "start": In(1),
            **{name: In(widths[name]) for name in (
                "membrane_base", "membrane_last", "sweep_last", "rows_last", "bias_base",
                "last_word", "pitch", "pool_last", "across_last", "halves",
                "destination_base", "destination_row", "spiking")},
            "threshold": In(signed(config.accumulator_bits)),
            "ready": In(1),
            "row": Out(config.row_bits + 1),
            "left": Out(1),
            "ask": Out(1),
            "word": Out(config.membrane_address_bits),
            "bias": Out(config.membrane_address_bits),
            "coming": In(1),
            "sweeping": In(1),
            "stall": Out(1),
            "quiet": In(1),
            "rapid": Out(1),
            "potentials": In(data.ArrayLayout(signed(config.accumulator_bits), config.lanes)),
            "o": Out(stream.Signature(candidate_shape(config))),
            "pooled": Out(1),
            "written": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lanes, lane_bits = config.lanes, config.lane_bits

        # What is asked for: a word of a row, a part of a pixel.
        active = Signal()  # rows are left
        may = Signal()  # the next one is complete
        in_row = Signal()  # words of this row are left
        words_left = Signal.like(self.sweep_last)  # after the one that is asked for
        part = Signal.like(self.last_word)
        asked_end = Signal()  # the word is the last of its row
        # What is known of a word when it is asked for, and comes with it: it is the last of its
        # row, of its layer, of its pixel.
        known = data.StructLayout({"end": 1, "final": 1, "pixel": 1})
        asked, coming, here = Signal(known), Signal(known), Signal(known)
        sent = Signal()  # one was asked for in the cycle before, and is not coming yet
        arrived = Signal()

        # What has come: one word, and which of its neurons are to be emitted. Kept is by how much a
        # potential is above the threshold, because then one row of adders compares and keeps.
        kept = Signal(data.ArrayLayout(config.accumulator_bits, lanes))
        kept_part = Signal.like(part)
        next_part = Signal.like(part)
        pending = Signal(lanes)  # after the current one
        current = Signal(lanes)  # one-hot
        row_ends = Signal()  # it is the last word of its row
        layer_ends = Signal()  # and of the layer
        leaving = Signal()  # the last candidate of the word leaves, or it has none
        gone = Signal()  # it has left

        above = [(potential - self.threshold)[:config.accumulator_bits + 1]
                 for potential in self.potentials]
        candidates = Signal(lanes)
        m.d.comb += candidates.eq(~Cat(difference[-1] for difference in above))

        m.d.sync += [self.pooled.eq(self.pool_last != 0), self.left.eq(arrived & here.end)]
        rest = Signal(lanes)  # pending without its first one
        free = Signal()
        holding = Signal()  # a word is kept whose place is still needed
        has_pending = Signal()
        has_current = Signal()  # a register of its own, because it decides about much
        # Nothing but registers stops the membrane memory: so the next word comes one cycle later
        # than it might, which pooled codes need anyway to meet in the map.
        fresh = Signal()  # the word kept has just come
        blocked = Signal()  # it has candidates left
        m.d.sync += [
            fresh.eq(arrived), blocked.eq(holding & (has_pending | (has_current & ~free))),
        ]
        m.d.comb += [
            has_pending.eq(pending.any()),
            rest.eq(pending & ~lowest_set(pending)),
            free.eq(~self.o.valid | self.o.ready),
            leaving.eq(holding & ~has_pending & (free | ~has_current)),
            self.stall.eq(self.sweeping & (blocked | fresh)),
            arrived.eq(self.sweeping & ~self.stall),
            self.busy.eq(active | in_row | self.ask | sent | self.coming | self.sweeping | holding
                         | gone | self.o.valid),
        ]

        # One word at a time, so that it need not wait when it comes: until then the current
        # candidate leaves, if nothing stops it. While nobody minds waiting, one after another.
        alone, more, row_begins = Signal(), Signal(), Signal()
        m.d.comb += [
            alone.eq(~self.ask & ~sent & ~self.coming & ~self.sweeping
                     & (~holding | (~has_pending & self.spiking))),
            asked.end.eq(asked_end),
            asked.final.eq(asked_end & ~active),
            asked.pixel.eq(part == self.last_word),
            row_begins.eq(active & may & (~in_row | (self.ask & asked_end))),
            more.eq((in_row & ~(self.ask & asked_end)) | row_begins),
        ]
        with m.If(~(self.ask & self.stall)):
            m.d.sync += self.ask.eq(more & (self.quiet | alone))
            with m.If(more & self.quiet & ~alone):
                m.d.sync += self.rapid.eq(1)
            with m.Elif(~self.ask & ~sent & ~self.coming & ~self.sweeping):
                m.d.sync += self.rapid.eq(0)
        with m.If(~self.stall):
            m.d.sync += here.eq(coming)
            if config.weight_latency == 1:
                m.d.sync += coming.eq(asked)
            else:
                # The memory's answer waits as updates do, for their weights.
                waiting = Signal(known)
                m.d.sync += [sent.eq(self.ask), waiting.eq(asked), coming.eq(waiting)]
        with m.If(self.ask & ~self.stall):
            m.d.sync += [
                words_left.eq(words_left - 1),
                asked_end.eq(words_left == 1),
                in_row.eq(~asked_end),
                part.eq(part + 1),
                self.word.eq(Mux(
                    self.word == self.membrane_last, self.membrane_base, self.word + 1)),
                self.bias.eq(self.bias + 1),
            ]
            with m.If(asked.pixel):
                m.d.sync += [part.eq(0), self.bias.eq(self.bias_base)]
        m.d.sync += may.eq(self.ready)
        with m.If(row_begins & ~(self.ask & self.stall)):
            m.d.sync += [
                may.eq(0),
                in_row.eq(1),
                words_left.eq(self.sweep_last),
                asked_end.eq(self.sweep_last == 0),
                self.row.eq(self.row + 1),
                active.eq(self.row != self.rows_last),
            ]

        # Where the pixel's codes go. In a window of pooling, always to the same place.
        row_place = Signal(config.neuron_bits)
        pixel = Signal(config.neuron_bits)
        across, down = Signal.like(self.pool_last), Signal.like(self.pool_last)

        # A signal without bits would have two in Verilog: a lane alone has no number.
        lane = slot = Const(0, 0)
        if lanes > 1:
            lane, slot = Signal(lane_bits), Signal(lane_bits)
            m.d.comb += [
                lane.eq(encode(current, lane_bits)), slot.eq(Mux(self.halves, lane >> 1, lane)),
            ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(has_current),
                self.o.p.channel.eq(Cat(lane, kept_part)),
                self.o.p.place.eq(pixel + Cat(slot, kept_part)),
                self.o.p.above.eq(select(current, list(kept))),
                self.o.p.last.eq(layer_ends & ~has_pending),
            ]
        with m.If(free | ~has_current):
            m.d.sync += [
                current.eq(lowest_set(pending)),
                has_current.eq(has_pending),
                pending.eq(rest),
            ]
        with m.If(leaving):
            m.d.sync += holding.eq(0)
        with m.If(arrived):
            m.d.sync += [
                holding.eq(1),
                *(kept[n].eq(difference) for n, difference in enumerate(above)),
                kept_part.eq(next_part),
                next_part.eq(Mux(here.pixel, 0, next_part + 1)),
                pending.eq(candidates),
                row_ends.eq(here.end),
                layer_ends.eq(here.final),
            ]

        # Its place is left behind one cycle later, when the next word may be here already.
        pixel_ended, row_ended = Signal(), Signal()
        m.d.sync += [
            gone.eq(leaving), pixel_ended.eq(kept_part == self.last_word), row_ended.eq(row_ends),
        ]
        m.d.comb += self.written.eq(
            gone & ((row_ended & (down == self.pool_last)) | (self.pitch == 0)))
        with m.If(gone):
            with m.If(pixel_ended):
                m.d.sync += across.eq(across + 1)
                with m.If(across == self.across_last):
                    m.d.sync += [across.eq(0), pixel.eq(pixel + self.pitch)]
            with m.If(row_ended):
                m.d.sync += [across.eq(0), down.eq(down + 1), pixel.eq(row_place)]
                with m.If(down == self.pool_last):
                    m.d.sync += [
                        down.eq(0),
                        row_place.eq(row_place + (self.destination_row << config.slot_bits)),
                        pixel.eq(row_place + (self.destination_row << config.slot_bits)),
                    ]
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                may.eq(0),
                self.row.eq(0),
                self.word.eq(self.membrane_base),
                self.bias.eq(self.bias_base),
                part.eq(0),
                next_part.eq(0),
                row_place.eq(self.destination_base << config.slot_bits),
                pixel.eq(self.destination_base << config.slot_bits),
                across.eq(0),
                down.eq(0),
            ]
        return m
