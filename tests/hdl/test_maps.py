"""The spike-time map against an array of codes."""

import numpy as np
import pytest

from hdl.config import CoreConfig
from hdl.maps import SpikeMap


def random_operations(rng, config, depth, count):
    """Cycles of a map's ports: (write or clear or None, neuron, code, word to read or None)."""
    slots = config.codes_per_word
    for _ in range(count):
        operation = rng.choice(["write", "clear", ""])
        neuron = int(rng.integers(depth * slots))
        word = int(rng.integers(depth))
        # Nobody may read the word that is written in the same cycle.
        read = rng.random() < 0.7 and not (operation and word == neuron // slots)
        yield operation, neuron, int(rng.integers(config.max_ticks + 1)), word if read else None


def rtl_map(bench, config, depth, operations):
    """The words that are on ``data`` after each operation, as lists of codes."""
    dut = SpikeMap(config, depth)
    seen = []

    async def testbench(ctx):
        for operation, neuron, code, word in operations:
            ctx.set(dut.write, operation == "write")
            ctx.set(dut.clear, operation == "clear")
            ctx.set(dut.neuron, neuron)
            ctx.set(dut.code, code)
            ctx.set(dut.enable, word is not None)
            # While not enabled, the address must not matter.
            ctx.set(dut.address, depth - 1 if word is None else word)
            await ctx.tick()
            data = ctx.get(dut.data)
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
        if operation == "clear":
            codes[neuron // config.codes_per_word] = 0
        if operation == "write":
            codes.flat[neuron] = code
        seen.append(data)
    # Before the first read, data is whatever the memory gives.
    return seen


@pytest.mark.parametrize("tick_bits", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("depth", [2, 5, 8])
def test_equals_array(bench, tick_bits, depth):
    config = CoreConfig(tick_bits=tick_bits)
    operations = list(random_operations(np.random.default_rng(depth), config, depth, 400))
    operations.insert(0, ("", 0, 0, 0))
    assert rtl_map(bench, config, depth, operations) == reference_map(config, depth, operations)


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
