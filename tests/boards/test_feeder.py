# SPDX-License-Identifier: Apache-2.0
"""The feeder: an image reaches the core whole, and its last sample only when it is committed."""

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_fpga.boards.feeder import SampleFeeder
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.testing import watchdog
from ttfs_sw.link.protocol import Status, encode_events

CONFIG = CoreConfig(lanes=4, weight_words=512, membrane_words=64, input_words=16, map_words=16)


def feed(*images, inputs=6, events=False, commit=True, spacing=30, stall=0):
    """Samples that the core gets of some images, a list each, and how each of them ended."""
    dut = SampleFeeder(CONFIG)
    samples, ends = [], []

    async def drive(ctx):
        ctx.set(dut.last_input, inputs - 1)
        ctx.set(dut.events, events)
        for image in images:
            samples.append([])
            ctx.set(dut.start, 1)
            assert ctx.get(dut.restart)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for byte in image:
                ctx.set(dut.i.payload, byte)
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
                await ctx.tick().repeat(spacing)
            given_early = len(samples[-1])
            if commit:
                ctx.set(dut.commit, 1)
                error, done = await ctx.tick().sample(dut.error, dut.done).until(
                    dut.done | (dut.error != Status.OK))
                ctx.set(dut.commit, 0)
                ends.append(Status(error))
                assert done == (error == Status.OK)
                await ctx.tick().repeat(3)
            assert given_early < inputs

    async def core(ctx):
        while True:
            ctx.set(dut.o.ready, 0)
            for _ in range(stall):
                await ctx.tick()
            ctx.set(dut.o.ready, 1)
            _, _, valid, sample = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                samples[-1].append((sample.value, sample.raw))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(core, background=True)
    total = sum(len(image) + 2 * inputs + 10 for image in images)
    sim.add_testbench(watchdog((spacing + 2 * stall + 2) * total), background=True)
    sim.run()
    return samples, ends


def codes(events, inputs):
    """Samples that events stand for."""
    samples = [(0, 1)] * inputs
    for address, code in events:
        samples[address] = (code, 1)
    return samples


@st.composite
def event_lists(draw, inputs=20):
    addresses = draw(st.sets(st.integers(0, inputs - 1)))
    return [(address, draw(st.integers(0, 15))) for address in sorted(addresses)]


@settings(max_examples=20)
@given(st.integers(1, 8).flatmap(lambda n: st.binary(min_size=n, max_size=n)), st.integers(0, 3))
def test_pixels(image, stall):
    samples, ends = feed(image, image, inputs=len(image), stall=stall)
    assert samples == 2 * [[(pixel, 0) for pixel in image]]
    assert ends == 2 * [Status.OK]


@settings(max_examples=20)
@given(event_lists(), st.integers(0, 2))
def test_events(events, stall):
    body = encode_events(events, gap=20)
    samples, ends = feed(body, inputs=20, events=True, spacing=140, stall=stall)
    assert (samples, ends) == ([codes(events, 20)], [Status.OK])


@settings(max_examples=15)
@given(event_lists(), st.integers(1, 9))
def test_long_gaps_are_filled_in_time(events, gap):
    body = encode_events(events, gap)
    # Just enough cycles a byte for the gap, the event and the byte itself.
    samples, ends = feed(body, inputs=20, events=True, spacing=2 * gap + 5)
    assert (samples, ends) == ([codes(events, 20)], [Status.OK])


def test_nothing_starts_without_commit():
    samples, _ = feed(b"abcdef", commit=False)
    assert samples == [[(pixel, 0) for pixel in b"abcde"]]
    samples, _ = feed(encode_events([(2, 5), (5, 7)], 9), events=True, commit=False)
    assert samples == [codes([(2, 5)], 6)[:5]]


@pytest.mark.parametrize(("image", "events", "error"), [
    (b"", False, Status.BAD_LENGTH),
    (b"abcde", False, Status.BAD_LENGTH),
    (b"abcdefg", False, Status.BAD_LENGTH),
    (b"abcdefghijk", False, Status.BAD_LENGTH),
    (b"\x02\x00", True, Status.BAD_LENGTH),
    (b"\x02\x00\x05\x03", True, Status.BAD_LENGTH),
    (b"\x06\x00\x05", True, Status.BAD_EVENT),  # behind the last input
    (b"\x02\x01\x05", True, Status.BAD_EVENT),
    (b"\x02\x00\x10", True, Status.BAD_EVENT),  # a code of five bits
    (b"\x02\x00\x05\x02\x00\x05", True, Status.BAD_EVENT),  # twice the same
    (b"\x02\x00\x05\x01\x00\x05", True, Status.BAD_EVENT),  # backwards
    (b"\x05\x00\x05\x05\x00\x05", True, Status.BAD_EVENT),
])
def test_bad_image_is_refused_and_the_next_one_is_not(image, events, error):
    good = b"\x01\x00\x03" if events else b"uvwxyz"
    samples, ends = feed(image, good, events=events)
    assert ends == [error, Status.OK]
    assert samples[1] == (codes([(1, 3)], 6) if events else [(pixel, 0) for pixel in good])


@pytest.mark.parametrize(("image", "events"), [
    (b"abcdef", False), (encode_events([(4, 1), (5, 2)], 9), True),
])
def test_core_that_does_not_keep_up(image, events):
    _, ends = feed(image, events=events, spacing=1, stall=20)
    assert ends == [Status.OVERRUN]
