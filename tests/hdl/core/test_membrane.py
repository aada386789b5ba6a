# SPDX-License-Identifier: Apache-2.0
"""The membrane memory against an array of potentials, with its flags and its biases."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.membrane import Membrane


def rtl_membrane(bench, config, init, operations):
    """(what they were read for, potentials) of each operation; None is a cycle without one.

    An operation is (kind, word, bias, added); ``added`` goes to what was read, as lanes do.
    """
    dut = Membrane(config, init)
    kinds = dut.operation.updating, dut.operation.sweeping
    seen, half = [], 1 << (config.accumulator_bits - 1)

    async def testbench(ctx):
        # Sums belong to the operation of so many cycles before.
        for cycle, operation in enumerate([*operations, *[None] * dut.latency]):
            ctx.set(dut.operation.valid, operation is not None)
            kind, word, bias, _ = operation or ("", 0, 0, 0)
            ctx.set(dut.operation.sweep, kind in ("sweep", "last peek"))
            ctx.set(dut.operation.peek, kind in ("peek", "last peek"))
            ctx.set(dut.operation.load, kind == "load")
            ctx.set(dut.operation.word, word)
            ctx.set(dut.operation.bias, bias)
            if cycle >= dut.latency and operations[cycle - dut.latency]:
                found = [ctx.get(dut.lanes.potentials[n]) for n in range(config.lanes)]
                added = operations[cycle - dut.latency][3]
                sums = [(value + added + half) % (2 * half) - half
                        for value in found]
                ctx.set(dut.lanes.sums, sums)
                seen.append((*(ctx.get(flag) for flag in kinds), found))
            else:
                assert not any(ctx.get(flag) for flag in kinds)
            await ctx.tick()
        assert not ctx.get(dut.busy)

    bench.run(dut, testbench)
    return seen


def reference_membrane(config, init, operations):
    words = np.zeros((config.membrane_words, config.lanes), int)
    words[:len(init)] = init
    touched, seen = set(), []
    half = 1 << (config.accumulator_bits - 1)
    for kind, word, bias, added in filter(None, operations):
        found = words[word if word in touched and kind != "load" else bias].tolist()
        peeked = kind.endswith("peek")
        seen.append((int(not peeked and kind != "sweep"), int(kind == "sweep"), found))
        if kind in ("update", "load"):
            words[word] = (np.array(found) + added + half) % (2 * half) - half
        if kind == "update":
            touched.add(word)
        elif kind != "peek":
            touched.discard(word)
    return seen


def pack(word, bits):
    return sum((value & ((1 << bits) - 1)) << (n * bits) for n, value in enumerate(word))


@pytest.mark.parametrize(("lanes", "words", "bits", "weights"), [
    (2, 4, 8, "block"), (4, 9, 13, "block"), (16, 6, 16, "block"), (16, 6, 16, "spram"),
])
def test_equals_array(bench, lanes, words, bits, weights):
    config = CoreConfig(lanes=lanes, membrane_words=words, accumulator_bits=bits,
                        weight_memory=weights)
    rng = np.random.default_rng(bits)
    high = 1 << (bits - 1)
    # The lower half are biases.
    biases = words // 2
    init = rng.integers(-high, high, (biases, lanes)).tolist()
    operations, before = [], None
    for _ in range(400):
        word = int(rng.integers(biases, words))
        if word == before or rng.random() < 0.2:
            operations.append(None)
            before = None
            continue
        kind = str(rng.choice(
            ["update", "update", "sweep", "load", "peek", "last peek"]))
        operations.append((kind, word, int(rng.integers(biases)), int(rng.integers(-99, 99))))
        before = word
    packed = [pack(word, bits) for word in init]
    assert rtl_membrane(bench, config, packed, operations) == reference_membrane(
        config, init, operations)


def test_the_bias_is_read_until_the_first_touch_and_again_after_the_sweep(bench):
    config = CoreConfig(lanes=2, membrane_words=4)
    operations = [("sweep", 2, 1, 0), None, ("update", 2, 1, 5), None, ("update", 2, 1, 5), None,
                  ("sweep", 2, 1, 0), None, ("sweep", 2, 0, 0)]
    init = [pack(word, 16) for word in ([0, 0], [-3, 40])]
    found = [potentials for *_, potentials in rtl_membrane(bench, config, init, operations)]
    assert found == [[-3, 40], [-3, 40], [2, 45], [7, 50], [0, 0]]


@pytest.mark.parametrize("weights", ["block", "spram"])
def test_stall_keeps_a_sweep_and_what_comes_behind_it(bench, weights):
    config = CoreConfig(lanes=16, membrane_words=5, weight_memory=weights)
    words = np.arange(80).reshape(5, 16).tolist()
    dut = Membrane(config, [pack(word, 16) for word in words])

    def found(ctx):
        return [ctx.get(dut.lanes.potentials[n]) for n in range(16)]

    async def testbench(ctx):
        ctx.set(dut.operation.sweep, 1)
        ctx.set(dut.operation.valid, 1)
        for word in range(1, 1 + dut.latency):
            ctx.set(dut.operation.word, word)
            ctx.set(dut.operation.bias, word)
            await ctx.tick()
        ctx.set(dut.operation.word, 1 + dut.latency)
        ctx.set(dut.operation.bias, 1 + dut.latency)
        ctx.set(dut.operation.stall, 1)
        for _ in range(4):
            assert ctx.get(dut.operation.sweeping) and ctx.get(dut.operation.coming)
            assert found(ctx) == words[1]
            await ctx.tick()
        ctx.set(dut.operation.stall, 0)
        for word in words[2:2 + dut.latency]:
            await ctx.tick()
            assert found(ctx) == word
            ctx.set(dut.operation.valid, 0)
        await ctx.tick()
        assert not ctx.get(dut.operation.sweeping)

    bench.run(dut, testbench)


def test_the_same_word_twice_in_succession_ends_the_simulation(bench):
    # What this folder's tests rely on: the check of conftest.py is there, and it bites.
    config = CoreConfig(lanes=2, membrane_words=4)
    with pytest.raises(AssertionError, match="a memory word is read while it is written"):
        rtl_membrane(bench, config, [], [("update", 2, 0, 1), ("update", 2, 0, 1)])
