# SPDX-License-Identifier: Apache-2.0
"""The walk over the outputs of an event against three nested loops."""

import itertools

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.walk import TapCounter, Walk
from ttfs_fpga.hdl.table import Operation

CONFIG = CoreConfig(membrane_words=1024)
STEPS = {"weight_step": 40, "weight_row_step": 500, "membrane_step": 3, "row_step": 50,
         "wrap_step": (1 << CONFIG.membrane_address_bits) - 100, "bias_base": 6}


def random_walks(rng, count, second=False):
    """Walks of every size, some without an update, some the end of a row."""
    return [{
        "weight": int(rng.integers(4000)), "membrane": int(rng.integers(200, 500)), "bias": 6,
        "code": int(rng.integers(1, 16)), "end": int(rng.random() < 0.1),
        "taps": int(rng.integers(4)), "wrap": int(rng.integers(3)), "completes": 0,
        "second": int(second), "columns": int(rng.integers(4)),
    } for _ in range(count)]


def reference_walk(walk, words, depthwise):
    """(weight, word, bias, code) of every update."""
    if walk["end"]:
        return []
    single = depthwise or walk["second"]
    found, weight, membrane = [], walk["weight"], walk["membrane"]
    for row in range(walk["taps"]):
        first = weight, membrane
        for column in range(walk["columns"]):
            for word in range(1 if single else words):
                bias = walk["bias"] + (0 if single else word)
                found.append((weight, membrane, bias, walk["code"]))
                last = word == (1 if single else words) - 1
                if last and column == walk["columns"] - 1:
                    step = "wrap_step" if row == walk["wrap"] else "row_step"
                    weight, membrane = first[0] + STEPS["weight_row_step"], first[1] + STEPS[step]
                else:
                    weight += STEPS["weight_step"]
                    membrane += STEPS["membrane_step"]
                if walk["second"]:
                    membrane = walk["membrane"]
                weight %= 1 << CONFIG.weight_address_bits
                membrane %= 1 << CONFIG.membrane_address_bits
    return found


def rtl_walk(bench, walks, words, depthwise, *, pause=0.0, hold=0.0):
    """Updates of the walks, and their cycles."""
    dut, rng = Walk(CONFIG), np.random.default_rng(7)
    updates, cycles = [], []

    async def monitor(ctx):
        cycle = 0
        while True:
            ctx.set(dut.hold, int(rng.random() < hold))
            _, _, valid, item, held = await ctx.tick().sample(dut.o.valid, dut.o.p, dut.hold)
            if valid:
                assert not held
                updates.append((item.weight, item.word, item.bias, item.code))
                cycles.append(cycle)
            cycle += 1

    async def testbench(ctx):
        operation = Operation.DEPTHWISE if depthwise else Operation.FULL
        ctx.set(dut.entry, STEPS | {"operation": operation, "last_word": words - 1})
        await ctx.tick()
        await bench.Source(dut.i, walks, pause=pause).run(ctx)
        while ctx.get(dut.pending):
            await ctx.tick()

    bench.run(dut, testbench, background=(monitor,))
    return updates, cycles


@pytest.mark.parametrize(("words", "depthwise", "second"), [
    (1, False, False), (3, False, False), (3, True, False), (3, False, True)])
@pytest.mark.parametrize("options", [{}, {"pause": 0.5, "hold": 0.3}])
def test_equals_loops(bench, words, depthwise, second, options):
    walks = random_walks(np.random.default_rng(words), 60, second)
    updates, cycles = rtl_walk(bench, walks, words, depthwise, **options)
    assert updates == [update for walk in walks for update in reference_walk(
        walk, words, depthwise)]
    at = {cycle: word for cycle, (_, word, _, _) in zip(cycles, updates, strict=True)}
    assert all(at[cycle] != at.get(cycle - 1) for cycle in at)


def test_no_bubble_between_walks(bench):
    walks = [walk | {"end": 0, "taps": 2, "columns": 2} for walk in random_walks(
        np.random.default_rng(8), 20)]
    updates, cycles = rtl_walk(bench, walks, 2, False)
    assert len(updates) == 20 * 8
    # Unless the first word of one is the last word of the one before.
    same = sum(a[1] == b[1] for a, b in itertools.pairwise(updates))
    assert cycles[-1] - cycles[0] == len(updates) - 1 + same


def test_counter_knows_every_last_one(bench):
    dut = TapCounter(CONFIG)
    seen = []

    async def testbench(ctx):
        ctx.set(dut.entry, {"operation": Operation.FULL, "last_word": 1})
        await ctx.tick()
        walk = random_walks(np.random.default_rng(9), 1)[0]
        ctx.set(dut.i.payload, walk | {"taps": 3, "columns": 2, "wrap": 1})
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.step, 1)
        for _ in range(12):
            _, _, at = await ctx.tick().sample(dut.at)
            seen.append((at.last_word, at.last_column, at.wraps, at.final))

    bench.run(dut, testbench)
    assert seen == [
        (word == 1, column == 1, row == 1, (row, column, word) == (2, 1, 1))
        for row in range(3) for column in range(2) for word in range(2)
    ]
