"""The ``ramp`` datapath: spikes raise slopes, and at every tick slopes raise potentials."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig

__all__ = ["RampLanes"]


class RampLanes(wiring.Component):
    """P lanes of ``S += w`` and ``V += S`` (docs/theory.md, section 4): adders, no multiplier.

    In step with :class:`hdl.core.membrane.Membrane`: (0) an operation begins; (1) if it is an
    event's, the weights are taken as the operand; (2) the operand is added to the potential, and
    the sum may be kept as the operand of the next operation. The operand stays until it is
    replaced. So whoever updates a slope S and keeps it, and then updates a potential V, adds one to
    the other, however much later. Additions wrap around; the compiler has shown that no final value
    does.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    event, zero : In(1)
        What begins adds weights, or 0, stage 0. Otherwise it adds what was kept.
    keep : In(1)
        Keep the sum of what begins, stage 0. What begins in the next cycle must be neither an event
        nor ``zero``.
    weights : In
        P weights, stage 1.
    potentials, sums
        What the membrane memory has, and what it gets, stage 2.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        lanes = data.ArrayLayout(signed(config.accumulator_bits), config.lanes)
        super().__init__({
            "event": In(1),
            "zero": In(1),
            "keep": In(1),
            "weights": In(data.ArrayLayout(signed(config.weight_bits), config.lanes)),
            "potentials": In(lanes),
            "sums": Out(lanes),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        event, zero = Signal(), Signal()
        keep, keeps = Signal(), Signal()
        m.d.sync += [
            event.eq(self.event), zero.eq(self.zero), keep.eq(self.keep), keeps.eq(keep),
        ]
        for lane in range(config.lanes):
            operand = Signal(signed(config.accumulator_bits), name=f"operand{lane}")
            with m.If(zero):
                m.d.sync += operand.eq(0)
            with m.Elif(event | keeps):
                m.d.sync += operand.eq(Mux(keeps, self.sums[lane], self.weights[lane]))
            m.d.comb += self.sums[lane].eq(self.potentials[lane] + operand)
        return m
