# SPDX-License-Identifier: Apache-2.0
"""Fields of an entry, fetched from a table that grants when it likes."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.fetcher import Fetcher
from ttfs_fpga.hdl.table import (
    ACCUMULATE_FIELDS,
    ACCUMULATE_WORDS,
    ENTRY_WORDS,
    FIELDS,
    FIRE_FIELDS,
    FIRE_WORDS,
    MAP_WORDS,
    SECOND,
    field_widths,
)

CONFIG = CoreConfig(layers=3, table_words=64)
HALVES = {"accumulate": (ACCUMULATE_WORDS, ACCUMULATE_FIELDS), "fire": (FIRE_WORDS, FIRE_FIELDS)}


def fields_of(words, layer, names, *, second=False):
    """What the table says of a layer; with ``second`` of the second map."""
    widths, found = field_widths(CONFIG), {}
    for name in names:
        field = FIELDS[name]
        number = field.word | (SECOND if second and field.word in ACCUMULATE_WORDS[-MAP_WORDS:]
                               else 0)
        word = words[(1 + layer) * ENTRY_WORDS + number]
        found[name] = word >> field.offset & ((1 << min(widths[name], field.width)) - 1)
    return found


@pytest.mark.parametrize("granted", [1.0, 0.4])
@pytest.mark.parametrize("half", HALVES)
def test_fields_equal_the_table(bench, half, granted):
    numbers, names = HALVES[half]
    dut = Fetcher(CONFIG, numbers, names)
    rng = np.random.default_rng(5)
    words = rng.integers(1 << 32, size=CONFIG.table_words).tolist()
    cycles = []

    async def table(ctx):
        while True:
            ctx.set(dut.table.grant, 0)
            if ctx.get(dut.table.request) and rng.random() < granted:
                ctx.set(dut.table.grant, 1)
            _, _, grant, address = await ctx.tick().sample(dut.table.grant, dut.table.address)
            # What was not granted is somebody else's word.
            ctx.set(dut.table.data, words[address] if grant else 0xDEADBEEF)

    async def fetched(ctx):
        count = 0
        while not ctx.get(dut.fetch.complete):
            await ctx.tick()
            count += 1
        cycles.append(count)
        return {name: ctx.get(dut.fields[name]) for name in names}

    async def pulse(ctx, signal):
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)
        assert not ctx.get(dut.fetch.complete)

    async def testbench(ctx):
        for layer in (0, 2, 1, 1):
            ctx.set(dut.fetch.layer, layer)
            await pulse(ctx, dut.fetch.start)
            assert await fetched(ctx) == fields_of(words, layer, names)
            if half == "accumulate":
                for second in (1, 0):
                    ctx.set(dut.fetch.second, second)
                    await pulse(ctx, dut.fetch.again)
                    assert await fetched(ctx) == fields_of(words, layer, names, second=second)

    bench.run(dut, testbench, background=(table,))
    if granted == 1:
        assert cycles[0] == len(numbers) + 1
