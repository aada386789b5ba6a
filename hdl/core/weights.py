"""The weight memory: one word of ``lanes`` weights a cycle, from block RAM or from SPRAM."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ttfs_fpga.hdl.config import CoreConfig

__all__ = ["WeightMemory"]


class WeightMemory(wiring.Component):
    """Single-port memory of weight words, written in parts of 32 bits.

    Latency: ``data`` belongs to the ``address`` of ``config.weight_latency`` cycles before. A write
    takes the port: what is read in that cycle is undefined. With ``weight_memory="spram"`` on an
    iCE40 UP5K the four single-port RAMs of the device are used; they wake up undefined. Everywhere
    else, simulators included, the same behaviour comes from an inferred memory.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial words; must be empty for ``weight_memory="spram"``.

    Members
    -------
    address : In(config.weight_address_bits)
        Word to read, or to write when ``write`` is set.
    data : Out(config.weight_width)
        Word at that address; lane 0 in the low bits.
    write : In(1)
        Write one part of the word.
    write_part : In
        Which 32 bits of the word, 0 the lowest.
    write_data : In(32)
        The part's new value.
    """

    def __init__(self, config: CoreConfig, init=()):
        self._config = config
        self._init = list(init)
        if config.weight_memory == "spram" and self._init:
            raise ValueError("SPRAM has no initial contents: load the weights at run time")
        super().__init__({
            "address": In(config.weight_address_bits),
            "data": Out(config.weight_width),
            "write": In(1),
            "write_part": In(max(1, ceil_log2(config.weight_parts))),
            "write_data": In(32),
        })

    def elaborate(self, platform):
        spram = self._config.weight_memory == "spram"
        if spram and getattr(platform, "device", None) == "iCE40UP5K":
            return self._elaborate_spram()
        return self._elaborate_inferred()

    def _elaborate_inferred(self):
        m = Module()
        config = self._config
        part_width = config.weight_width // config.weight_parts
        m.submodules.memory = storage = memory.Memory(
            shape=config.weight_width, depth=config.weight_words, init=self._init
        )
        read = storage.read_port()
        write = storage.write_port(granularity=part_width)
        m.d.comb += [
            read.addr.eq(self.address),
            read.en.eq(~self.write),
            write.addr.eq(self.address),
            write.data.eq(self.write_data[:part_width].replicate(config.weight_parts)),
            write.en.eq(self.write << self.write_part),
        ]
        word = read.data
        for _ in range(config.weight_latency - 1):
            # Without a reset, as the register inside a block RAM.
            behind = Signal(config.weight_width, reset_less=True)
            m.d.sync += behind.eq(word)
            word = behind
        m.d.comb += self.data.eq(word)
        return m

    def _elaborate_spram(self):
        m = Module()
        outputs = [Signal(16, name=f"spram{n}_data") for n in range(4)]
        for n, output in enumerate(outputs):
            m.submodules[f"spram{n}"] = Instance(
                "SB_SPRAM256KA",
                i_ADDRESS=self.address,
                i_DATAIN=self.write_data.word_select(n % 2, 16),
                i_MASKWREN=Const(0xF, 4),
                i_WREN=self.write & (self.write_part == n // 2),
                i_CHIPSELECT=Const(1),
                i_CLOCK=ClockSignal(),
                i_STANDBY=Const(0),
                i_SLEEP=Const(0),
                # Active low: 1 keeps the memory powered.
                i_POWEROFF=Const(1),
                o_DATAOUT=output,
            )
        m.d.comb += self.data.eq(Cat(outputs))
        return m
