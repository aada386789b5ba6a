# SPDX-License-Identifier: Apache-2.0
"""Events of a word of codes: one for each that is not silence, and what becomes of the word."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.event_picker import EventPicker

CONFIG = CoreConfig(tick_bits=4, input_words=32, map_words=32)
SLOTS = CONFIG.codes_per_word


def random_words(rng, count, density):
    """Codes of so many words, and which of them end a row."""
    codes = rng.integers(1, 16, (count, SLOTS)) * (rng.random((count, SLOTS)) < density)
    return codes.tolist(), (rng.random(count) < 0.3).astype(int).tolist()


def rtl_pick(bench, words, ends, *, shift, clears=0, pause=0.0):
    """Transfers (column, channel, place, code, end), their cycles, and words that were wiped."""
    dut, rng = EventPicker(CONFIG), np.random.default_rng(2)
    found, cycles, wiped = [], [], []

    async def take(ctx):
        cycle = 0
        while True:
            ctx.set(dut.o.ready, int(rng.random() >= pause))
            ctx.set(dut.wipe.ready, int(rng.random() >= pause))
            _, _, valid, ready, event, wipes, wipe, word = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload, dut.wipe.valid, dut.wipe.ready,
                dut.wipe.word)
            if valid and ready:
                found.append((event.column, event.channel, event.place, event.code, event.end))
                cycles.append(cycle)
            if wipes and wipe:
                wiped.append(word)
            cycle += 1

    async def testbench(ctx):
        ctx.set(dut.entry, {"slot_shift": shift, "clears": clears})
        for number, (codes, row_ends) in enumerate(zip(words, ends, strict=True)):
            while rng.random() < pause:
                await ctx.tick()
            ctx.set(dut.i.codes, codes)
            ctx.set(dut.i.position, {"number": number, "column": 8 * (number % 4), "chunk": 1,
                                     "row_ends": row_ends})
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
        while ctx.get(dut.busy):
            await ctx.tick()

    bench.run(dut, testbench, background=(take,))
    return found, cycles, wiped


def reference_pick(words, ends, shift):
    found = []
    for number, (codes, row_ends) in enumerate(zip(words, ends, strict=True)):
        for slot, code in enumerate(codes):
            if code:
                column = 8 * (number % 4) + (slot >> shift)
                channel = slot % (1 << shift) + SLOTS
                found.append((column, channel, number * SLOTS + slot, code, 0))
        if row_ends:
            found.append("end")
    return found


@pytest.mark.parametrize("shift", [0, 2, 3])
@pytest.mark.parametrize("pause", [0.0, 0.4])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_one_event_for_every_code(bench, density, pause, shift):
    words, ends = random_words(np.random.default_rng(shift), 20, density)
    found, cycles, wiped = rtl_pick(bench, words, ends, shift=shift, pause=pause)
    assert [("end" if event[-1] else event) for event in found] == reference_pick(
        words, ends, shift)
    assert not wiped
    if not pause and density == 1:
        # Without a gap, from two cycles after the first word came.
        assert cycles == list(range(2, 2 + len(found)))


@pytest.mark.parametrize("pause", [0.0, 0.6])
def test_words_with_events_are_made_silent(bench, pause):
    words, ends = random_words(np.random.default_rng(4), 20, 0.1)
    _, _, wiped = rtl_pick(bench, words, ends, shift=3, clears=1, pause=pause)
    assert wiped == [number for number, codes in enumerate(words) if any(codes)]
