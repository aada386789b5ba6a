# SPDX-License-Identifier: Apache-2.0
"""The read-out: logits and the winner of the output layer."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import logit_shape, potential_shape

__all__ = ["Readout"]


class Readout(wiring.Component):
    """Passes on the output layer's potentials as logits and keeps the argmax.

    Ties go to the lowest index: a later logit must be larger to win. Latency: one cycle.
    Throughput: one logit a cycle.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    i : In(stream.Signature(potential_shape(config)))
        Potentials in order, from neuron 0 to the one with ``last``.
    forget : In(1)
        The next potential is one of neuron 0.
    o : Out(stream.Signature(logit_shape(config)))
        Logits; ``winner`` is the argmax of those so far.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(potential_shape(config))),
            "forget": In(1),
            "o": Out(stream.Signature(logit_shape(config))),
        })

    def elaborate(self, platform):
        m = Module()
        best = Signal(signed(self._config.accumulator_bits))
        index = Signal.like(self.o.p.index)  # potentials come in order: counting them will do
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid),
                self.o.p.index.eq(index),
                self.o.p.value.eq(self.i.p.potential),
                self.o.p.last.eq(self.i.p.last),
            ]
            with m.If(self.i.valid):
                m.d.sync += index.eq(Mux(self.i.p.last, 0, index + 1))
                with m.If((index == 0) | (self.i.p.potential > best)):
                    m.d.sync += [best.eq(self.i.p.potential), self.o.p.winner.eq(index)]
        with m.If(self.forget):
            m.d.sync += index.eq(0)
        return m
