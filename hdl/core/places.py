# SPDX-License-Identifier: Apache-2.0
"""Where the codes of a layer go in its map, pixel after pixel."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.candidates import LEFT
from ttfs_fpga.hdl.ports import entry_layout

__all__ = ["PlaceCounter"]


class PlaceCounter(wiring.Component):
    """Follows the words of a layer, and says where codes of the next one's pixel go.

    In a window of pooling, always to the same place.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        A new layer begins.
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while words come.
    left : In(LEFT)
        A word has been left behind.
    pixel : Out(config.neuron_bits)
        Place of the pixel, counted in codes from the start of the map memory.
    written : Out(1)
        The word that was left is the last one of a row of the map; where there are no rows, which
        is ``pitch`` 0, it is any word.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("pitch", "pool_last", "across_last", "destination_base", "destination_row")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "entry": In(entry_layout(config, self.FIELDS)),
            "left": In(LEFT),
            "pixel": Out(config.neuron_bits),
            "written": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        entry, left, slot_bits = self.entry, self.left, self._config.slot_bits
        row = Signal.like(self.pixel)  # its first pixel
        across, down = Signal.like(entry.pool_last), Signal.like(entry.pool_last)  # in a window
        down_ends = down == entry.pool_last
        m.d.comb += self.written.eq(
            left.word & ((left.row_ends & down_ends) | (entry.pitch == 0)))

        def begin_row(place):
            m.d.sync += [down.eq(0), row.eq(place), self.pixel.eq(place)]

        with m.If(left.word & left.pixel_ends):
            m.d.sync += across.eq(across + 1)
            with m.If(across == entry.across_last):
                m.d.sync += [across.eq(0), self.pixel.eq(self.pixel + entry.pitch)]
        with m.If(left.word & left.row_ends):
            m.d.sync += [across.eq(0), down.eq(down + 1), self.pixel.eq(row)]
            with m.If(down_ends):
                begin_row(row + (entry.destination_row << slot_bits))
        with m.If(self.start):
            m.d.sync += across.eq(0)
            begin_row(entry.destination_base << slot_bits)
        return m
