"""The first spike of a pooling window wins: codes on their way into a map."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import MapReadPort
from ttfs_fpga.hdl.shapes import code_shape

__all__ = ["FirstSpike"]


class FirstSpike(wiring.Component):
    """Writes codes into a map; where several have the same place, the largest code stays.

    The largest code is the first spike. A pooled code is compared with what the map holds: one
    read for codes in the same word, if there is at most one cycle between them: those have other
    places. The read port belongs to them meanwhile, so that what was read stays. Two codes of the
    same place come in successive cycles, or at least three cycles apart.

    Latency: a code is written two cycles after it came. Throughput: one a cycle.

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
    claim : Out(1)
        Nobody else may read the map in this cycle.
    map : Out(MapReadPort(config))
        Reads it.
    o : Out(stream.Signature(code_shape(config), always_ready=True))
        What is written.
    pending : Out(1)
        Something may be written in this cycle.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "pooled": In(1),
            "i": In(stream.Signature(code_shape(config), always_ready=True)),
            "claim": Out(1),
            "map": Out(MapReadPort(config)),
            "o": Out(stream.Signature(code_shape(config), always_ready=True)),
            "pending": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        slot_bits = config.slot_bits
        # 0: the word of the map is read, unless it is there already.
        arrived, pooled = Signal(), Signal()
        here = Signal.like(self.i.p)
        m.d.comb += [
            self.map.address.eq(self.i.p.place[slot_bits:]),
            self.claim.eq((self.i.valid | arrived) & self.pooled),
            self.map.enable.eq(
                self.i.valid & self.pooled
                & ~((arrived | self.pending) & (here.place[slot_bits:] == self.map.address))),
        ]
        m.d.sync += [arrived.eq(self.i.valid), pooled.eq(self.pooled)]
        with m.If(self.i.valid):
            m.d.sync += here.eq(self.i.p)

        # 1: the larger one of the code and of what its place holds stays; that may be what the code
        # before it has left there. 2: it is written.
        same, larger = Signal(), Signal()
        held, stays = Signal(config.tick_bits), Signal(config.tick_bits)
        m.d.comb += [
            held.eq(Mux(
                same, stays,
                self.map.data.word_select(here.place[:slot_bits], config.tick_bits))),
            larger.eq(~pooled | (here.code > held)),
        ]
        m.d.sync += [
            self.pending.eq(arrived),
            self.o.p.eq(here),
            same.eq(arrived & (self.i.p.place == here.place)),
            stays.eq(Mux(larger, here.code, held)),
            self.o.valid.eq(arrived & larger),
        ]
        return m
