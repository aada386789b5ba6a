# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""Boot from flash: the chip's contents arrive, and only as many of them as are wanted."""

import itertools

import pytest
from amaranth.sim import Simulator

from ttfs_fpga.boards.flash_boot import (
    MAX_SPI_HZ,
    READ,
    WAKE_SECONDS,
    WAKE_UP,
    FlashBoot,
    check_flash_region,
)
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.hdl.testing import watchdog
from ttfs_fpga.sim.flash_model import FlashModel
from ttfs_sw.common.errors import InputError

#: A slow clock makes the wake-up time few cycles.
CLOCK_HZ = 4_000_000


def boot(contents: bytes, *, offset=0, count=8, wake_cycles=None, stall=0, clock_hz=CLOCK_HZ):
    """Bytes that come out while ``count`` are wanted, and the model of the chip."""
    dut = FlashBoot(offset, clock_hz)
    if wake_cycles is None:
        wake_cycles = round(30e-6 * clock_hz)
    chip = FlashModel(contents, wake_cycles)
    received = bytearray()

    async def listen(ctx):
        await ctx.tick().until(dut.start)
        ctx.set(dut.wanted, 1)
        while len(received) < count:
            for _ in range(stall):
                await ctx.tick()
            ctx.set(dut.o.ready, 1)
            (byte,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            ctx.set(dut.o.ready, 0)
            received.append(byte)
        ctx.set(dut.wanted, 0)
        await ctx.tick().until(~dut.busy)
        # Deselected, with the clock at rest: the chip is left alone from here on.
        await ctx.tick().repeat(3)
        for _ in range(40):
            assert not ctx.get(dut.cs) and not ctx.get(dut.sck)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1 / CLOCK_HZ)
    sim.add_testbench(listen)
    sim.add_testbench(chip.testbench(dut), background=True)
    cycles = round(4 * WAKE_SECONDS * clock_hz)
    sim.add_testbench(watchdog(4000 + cycles + (40 + stall) * count), background=True)
    sim.run()
    return bytes(received), chip


@pytest.mark.parametrize("stall", [0, 1, 7, 16, 17, 100])
def test_contents_arrive(stall):
    contents = bytes(range(1, 255, 6))
    received, chip = boot(contents, count=30, stall=stall)
    assert received == contents[:30]
    assert chip.commands == [(WAKE_UP, None), (READ, 0)]


@pytest.mark.parametrize("clock_hz", [36_000_000, 66_000_000, 81_000_000])
def test_spi_clock_is_one_that_any_chip_understands(clock_hz):
    edges, ticks = [], 0

    async def watch(ctx):
        nonlocal ticks
        last = 0
        while ctx.get(dut.busy):
            level = ctx.get(dut.sck)
            if level and not last:
                edges.append(ticks)
            last = level
            await ctx.tick()
            ticks += 1

    dut = FlashBoot(0, clock_hz)
    sim = Simulator(dut)
    sim.add_clock(1 / clock_hz)

    async def take(ctx):
        ctx.set(dut.wanted, 1)
        ctx.set(dut.o.ready, 1)
        for _ in range(2):
            await ctx.tick().until(dut.o.valid)
        ctx.set(dut.wanted, 0)

    sim.add_testbench(watch)
    sim.add_testbench(take)
    sim.run()
    shortest = min(b - a for a, b in itertools.pairwise(edges))
    assert clock_hz / shortest <= MAX_SPI_HZ
    assert shortest == (4 if clock_hz > 2 * MAX_SPI_HZ else 2)


def test_contents_arrive_at_a_quarter_of_a_fast_clock():
    contents = bytes(range(1, 255, 6))
    received, chip = boot(contents, count=20, clock_hz=81_000_000, stall=3)
    assert received == contents[:20]
    assert chip.commands == [(WAKE_UP, None), (READ, 0)]


def test_reads_from_the_offset():
    contents = bytes(n * 37 & 0xFF for n in range(0x400))
    received, chip = boot(contents, offset=0x2A5, count=9)
    assert received == contents[0x2A5:0x2A5 + 9]
    assert chip.commands[-1] == (READ, 0x2A5)


def test_address_has_24_bits():
    _, chip = boot(b"", offset=0x9A5C3F, count=1)
    assert chip.commands[-1] == (READ, 0x9A5C3F)


def test_chip_that_takes_its_time_to_wake_up():
    received, _ = boot(b"TTFS", count=4, wake_cycles=round(WAKE_SECONDS * CLOCK_HZ))
    assert received == b"TTFS"


def test_chip_that_does_not_answer():
    received, chip = boot(b"TTFS", count=4, wake_cycles=1_000_000)
    assert received == b"\xff" * 4
    assert chip.commands == [(WAKE_UP, None)]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_image_fits_the_flash_of_every_board(board):
    check_flash_region(board.flash_offset, board.flash_bytes, board.config)


@pytest.mark.parametrize("offset", [-1, 0xFFFF00, 0x1000000])
def test_offset_without_room_is_refused(offset):
    board = BOARDS["icebreaker"]
    with pytest.raises(InputError, match="leaves no room for a network image"):
        check_flash_region(offset, board.flash_bytes, board.config)


def test_offset_is_checked():
    with pytest.raises(ValueError, match="offset must be an address of 24 bits"):
        FlashBoot(1 << 24, CLOCK_HZ)
