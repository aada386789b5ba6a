# SPDX-License-Identifier: Apache-2.0
"""A model of an SPI flash chip for Amaranth's simulator; ``flash_chip.v`` is one in Verilog."""

from collections.abc import Awaitable, Callable

from amaranth.lib import wiring
from amaranth.sim import SimulatorContext

from ttfs_fpga.boards.flash_boot import READ, WAKE_UP

__all__ = ["FlashModel"]


class FlashModel:
    """A flash chip in deep power-down, as an FPGA leaves it after its configuration.

    It answers one clock cycle late, like a slow chip behind slow pads. Asleep, or without a read
    command, it answers ones.

    Parameters
    ----------
    contents : :class:`bytes`
        What is stored from address 0 on; behind it everything is erased, 0xFF.
    wake_cycles : :class:`int`
        Clock cycles from the end of the wake-up command until commands are heard.
    """

    def __init__(self, contents: bytes, wake_cycles: int):
        self.contents = contents
        self.wake_cycles = wake_cycles
        #: Commands heard, with their address where they have one.
        self.commands: list[tuple[int, int | None]] = []

    def testbench(
        self, pins: wiring.PureInterface
    ) -> Callable[[SimulatorContext], Awaitable[None]]:
        """Background testbench that plays the chip at ``pins``: cs (active high), sck, copi, cipo.

        Use it as ``sim.add_testbench(model.testbench(dut), background=True)``.
        """

        async def play(ctx: SimulatorContext) -> None:
            awake_at, cycle = None, 0
            bits, shift, address, last_sck = 0, 0, None, 0
            ctx.set(pins.cipo, 1)
            async for _, _, cs, sck, copi in ctx.tick().sample(pins.cs, pins.sck, pins.copi):
                cycle += 1
                if not cs:
                    if bits == 8 and shift == WAKE_UP:
                        self.commands.append((WAKE_UP, None))
                        awake_at = cycle + self.wake_cycles
                    bits, shift, address = 0, 0, None
                    ctx.set(pins.cipo, 1)
                elif sck and not last_sck:
                    bits, shift = bits + 1, shift << 1 | copi
                    awake = awake_at is not None and cycle >= awake_at
                    if bits == 32 and shift >> 24 == READ and awake:
                        address = shift & 0xFFFFFF
                        self.commands.append((READ, address))
                elif last_sck and not sck and address is not None:
                    byte, bit = divmod(bits - 32, 8)
                    place = address + byte
                    value = self.contents[place] if place < len(self.contents) else 0xFF
                    ctx.set(pins.cipo, value >> (7 - bit) & 1)
                last_sck = sck

        return play
