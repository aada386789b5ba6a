# SPDX-License-Identifier: Apache-2.0
"""Boot from flash: reads the network image out of an SPI flash chip after power-up."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.boards.image import length_bits
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_sw.common.errors import InputError

__all__ = ["MAX_SPI_HZ", "READ", "WAKE_SECONDS", "WAKE_UP", "FlashBoot", "check_flash_region"]

#: Release from deep power-down, in which FPGAs leave the chip after their configuration.
WAKE_UP = 0xAB
#: Read from a 24-bit address on, for as long as the chip is selected.
READ = 0x03
#: Fastest SPI clock at which any chip understands that.
MAX_SPI_HZ = 33_000_000
#: Time to wake up: the longest of common chips is 30 µs.
WAKE_SECONDS = 40e-6

#: SPI clocks before the wake-up. The ECP5 loses the first few of its configuration clock pin.
_IDLE_BITS = 64


def check_flash_region(offset: int, flash_bytes: int, config: CoreConfig) -> None:
    """Check that the largest image for a core fits the flash behind ``offset``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If it does not, or the offset is no 24-bit address.
    """
    largest = 4 << length_bits(config)
    if offset < 0 or offset + largest > min(flash_bytes, 1 << 24):
        raise InputError(
            f"flash_offset {offset:#x} leaves no room for a network image of {largest} bytes in a "
            f"flash of {flash_bytes} bytes, of which 24 address bits reach {1 << 24}"
        )


class FlashBoot(wiring.Component):
    """Wakes the chip up, reads from an address on and stops when nobody wants more.

    The SPI clock is half the clock, or a quarter where that would be above :data:`MAX_SPI_HZ`, in
    mode 0. A bit is taken when its clock falls, a whole SPI
    clock after the one before fell, so that slow pads and a slow chip have all that time. While a
    byte waits to be taken the SPI clock stands still. It also runs when the chip is not selected,
    which counts the time that the chip needs to wake up.

    Parameters
    ----------
    offset : :class:`int`
        First address to read.
    clock_hz : :class:`int`
        Frequency of the clock.

    Members
    -------
    cs, sck, copi : Out(1), cipo : In(1)
        Pins of the chip; ``cs`` is high when the chip is selected.
    start : Out(1)
        High for one cycle before the first byte.
    wanted : In(1)
        More bytes are wanted; looked at with each of them.
    o : Out(stream.Signature(8))
        The flash's contents.
    busy : Out(1)
        High from reset on, until no more bytes are wanted.
    """

    def __init__(self, offset: int, clock_hz: int):
        if not 0 <= offset < 1 << 24:
            raise ValueError(f"offset must be an address of 24 bits, not {offset!r}")
        self._offset = offset
        self._halved = clock_hz > 2 * MAX_SPI_HZ
        wake_bits = round(clock_hz / (4 if self._halved else 2) * WAKE_SECONDS)
        # All bits before the first one read, rounded up to a power of two: the command ends there.
        self._count_bits = (_IDLE_BITS + 8 + wake_bits + 32).bit_length()
        super().__init__({
            "cs": Out(1),
            "sck": Out(1),
            "copi": Out(1),
            "cipo": In(1),
            "start": Out(1),
            "wanted": In(1),
            "o": Out(stream.Signature(8)),
            "busy": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        # Counts SPI clocks; after the command it counts on, and only the bits of a byte matter.
        count = Signal(self._count_bits)
        waking, commanding, last_bit, reading = Signal(), Signal(), Signal(), Signal()
        wake_up, command = Const(WAKE_UP, 8), Const(READ << 24 | self._offset, 32)
        m.d.comb += [
            waking.eq(~reading & (count[3:] == _IDLE_BITS // 8)),
            commanding.eq(~reading & count[5:].all()),
            last_bit.eq(count[:3].all()),
        ]

        # The pins are registers, free of glitches, and so one cycle behind the count: a bit appears
        # as the SPI clock falls, and is taken by us or by the chip before it falls again.
        phase = Signal()
        # What happens once in half an SPI clock happens now.
        now = Signal(init=not self._halved)
        if self._halved:
            m.d.sync += now.eq(~now)
        m.d.sync += [
            self.sck.eq(phase & self.busy),
            self.cs.eq(self.busy & (waking | commanding | reading)),
            self.copi.eq(Mux(
                waking,
                wake_up.bit_select(~count[:3], 1),
                command.bit_select(~count[:5], 1),
            )),
        ]
        byte_ends = Signal()
        # A register, because what it starts is far away; the first byte is sixteen cycles later.
        m.d.sync += self.start.eq(now & phase & commanding & count[:5].all())
        with m.If(self.sck & ~phase):
            m.d.sync += [
                self.o.payload.eq(Cat(self.cipo, self.o.payload)),
                self.o.valid.eq(byte_ends),
            ]
        with m.If(self.o.valid):
            with m.If(self.o.ready | ~self.wanted):
                m.d.sync += [self.o.valid.eq(0), self.busy.eq(self.wanted)]
        with m.Elif(self.busy & now):
            m.d.sync += phase.eq(~phase)
            with m.If(phase):
                m.d.sync += [count.eq(count + 1), byte_ends.eq(reading & last_bit)]
                with m.If(commanding & count[:5].all()):
                    m.d.sync += reading.eq(1)
        return m
