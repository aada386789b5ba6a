# SPDX-License-Identifier: Apache-2.0
"""The map that a layer reads: the input map, or one of the layer map's memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import MapReadPort

__all__ = ["SourceMap"]


class SourceMap(wiring.Component):
    """Leads the scanner's read port to the map that its layer reads.

    Latency: none; ``data`` comes a cycle after its address, as it does from either memory.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    from_input : In(1)
        It is the input map. Known at least a cycle before the first word comes.
    scan : In(MapReadPort(config))
        From the scanner.
    input, layers : Out(MapReadPort(config))
        To the encoder's memory, and to that between layers. The first one may be read although it
        is not wanted.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "from_input": In(1),
            "scan": In(MapReadPort(config)),
            "input": Out(MapReadPort(config)),
            "layers": Out(MapReadPort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        # Which map it is, is known long before its first word comes: a copy for the data alone is
        # not far from them.
        chosen = Signal()
        m.d.sync += chosen.eq(self.from_input)
        m.d.comb += [
            self.input.address.eq(self.scan.address),
            self.input.enable.eq(self.scan.enable),
            self.layers.address.eq(self.scan.address),
            self.layers.enable.eq(self.scan.enable & ~self.from_input),
            # Only of the memory between layers is there another reader.
            self.scan.stall.eq(self.layers.stall & ~self.from_input),
            self.scan.data.eq(Mux(chosen, self.input.data, self.layers.data)),
        ]
        return m
