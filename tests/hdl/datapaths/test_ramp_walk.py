# SPDX-License-Identifier: Apache-2.0
"""Where a layer of the ``ramp`` datapath lies, and when its ticks pass."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.ramp_walk import PlaceReader, RampWalk
from ttfs_fpga.hdl.table import ROW_FIELDS, ROW_WORDS, pack

CONFIG = CoreConfig(datapath="ramp", membrane_words=256)


def test_places_are_those_of_the_descriptor(bench):
    dut, row_table = PlaceReader(CONFIG), 11
    descriptor = dict.fromkeys(ROW_FIELDS, 0) | {"membrane": 17, "weight": 1234, "last": 1}
    words = dict(enumerate(pack(ROW_FIELDS, ROW_WORDS, **descriptor), row_table))

    async def memory(ctx):
        while True:
            _, _, asked, address = await ctx.tick().sample(dut.table.request, dut.table.address)
            ctx.set(dut.table.data, words[address] if asked else 0xDEADBEEF)

    async def testbench(ctx):
        ctx.set(dut.entry, {"row_table": row_table, "row_step": 8})
        for _ in range(2):
            ctx.set(dut.run.start, 1)
            await ctx.tick()
            ctx.set(dut.run.start, 0)
            await ctx.tick().repeat(3)
            assert ctx.get(dut.o.valid) and ctx.get(dut.run.busy)
            places = ctx.get(dut.o.payload)
            assert (places.membrane, places.slopes, places.weight) == (17, 25, 1234)
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)
            assert not ctx.get(dut.run.busy)

    bench.run(dut, testbench, background=(memory,))


@pytest.mark.parametrize("hold", [0.0, 0.5])
@pytest.mark.parametrize("words", [1, 3])
def test_a_tick_passes_with_its_last_operation(bench, words, hold):
    dut, rng = RampWalk(CONFIG), np.random.default_rng(words)
    transfers = [{"event": 1, "channel": 4}, {"event": 1, "channel": 2, "end": 1, "tick": 3},
                 {"end": 1, "tick": 4}, {"end": 1, "tick": 5, "last": 1}]
    seen = []

    async def monitor(ctx):
        while True:
            ctx.set(dut.hold, int(rng.random() < hold))
            _, _, valid, update, passed, tick, ends = await ctx.tick().sample(
                dut.o.valid, dut.o.p, dut.passed.valid, dut.passed.p, dut.places.ready)
            if valid:
                seen.append((update.word, update.weight if update.event else None,
                             tick if passed else None, ends))

    async def testbench(ctx):
        ctx.set(dut.entry, {"weight_step": 10, "bias_base": 1, "last_word": words - 1})
        ctx.set(dut.places.payload, {"membrane": 20, "slopes": 40, "weight": 100})
        ctx.set(dut.places.valid, 1)
        await bench.Source(dut.i, transfers).run(ctx)
        while not any(ends for *_, ends in seen):
            await ctx.tick()
        assert not ctx.get(dut.pending)

    bench.run(dut, testbench, background=(monitor,))
    wanted = [(40 + n, 104 + 10 * n, None, 0) for n in range(words)]
    for tick, weight in ((3, 102), (4, None), (5, None)):
        for n in range(words):
            last = n == words - 1
            wanted.append((40 + n, weight and weight + 10 * n, None, 0))
            wanted.append((20 + n, None, tick if last else None, int(last and tick == 5)))
    assert seen == wanted
