# SPDX-License-Identifier: Apache-2.0
"""Words of a map in order, each where it lies, however often somebody else reads meanwhile."""

import numpy as np
import pytest

from ttfs_fpga.hdl.compiler.layout import plan_map
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.map_reader import MapReader, WordPosition

CONFIG = CoreConfig(tick_bits=4, input_words=32, map_words=32)
BASE = 3

#: Words of several pixels, pixels of several words.
SHAPES = [(3, 5, 3), (2, 3, 20), (1, 1, 1)]


def entry_of(plan):
    return {"row_last": plan.row_words - 1, "chunk_last": plan.chunk_last,
            "slot_shift": plan.slot_shift}


def positions(plan):
    """(number, column, chunk, row_ends) of every word of a map at ``BASE``."""
    found, pixels = [], CONFIG.codes_per_word >> plan.slot_shift
    for number in range(plan.words):
        within = number % plan.row_words
        if plan.chunk_last:
            column, chunk = divmod(within, plan.chunk_last + 1)
        else:
            column, chunk = within * pixels, 0
        found.append((BASE + number, column, chunk, int(within == plan.row_words - 1)))
    return found


def seen_position(at):
    return int(at.number), int(at.column), int(at.chunk), int(at.row_ends)


@pytest.mark.parametrize("shape", SHAPES)
def test_position_counts_words_pixels_and_rows(bench, shape):
    plan, dut, found = plan_map(shape, False, CONFIG, runs=False), WordPosition(CONFIG), []

    async def testbench(ctx):
        ctx.set(dut.entry, entry_of(plan))
        ctx.set(dut.seek.payload, BASE)
        ctx.set(dut.seek.valid, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.seek.valid, 0)
        ctx.set(dut.start, 0)
        for _ in range(plan.words):
            found.append(seen_position(ctx.get(dut.o)))
            # It stays until the next word.
            await ctx.tick()
            assert seen_position(ctx.get(dut.o)) == found[-1]
            ctx.set(dut.step, 1)
            await ctx.tick()
            ctx.set(dut.step, 0)

    bench.run(dut, testbench)
    assert found == positions(plan)


def rtl_read(bench, plan, *, stall=0.0, ready=1.0, final=1.0, residual=0):
    """(position, data) of every word that was taken, and the cycle of each."""
    dut, rng = MapReader(CONFIG), np.random.default_rng(1)
    found, cycles = [], []

    async def testbench(ctx):
        ctx.set(dut.entry, entry_of(plan) | {
            "source_last": BASE + plan.words - 1, "residual": residual, "follows": 1})
        ctx.set(dut.seek.payload, BASE)
        ctx.set(dut.seek.valid, 1)
        ctx.set(dut.run.start, 1)
        ctx.set(dut.final.limited, int(final < 1))
        await ctx.tick()
        ctx.set(dut.seek.valid, 0)
        ctx.set(dut.run.start, 0)
        cycle, word, limit = 0, 0, BASE
        while ctx.get(dut.run.busy):
            cycle += 1
            limit += int(rng.random() < final)
            ctx.set(dut.final.word, limit)
            # What is final last of all lifts the limit.
            ctx.set(dut.final.limited, int(limit < BASE + plan.words and final < 1))
            stalled = rng.random() < stall
            ctx.set(dut.map.stall, int(stalled))
            ctx.set(dut.o.ready, int(rng.random() < ready))
            # A word holds its own address, so that one that somebody else has read would show.
            ctx.set(dut.map.data, word)
            limited, most = ctx.get(dut.final.limited), limit
            _, _, enabled, address, valid, taken, at, codes = await ctx.tick().sample(
                dut.map.enable, dut.map.address, dut.o.valid, dut.o.ready, dut.o.position,
                dut.o.codes)
            assert not (enabled and stalled)
            assert not (enabled and limited) or address < most
            if valid and taken:
                data = sum(int(code) << 4 * n for n, code in enumerate(codes))
                found.append((seen_position(at), data))
                cycles.append(cycle)
            if enabled or stalled:
                word = address if enabled else 0xFFFF

    bench.run(dut, testbench)
    return found, cycles


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [
    {}, {"ready": 0.4}, {"stall": 0.4}, {"final": 0.2},
    {"ready": 0.5, "stall": 0.5, "final": 0.3}])
def test_every_word_comes_once(bench, shape, options):
    plan = plan_map(shape, False, CONFIG, runs=False)
    found, cycles = rtl_read(bench, plan, **options)
    assert found == [(at, at[0]) for at in positions(plan)]
    if not options:
        assert cycles == list(range(3, 3 + plan.words))


def test_a_row_of_a_layer_with_a_residual(bench):
    plan = plan_map((3, 5, 3), False, CONFIG, runs=False)
    found, _ = rtl_read(bench, plan, residual=1, ready=0.6)
    assert found == [(at, at[0]) for at in positions(plan)[:plan.row_words]]
