# SPDX-License-Identifier: Apache-2.0
"""The first spike of a pooling window wins: codes on their way into a map."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import MapUpdatePort
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
    map : Out(MapUpdatePort(config))
        Reads the map, and writes it.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "pooled": In(1),
            "i": In(stream.Signature(code_shape(config), always_ready=True)),
            "map": Out(MapUpdatePort(config)),
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
            self.map.claim.eq((self.i.valid | arrived) & self.pooled),
            self.map.enable.eq(
                self.i.valid & self.pooled
                & ~((arrived | self.map.pending) & (here.place[slot_bits:] == self.map.address))),
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
            self.map.pending.eq(arrived),
            self.map.place.eq(here.place),
            self.map.code.eq(here.code),
            same.eq(arrived & (self.i.p.place == here.place)),
            stays.eq(Mux(larger, here.code, held)),
            self.map.write.eq(arrived & larger),
        ]
        return m
