# SPDX-License-Identifier: Apache-2.0
"""Takes the words of a map apart: an event for each code that is not silence."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.map_reader import MapWordPort, position_layout
from ttfs_fpga.hdl.onehot import encode, lowest_set, select, several
from ttfs_fpga.hdl.ports import WipePort, entry_layout
from ttfs_fpga.hdl.shapes import event_shape

__all__ = ["EventPicker"]


class EventPicker(wiring.Component):
    """Gives the events of each word in the order of its slots, and the end of a row behind them.

    Throughput: one transfer a cycle, and one word without any a cycle. Latency: 2 cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    entry : In(entry_layout(config, FIELDS))
        The map. Must hold while ``busy``.
    i : In(MapWordPort(config))
        Words.
    wipe : Out(WipePort(config))
        Makes a word with events silent, if nobody else reads the map.
    o : Out(stream.Signature(event_shape(config)))
        Events and ends of rows.
    busy : Out(1)
        Something of a word that was taken is left.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("slot_shift", "clears")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "entry": In(entry_layout(config, self.FIELDS)),
            "i": In(MapWordPort(config)),
            "wipe": Out(WipePort(config)),
            "o": Out(stream.Signature(event_shape(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, word = self._config, self.i
        slots = config.codes_per_word
        # Which slot is next is chosen one cycle ahead, because what follows, up to the map's read
        # enable, is one level of logic after another already. The end of a row is one more slot.
        fresh = Signal(slots + 1)  # slots of the word at ``i`` with an event
        current = Signal(slots + 1)  # one-hot: the slot whose event is next
        waiting = Signal(slots + 1)  # slots after it
        # Whether there are any: registers of their own, because they decide about much.
        has_current, has_waiting = Signal(), Signal()
        codes = Signal(data.ArrayLayout(config.tick_bits, slots))
        position = Signal(position_layout(config))
        free = Signal()
        m.d.comb += [
            fresh.eq(Cat(*(code.any() for code in word.codes), word.position.row_ends)
                     & word.valid.replicate(slots + 1)),
            free.eq(~self.o.valid | self.o.ready),
            # Nothing of the word before will be left after this cycle.
            word.ready.eq(
                (~has_current | (free & ~has_waiting)) & (~self.wipe.valid | self.wipe.ready)),
            self.wipe.word.eq(position.number),
            self.busy.eq(has_current | self.o.valid | self.wipe.valid),
        ]

        def choose(candidates):
            first = lowest_set(candidates)
            m.d.sync += [
                current.eq(first), waiting.eq(candidates & ~first),
                has_waiting.eq(several(candidates)),
            ]

        with m.If(self.wipe.ready):
            m.d.sync += self.wipe.valid.eq(0)
        with m.If(free):
            self._emit(m, current, codes, position)
            m.d.sync += [self.o.valid.eq(has_current), has_current.eq(has_waiting)]
            choose(waiting)
        with m.If(word.ready):
            m.d.sync += [
                self.wipe.valid.eq(self.entry.clears & fresh[:slots].any()),
                has_current.eq(fresh.any()),
                position.eq(word.position),
                codes.eq(word.codes),
            ]
            choose(fresh)
        return m

    def _emit(self, m, current, codes, position):
        """The event of the current slot."""
        slot_bits, event = self._config.slot_bits, self.o.p
        slot = Signal(slot_bits)
        m.d.comb += slot.eq(encode(current[:-1], slot_bits))
        # A word holds whole pixels or is part of one: nothing has to be added.
        within = Array((1 << shift) - 1 for shift in range(slot_bits + 1))[self.entry.slot_shift]
        m.d.sync += [
            event.column.eq(position.column | (slot >> self.entry.slot_shift)),
            event.channel.eq(Cat(slot & within, position.chunk)),
            event.place.eq(Cat(slot, position.number)),
            event.code.eq(select(current[:-1], list(codes))),
            event.end.eq(current[-1]),
        ]
