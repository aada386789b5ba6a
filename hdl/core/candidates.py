# SPDX-License-Identifier: Apache-2.0
"""Picks the neurons that may fire out of a word of the membrane memory, one by one."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.word_requests import swept_layout
from ttfs_fpga.hdl.onehot import encode, lowest_set, select
from ttfs_fpga.hdl.ports import RunPort, entry_layout
from ttfs_fpga.hdl.shapes import candidate_shape

__all__ = ["LEFT", "CandidatePicker"]

#: A ``word`` has been left behind; it was the last one of its pixel, of its row.
LEFT = data.StructLayout({"word": 1, "pixel_ends": 1, "row_ends": 1})


class CandidatePicker(wiring.Component):
    """Compares the potentials of a word with the threshold, and gives those that reach it.

    The word is kept here meanwhile: by how much each potential is above the threshold, because then
    one row of adders compares and keeps.

    Throughput: a word with n candidates takes ``n + 2`` cycles. Latency: 3 cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A new layer; busy while a word is kept or a candidate is offered.
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while busy.
    i : In(stream.Signature(swept_layout(config)))
        Words.
    spare : Out(1)
        The word will have left when another one comes that is asked for now.
    pixel : In(config.neuron_bits)
        Where codes of the word's pixel go.
    left : Out(LEFT)
        A word has left, in the cycle after its last candidate has; ``pixel`` may change then.
    o : Out(stream.Signature(candidate_shape(config)))
        Candidates in the order of lanes.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("fire_threshold", "last_word", "halves", "spiking")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "i": In(stream.Signature(swept_layout(config))),
            "spare": Out(1),
            "pixel": In(config.neuron_bits),
            "left": Out(LEFT),
            "o": Out(stream.Signature(candidate_shape(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, entry, word = self._config, self.entry, self.i.p
        threshold = entry.fire_threshold.as_signed()
        above = [(potential - threshold)[:config.accumulator_bits + 1]
                 for potential in word.potentials]
        kept = Signal(data.ArrayLayout(config.accumulator_bits, config.lanes))
        part, next_part = Signal.like(entry.last_word), Signal.like(entry.last_word)  # of a pixel
        row_ends, layer_ends = Signal(), Signal()
        holding = Signal()  # a word is kept whose place is still needed
        pending = Signal(config.lanes)  # candidates after the current one
        current = Signal(config.lanes)  # one-hot
        has_pending = Signal()
        has_current = Signal()  # a register of its own, because it decides about much
        free, leaving, arrives = Signal(), Signal(), Signal()
        m.d.comb += [
            has_pending.eq(pending.any()),
            free.eq(~self.o.valid | self.o.ready),
            # The last candidate of the word leaves, or it has none.
            leaving.eq(holding & ~has_pending & (free | ~has_current)),
            arrives.eq(self.i.valid & self.i.ready),
            self.spare.eq(~holding | (~has_pending & entry.spiking)),
            self.run.busy.eq(holding | self.left.word | self.o.valid),
        ]
        # Nothing but registers stops the membrane memory: so the next word comes one cycle later
        # than it might, which pooled codes need anyway to meet in the map.
        fresh = Signal()  # the word kept has just come
        blocked = Signal()  # it has candidates left
        m.d.sync += [
            fresh.eq(arrives), blocked.eq(holding & (has_pending | (has_current & ~free))),
        ]
        m.d.comb += self.i.ready.eq(~(blocked | fresh))

        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(has_current),
                self.o.p.above.eq(select(current, list(kept))),
                self.o.p.last.eq(layer_ends & ~has_pending),
            ]
            self._place(m, current, part)
        with m.If(free | ~has_current):
            m.d.sync += [
                current.eq(lowest_set(pending)), has_current.eq(has_pending),
                pending.eq(pending & ~lowest_set(pending)),
            ]
        with m.If(leaving):
            m.d.sync += holding.eq(0)
        with m.If(arrives):
            m.d.sync += [
                holding.eq(1),
                *(kept[n].eq(difference) for n, difference in enumerate(above)),
                pending.eq(~Cat(difference[-1] for difference in above)),
                part.eq(next_part), next_part.eq(Mux(word.pixel_ends, 0, next_part + 1)),
                row_ends.eq(word.row_ends), layer_ends.eq(word.layer_ends),
            ]
        with m.If(self.run.start):
            m.d.sync += next_part.eq(0)
        # Its place is left behind one cycle later, when the next word may be here already.
        m.d.sync += [
            self.left.word.eq(leaving), self.left.pixel_ends.eq(part == entry.last_word),
            self.left.row_ends.eq(row_ends),
        ]
        return m

    def _place(self, m, current, part):
        """Number and place of the current candidate."""
        lanes, lane_bits = self._config.lanes, self._config.lane_bits
        # A signal without bits would have two in Verilog: a lane alone has no number.
        lane = slot = Const(0, 0)
        if lanes > 1:
            lane, slot = Signal(lane_bits), Signal(lane_bits)
            m.d.comb += [
                lane.eq(encode(current, lane_bits)),
                slot.eq(Mux(self.entry.halves, lane >> 1, lane)),
            ]
        m.d.sync += [
            self.o.p.channel.eq(Cat(lane, part)), self.o.p.place.eq(self.pixel + Cat(slot, part)),
        ]
