"""The scanner: from a spike-time map to events, skipping silence."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hdl.config import CoreConfig
from hdl.onehot import encode, lowest_set, select
from hdl.shapes import code_shape

__all__ = ["Scanner"]


class Scanner(wiring.Component):
    """Reads a map word by word and emits one event for each neuron that fired, in raster order.

    Throughput: one event a cycle while the words have any, and one word without events a cycle:
    ``Σ_words max(1, events in the word)`` cycles if ``o`` is always ready. Latency: the first event
    is valid 4 cycles after ``start``.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        Begin; only while not ``busy``.
    base : In
        Map word of neuron 0.
    first, last : In
        Numbers of the first and the last word to scan, counted from ``base``. ``last`` must hold
        until ``busy`` falls.
    empty : In(1)
        There is nothing to scan.
    map_address, map_enable, map_data
        Read port of the map: data one cycle after address, held while not enabled.
    o : Out(stream.Signature(code_shape(config)))
        Events; ``neuron`` counts from ``base``.
    busy : Out(1)
        From the cycle after ``start`` until the last event has been taken.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "base": In(config.map_address_bits),
            "first": In(config.map_address_bits),
            "last": In(config.map_address_bits),
            "empty": In(1),
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
        arriving = [self.map_data.word_select(n, self._config.tick_bits) for n in range(slots)]

        fetched = Signal.like(self.last)  # number of the word to be asked for
        fetching = Signal()  # words remain to be asked for
        address = Signal.like(self.map_address)
        have = Signal()  # map_data is a word of this scan
        coming = Signal(self._config.neuron_bits - slot_bits)  # its number

        # The word whose events go out. Which slot is next is chosen one cycle ahead, because what
        # follows, up to the map's read enable, is one level of logic after another already.
        codes = [Signal(self._config.tick_bits, name=f"code{n}") for n in range(slots)]
        current = Signal(slots)  # one-hot: the slot whose event is next
        waiting = Signal(slots)  # slots after it
        word = Signal.like(coming)
        fresh = Signal(slots)  # slots of map_data with an event

        free = Signal()
        drained = Signal()  # nothing of the word will be left after this cycle
        m.d.comb += [
            fresh.eq(Cat(code.any() for code in arriving) & have.replicate(slots)),
            free.eq(~self.o.valid | self.o.ready),
            drained.eq(~current.any() | (free & ~waiting.any())),
            self.map_enable.eq(fetching & (drained | ~have)),
            self.map_address.eq(address),
            self.busy.eq(fetching | have | current.any() | self.o.valid),
        ]

        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(current.any()),
                self.o.p.neuron.eq(Cat(encode(current, slot_bits), word)),
                self.o.p.code.eq(select(current, codes)),
                current.eq(lowest_set(waiting)),
                waiting.eq(waiting & ~lowest_set(waiting)),
            ]
        with m.If(drained):
            m.d.sync += [
                current.eq(lowest_set(fresh)),
                waiting.eq(fresh & ~lowest_set(fresh)),
                word.eq(coming),
            ]
            m.d.sync += [code.eq(new) for code, new in zip(codes, arriving, strict=True)]
        with m.If(drained | ~have):
            m.d.sync += [have.eq(fetching), coming.eq(fetched)]
        with m.If(self.map_enable):
            m.d.sync += [
                address.eq(address + 1),
                fetched.eq(fetched + 1),
                fetching.eq(fetched != self.last),
            ]
        with m.If(self.start):
            m.d.sync += [
                address.eq(self.base + self.first),
                fetched.eq(self.first),
                fetching.eq(~self.empty),
            ]
        return m
