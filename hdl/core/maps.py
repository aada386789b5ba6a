# SPDX-License-Identifier: Apache-2.0
"""Spike-time maps: one activation code a neuron, several codes a word, in raster order."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import MapReadPort, MapWritePort

__all__ = ["SpikeMap"]


class SpikeMap(wiring.Component):
    """Memory of activation codes, read a word at a time and written a code or a word at a time.

    With ``pairs`` two codes beside each other may be written at once.

    Latency: ``data`` belongs to the last ``address`` that came with ``enable``, and holds while
    ``enable`` is low. A word must not be read in the cycle in which it is written: block RAM may
    give anything.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes of codes and words.
    depth : :class:`int`
        Words.
    pairs : :class:`bool`
        Whether two codes may be written at once.

    Members
    -------
    read : In(MapReadPort(config))
        Reads a word.
    write : In(MapWritePort(config, pairs=pairs))
        Writes codes. Places are counted from the start of the memory.
    """

    def __init__(self, config: CoreConfig, depth: int, *, pairs: bool = False):
        self._config = config
        self._depth = depth
        self._pairs = pairs
        address_bits = max(1, (depth - 1).bit_length())
        slot_bits = exact_log2(config.codes_per_word)
        super().__init__({
            "read": In(MapReadPort(config, address_bits)),
            "write": In(MapWritePort(config, address_bits + slot_bits, pairs=pairs)),
        })

    def elaborate(self, platform):
        m = Module()
        slots = self._config.codes_per_word
        slot_bits = exact_log2(slots)
        m.submodules.memory = storage = memory.Memory(
            shape=self._config.map_width, depth=self._depth, init=[]
        )
        read = storage.read_port()
        write = storage.write_port(granularity=self._config.tick_bits)
        port = self.write
        m.d.comb += [
            read.addr.eq(self.read.address),
            read.en.eq(self.read.enable),
            self.read.data.eq(read.data),
            write.addr.eq(port.place[slot_bits:]),
        ]
        slot = port.place[:slot_bits]
        # Every slot is offered the code; the enables choose. Silence is code 0.
        first = Mux(port.clear, 0, port.code)
        other = Mux(port.clear | port.alone, 0, port.code)
        if self._pairs:
            # Odd ones are offered the second code. It goes beside the first one even if that is
            # alone in its word otherwise.
            either = Mux(port.pair, port.second, port.code)
            beside = Mux(port.clear | (port.alone & ~port.pair), 0, either)
            odd = Mux(port.clear | port.alone, 0, either)
            m.d.comb += write.data.eq(Cat(first, beside, Cat(other, odd).replicate(slots // 2 - 1)))
            chosen = Cat(
                (slot[1:] == n >> 1) & (port.pair | (slot[0] == n & 1)) for n in range(slots))
        else:
            m.d.comb += write.data.eq(Cat(first, other.replicate(slots - 1)))
            chosen = 1 << slot
        with m.If(port.clear | (port.enable & port.alone)):
            m.d.comb += write.en.eq(~0)
        with m.Elif(port.enable):
            m.d.comb += write.en.eq(chosen)
        return m
