# SPDX-License-Identifier: Apache-2.0
"""Which rows of a layer's map are final, and when its firing has ended."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import FinalPort, FiringPort

__all__ = ["FinalRows"]


class FinalRows(wiring.Component):
    """Follows rows of codes on their way from the sweep into the map.

    A row is final when its last candidate has gone all the way: ``latency`` cycles after it was
    ``written``. Until a layer that is attached starts, none of its map may be read.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    latency : :class:`int`
        Cycles from the candidate's leaving the sweep to its code's being readable.

    Members
    -------
    firing : In(FiringPort(config))
        The layer that fires. It has ended when the last row is final, or, in the output layer, with
        the last logit.
    sweeping : In(1)
        Rows are swept.
    written : In(1)
        The last candidate of a row leaves the sweep.
    answered : In(1)
        The last logit was taken.
    final : Out(FinalPort(config))
        Words of the map that are final.
    """

    def __init__(self, config: CoreConfig, latency: int):
        self._latency = latency
        super().__init__({
            "firing": In(FiringPort(config)),
            "sweeping": In(1),
            "written": In(1),
            "answered": In(1),
            "final": Out(FinalPort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        firing, word = self.firing, self.final.word
        m.d.comb += self.final.limited.eq(firing.previous)
        under_way = Signal(self._latency)  # rows, a bit for each cycle of the way
        m.d.sync += under_way.eq(Cat(self.written, under_way))
        with m.If(firing.attach):
            m.d.sync += word.eq(0)
        with m.Elif(firing.start):
            m.d.sync += word.eq(firing.entry.destination_base)
        with m.Elif(under_way[-1]):
            m.d.sync += word.eq(word + firing.entry.final_step)

        quiet = Signal()
        m.d.sync += quiet.eq(~(firing.start | self.sweeping | under_way.any()))
        m.d.comb += firing.ended.eq(Mux(firing.entry.spiking, quiet, self.answered))
        return m
