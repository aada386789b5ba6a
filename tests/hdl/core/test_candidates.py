# SPDX-License-Identifier: Apache-2.0
"""Candidates of words of potentials against one comparison each."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.candidates import CandidatePicker

LOWEST = -128
PIXEL_WORDS = 3


def make_config(lanes):
    return CoreConfig(lanes=lanes, accumulator_bits=8, membrane_words=32, weight_bits=8)


def rtl_pick(bench, config, words, threshold, *, spiking=1, halves=0, pause=0.0, base=40):
    """Candidates (place, channel, above, last), their cycles, and what was left behind."""
    dut, rng = CandidatePicker(config), np.random.default_rng(4)
    found, cycles, left = [], [], []

    async def take(ctx):
        cycle = 0
        while True:
            ctx.set(dut.o.ready, int(rng.random() >= pause))
            _, _, valid, ready, item, gone = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.p, dut.left)
            if valid and ready:
                found.append((item.place, item.channel, item.above, item.last))
                cycles.append(cycle)
            if gone.word:
                left.append((gone.pixel_ends, gone.row_ends))
            cycle += 1

    async def testbench(ctx):
        ctx.set(dut.entry, {"fire_threshold": threshold & 255, "last_word": PIXEL_WORDS - 1,
                            "halves": halves, "spiking": spiking})
        ctx.set(dut.pixel, base)
        ctx.set(dut.run.start, 1)
        await ctx.tick()
        ctx.set(dut.run.start, 0)
        for number, potentials in enumerate(words):
            last = number == len(words) - 1
            ctx.set(dut.i.p, {
                "potentials": potentials, "pixel_ends": int(number % PIXEL_WORDS == 2),
                "row_ends": int(number % 6 == 5), "layer_ends": int(last)})
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
        while ctx.get(dut.run.busy):
            await ctx.tick()
        assert ctx.get(dut.spare)

    bench.run(dut, testbench, background=(take,))
    return found, cycles, left


def reference_pick(config, words, threshold, halves, base=40):
    found = []
    for number, potentials in enumerate(words):
        first = number % PIXEL_WORDS * config.lanes
        found += [(base + first + (lane >> halves), first + lane, potential - threshold)
                  for lane, potential in enumerate(potentials) if potential >= threshold]
    return found


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("halves", [0, 1])
@pytest.mark.parametrize("pause", [0.0, 0.5])
@pytest.mark.parametrize("threshold", [LOWEST, -3, 0, 60, 127])
def test_those_that_reach_the_threshold(bench, lanes, halves, pause, threshold):
    config = make_config(lanes)
    words = np.random.default_rng(lanes).integers(LOWEST, 128, (12, lanes)).tolist()
    words[4] = [LOWEST] * lanes
    found, cycles, left = rtl_pick(bench, config, words, threshold, halves=halves, pause=pause)
    assert [item[:3] for item in found] == reference_pick(config, words, threshold, halves)
    assert left == [(int(n % PIXEL_WORDS == 2), int(n % 6 == 5)) for n in range(len(words))]
    if not pause and threshold == LOWEST:
        # The first word came in cycle 1; a word takes two cycles more than it has candidates.
        assert cycles[0] == 1 + 3
        assert cycles[-1] - cycles[0] == len(words) * (lanes + 2) - 3


@pytest.mark.parametrize("pause", [0.0, 0.7])
def test_the_last_logit_is_marked(bench, pause):
    config = make_config(4)
    words = [[5, 6, 7, 8], [1, 2, LOWEST, LOWEST]]
    found, *_ = rtl_pick(bench, config, words, LOWEST + 1, spiking=0, pause=pause)
    assert [last for *_, last in found] == [0, 0, 0, 0, 0, 1]
