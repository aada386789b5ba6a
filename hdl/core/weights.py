# SPDX-License-Identifier: Apache-2.0
"""The weight memory: one word of ``lanes`` weights a cycle, from block RAM or from SPRAM."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import WeightReadPort, WritePort

__all__ = ["WeightMemory"]


class WeightMemory(wiring.Component):
    """Single-port memory of weight words, written in parts of 32 bits.

    There is one address, that of ``read``, for both. A write takes the port: what is read in that
    cycle is undefined. With ``weight_memory="spram"`` on an
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
    read : In(WeightReadPort(config))
        Reads a word.
    write : In(WritePort(...))
        Writes 32 bits of it; their ``address`` says which, 0 the lowest.
    """

    def __init__(self, config: CoreConfig, init=()):
        self._config = config
        self._init = list(init)
        if config.weight_memory == "spram" and self._init:
            raise ValueError("SPRAM has no initial contents: load the weights at run time")
        super().__init__({
            "read": In(WeightReadPort(config)),
            "write": In(WritePort(max(1, ceil_log2(config.weight_parts)), 32)),
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
            read.addr.eq(self.read.address),
            read.en.eq(~self.write.enable),
            write.addr.eq(self.read.address),
            write.data.eq(self.write.data[:part_width].replicate(config.weight_parts)),
            write.en.eq(self.write.enable << self.write.address),
        ]
        word = read.data
        for _ in range(config.weight_latency - 1):
            # Without a reset, as the register inside a block RAM.
            behind = Signal(config.weight_width, reset_less=True)
            m.d.sync += behind.eq(word)
            word = behind
        m.d.comb += self.read.data.eq(word)
        return m

    def _elaborate_spram(self):
        m = Module()
        outputs = [Signal(16, name=f"spram{n}_data") for n in range(4)]
        for n, output in enumerate(outputs):
            m.submodules[f"spram{n}"] = Instance(
                "SB_SPRAM256KA",
                i_ADDRESS=self.read.address,
                i_DATAIN=self.write.data.word_select(n % 2, 16),
                i_MASKWREN=Const(0xF, 4),
                i_WREN=self.write.enable & (self.write.address == n // 2),
                i_CHIPSELECT=Const(1),
                i_CLOCK=ClockSignal(),
                i_STANDBY=Const(0),
                i_SLEEP=Const(0),
                # Active low: 1 keeps the memory powered.
                i_POWEROFF=Const(1),
                o_DATAOUT=output,
            )
        m.d.comb += self.read.data.eq(Cat(outputs))
        return m
