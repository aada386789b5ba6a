# SPDX-License-Identifier: Apache-2.0
"""Rows of a layer as their descriptors say, and only when the window has room for them."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.rows import RowReader, row_layout
from ttfs_fpga.hdl.table import ROW_FIELDS, ROW_WORDS, pack

CONFIG = CoreConfig(table_words=64)
TABLE = 5


def random_rows(rng, count):
    """Descriptors of so many rows; the last one ends the layer."""
    widths = {name: bits.width for name, bits in row_layout(CONFIG)}
    return [
        {name: int(rng.integers(1 << min(8, widths.get(name, field.width))))
         for name, field in ROW_FIELDS.items()}
        | {"opens": int(rng.integers(3)), "last": int(n == count - 1)}
        for n in range(count)
    ]


def rtl_rows(bench, rows, window, *, ready=1.0, grant=1.0, leave=1.0):
    """What was given for each row, its first map word, and the cycle in which it began.

    Rows of outputs leave the window at random, at most one a cycle.
    """
    dut, rng = RowReader(CONFIG), np.random.default_rng(2)
    words = [0] * TABLE + [word for row in rows for word in pack(ROW_FIELDS, ROW_WORDS, **row)]
    given, maps, begun = [], [], []

    async def testbench(ctx):
        ctx.set(dut.entry, {"row_table": TABLE, "window_rows": window})
        ctx.set(dut.run.start, 1)
        await ctx.tick()
        ctx.set(dut.run.start, 0)
        ctx.set(dut.entry, {"row_table": 0, "window_rows": 0})
        cycle = opened = 0
        while ctx.get(dut.run.busy):
            cycle += 1
            swept = opened > 0 and rng.random() < leave
            ctx.set(dut.swept, int(swept))
            ctx.set(dut.o.ready, int(rng.random() < ready) & ctx.get(dut.o.valid))
            ctx.set(dut.table.grant, int(rng.random() < grant))
            _, _, valid, taken, row, begins, first, asked, granted, address = (
                await ctx.tick().sample(
                    dut.o.valid, dut.o.ready, dut.o.payload, dut.row.begins, dut.row.map,
                    dut.table.request, dut.table.grant, dut.table.address))
            ctx.set(dut.table.data, words[address] if asked and granted else 0xDEADBEEF)
            opened -= swept
            if valid and taken:
                given.append({name: int(row[name]) for name, _ in row_layout(CONFIG)})
            if begins:
                opened += rows[len(begun)]["opens"]
                # Never more than there are places.
                assert opened <= window
                begun.append(cycle)
                maps.append(first)

    bench.run(dut, testbench)
    return given, maps, begun


@pytest.mark.parametrize("options", [{}, {"ready": 0.3}, {"grant": 0.3}, {"leave": 0.1},
                                     {"ready": 0.5, "grant": 0.5, "leave": 0.3}])
def test_rows_are_those_of_the_table(bench, options):
    rows = random_rows(np.random.default_rng(1), 20)
    given, maps, _ = rtl_rows(bench, rows, 3, **options)
    assert given == [{name: row[name] for name, _ in row_layout(CONFIG)} for row in rows]
    assert maps == [row["map"] for row in rows]


def test_a_row_every_four_cycles(bench):
    rows = [row | {"opens": 0} for row in random_rows(np.random.default_rng(3), 8)]
    _, _, begun = rtl_rows(bench, rows, 1)
    assert begun == list(range(4, 4 + 4 * 8, 4))


def test_the_next_row_begins_when_the_one_before_it_ends(bench):
    rows = [row | {"opens": 1} for row in random_rows(np.random.default_rng(4), 3)]
    _, _, begun = rtl_rows(bench, rows, 2, ready=0.05)
    assert begun[0] == 4 and all(np.diff(begun) >= 4)
