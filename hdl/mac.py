"""The ``mac`` datapath: every lane multiplies its weight by the event's code and accumulates."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import CoreConfig
from hdl.shapes import update_shape

__all__ = ["MacLanes"]


class MacLanes(wiring.Component):
    """P lanes of ``V += w · a`` (ALGORITHMS §8.3, form B), one word of P neurons a cycle.

    Three stages: (0) the update arrives and addresses the weight memory; (1) the product of weight
    and code is registered while the membrane word is read; (2) sum and write back. So an update
    must not read, in the cycle right after another one, the word that that one writes.

    Latency: the potentials of an update of cycle t can be read from cycle t + 3 on. Throughput: one
    update a cycle. Additions wrap around; the compiler has shown that no final value does.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    i : In(stream.Signature(update_shape(config), always_ready=True))
        Updates.
    weight_address, weights
        Read port of the weight memory.
    read, enable, potentials, write, word, sums
        The membrane memory's ports.
    busy : Out(1)
        An update is between its arrival and its write.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        lanes = data.ArrayLayout(signed(config.accumulator_bits), config.lanes)
        super().__init__({
            "i": In(stream.Signature(update_shape(config), always_ready=True)),
            "weight_address": Out(config.weight_address_bits),
            "weights": In(data.ArrayLayout(signed(config.weight_bits), config.lanes)),
            "read": Out(config.membrane_address_bits),
            "enable": Out(1),
            "potentials": In(lanes),
            "write": Out(1),
            "word": Out(config.membrane_address_bits),
            "sums": Out(lanes),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.d.comb += self.weight_address.eq(self.i.p.weight)

        reading = Signal()
        update = Signal(update_shape(config))
        m.d.sync += [reading.eq(self.i.valid), update.eq(self.i.p)]
        m.d.comb += [self.read.eq(update.read), self.enable.eq(reading)]

        m.d.sync += [self.write.eq(reading), self.word.eq(update.write)]
        for lane in range(config.lanes):
            product = Signal(signed(config.weight_bits + config.tick_bits), name=f"product{lane}")
            m.d.sync += product.eq(self.weights[lane] * update.code)
            m.d.comb += self.sums[lane].eq(self.potentials[lane] + product)

        m.d.comb += self.busy.eq(reading | self.write)
        return m
