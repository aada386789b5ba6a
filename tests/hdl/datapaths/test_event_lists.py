# SPDX-License-Identifier: Apache-2.0
"""Lists of events: what went in comes out, list by list, the last one first."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.event_lists import EventLists

CONFIG = CoreConfig(tick_bits=3, input_words=4, map_words=4, datapath="ramp")


async def purge(ctx, dut):
    ctx.set(dut.purge.active, 1)
    for code in range(1 << CONFIG.tick_bits):
        ctx.set(dut.purge.word, code)
        await ctx.tick()
    ctx.set(dut.purge.active, 0)


async def drained(ctx, dut, code):
    """The list of a code, which is empty then."""
    found = []
    ctx.set(dut.drain.selected, 1)
    ctx.set(dut.drain.code, code)
    while ctx.get(dut.drain.clash):
        await ctx.tick()
    ctx.set(dut.drain.look, 1)
    await ctx.tick()
    ctx.set(dut.drain.look, 0)
    link = ctx.get(dut.drain.head)
    while link.valid:
        found.append(int(link.channel))
        ctx.set(dut.drain.channel, link.channel)
        ctx.set(dut.drain.step, 1)
        await ctx.tick()
        ctx.set(dut.drain.step, 0)
        link = ctx.get(dut.drain.behind)
    ctx.set(dut.drain.selected, 0)
    await ctx.tick()
    return found


@pytest.mark.parametrize("most", [0, 1, 2, 7])
def test_lists_are_kept_apart_and_emptied(bench, most):
    dut, rng = EventLists(CONFIG), np.random.default_rng(most)
    codes = rng.integers(0, most + 1, CONFIG.map_places)
    lists = {}

    async def testbench(ctx):
        await purge(ctx, dut)
        for _ in range(2):
            for channel, code in enumerate(codes):
                ctx.set(dut.i.payload, {"channel": channel, "code": int(code)})
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            lists.update({code: await drained(ctx, dut, code) for code in range(8)})
            assert lists == {
                code: np.flatnonzero(codes == code)[::-1].tolist() for code in range(8)}
            # They were emptied.
            for code in range(8):
                assert await drained(ctx, dut, code) == []

    bench.run(dut, testbench)


def test_the_purge_empties_lists(bench):
    dut = EventLists(CONFIG)

    async def testbench(ctx):
        await purge(ctx, dut)
        ctx.set(dut.i.payload, {"channel": 3, "code": 5})
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(2)
        await purge(ctx, dut)
        assert await drained(ctx, dut, 5) == []

    bench.run(dut, testbench)
