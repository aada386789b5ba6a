# SPDX-License-Identifier: Apache-2.0
"""The map memory between layers, and all who use it, against an array of codes."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.layer_map import LayerMap

#: More words in the input map than in this one, and the other way round.
CONFIGS = [CoreConfig(tick_bits=4, input_words=16, map_words=5),
           CoreConfig(tick_bits=4, input_words=2, map_words=8)]


def random_cycles(rng, config, count):
    """(who writes, place, code, who reads, word): never both the same word."""
    for _ in range(count):
        place = int(rng.integers(config.map_words * config.codes_per_word))
        writes = str(rng.choice(["", "code", "no code", "wipe", "held wipe", "purge"]))
        word = int(rng.integers(config.map_words))
        reads = str(rng.choice(["", "scan", "compare", "claim"]))
        if writes not in ("", "no code") and word == place // config.codes_per_word:
            reads = ""
        yield writes, place, int(rng.integers(1, 16)), reads, word


def rtl_map(bench, config, cycles):
    """The word that both readers see after each cycle, and whether a wipe was taken in it."""
    dut = LayerMap(config)
    seen = []

    async def testbench(ctx):
        for writes, place, code, reads, word in cycles:
            here = place // config.codes_per_word
            pending = writes in ("code", "no code", "held wipe")
            ctx.set(dut.update.pending, pending)
            # While a wipe is held, a code is written.
            ctx.set(dut.update.write, writes in ("code", "held wipe"))
            ctx.set(dut.update.place, place)
            ctx.set(dut.update.code, code)
            ctx.set(dut.wipe.valid, "wipe" in writes)
            ctx.set(dut.wipe.word, (here + 1) % config.map_words if pending else here)
            ctx.set(dut.purge.active, writes == "purge")
            ctx.set(dut.purge.word, here)
            ctx.set(dut.scan.enable, reads == "scan")
            ctx.set(dut.update.enable, reads == "compare")
            ctx.set(dut.update.claim, reads in ("compare", "claim"))
            assert ctx.get(dut.scan.stall) == (reads in ("compare", "claim"))
            ctx.set(dut.scan.address, word if reads == "scan" else 0)
            ctx.set(dut.update.address, word if reads == "compare" else 0)
            taken = ctx.get(dut.wipe.valid) & ctx.get(dut.wipe.ready)
            await ctx.tick()
            data = ctx.get(dut.scan.data)
            assert ctx.get(dut.update.data) == data
            seen.append(([data >> 4 * n & 15 for n in range(config.codes_per_word)], taken))

    bench.run(dut, testbench)
    return seen


def reference_map(config, cycles):
    codes = np.zeros((config.map_words, config.codes_per_word), int)
    data, seen = codes[0].tolist(), []
    for writes, place, code, reads, word in cycles:
        if reads in ("scan", "compare"):
            data = codes[word].tolist()
        if writes in ("code", "held wipe"):
            codes.flat[place] = code
        elif writes in ("wipe", "purge"):
            codes[place // config.codes_per_word] = 0
        seen.append((data, int(writes == "wipe")))
    return seen


@pytest.mark.parametrize("config", CONFIGS, ids=["small", "large"])
def test_equals_array(bench, config):
    rng = np.random.default_rng(config.map_words)
    cycles = [("", 0, 1, "scan", 0), *random_cycles(rng, config, 600)]
    assert rtl_map(bench, config, cycles) == reference_map(config, cycles)


def test_a_purge_beyond_the_end_of_a_map_wipes_nothing_that_is_kept(bench):
    # The words of deeper memories are counted too: by the end all is silent, and stays so.
    config = CONFIGS[0]
    dut = LayerMap(config)

    async def testbench(ctx):
        ctx.set(dut.purge.active, 1)
        for word in range(config.table_words):
            ctx.set(dut.purge.word, word)
            await ctx.tick()
        ctx.set(dut.purge.active, 0)
        for word in range(config.map_words):
            ctx.set(dut.scan.address, word)
            ctx.set(dut.scan.enable, 1)
            await ctx.tick()
            assert ctx.get(dut.scan.data) == 0

    bench.run(dut, testbench)
