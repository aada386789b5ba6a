"""The sweep: reads a layer's potentials and passes on, one by one, those that matter."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hdl.config import CoreConfig
from hdl.onehot import encode, lowest_set, select
from hdl.shapes import potential_shape

__all__ = ["Sweep"]


class Sweep(wiring.Component):
    """Sweeps the W words of a layer after its input window has closed.

    In a spiking layer one comparison a lane, ``V >= threshold``, tells which neurons may fire; a
    priority encoder emits them in raster order. In the output layer every neuron is emitted.

    A layer of one word has its partial sums in two copies (see :class:`hdl.sequencer.Sequencer`),
    which are read in turn for each of its neurons and added; every neuron is emitted then, and the
    requantiser alone decides who fires.

    Throughput: ``2W + F`` cycles for F emitted potentials, if ``o`` is always ready. Comparison,
    choice and multiplexer are one stage each, because together they are too slow.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        Begin; only while not ``busy``.
    base, last_word, last_lane : In
        First membrane word, W - 1, and the lane of neuron N - 1 in the last word.
    paired, other : In
        There are two copies, and the first membrane word of the second; taken with ``start``.
    spiking, threshold : In
        Kind of layer, and the smallest potential that may fire. All must hold until ``busy`` falls.
    read, enable, potentials
        Read port of the membrane memory.
    o : Out(stream.Signature(potential_shape(config)))
        Potentials in raster order; ``last`` marks neuron N - 1 of an output layer.
    busy : Out(1)
        From the cycle after ``start`` until the last potential has been taken.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "base": In(config.membrane_address_bits),
            "last_word": In(config.membrane_address_bits),
            "paired": In(1),
            "other": In(config.membrane_address_bits),
            "last_lane": In(exact_log2(config.lanes)),
            "spiking": In(1),
            "threshold": In(signed(config.accumulator_bits)),
            "read": Out(config.membrane_address_bits),
            "enable": Out(1),
            "potentials": In(
                data.ArrayLayout(signed(config.accumulator_bits), config.lanes)),
            "o": Out(stream.Signature(potential_shape(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self._config.lanes
        lane_bits = exact_log2(lanes)

        fetched = Signal.like(self.last_word)
        fetching = Signal()  # words remain to be read
        address = Signal.like(self.read)
        paired = Signal()
        second = Signal()  # potentials is the second copy
        spare = Signal.like(address)  # the address of the other copy
        fresh = Signal()  # potentials is a word not looked at yet
        word = Signal(max(1, self._config.neuron_bits + 1 - lane_bits))
        pending = Signal(lanes)  # its neurons to be emitted after this one
        current = Signal(lanes)  # one-hot: its neuron to be emitted

        # Lanes of the last word beyond neuron N - 1 hold nothing.
        final_lanes = Signal(lanes)
        with m.Switch(self.last_lane):
            for n in range(lanes):
                with m.Case(n):
                    m.d.sync += final_lanes.eq((2 << n) - 1)
        candidates = Signal(lanes)
        for n in range(lanes):
            m.d.comb += candidates[n].eq(
                (~self.spiking | (self.potentials[n] >= self.threshold))
                & (fetching | final_lanes[n]))

        # One neuron's sum of both copies, or its only potential: then nothing is added to it.
        selected = Signal(self._config.accumulator_bits)
        partial = Signal.like(selected)
        last_of_pair = Signal()
        m.d.comb += [
            selected.eq(select(
                current, [potential.as_unsigned() for potential in self.potentials])),
            last_of_pair.eq(~(final_lanes & (current << 1)[:lanes]).any()),
        ]

        lowest = Signal(lanes)
        free = Signal()
        finished = Signal()  # nothing of the word in potentials will be left after this cycle
        m.d.comb += [
            lowest.eq(lowest_set(pending)),
            free.eq(~self.o.valid | self.o.ready),
            finished.eq(~fresh & ~pending.any() & (free | ~current.any())),
            self.read.eq(address),
            self.enable.eq(
                Mux(paired & ~fetching, current.any() & (free | ~second), fetching & finished)),
            self.busy.eq(fetching | fresh | pending.any() | current.any() | self.o.valid),
        ]

        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(current.any() & (second | ~paired)),
                self.o.p.neuron.eq(Cat(encode(current, lane_bits), word)),
                self.o.p.potential.eq(selected + partial),
                self.o.p.last.eq(Mux(paired, last_of_pair, ~fetching & ~pending.any())),
            ]
        with m.If(paired):
            with m.If(fresh):
                m.d.sync += current.eq(1)
            with m.Elif(self.enable & ~fetching):
                m.d.sync += [second.eq(~second), partial.eq(selected)]
                with m.If(second):
                    m.d.sync += [partial.eq(0), current.eq(Mux(last_of_pair, 0, current << 1))]
        with m.Else():
            with m.If(free | ~current.any()):
                m.d.sync += [current.eq(lowest), pending.eq(pending & ~lowest)]
            with m.If(fresh):
                m.d.sync += pending.eq(candidates)
        m.d.sync += fresh.eq(self.enable & fetching)
        with m.If(self.enable):
            m.d.sync += [address.eq(Mux(paired, spare, address + 1)), spare.eq(address)]
            with m.If(fetching):
                m.d.sync += [
                    word.eq(fetched),
                    fetched.eq(fetched + 1),
                    fetching.eq(fetched != self.last_word),
                ]
        with m.If(self.start):
            m.d.sync += [
                address.eq(self.base),
                spare.eq(self.other),
                paired.eq(self.paired),
                fetched.eq(0),
                fetching.eq(1),
            ]
        return m
