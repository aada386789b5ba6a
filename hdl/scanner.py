"""The scanner: from a spike-time map to events, skipping silence."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hdl.config import CoreConfig
from hdl.shapes import code_shape

__all__ = ["Scanner"]


class Scanner(wiring.Component):
    """Reads a map word by word and emits one event for each neuron that fired, in raster order.

    Throughput: one event a cycle while the words have any, and one word without events a cycle:
    ``Σ_words max(1, events in the word)`` cycles if ``o`` is always ready. Latency: the first event
    is valid 3 cycles after ``start``.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        Begin; only while not ``busy``.
    base, words : In
        First map word and how many to scan; must hold from ``start`` on until ``busy`` falls.
    map_address, map_enable, map_data
        Read port of the map: data one cycle after address, held while not enabled.
    o : Out(stream.Signature(code_shape(config)))
        Events; ``neuron`` counts from the start of the scan.
    busy : Out(1)
        From the cycle after ``start`` until the last event has been taken.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "base": In(config.map_address_bits),
            "words": In(config.map_address_bits + 1),
            "map_address": Out(config.map_address_bits),
            "map_enable": Out(1),
            "map_data": In(config.map_width),
            "o": Out(stream.Signature(code_shape(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        slots = self._config.codes_per_word
        slot_bits = exact_log2(slots)
        codes = [self.map_data.word_select(n, self._config.tick_bits) for n in range(slots)]

        fetched = Signal.like(self.words)  # words asked for so far
        fetching = Signal()  # words remain to be asked for
        address = Signal.like(self.map_address)
        have = Signal()  # map_data is a word of this scan
        word = Signal(self._config.neuron_bits - slot_bits)  # its number
        emitted = Signal(slots)  # its slots whose events are out

        waiting = Signal(slots)
        m.d.comb += waiting.eq(Cat(code.any() for code in codes) & ~emitted & have.replicate(slots))
        slot = Signal(slot_bits)
        lowest = Signal(slots)
        for n in reversed(range(slots)):
            with m.If(waiting[n]):
                m.d.comb += [slot.eq(n), lowest.eq(1 << n)]

        free = Signal()
        finished = Signal()  # nothing of the word in map_data will be left after this cycle
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            finished.eq(~have | ~waiting.any() | (free & (waiting == lowest))),
            self.map_enable.eq(fetching & finished),
            self.map_address.eq(address),
            self.busy.eq(fetching | have | self.o.valid),
        ]

        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(waiting.any()),
                self.o.p.neuron.eq(Cat(slot, word)),
                self.o.p.code.eq(Mux(waiting.any(), self.map_data.word_select(
                    slot, self._config.tick_bits), 0)),
                emitted.eq(emitted | lowest),
            ]
        with m.If(finished):
            m.d.sync += [
                emitted.eq(0),
                have.eq(fetching),
                word.eq(fetched),
            ]
            with m.If(fetching):
                m.d.sync += [
                    address.eq(address + 1),
                    fetched.eq(fetched + 1),
                    fetching.eq(fetched + 1 != self.words),
                ]
        with m.If(self.start):
            m.d.sync += [
                address.eq(self.base),
                fetched.eq(0),
                fetching.eq(self.words != 0),
            ]
        return m
