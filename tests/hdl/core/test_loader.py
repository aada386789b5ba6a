# SPDX-License-Identifier: Apache-2.0
"""The loader: every write goes to its memory, once, in the cycle in which it is taken."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.loader import Loader
from ttfs_fpga.hdl.shapes import Memory, membrane_write_shape

CONFIGS = [
    CoreConfig(lanes=4, weight_bits=8, weight_words=64),
    CoreConfig(lanes=16, weight_bits=8, weight_words=64),
]


def rtl_load(bench, config, writes):
    """What was written, (memory, address, data), of ``writes`` and cycles of an image before."""
    dut = Loader(config)
    ports = {Memory.TABLE: dut.table, Memory.ENCODER: dut.codes, Memory.SLOPES: dut.slopes}
    found = []

    def look(ctx):
        """What is written in this cycle."""
        for memory, port in ports.items():
            if ctx.get(port.enable):
                yield memory, ctx.get(port.address), ctx.get(port.data)
        bias = dut.biases.p
        address = ctx.get(bias.weight) * config.weight_parts + ctx.get(dut.weights.address)
        if ctx.get(dut.weights.enable):
            yield Memory.WEIGHTS, address, ctx.get(dut.weights.data)
        if ctx.get(dut.biases.valid):
            yield Memory.MEMBRANE, (ctx.get(bias.word), address), ctx.get(bias.write.as_value())

    async def testbench(ctx):
        for memory, address, data, busy in writes:
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.p, {"memory": memory, "address": address, "data": data})
            ctx.set(dut.busy, 1)
            for _ in range(busy):
                assert not ctx.get(dut.changing) and not ctx.get(dut.i.ready)
                assert not [*look(ctx)]
                await ctx.tick()
            # Said in the first cycle, and done in the second one.
            ctx.set(dut.busy, 0)
            assert ctx.get(dut.changing) and not ctx.get(dut.i.ready)
            assert not [*look(ctx)]
            await ctx.tick()
            assert ctx.get(dut.changing) and ctx.get(dut.i.ready)
            found.extend(look(ctx))
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            if busy:
                assert not ctx.get(dut.changing) and not [*look(ctx)]
                await ctx.tick()

    bench.run(dut, testbench)
    return found


def reference_load(config, writes):
    sizes = {
        Memory.TABLE: (config.table_address_bits, 32),
        Memory.ENCODER: (8, config.tick_bits),
        Memory.SLOPES: (config.slope_address_bits, 21),
        Memory.WEIGHTS: (24, 32),
    }
    parts = config.weight_address_bits + config.weight_parts.bit_length() - 1
    for memory, address, data, _ in writes:
        weights = address % (1 << parts)
        if memory == Memory.MEMBRANE:
            word = address % (1 << config.membrane_address_bits)
            yield memory, (word, weights), data % (1 << membrane_write_shape().size)
        else:
            address_bits, bits = sizes[memory]
            place = weights if memory == Memory.WEIGHTS else address % (1 << address_bits)
            yield memory, place, data % (1 << bits)


@pytest.mark.parametrize("config", CONFIGS, ids=["one part", "four parts"])
def test_each_write_goes_to_its_memory(bench, config):
    rng = np.random.default_rng(config.lanes)
    writes = [
        (Memory(int(rng.integers(len(Memory)))), int(rng.integers(1 << 24)),
         int(rng.integers(1 << 32)), int(rng.choice([0, 0, 0, 1, 5])))
        for _ in range(200)
    ]
    assert {memory for memory, *_ in writes} == set(Memory)
    assert rtl_load(bench, config, writes) == list(reference_load(config, writes))
