# SPDX-License-Identifier: Apache-2.0
"""Where the walk of an event begins: sums of its row, its column and its channel."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.columns import ColumnReader
from ttfs_fpga.hdl.table import COLUMN_FIELDS, Operation, pack

CONFIG = CoreConfig(table_words=64, lanes=4)
TABLE, BIAS = 7, 9
ROW = {"membrane": 20, "taps": 3, "wrap": 1, "completes": 2, "last": 0, "weight": 300}


def rtl_walks(bench, events, columns, operation, second, *, pause=0.0, grant=1.0):
    """Walks of the events of a row, whose columns have these descriptors; cycles of each."""
    dut, rng = ColumnReader(CONFIG), np.random.default_rng(5)
    words = [0] * TABLE + [pack(COLUMN_FIELDS, 1, **column)[0] for column in columns]
    sink = bench.Sink(dut.o, len(events), pause=pause)
    ended = []

    async def table(ctx):
        while True:
            # First of all readers: what it asks for it gets.
            given = ctx.get(dut.table.request) or rng.random() < grant
            ctx.set(dut.table.grant, int(given))
            _, _, granted, address, ends = await ctx.tick().sample(
                dut.table.grant, dut.table.address, dut.row.valid & dut.row.ready)
            known = granted and address < len(words)
            ctx.set(dut.table.data, words[address] if known else 0xDEADBEEF)
            ended.append(ends)

    async def testbench(ctx):
        ctx.set(dut.entry, {"operation": operation, "column_table": TABLE, "bias_base": BIAS})
        ctx.set(dut.row.payload, ROW | {"second": second})
        ctx.set(dut.row.valid, 1)
        await bench.Source(dut.i, events, pause=pause).run(ctx)
        while ctx.get(dut.busy):
            await ctx.tick()

    bench.run(dut, testbench, sink.run, background=(table,))
    assert sum(ended) == sum(event["end"] for event in events)
    return sink.values, sink.cycles


@pytest.mark.parametrize(("operation", "second"), [
    (Operation.FULL, 0), (Operation.FULL, 1), (Operation.DEPTHWISE, 0)])
@pytest.mark.parametrize("options", [{}, {"pause": 0.4, "grant": 0.4}])
def test_walks_begin_where_row_and_column_say(bench, operation, second, options):
    rng = np.random.default_rng(6)
    columns = [{"weight": int(rng.integers(100)), "membrane": int(rng.integers(30)),
                "taps": int(rng.integers(4))} for _ in range(10)]
    events = [{"column": int(rng.integers(10)), "channel": int(rng.integers(20)),
               "code": int(rng.integers(1, 16)), "end": int(n == 29)} for n in range(30)]
    walks, cycles = rtl_walks(bench, events, columns, operation, second, **options)
    for walk, event in zip(walks, events, strict=True):
        own = operation == Operation.DEPTHWISE or second
        word, column = event["channel"] // 4 if own else 0, columns[event["column"]]
        assert (walk.weight, walk.membrane, walk.bias) == (
            300 + event["channel"] + column["weight"], 20 + word + column["membrane"], BIAS + word)
        assert (walk.taps, walk.columns, walk.wrap) == (3, column["taps"], 1)
        assert (walk.code, walk.end, walk.completes, walk.second) == (
            event["code"], event["end"], 2, second)
    if not options:
        assert set(np.diff(cycles).tolist()) == {2}
