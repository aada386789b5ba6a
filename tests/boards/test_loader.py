# SPDX-License-Identifier: Apache-2.0
"""The loader: a good image arrives word for word; any other one leaves no network behind."""

import struct
import zlib

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_fpga.boards.image import MAGIC, Image, length_bits, memory_depths, serialise
from ttfs_fpga.boards.loader import ImageLoader
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.testing import watchdog
from ttfs_sw.link.protocol import LoadState, Source

CONFIG = CoreConfig(lanes=4, weight_words=512, membrane_words=64, input_words=16, map_words=16,
                    slopes=64, layers=4)
INVALIDATE = (Memory.TABLE, 0, 0)



def small_image(weights: int = 4) -> bytes:
    """An image with a few words in each memory."""
    memories = {memory: {n: n * 0x41234567 & 0xFFFFFFFF for n in range(7, 9)} for memory in Memory}
    # Of the biases every lane of a word, small ones: they are made of few updates.
    memories[Memory.MEMBRANE] = {n: n for n in range(4, 8)}
    memories[Memory.WEIGHTS] = {n: 0xFFFFFFFF - n for n in range(weights)}
    memories[Memory.TABLE] = {0: 0xCAFE0001, 1: 20}
    return serialise(Program(CONFIG, 20, 15, (), memories))


IMAGE = small_image()
WRITES = list(Image.parse(IMAGE, CONFIG, table=False).writes)


def load(*actions, inputs=None, stall=0):
    """Run a loader; give the writes that it made and its last state, source and last input.

    An action is bytes for the loader, or the name of a signal to be pulsed.
    """
    dut = ImageLoader(CONFIG, inputs)
    writes, state = [], None

    async def drive(ctx):
        nonlocal state
        ctx.set(dut.source, Source.LINK)
        for action in actions:
            if isinstance(action, str):
                ctx.set(getattr(dut, action), 1)
                await ctx.tick()
                ctx.set(getattr(dut, action), 0)
            else:
                ctx.set(dut.i.valid, 1)
                for byte in action:
                    ctx.set(dut.i.payload, byte)
                    await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)
                await ctx.tick().repeat(14 + 2 * stall)
        await ctx.tick().repeat(4 + stall)
        state = (LoadState(ctx.get(dut.state)), Source(ctx.get(dut.loaded_from)),
                 ctx.get(dut.last_input))

    async def core(ctx):
        while True:
            ctx.set(dut.load.ready, 0)
            for _ in range(stall + 1):
                await ctx.tick()
            ctx.set(dut.load.ready, 1)
            _, _, valid, write = await ctx.tick().sample(dut.load.valid, dut.load.payload)
            if valid:
                writes.append((write.memory, write.address, write.data))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(core, background=True)
    total = sum(len(action) for action in actions)
    sim.add_testbench(watchdog((20 + stall) * total + 1000), background=True)
    sim.run()
    return writes, *state


def changed(word: int, value: int) -> bytes:
    """The image with one word changed and a checksum that fits."""
    words = list(struct.unpack(f"<{len(IMAGE) // 4 - 1}I", IMAGE[:-4]))
    words[word] = value
    body = struct.pack(f"<{len(words)}I", *words)
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize("stall", [0, 70])
def test_good_image_arrives_word_for_word(stall):
    writes, *state = load("start", IMAGE, stall=stall)
    assert writes == [INVALIDATE, *WRITES]
    assert state == [LoadState.READY, Source.LINK, 19]


def test_memory_of_more_than_one_section():
    image = small_image(weights=300)
    writes, *state = load("start", image)
    assert writes == [INVALIDATE, *Image.parse(image, CONFIG, table=False).writes]
    assert state == [LoadState.READY, Source.LINK, 19]


def test_second_image_replaces_the_first():
    writes, *state = load("start", IMAGE, "start", IMAGE)
    assert writes == 2 * [INVALIDATE, *WRITES]
    assert state == [LoadState.READY, Source.LINK, 19]


def test_bytes_are_dropped_when_none_are_wanted():
    assert load(b"TTFS" * 5) == ([], LoadState.EMPTY, Source.NONE, 0)
    writes, state, *_ = load("start", IMAGE + IMAGE[:40])
    assert (writes, state) == ([INVALIDATE, *WRITES], LoadState.READY)


def test_network_of_the_bitstream_is_ready_until_another_one_comes():
    assert load("stop", inputs=100) == ([], LoadState.READY, Source.BUILT_IN, 99)
    writes, *state = load("start", IMAGE, inputs=100)
    assert writes == [INVALIDATE, *WRITES]
    assert state == [LoadState.READY, Source.LINK, 19]


@pytest.mark.parametrize(("word", "value", "state"), [
    (0, MAGIC ^ 0x80000000, LoadState.BAD_MAGIC),
    (0, 0xFFFFFFFF, LoadState.BAD_MAGIC),
    (1, 2, LoadState.BAD_VERSION),
    (2, CONFIG.fingerprint ^ 1, LoadState.BAD_FINGERPRINT),
    (3, 0, LoadState.BAD_LENGTH),
    (3, 1 << length_bits(CONFIG), LoadState.BAD_LENGTH),
    # A header, and a section whose first or last word is behind the end.
    (3, 1, LoadState.BAD_SECTION),
    (3, 5, LoadState.BAD_SECTION),
    (5, 5 << 20, LoadState.BAD_SECTION),
    (5, 1 << 19, LoadState.BAD_SECTION),
    # More words than the sections have: the checksum is taken for a section.
    (3, len(IMAGE) // 4 - 5, LoadState.BAD_SECTION),
    # One wrong bit in the data.
    (6, 1, None),
])
def test_bad_image_leaves_no_network(word, value, state):
    content = changed(word, value)
    if state is None:
        content, state = content[:-4] + IMAGE[-4:], LoadState.BAD_CHECKSUM
    writes, seen, *_ = load("start", content)
    assert seen == state
    assert writes[0] == INVALIDATE
    assert writes[-1] == INVALIDATE
    # The board still loads a good one.
    writes, seen, *_ = load("start", content, "start", IMAGE)
    assert writes[-1 - len(WRITES):] == [INVALIDATE, *WRITES]
    assert seen == LoadState.READY


@settings(max_examples=12)
@given(st.integers(0, 8 * len(IMAGE) - 1))
def test_no_single_wrong_bit_is_accepted(bit):
    content = bytearray(IMAGE)
    content[bit // 8] ^= 1 << bit % 8
    # A length that became larger swallows what follows.
    writes, state, *_ = load("start", bytes(content) + bytes(300), "stop")
    assert state not in (LoadState.READY, LoadState.LOADING, LoadState.EMPTY)
    assert writes[-1] == INVALIDATE


@settings(max_examples=12)
@given(st.integers(0, len(IMAGE) - 1))
def test_image_that_ends_early_is_none(length):
    writes, state, *_ = load("start", IMAGE[:length], "stop")
    assert state == LoadState.INCOMPLETE
    assert writes[-1] == INVALIDATE
    writes, state, *_ = load("start", IMAGE[:length], "start", IMAGE)
    assert state == LoadState.READY
    assert writes[-1 - len(WRITES):] == [INVALIDATE, *WRITES]


def test_stop_does_not_touch_a_good_network():
    writes, state, *_ = load("start", IMAGE, "stop")
    assert (writes, state) == ([INVALIDATE, *WRITES], LoadState.READY)


def test_every_memory_can_be_addressed():
    top = max(memory_depths(CONFIG).values()) - 1
    memories = {
        Memory.TABLE: {0: 1}, Memory.WEIGHTS: {}, Memory.MEMBRANE: dict.fromkeys(range(4), 0)}
    largest = max(memory_depths(CONFIG), key=memory_depths(CONFIG).get)
    memories[largest] = {top: 7}
    image = serialise(Program(CONFIG, 4, 15, (), memories))
    writes, state, *_ = load("start", image)
    assert state == LoadState.READY
    assert (largest, top, 7) in writes
