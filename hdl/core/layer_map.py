"""The maps of hidden layers: one memory, and who reads, writes and wipes it."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.maps import SpikeMap
from ttfs_fpga.hdl.ports import MapReadPort, PurgePort, WipePort
from ttfs_fpga.hdl.shapes import code_shape

__all__ = ["LayerMap"]


class LayerMap(wiring.Component):
    """The map memory between layers, of one read port and one write port.

    It is read by the scanner, and by pooled codes, which come first: while they ``claim`` the port
    the scanner does not ask. It is written by codes, which come first, and wiped by the scanner
    behind itself: it waits while a code is ``pending``. The purge comes when nobody else does.

    Latency and hazards are those of :class:`hdl.core.maps.SpikeMap`.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    scan : In(MapReadPort(config))
        From the scanner.
    compare : In(MapReadPort(config)), claim : In(1)
        From pooled codes; they have the port.
    codes : In(stream.Signature(code_shape(config), always_ready=True)), pending : In(1)
        Codes to write; there may be one in this cycle.
    wipe : In(WipePort(config))
        Words that the scanner has read for the last time.
    purge : In(PurgePort(config))
        Wipes everything.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "scan": In(MapReadPort(config)),
            "compare": In(MapReadPort(config)),
            "claim": In(1),
            "codes": In(stream.Signature(code_shape(config), always_ready=True)),
            "pending": In(1),
            "wipe": In(WipePort(config)),
            "purge": In(PurgePort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.memory = spikes = SpikeMap(config, config.map_words)
        slot_bits = config.slot_bits
        purge_word = self.purge.word[:config.map_address_bits]
        m.d.comb += [
            spikes.read.address.eq(Mux(self.claim, self.compare.address, self.scan.address)),
            spikes.read.enable.eq(self.compare.enable | self.scan.enable),
            self.scan.data.eq(spikes.read.data),
            self.compare.data.eq(spikes.read.data),
            self.wipe.ready.eq(~self.pending),
            spikes.write.enable.eq(self.codes.valid),
            spikes.write.code.eq(self.codes.p.code),
            spikes.write.clear.eq((self.wipe.valid & self.wipe.ready) | self.purge.active),
            spikes.write.place.eq(Mux(
                self.purge.active, purge_word << slot_bits,
                Mux(self.pending, self.codes.p.place, self.wipe.word << slot_bits))),
        ]
        return m
