# SPDX-License-Identifier: Apache-2.0
"""The purge: after a load, a reset, or a late image, all memories of state are wiped."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import PurgePort, purge_words

__all__ = ["Purge"]


class Purge(wiring.Component):
    """Counts through the words of all memories whose contents are to be forgotten.

    Maps are silent before they are written, because whoever reads them last wipes them; and so the
    flags of the membrane memory are clear. When an image was not read to its end they are not, and
    after a reset nobody knows: then they are wiped, word by word. Meanwhile the layer table is
    looked through.

    Latency: begins two cycles after ``changing`` or ``late``, in the first cycle after a reset; as
    long as either lasts it begins again. Takes ``purge_words(config)`` cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    changing : In(1)
        Memories of the network are about to change.
    late : In(1)
        An image is given up.
    forget : Out(1)
        Either of them, in this cycle: images that were received are forgotten.
    o : Out(PurgePort(config))
        The words. The ``start`` comes a cycle after either of them: whatever may wait for something
        is reset then.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "changing": In(1),
            "late": In(1),
            "forget": Out(1),
            "o": Out(PurgePort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.forget.eq(self.changing | self.late)
        m.d.sync += self.o.start.eq(self.forget)
        active = Signal(init=1)
        word = Signal.like(self.o.word)
        with m.If(self.o.start):
            m.d.sync += [active.eq(1), word.eq(0)]
        with m.Elif(active):
            m.d.sync += [
                word.eq(word + 1), active.eq(word != purge_words(self._config) - 1),
            ]
        m.d.comb += [self.o.active.eq(active), self.o.word.eq(word)]
        return m
