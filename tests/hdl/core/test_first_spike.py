# SPDX-License-Identifier: Apache-2.0
"""Codes on their way into a map, against a dictionary in which the largest of a place stays."""

import numpy as np
import pytest
from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.first_spike import FirstSpike
from ttfs_fpga.hdl.core.maps import SpikeMap

#: Eight codes a word; the lower half of the map is written, the upper half read by somebody else.
CONFIG = CoreConfig(lanes=4, tick_bits=4, input_words=2, map_words=8)
WRITTEN = 4 * CONFIG.codes_per_word


class Harness(wiring.Component):
    """The map, its writer, and another reader that takes the port whenever it may."""

    other: In(3)

    def __init__(self):
        self.writer = FirstSpike(CONFIG)
        self.map = SpikeMap(CONFIG, CONFIG.map_words)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer, m.submodules.map = writer, spikes = self.writer, self.map
        m.d.comb += [
            spikes.read.address.eq(Mux(writer.map.claim, writer.map.address, self.other)),
            spikes.read.enable.eq(writer.map.enable | ~writer.map.claim),
            writer.map.data.eq(spikes.read.data),
            spikes.write.enable.eq(writer.map.write),
            spikes.write.place.eq(writer.map.place),
            spikes.write.code.eq(writer.map.code),
        ]
        return m


def rtl_writes(bench, codes, *, pooled):
    """What ``codes``, (place, code) or None a cycle, write and read, with cycles, and the map."""
    dut = Harness()
    writer = dut.writer
    writes, reads, final = [], [], {}

    async def testbench(ctx):
        ctx.set(writer.pooled, int(pooled))
        for cycle, code in enumerate([*codes, None, None]):
            ctx.set(writer.i.valid, int(code is not None))
            # An idle cycle's payload is another word's.
            place, value = code or (WRITTEN - 1, CONFIG.max_ticks)
            ctx.set(writer.i.p, {"place": place, "code": value})
            ctx.set(dut.other, 4 + cycle % 4)
            if ctx.get(writer.map.enable):
                reads.append((cycle, ctx.get(writer.map.address)))
            if ctx.get(writer.map.write):
                assert ctx.get(writer.map.pending)
                writes.append((cycle, ctx.get(writer.map.place), ctx.get(writer.map.code)))
            await ctx.tick()
        for _ in range(3):
            ctx.set(writer.i.valid, 0)
            assert not ctx.get(writer.map.pending)
            await ctx.tick()
        for word in range(4):
            ctx.set(dut.other, word)
            await ctx.tick()
            data = ctx.get(dut.map.read.data)
            for slot in range(CONFIG.codes_per_word):
                final[word * CONFIG.codes_per_word + slot] = data >> 4 * slot & 15

    bench.run(dut, testbench)
    return writes, reads, final


def reference_writes(codes, *, pooled):
    final = dict.fromkeys(range(WRITTEN), 0)
    writes = []
    for cycle, code in enumerate(codes):
        if code is not None and (not pooled or code[1] > final[code[0]]):
            final[code[0]] = code[1]
            writes.append((cycle + 2, *code))
    return writes, final


def bursts(rng, count):
    """Codes as pooled words give them: places ascend within a word's, then time passes.

    Two pixels may be side by side in a word: then a place may come twice in succession.
    """
    codes = []
    for _ in range(count):
        base = int(rng.integers(WRITTEN // 4)) * 4
        for lane in range(4):
            if rng.random() < 0.75:
                codes.append((base + lane, int(rng.integers(1, 16))))
                if rng.random() < 0.3:
                    codes.append((base + lane, int(rng.integers(1, 16))))
            codes += [None] * int(rng.choice([0, 0, 0, 1, 2]))
        codes += [None] * 2
    return codes


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_code_of_a_place_stays(bench, seed):
    codes = bursts(np.random.default_rng(seed), 150)
    writes, _, final = rtl_writes(bench, codes, pooled=True)
    assert (writes, final) == reference_writes(codes, pooled=True)
    # Both happened: a larger code came late, and a smaller one.
    assert len(set(final.values())) > 1
    assert len(final) < len(writes) < sum(code is not None for code in codes)


@pytest.mark.parametrize("seed", range(2))
def test_without_pooling_every_code_is_written_and_nothing_is_read(bench, seed):
    codes = bursts(np.random.default_rng(10 + seed), 100)
    writes, reads, final = rtl_writes(bench, codes, pooled=False)
    assert (writes, final) == reference_writes(codes, pooled=False)
    assert len(writes) == sum(code is not None for code in codes)
    assert not reads


@pytest.mark.parametrize("gap", [0, 1])
def test_a_word_is_read_once_for_codes_with_at_most_one_cycle_between(bench, gap):
    old = [(place, 7) for place in range(8)] + [None] * 3
    new = [code for place in range(8) for code in [(place, 4 + place), *[None] * gap]]
    codes = [*old, *new]
    writes, reads, final = rtl_writes(bench, codes, pooled=True)
    assert reads == [(0, 0), (len(old), 0)]
    assert [final[place] for place in range(8)] == [7, 7, 7, 7, 8, 9, 10, 11]
    assert (writes, final) == reference_writes(codes, pooled=True)


def test_after_two_cycles_the_word_is_read_again(bench):
    # Somebody else has read meanwhile.
    codes = [(0, 5), None, None, (1, 5), None, None, (0, 6), None, None, (0, 5)]
    writes, reads, _ = rtl_writes(bench, codes, pooled=True)
    assert reads == [(0, 0), (3, 0), (6, 0), (9, 0)]
    assert writes == [(2, 0, 5), (5, 1, 5), (8, 0, 6)]


def test_a_burst_across_two_words_reads_both(bench):
    codes = [(6, 1), (7, 2), (8, 3), (9, 4), None, None, (6, 2), (7, 1), (8, 2), (9, 5)]
    writes, reads, _ = rtl_writes(bench, codes, pooled=True)
    assert reads == [(0, 0), (2, 1), (6, 0), (8, 1)]
    assert writes == [(2, 6, 1), (3, 7, 2), (4, 8, 3), (5, 9, 4), (8, 6, 2), (11, 9, 5)]


def test_an_equal_code_is_not_written_again(bench):
    writes, _, _ = rtl_writes(bench, [(3, 9), None, None, (3, 9), None, None, (3, 8)], pooled=True)
    assert writes == [(2, 3, 9)]
