"""Spike-time maps: one activation code a neuron, several codes a word, in raster order."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ttfs_fpga.hdl.config import CoreConfig

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
    address, enable, data
        Read port.
    write : In(1)
        Write ``code`` at ``neuron``.
    alone : In(1)
        With ``write`` to the first slot of a word: silence to its other slots, but for a second
        code.
    clear : In(1)
        Write silence to the whole word that holds ``neuron``. Not together with ``write``.
    neuron : In
        Number of the code, counted from the start of the memory.
    code : In(config.tick_bits)
        Activation code, ``T - k``.
    pair : In(1), second : In(config.tick_bits)
        Only with ``pairs``: write ``second`` behind ``code``, which is for an even slot then.
    """

    def __init__(self, config: CoreConfig, depth: int, *, pairs: bool = False):
        self._config = config
        self._depth = depth
        self._pairs = pairs
        address_bits = max(1, (depth - 1).bit_length())
        slot_bits = exact_log2(config.codes_per_word)
        super().__init__({
            "address": In(address_bits),
            "enable": In(1),
            "data": Out(config.map_width),
            "write": In(1),
            "alone": In(1),
            "clear": In(1),
            "neuron": In(address_bits + slot_bits),
            "code": In(config.tick_bits),
            **({"pair": In(1), "second": In(config.tick_bits)} if pairs else {}),
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
        m.d.comb += [
            read.addr.eq(self.address),
            read.en.eq(self.enable),
            self.data.eq(read.data),
            write.addr.eq(self.neuron[slot_bits:]),
        ]
        slot = self.neuron[:slot_bits]
        # Every slot is offered the code; the enables choose. Silence is code 0.
        first = Mux(self.clear, 0, self.code)
        other = Mux(self.clear | self.alone, 0, self.code)
        if self._pairs:
            # Odd ones are offered the second code. It goes beside the first one even if that is
            # alone in its word otherwise.
            either = Mux(self.pair, self.second, self.code)
            beside = Mux(self.clear | (self.alone & ~self.pair), 0, either)
            odd = Mux(self.clear | self.alone, 0, either)
            m.d.comb += write.data.eq(Cat(first, beside, Cat(other, odd).replicate(slots // 2 - 1)))
            chosen = Cat(
                (slot[1:] == n >> 1) & (self.pair | (slot[0] == n & 1)) for n in range(slots))
        else:
            m.d.comb += write.data.eq(Cat(first, other.replicate(slots - 1)))
            chosen = 1 << slot
        with m.If(self.clear | (self.write & self.alone)):
            m.d.comb += write.en.eq(~0)
        with m.Elif(self.write):
            m.d.comb += write.en.eq(chosen)
        return m
