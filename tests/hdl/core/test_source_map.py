# SPDX-License-Identifier: Apache-2.0
"""The scanner's read port, led to one of two memories."""

import numpy as np

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.source_map import SourceMap

CONFIG = CoreConfig(input_words=16, map_words=8)


def test_reads_the_map_that_the_layer_reads(bench):
    dut = SourceMap(CONFIG)
    rng = np.random.default_rng(4)

    async def testbench(ctx):
        for from_input in rng.integers(2, size=40).tolist():
            ctx.set(dut.from_input, from_input)
            await ctx.tick()
            for _ in range(4):
                address, enable = int(rng.integers(16)), int(rng.integers(2))
                data = rng.integers(1 << 32, size=2).tolist()
                ctx.set(dut.scan.address, address)
                ctx.set(dut.scan.enable, enable)
                for port, word in zip((dut.layers, dut.input), data, strict=True):
                    ctx.set(port.data, word)
                    assert ctx.get(port.address) == address
                assert ctx.get(dut.layers.enable) == (enable and not from_input)
                assert ctx.get(dut.input.enable) >= (enable and from_input)
                stall = int(rng.integers(2))
                ctx.set(dut.layers.stall, stall)
                assert ctx.get(dut.scan.stall) == (stall and not from_input)
                assert ctx.get(dut.scan.data) == data[from_input]
                await ctx.tick()

    bench.run(dut, testbench)
