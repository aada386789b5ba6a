"""The ``serial`` datapath: every lane shifts its weight by the place of a pulse and accumulates."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.onehot import encode

__all__ = ["SerialLanes"]


class SerialLanes(wiring.Component):
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
    code : In(config.tick_bits)
        A pulse, stage 0: exactly one bit is set in that of an update.
    weights : In
        P weights, stage 1.
    potentials, sums
        What the membrane memory has, and what it gets, stage 2.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        lanes = data.ArrayLayout(signed(config.accumulator_bits), config.lanes)
        super().__init__({
            "code": In(config.tick_bits),
            "weights": In(data.ArrayLayout(signed(config.weight_bits), config.lanes)),
            "potentials": In(lanes),
            "sums": Out(lanes),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        place = Signal(range(config.tick_bits))
        m.d.sync += place.eq(encode(self.code, len(place)))
        for lane in range(config.lanes):
            shifted = Signal(
                signed(config.weight_bits + config.tick_bits - 1), name=f"shifted{lane}")
            m.d.sync += shifted.eq(self.weights[lane] << place)
            m.d.comb += self.sums[lane].eq(self.potentials[lane] + shifted)
        return m
