"""The ``serial`` datapath: every lane shifts its weight by the place of a pulse and accumulates."""

from amaranth.hdl import Module, Signal, signed

from ttfs_fpga.hdl.datapaths.lanes import Lanes
from ttfs_fpga.hdl.onehot import encode

__all__ = ["SerialLanes"]


class SerialLanes(Lanes):
    """P lanes of ``V += w << n``, one word of P neurons a cycle: few-spike synapses, no multiplier.

    A code of which only bit n is set is a pulse of the few-spike train of an activation (see
    :class:`hdl.datapaths.pulses.Pulses`); the pulses of one event add up to ``w · a``.

    In step with :class:`hdl.core.membrane.Membrane`, as :class:`hdl.datapaths.mac.MacLanes` is: (0)
    the code comes, and the weights' address is at the weight memory; (1) the shifted weight is
    registered; (2) it is added to the potential. Additions wrap around; the compiler has shown that
    no final value does.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    i : In(OperandPort(config, code_operand_shape(config)))
        A pulse, stage 0: exactly one bit is set in the code of an update. P weights, stage 1.
    memory : In(LanesPort(config))
        What the membrane memory has, and what it gets, stage 2.
    """

    def elaborate(self, platform):
        m = Module()
        config = self._config
        place = Signal(range(config.tick_bits))
        m.d.sync += place.eq(encode(self.i.operand.code, len(place)))
        for lane in range(config.lanes):
            shifted = Signal(
                signed(config.weight_bits + config.tick_bits - 1), name=f"shifted{lane}")
            m.d.sync += shifted.eq(self.i.weights[lane] << place)
            m.d.comb += self.memory.sums[lane].eq(self.memory.potentials[lane] + shifted)
        return m
