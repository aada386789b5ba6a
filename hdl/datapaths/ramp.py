"""The ``ramp`` datapath: spikes raise slopes, and at every tick slopes raise potentials."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import LanesPort, OperandPort
from ttfs_fpga.hdl.shapes import ramp_operand_shape

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
    i : In(OperandPort(config, ramp_operand_shape()))
        What begins adds weights (``event``) or 0 (``zero``), otherwise what was kept, stage 0. With
        ``keep`` its sum is kept: then what begins in the next cycle must be neither an event nor
        ``zero``. P weights, stage 1.
    memory : In(LanesPort(config))
        What the membrane memory has, and what it gets, stage 2.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "i": In(OperandPort(config, ramp_operand_shape())),
            "memory": In(LanesPort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        event, zero = Signal(), Signal()
        keep, keeps = Signal(), Signal()
        m.d.sync += [
            event.eq(self.i.operand.event), zero.eq(self.i.operand.zero),
            keep.eq(self.i.operand.keep), keeps.eq(keep),
        ]
        for lane in range(config.lanes):
            operand = Signal(signed(config.accumulator_bits), name=f"operand{lane}")
            with m.If(zero):
                m.d.sync += operand.eq(0)
            with m.Elif(event | keeps):
                m.d.sync += operand.eq(
                    Mux(keeps, self.memory.sums[lane], self.i.weights[lane]))
            m.d.comb += self.memory.sums[lane].eq(self.memory.potentials[lane] + operand)
        return m
