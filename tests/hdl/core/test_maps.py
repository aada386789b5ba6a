# SPDX-License-Identifier: Apache-2.0
"""The spike-time map against an array of codes."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.maps import SpikeMap

#: What may happen to a word; those of a map of pairs at the end.
OPERATIONS = ("", "write", "alone", "clear", "pair", "alone pair")


def random_operations(rng, config, depth, count, *, pairs=False):
    """Cycles of a map's ports: (operation, neuron, code, word to read or None)."""
    slots = config.codes_per_word
    for _ in range(count):
        operation = str(rng.choice(OPERATIONS if pairs else OPERATIONS[:-2]))
        neuron = int(rng.integers(depth * slots))
        if "alone" in operation:
            neuron -= neuron % slots
        if "pair" in operation:
            neuron -= neuron % 2
        word = int(rng.integers(depth))
        # Nobody may read the word that is written in the same cycle.
        read = rng.random() < 0.7 and not (operation and word == neuron // slots)
        yield operation, neuron, int(rng.integers(config.max_ticks + 1)), word if read else None


def second_of(config, code):
    """The code that goes beside another one: never the same."""
    return config.max_ticks - code


def rtl_map(bench, config, depth, operations, *, pairs=False):
    """The words that are on ``data`` after each operation, as lists of codes."""
    dut = SpikeMap(config, depth, pairs=pairs)
    seen = []

    async def testbench(ctx):
        for operation, neuron, code, word in operations:
            ctx.set(dut.write.enable, operation not in ("", "clear"))
            ctx.set(dut.write.clear, operation == "clear")
            ctx.set(dut.write.alone, "alone" in operation)
            if pairs:
                ctx.set(dut.write.pair, "pair" in operation)
                ctx.set(dut.write.second, second_of(config, code))
            ctx.set(dut.write.place, neuron)
            ctx.set(dut.write.code, code)
            ctx.set(dut.read.enable, word is not None)
            # While not enabled, the address must not matter.
            ctx.set(dut.read.address, depth - 1 if word is None else word)
            await ctx.tick()
            data = ctx.get(dut.read.data)
            seen.append([
                data >> (n * config.tick_bits) & config.max_ticks
                for n in range(config.codes_per_word)
            ])

    bench.run(dut, testbench)
    return seen


def reference_map(config, depth, operations):
    codes = np.zeros((depth, config.codes_per_word), int)
    data, seen = codes[0].tolist(), []
    for operation, neuron, code, word in operations:
        if word is not None:
            data = codes[word].tolist()
        if operation == "clear" or "alone" in operation:
            codes[neuron // config.codes_per_word] = 0
        if operation not in ("", "clear"):
            codes.flat[neuron] = code
        if "pair" in operation:
            codes.flat[neuron + 1] = second_of(config, code)
        seen.append(data)
    # Before the first read, data is whatever the memory gives.
    return seen


@pytest.mark.parametrize("tick_bits", [1, 3, 4, 5, 8])
@pytest.mark.parametrize(("depth", "pairs"), [(2, False), (5, False), (8, False), (5, True)])
def test_equals_array(bench, tick_bits, depth, pairs):
    config = CoreConfig(tick_bits=tick_bits)
    operations = list(
        random_operations(np.random.default_rng(depth), config, depth, 400, pairs=pairs))
    operations.insert(0, ("", 0, 0, 0))
    assert rtl_map(bench, config, depth, operations, pairs=pairs) == reference_map(
        config, depth, operations)


def test_map_of_one_word(bench):
    config = CoreConfig(tick_bits=8)
    operations = [
        ("", 0, 0, 0), ("write", 3, 9, None), ("write", 0, 255, None), ("", 0, 0, 0),
        ("clear", 2, 7, None), ("", 0, 0, 0),
    ]
    seen = rtl_map(bench, config, 1, operations)
    assert seen == reference_map(config, 1, operations)
    assert seen[3:] == [[255, 0, 0, 9], [255, 0, 0, 9], [0, 0, 0, 0]]


def test_wakes_up_silent(bench):
    config = CoreConfig(tick_bits=4)
    operations = [("", 0, 0, word) for word in range(4)]
    assert rtl_map(bench, config, 4, operations) == [[0] * 8] * 4
