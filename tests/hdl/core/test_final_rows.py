# SPDX-License-Identifier: Apache-2.0
"""Which rows are final, and when a layer has fired, against lists of cycles."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.final_rows import FinalRows

CONFIG = CoreConfig(input_words=64, map_words=64)


def rtl_final(bench, latency, cycles, *, spiking, base=7, step=3):
    """(final, ended) in each cycle; ``cycles`` are names of what is set in each."""
    dut = FinalRows(CONFIG, latency)
    seen = []

    async def testbench(ctx):
        ctx.set(dut.firing.entry.spiking, int(spiking))
        ctx.set(dut.firing.entry.destination_base, base)
        ctx.set(dut.firing.entry.final_step, step)
        for names in cycles:
            ctx.set(dut.firing.attach, "attach" in names)
            ctx.set(dut.firing.start, "start" in names)
            ctx.set(dut.sweeping, "sweeping" in names)
            ctx.set(dut.written, "written" in names)
            ctx.set(dut.answered, "answered" in names)
            seen.append((ctx.get(dut.final.word), ctx.get(dut.firing.ended)))
            await ctx.tick()

    bench.run(dut, testbench)
    return seen


def a_layer(rng, rows, latency):
    """Attached, started, swept with its rows written at random, and left alone until final."""
    sweep = [{"sweeping"} for _ in range(4 * rows + 4)]
    for cycle in rng.choice(len(sweep), rows, replace=False):
        sweep[cycle] |= {"written"}
    return [{"attach"}, set(), set(), {"start"}, *sweep, *[set()] * (latency + 4)]


@pytest.mark.parametrize("latency", [2, 10, 11])
def test_rows_are_final_when_they_have_gone_all_the_way(bench, latency):
    rng = np.random.default_rng(latency)
    cycles = [names for rows in (1, 5, 9) for names in a_layer(rng, rows, latency)]
    seen = rtl_final(bench, latency, cycles, spiking=True)
    final = 0
    for cycle, (found, ended) in enumerate(seen):
        assert found == final, cycle
        # Nothing was under way in the cycle before, nor was anything begun in it.
        recent = set().union(*cycles[max(0, cycle - 1 - latency):cycle])
        last = cycles[cycle - 1] if cycle else {"start"}
        assert ended == ("written" not in recent and not last & {"start", "sweeping"}), cycle
        if "attach" in cycles[cycle]:
            final = 0
        elif "start" in cycles[cycle]:
            final = 7
        elif cycle >= latency and "written" in cycles[cycle - latency]:
            final += 3
    assert final == 7 + 9 * 3


def test_the_output_layer_ends_with_its_last_logit(bench):
    cycles = [{"attach"}, {"start"}, {"sweeping"}, set(), set(), {"answered"}, set()]
    seen = rtl_final(bench, 4, cycles, spiking=False)
    assert [ended for _, ended in seen] == [0, 0, 0, 0, 0, 1, 0]
