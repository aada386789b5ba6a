# SPDX-License-Identifier: Apache-2.0
"""The watchdog against a list of cycles."""

import numpy as np
import pytest

from ttfs_fpga.hdl.core.watchdog import Watchdog

BITS = 4


@pytest.mark.parametrize("often", [0.0, 0.04, 0.3])
def test_late_without_progress_between_two_looks(bench, often):
    dut = Watchdog(BITS)
    rng = np.random.default_rng(int(often * 100))
    seen, expected = [], []

    async def testbench(ctx):
        progress_since_look = False
        for cycle in range(600):
            busy, progress = int(rng.random() < 0.995), int(rng.random() < often)
            ctx.set(dut.clock, cycle)
            ctx.set(dut.busy, busy)
            ctx.set(dut.progress, progress)
            look = cycle > 0 and cycle % (1 << BITS) == 0
            seen.append(ctx.get(dut.late))
            expected.append(int(look and busy and not progress_since_look))
            if progress or not busy:
                progress_since_look = True
            elif look:
                progress_since_look = False
            await ctx.tick()

    bench.run(dut, testbench)
    assert seen == expected
    assert any(seen) == (often < 0.3)
