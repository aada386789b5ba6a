# SPDX-License-Identifier: Apache-2.0
"""The watchdog: an image of which a layer comes to no end is given up."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Watchdog"]


class Watchdog(wiring.Component):
    """Looks at an image's clock every ``2 ** bits`` cycles: between two looks something has ended.

    Parameters
    ----------
    bits : :class:`int`
        As above.

    Members
    -------
    clock : In(24)
        Counts the image's cycles.
    busy : In(1)
        An image is computed.
    progress : In(1)
        A layer has ended, or the sink of logits makes us wait, which is not the layer's fault.
    late : Out(1)
        There was no progress between the last two looks.
    """

    def __init__(self, bits: int):
        self._bits = bits
        super().__init__({
            "clock": In(24), "busy": In(1), "progress": In(1), "late": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        tick, was_tick, seen = self.clock[self._bits], Signal(), Signal()
        m.d.sync += was_tick.eq(tick)
        with m.If(self.progress | ~self.busy):
            m.d.sync += seen.eq(1)
        with m.Elif(tick != was_tick):
            m.d.sync += seen.eq(0)
        m.d.comb += self.late.eq((tick != was_tick) & ~seen & self.busy)
        return m
