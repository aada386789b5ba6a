# SPDX-License-Identifier: Apache-2.0
"""The ordering queue against a sort by tick."""

import itertools

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.ordering import OrderingQueue

CONFIG = CoreConfig(tick_bits=4, input_words=4, map_words=4, datapath="ramp")
PLACES = CONFIG.map_places


def rtl_order(bench, config, maps, ticks, *, pause=0.0):
    """For each map, [(channels of a tick, in any order, and tick)] and cycles of all transfers."""
    dut = OrderingQueue(config)
    seen, cycles = [], []

    async def layer(ctx, codes):
        ctx.set(dut.run.start, 1)
        ctx.set(dut.entry.source_ticks, ticks)
        await ctx.tick()
        ctx.set(dut.run.start, 0)
        events = [{"channel": int(n), "code": int(codes[n])} for n in np.flatnonzero(codes)]
        source = bench.Source(dut.i, [*events, {"end": 1}], pause=pause, seed=len(seen))
        await source.run(ctx)
        while ctx.get(dut.run.busy):
            await ctx.tick()

    async def layers(ctx):
        # No bucket is known to be empty after a reset.
        ctx.set(dut.purge.active, 1)
        for code in range(1 << config.tick_bits):
            ctx.set(dut.purge.word, code)
            await ctx.tick()
        ctx.set(dut.purge.active, 0)
        for codes in maps:
            await layer(ctx, codes)

    async def take(ctx):
        rng = np.random.default_rng(3)
        channels, found = [], []
        for cycle in itertools.count():
            ctx.set(dut.o.ready, int(not pause or rng.random() > pause))
            _, _, valid, ready, item = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload)
            if not (valid and ready):
                continue
            cycles.append(cycle)
            if item.event:
                channels.append(int(item.channel))
            if not item.end:
                # An end without an event is the end of an empty tick, or of one that has passed.
                assert item.event and not item.last
                continue
            found.append((sorted(channels), int(item.tick)))
            channels = []
            if item.last:
                seen.append(found)
                found = []

    bench.run(dut, layers, background=(take,))
    return seen, cycles


def expected(codes, ticks):
    first = ticks - max(1, int(codes.max(initial=0)))
    return [(np.flatnonzero(codes == ticks - tick).tolist(), tick) for tick in range(first, ticks)]


@pytest.mark.parametrize("pause", [0.0, 0.5])
@pytest.mark.parametrize("ticks", [1, 2, 11, 15])
def test_equals_sort(bench, ticks, pause):
    rng = np.random.default_rng(ticks)
    maps = [rng.integers(0, ticks + 1, PLACES) * (rng.random(PLACES) < share)
            for share in (1, 0.3, 0.1, 1)]
    # None, all in one tick, the first place, the last one.
    maps += [np.zeros(PLACES, int), np.full(PLACES, ticks), np.full(PLACES, 1),
             np.eye(PLACES, dtype=int)[0], ticks * np.eye(PLACES, dtype=int)[-1]]
    seen, _ = rtl_order(bench, CONFIG, maps, ticks, pause=pause)
    assert seen == [expected(codes, ticks) for codes in maps]


def test_codes_of_eight_bits(bench):
    config = CoreConfig(tick_bits=8, input_words=8, map_words=2, datapath="ramp")
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 256, config.map_places) for _ in range(2)]
    seen, _ = rtl_order(bench, config, maps, 255)
    assert seen == [expected(codes, 255) for codes in maps]


def test_an_event_a_cycle_and_one_more_a_tick(bench):
    # Ticks 1 to 11, of two or three events each: no event of the first one, which would pass at
    # once.
    codes = np.arange(PLACES) % 11 + 4
    _, cycles = rtl_order(bench, CONFIG, [codes], 15)
    assert len(cycles) == PLACES + 3
    gaps = np.diff(cycles)
    assert set(gaps.tolist()) == {1, 2} and (gaps == 2).sum() == 10


def test_events_of_the_first_tick_do_not_wait(bench):
    codes = np.full(PLACES, 15)
    _, cycles = rtl_order(bench, CONFIG, [codes], 15)
    assert cycles[:PLACES] == list(range(cycles[0], cycles[0] + PLACES))
