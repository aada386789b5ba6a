"""The sweep: reads a layer's potentials and passes on, one by one, those that matter."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hdl.config import CoreConfig
from hdl.shapes import potential_shape

__all__ = ["Sweep"]


class Sweep(wiring.Component):
    """Sweeps the W words of a layer after its input window has closed.

    In a spiking layer one comparison a lane, ``V >= threshold``, tells which neurons may fire; a
    priority encoder emits them in raster order. In the output layer every neuron is emitted.

    Throughput: ``W + F`` cycles for F emitted potentials, if ``o`` is always ready.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        Begin; only while not ``busy``.
    base, neurons, spiking, threshold : In
        First membrane word, N, kind of layer and smallest potential that may fire; must hold
        until ``busy`` falls.
    words : In
        W.
    read, enable, potentials
        Read port of the membrane memory.
    o : Out(stream.Signature(potential_shape(config)))
        Potentials in raster order; ``last`` marks neuron N - 1.
    busy : Out(1)
        From the cycle after ``start`` until the last potential has been taken.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "base": In(config.membrane_address_bits),
            "words": In(config.membrane_address_bits + 1),
            "neurons": In(config.neuron_bits + 1),
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

        fetched = Signal.like(self.words)
        fetching = Signal()  # words remain to be read
        address = Signal.like(self.read)
        fresh = Signal()  # potentials is a word not looked at yet
        word = Signal(max(1, self._config.neuron_bits + 1 - lane_bits))
        pending = Signal(lanes)  # its neurons to be emitted

        candidates = Signal(lanes)
        for n in range(lanes):
            m.d.comb += candidates[n].eq(
                ~self.spiking | (self.potentials[n] >= self.threshold))
        lane = Signal(lane_bits)
        lowest = Signal(lanes)
        for n in reversed(range(lanes)):
            with m.If(pending[n]):
                m.d.comb += [lane.eq(n), lowest.eq(1 << n)]

        neuron = Signal(self._config.neuron_bits)
        last = Signal()
        free = Signal()
        emit = Signal()
        finished = Signal()  # nothing of the word in potentials will be left after this cycle
        m.d.comb += [
            neuron.eq(Cat(lane, word)),
            last.eq(neuron + 1 == self.neurons),
            free.eq(~self.o.valid | self.o.ready),
            emit.eq(free & pending.any()),
            finished.eq(~(fresh & candidates.any())
                        & (~pending.any() | (emit & (pending == lowest)))),
            self.read.eq(address),
            self.enable.eq(fetching & finished),
            self.busy.eq(fetching | fresh | pending.any() | self.o.valid),
        ]

        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(pending.any()),
                self.o.p.neuron.eq(neuron),
                self.o.p.potential.eq(
                    self.potentials.as_value().word_select(
                        lane, self._config.accumulator_bits).as_signed()),
                self.o.p.last.eq(last),
            ]
        with m.If(fresh):
            m.d.sync += [fresh.eq(0), pending.eq(candidates)]
        with m.Elif(emit):
            # Lanes beyond neuron N - 1 hold nothing.
            m.d.sync += pending.eq(pending & ~lowest & ~last.replicate(lanes))
        with m.If(self.enable):
            m.d.sync += [
                fresh.eq(1),
                word.eq(fetched),
                address.eq(address + 1),
                fetched.eq(fetched + 1),
                fetching.eq(fetched + 1 != self.words),
            ]
        with m.If(self.start):
            m.d.sync += [address.eq(self.base), fetched.eq(0), fetching.eq(1)]
        return m
