# SPDX-License-Identifier: Apache-2.0
"""The layer table's memory, and who reads it."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import TableReadPort, WritePort

__all__ = ["LayerTable"]


class LayerTable(wiring.Component):
    """Memory of 32-bit words with one read port, shared by four readers.

    Descriptors come first, because updates wait for them; then the entry of the layer that
    accumulates, the guard, and the entry of the layer that fires. Who asks and is not granted asks
    again. Throughput: one word a cycle, of which none is read while one is written.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial words.

    Members
    -------
    write : In(WritePort(...))
        Writes a word.
    descriptors, accumulating, check, firing : In(TableReadPort(config))
        The readers, the first to be served first. ``check`` reads only while no image is computed.
        The grant of ``descriptors`` is of what the two halves read; see
        :class:`hdl.ports.TableReadPort`.
    """

    def __init__(self, config: CoreConfig, init=()):
        self._config = config
        self._init = list(init)
        super().__init__({
            "write": In(WritePort(config.table_address_bits, 32)),
            **{name: In(TableReadPort(config))
               for name in ("descriptors", "accumulating", "check", "firing")},
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = storage = memory.Memory(
            shape=32, depth=self._config.table_words, init=self._init)
        read, write = storage.read_port(), storage.write_port()
        first, second, third, last = self.descriptors, self.accumulating, self.check, self.firing
        entries = Signal()  # an entry is asked for
        m.d.comb += [
            write.addr.eq(self.write.address),
            write.data.eq(self.write.data),
            write.en.eq(self.write.enable),
            entries.eq(second.request | last.request),
            first.grant.eq(first.request | ~entries),
            second.grant.eq(second.request & ~first.request),
            third.grant.eq(third.request & ~first.request & ~second.request),
            last.grant.eq(last.request & ~first.request & ~second.request),
            # The first of them reads also when it does not ask: it keeps its word by that, and no
            # read enable hangs on who asks.
            read.addr.eq(Mux(
                first.request | ~(entries | third.request), first.address, Mux(
                    second.request, second.address,
                    Mux(third.request, third.address, last.address)))),
            read.en.eq(~self.write.enable),
            *(reader.data.eq(read.data) for reader in (first, second, third, last)),
        ]
        return m
