# SPDX-License-Identifier: Apache-2.0
"""The logit gate: candidates to be requantised, or, in the output layer, to be read out."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import AdderPort
from ttfs_fpga.hdl.shapes import candidate_shape, potential_shape

__all__ = ["LogitGate"]


class LogitGate(wiring.Component):
    """Passes candidates of hidden layers to the requantiser, and those of the output layer on.

    Logits go through the requantiser's adder, because there is no other; so they leave a cycle
    after they came. The last one ends the image: it waits here for rows of the source that reach no
    output.

    Latency: none to the requantiser, one cycle to the read-out. Throughput: one a cycle.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    spiking : In(1)
        The layer that fires is a hidden one.
    settled : In(1)
        It has accumulated; see :class:`hdl.ports.FiringPort`.
    i : In(stream.Signature(candidate_shape(config)))
        Candidates.
    candidates : Out(stream.Signature(candidate_shape(config), always_ready=True))
        Those of hidden layers; the payload is any other layer's too.
    adder : Out(AdderPort(config))
        The requantiser's.
    o : Out(stream.Signature(potential_shape(config)))
        Potentials of the output layer.
    answered : Out(1)
        The last of them was taken.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "spiking": In(1),
            "settled": In(1),
            "i": In(stream.Signature(candidate_shape(config))),
            "candidates": Out(stream.Signature(candidate_shape(config), always_ready=True)),
            "adder": Out(AdderPort(config)),
            "o": Out(stream.Signature(potential_shape(config))),
            "answered": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        added = Signal()  # a logit has come out of the adder
        last = Signal()  # it is the last one
        may_leave, moves, arrives = Signal(), Signal(), Signal()
        m.d.comb += [
            may_leave.eq(~last | self.settled),
            moves.eq(self.o.ready & may_leave),
            arrives.eq(self.i.valid & ~self.spiking),
        ]
        with m.If(moves):
            m.d.sync += [added.eq(arrives), last.eq(arrives & self.i.p.last)]
        m.d.comb += [
            self.i.ready.eq(self.spiking | self.o.ready),
            self.candidates.valid.eq(self.i.valid & self.spiking),
            self.candidates.p.eq(self.i.p),
            self.adder.hold.eq(~self.spiking & ~moves),
            self.o.valid.eq(added & may_leave),
            self.o.p.potential.eq(self.adder.potential),
            self.o.p.last.eq(last),
            self.answered.eq(self.o.valid & self.o.ready & self.o.p.last),
        ]
        return m
