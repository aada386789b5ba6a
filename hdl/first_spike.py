"""The first spike of a pooling window wins: codes on their way into a map."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import CoreConfig
from hdl.shapes import code_shape

__all__ = ["FirstSpike"]


class FirstSpike(wiring.Component):
    """Writes codes into a map; where several have the same place, the largest code stays.

    The largest code is the first spike. A pooled code is compared with what the map holds: one
    read for codes of successive cycles in the same word, because those have different places. The
    read port belongs to them in these cycles, so that what was read stays. Codes of the same place
    are at least two cycles apart.

    Latency: a code is written in the cycle after it came. Throughput: one a cycle.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    pooled : In(1)
        Places may come more than once.
    i : In(stream.Signature(code_shape(config), always_ready=True))
        Codes and their places, counted from the start of the map memory.
    steal : Out(1)
        Nobody else may read the map in this cycle.
    read, word, data
        Read port of the map: data one cycle later, held.
    write : Out(1), o : Out(code_shape(config))
        What is to be written.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "pooled": In(1),
            "i": In(stream.Signature(code_shape(config), always_ready=True)),
            "steal": Out(1),
            "read": Out(1),
            "word": Out(config.map_address_bits),
            "data": In(config.map_width),
            "write": Out(1),
            "o": Out(code_shape(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        slot_bits = config.slot_bits
        arrived, pooled = Signal(), Signal()
        m.d.comb += [
            self.word.eq(self.i.p.place[slot_bits:]),
            self.steal.eq(self.i.valid & self.pooled),
            self.read.eq(self.steal & ~(arrived & (self.o.place[slot_bits:] == self.word))),
        ]
        m.d.sync += [arrived.eq(self.i.valid), pooled.eq(self.pooled), self.o.eq(self.i.p)]
        held = self.data.word_select(self.o.place[:slot_bits], config.tick_bits)
        m.d.comb += self.write.eq(arrived & ~(pooled & (held >= self.o.code)))
        return m
