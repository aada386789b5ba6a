# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The serial line: bytes survive it, at any divisor, with clocks that differ, and after noise."""

import itertools

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_fpga.boards.uart import UARTReceiver, UARTTransmitter, baud_divisor
from ttfs_fpga.hdl.testing import stream_put, watchdog
from ttfs_sw.common.errors import InputError


def receive(bits, divisor: int, *, bit_cycles: float | None = None) -> tuple[bytes, int]:
    """Bytes and errors that a receiver makes of line levels, each ``bit_cycles`` long."""
    dut = UARTReceiver(divisor)
    received, errors = bytearray(), 0
    bit_cycles = bit_cycles or divisor

    async def drive(ctx):
        edge = clock = 0.0
        for level in bits:
            ctx.set(dut.rx, level)
            edge += bit_cycles
            while clock < edge:
                clock += 1
                await ctx.tick()
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(2 * divisor + 8)

    async def listen(ctx):
        nonlocal errors
        async for _, _, valid, payload, error in ctx.tick().sample(
            dut.o.valid, dut.o.payload, dut.error
        ):
            if valid:
                received.append(payload)
            errors += error

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(listen, background=True)
    sim.run()
    return bytes(received), errors


def line(data: bytes, *, gap: int = 0) -> list[int]:
    """Line levels of some bytes, ``gap`` idle bits before each."""
    levels = []
    for byte in data:
        levels += [1] * gap + [0] + [byte >> bit & 1 for bit in range(8)] + [1]
    return levels


@settings(max_examples=15)
@given(st.binary(min_size=1, max_size=6), st.integers(4, 37), st.integers(0, 2),
       st.floats(0.97, 1.03))
def test_receives_bytes(data, divisor, gap, speed):
    # Below 16 samples a bit, half a sample is already more than 3 % of a bit.
    speed = speed if divisor >= 16 else 1
    assert receive(line(data, gap=gap), divisor, bit_cycles=divisor * speed) == (data, 0)


def test_missing_stop_bit_drops_the_byte_and_the_next_good_one_is_received():
    broken = line(b"\x55")[:-1] + [0, 0, 1, 1]
    assert receive(broken + line(b"\xa7"), 8) == (b"\xa7", 1)


def test_break_is_one_error():
    assert receive([0] * 40 + [1] + line(b"\x01"), 8) == (b"\x01", 1)


def test_glitches_are_no_start_bits():
    # One cycle low is removed by the majority, three are too short for the middle of a start bit.
    glitch = [1] * 10 + [0] + [1] * 20 + [0] * 3 + [1] * 20
    byte = [level for level in line(b"\x3c") for _ in range(16)]
    assert receive(glitch + byte, 16, bit_cycles=1) == (b"\x3c", 0)


@pytest.mark.parametrize("divisor", [4, 5, 36])
def test_transmits_what_the_receiver_receives(divisor):
    data = bytes(range(0, 256, 17))
    m = Module()
    m.submodules.transmitter = transmitter = UARTTransmitter(divisor)
    m.submodules.receiver = receiver = UARTReceiver(divisor)
    m.d.comb += receiver.rx.eq(transmitter.tx)
    received = bytearray()
    start_cycles = []

    async def send(ctx):
        for byte in data:
            await stream_put(ctx, transmitter.i, byte)

    async def listen(ctx):
        cycle = 0
        while len(received) < len(data):
            _, _, valid, payload, error, taken = await ctx.tick().sample(
                receiver.o.valid, receiver.o.payload, receiver.error,
                transmitter.i.valid & transmitter.i.ready,
            )
            cycle += 1
            assert not error
            if valid:
                received.append(payload)
            if taken:
                start_cycles.append(cycle)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(send)
    sim.add_testbench(listen)
    sim.add_testbench(watchdog(20 * divisor * len(data)), background=True)
    sim.run()
    assert bytes(received) == data
    steps = {later - earlier for earlier, later in itertools.pairwise(start_cycles)}
    assert steps == {10 * divisor}


@pytest.mark.parametrize(("clock_hz", "baud", "divisor"), [
    (36_000_000, 1_000_000, 36), (50_000_000, 1_000_000, 50), (25_000_000, 115_200, 217),
    (4_000_000, 1_000_000, 4), (39_750_000, 1_000_000, 40),
])
def test_divisor(clock_hz, baud, divisor):
    assert baud_divisor(clock_hz, baud) == divisor


@pytest.mark.parametrize(("clock_hz", "baud"), [
    (12_000_000, 5_000_000), (3_000_000, 1_000_000), (1_000, 115_200), (4_500_000, 1_000_000),
])
def test_unreachable_baud_rate_is_refused(clock_hz, baud):
    with pytest.raises(InputError, match=f"{clock_hz} Hz cannot give {baud} baud"):
        baud_divisor(clock_hz, baud)


@pytest.mark.parametrize("component", [UARTReceiver, UARTTransmitter])
def test_divisor_is_checked(component):
    with pytest.raises(ValueError, match="divisor must be an integer of at least 4, not 3"):
        component(3)
