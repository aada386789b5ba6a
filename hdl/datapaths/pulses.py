# SPDX-License-Identifier: Apache-2.0
"""Few-spike pulses: an event's code as one pulse for each of its set bits."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.onehot import lowest_set
from ttfs_fpga.hdl.ports import RunPort
from ttfs_fpga.hdl.shapes import event_shape

__all__ = ["Pulses"]


class Pulses(wiring.Component):
    """Makes of each event one event for each set bit of its code, that bit alone as its code.

    This is the spike train that a few-spike neuron of ``tick_bits`` steps would send for the same
    activation: bit ``n`` of the code is a pulse of weight ``2^n``. Pulses of one event follow each
    other, lowest bit first; the sum does not depend on their order. Ends of rows pass as they are.

    Throughput: one pulse a cycle, so an event of n set bits takes n cycles. Latency: one cycle.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        Busy while pulses are left. A new layer needs nothing.
    i : In(stream.Signature(event_shape(config)))
        Events and ends of rows.
    o : Out(stream.Signature(event_shape(config)))
        Pulses and ends of rows.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "i": In(stream.Signature(event_shape(config))),
            "o": Out(stream.Signature(event_shape(config))),
        })

    def elaborate(self, platform):
        m = Module()
        event = Signal(event_shape(self._config))
        pulse = Signal.like(event.code)  # one-hot
        left = Signal.like(event.code)  # bits after it
        more = Signal()  # whether there are any: a register, because i.ready hangs on it
        valid = Signal()
        rest = Signal.like(event.code)
        bits = Mux(self.i.ready, self.i.p.code, left)
        first = lowest_set(bits)
        m.d.comb += [
            rest.eq(bits & ~first),
            self.o.valid.eq(valid),
            self.o.p.eq(event),
            self.o.p.code.eq(pulse),
            self.i.ready.eq(~valid | (self.o.ready & ~more)),
            self.run.busy.eq(valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), event.eq(self.i.p)]
        with m.If(self.i.ready | self.o.ready):
            m.d.sync += [pulse.eq(first), left.eq(rest), more.eq(rest.any())]
        return m
