# SPDX-License-Identifier: Apache-2.0
"""The maps of hidden layers: one memory, and who reads, writes and wipes it."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.maps import SpikeMap
from ttfs_fpga.hdl.ports import MapReadPort, MapUpdatePort, PurgePort, WipePort

__all__ = ["LayerMap"]


class LayerMap(wiring.Component):
    """The map memory between layers, of one read port and one write port.

    It is read by the scanner, and by pooled codes, which come first: it stalls while they claim
    the port. It is written by codes, which come first, and wiped by the scanner
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
    update : In(MapUpdatePort(config))
        Codes, of which pooled ones are compared with what is there.
    wipe : In(WipePort(config))
        Words that the scanner has read for the last time.
    purge : In(PurgePort(config))
        Wipes everything.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "scan": In(MapReadPort(config)),
            "update": In(MapUpdatePort(config)),
            "wipe": In(WipePort(config)),
            "purge": In(PurgePort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.memory = spikes = SpikeMap(config, config.map_words)
        slot_bits, update = config.slot_bits, self.update
        purge_word = self.purge.word[:config.map_address_bits]
        m.d.comb += [
            self.scan.stall.eq(update.claim),
            spikes.read.address.eq(Mux(update.claim, update.address, self.scan.address)),
            spikes.read.enable.eq(update.enable | self.scan.enable),
            self.scan.data.eq(spikes.read.data),
            update.data.eq(spikes.read.data),
            self.wipe.ready.eq(~update.pending),
            spikes.write.enable.eq(update.write),
            spikes.write.code.eq(update.code),
            spikes.write.clear.eq((self.wipe.valid & self.wipe.ready) | self.purge.active),
            spikes.write.place.eq(Mux(
                self.purge.active, purge_word << slot_bits,
                Mux(update.pending, update.place, self.wipe.word << slot_bits))),
        ]
        return m
