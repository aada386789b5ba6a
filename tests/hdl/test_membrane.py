"""The membrane memory against an array of potentials."""

import numpy as np
import pytest

from hdl.config import CoreConfig
from hdl.membrane import Membrane


def rtl_membrane(bench, config, init, operations):
    """Potentials on the read port after each operation (name, word, lane, values, read or None)."""
    dut = Membrane(config, init)
    seen = []

    async def testbench(ctx):
        for name, word, lane, values, read in operations:
            ctx.set(dut.write, name == "write")
            ctx.set(dut.word, word)
            ctx.set(dut.sums, values)
            ctx.set(dut.load, name == "load")
            ctx.set(dut.load_address, word * config.lanes + lane)
            ctx.set(dut.load_data, values[lane] & ((1 << config.accumulator_bits) - 1))
            ctx.set(dut.enable, read is not None)
            ctx.set(dut.read, config.membrane_words - 1 if read is None else read)
            await ctx.tick()
            seen.append([ctx.get(dut.potentials[n]) for n in range(config.lanes)])

    bench.run(dut, testbench)
    return seen


def reference_membrane(config, init, operations):
    words = np.zeros((config.membrane_words, config.lanes), int)
    words[:len(init)] = init
    seen, data = [], None
    for name, word, lane, values, read in operations:
        if read is not None:
            data = words[read].tolist()
        if name == "write":
            words[word] = values
        if name == "load":
            words[word, lane] = values[lane]
        seen.append(data)
    return seen


def pack(word, bits):
    return sum((value & ((1 << bits) - 1)) << (n * bits) for n, value in enumerate(word))


@pytest.mark.parametrize(("lanes", "words", "bits"), [(2, 2, 8), (4, 5, 13), (16, 6, 16)])
def test_equals_array(bench, lanes, words, bits):
    config = CoreConfig(lanes=lanes, membrane_words=words, accumulator_bits=bits)
    rng = np.random.default_rng(bits)
    high = 1 << (bits - 1)
    init = rng.integers(-high, high, (words - 1, lanes)).tolist()
    operations = [("", 0, 0, [0] * lanes, 0)]
    for _ in range(300):
        name = str(rng.choice(["write", "load", ""]))
        word, read = (int(value) for value in rng.integers(words, size=2))
        allowed = rng.random() < 0.7 and not (name and word == read)
        operations.append((name, word, int(rng.integers(lanes)),
                           rng.integers(-high, high, lanes).tolist(), read if allowed else None))
    packed = [pack(word, bits) for word in init]
    assert rtl_membrane(bench, config, packed, operations) == reference_membrane(
        config, init, operations)


@pytest.mark.parametrize("name", ["write", "load"])
def test_a_word_read_while_it_is_written_ends_the_simulation(bench, name):
    # What this folder's tests rely on: the check of conftest.py is there, and it bites.
    config = CoreConfig(lanes=2, membrane_words=4)
    values = [1, 2]
    rtl_membrane(bench, config, [], [(name, 1, 0, values, 2), ("", 1, 0, values, 1)])
    with pytest.raises(AssertionError, match="a memory word is read while it is written"):
        rtl_membrane(bench, config, [], [(name, 1, 0, values, 1), ("", 1, 0, values, None)])
