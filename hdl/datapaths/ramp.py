"""The ``ramp`` datapath: spikes raise slopes, and at every tick slopes raise potentials."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, ValueLike, signed
from amaranth.lib import data

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.lanes import Lanes, Use
from ttfs_fpga.hdl.shapes import ramp_operand_shape, ramp_update_shape

__all__ = ["RampLanes"]


class RampLanes(Lanes):
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

    @classmethod
    def operand_shape(cls, config: CoreConfig) -> data.StructLayout:
        """How lanes are told what to add."""
        return ramp_operand_shape()

    @classmethod
    def update_shape(cls, config: CoreConfig) -> data.StructLayout:
        """What comes from the sequencer."""
        return ramp_update_shape(config)

    @classmethod
    def of_update(cls, valid: ValueLike, update: Any) -> Use:
        """What an update is, if it is ``valid``: if not, the operand stays."""
        return Use(
            {name: valid & update[name] for name in ("event", "zero", "keep")},
            sweep=valid & update.sweep, peek=valid & update.peek)

    @classmethod
    def of_bias(cls, write: Any) -> Use:
        """What a write of :func:`hdl.shapes.membrane_write_shape` is."""
        return Use(
            {"event": write.code[0], "zero": write.keep, "keep": write.keep}, peek=write.keep)

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
