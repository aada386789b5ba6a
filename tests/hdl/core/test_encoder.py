# SPDX-License-Identifier: Apache-2.0
"""The encoder against a table look-up: two banks, restart, forget, raw codes, runs and gaps."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.encoder import Encoder

CONFIG = CoreConfig(tick_bits=4, input_words=5, map_words=2)


def random_table(rng, config):
    return rng.integers(0, config.max_ticks + 1, 256).tolist()


def random_image(rng, size, *, density=1.0, raw=0.0):
    """Samples (value, raw) of an image; ``density`` is of values that are not 0."""
    return [
        (int(rng.integers(256)) if rng.random() < density else 0, int(rng.random() < raw))
        for _ in range(size)
    ]


def encode(config, table, image):
    return [value & config.max_ticks if raw else table[value] for value, raw in image]


def reference_encode(config, table, images):
    """Codes of each image."""
    return [encode(config, table, image) for image in images]


async def send(ctx, dut, image, *, pause=0.0, rng=None):
    payloads = [{"value": value, "raw": raw} for value, raw in image]
    await send_transfers(ctx, dut, payloads, pause=pause, rng=rng)


async def send_transfers(ctx, dut, payloads, *, pause=0.0, rng=None):
    for payload in payloads:
        while pause and rng.random() < pause:
            await ctx.tick()
        ctx.set(dut.i.payload, payload)
        ctx.set(dut.i.valid, 1)
        await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)


async def receive(ctx, dut, config, size):
    """Wait for an image, read it word by word and release it."""
    while not ctx.get(dut.image.full):
        await ctx.tick()
    codes = []
    for word in range(-(-size // config.codes_per_word)):
        ctx.set(dut.map.address, word)
        ctx.set(dut.map.enable, 1)
        await ctx.tick()
        ctx.set(dut.map.enable, 0)
        data = ctx.get(dut.map.data)
        codes += [data >> (n * config.tick_bits) & config.max_ticks
                  for n in range(config.codes_per_word)]
    ctx.set(dut.image.release, 1)
    await ctx.tick()
    ctx.set(dut.image.release, 0)
    return codes[:size]


def rtl_encode(bench, config, table, images, *, pause=0.0, hold=0, load=False):
    """What :func:`reference_encode` gives; the reader waits ``hold`` cycles before each image."""
    dut = Encoder(config, () if load else table)
    rng = np.random.default_rng(14)
    found = []

    async def driver(ctx):
        ctx.set(dut.layout.valid, 1)
        ctx.set(dut.layout.last, len(images[0]) - 1)
        if load:
            ctx.set(dut.table.enable, 1)
            for address, value in enumerate(table):
                ctx.set(dut.table.address, address)
                ctx.set(dut.table.data, value)
                await ctx.tick()
            ctx.set(dut.table.enable, 0)
        for image in images:
            await send(ctx, dut, image, pause=pause, rng=rng)

    async def reader(ctx):
        for _ in images:
            await ctx.tick().repeat(1 + hold)
            found.append(await receive(ctx, dut, config, len(images[0])))

    bench.run(dut, reader, driver)
    return found


@pytest.mark.parametrize("tick_bits", [1, 3, 4, 8])
@pytest.mark.parametrize(("pause", "hold"), [(0.0, 0), (0.5, 0), (0.0, 150)])
def test_equals_look_up(bench, tick_bits, pause, hold):
    config = CoreConfig(tick_bits=tick_bits, input_words=5, map_words=2)
    rng = np.random.default_rng(tick_bits)
    table = random_table(rng, config)
    table[0] = 0
    size = 5 * config.codes_per_word - 1
    images = [
        random_image(rng, size, density=density, raw=raw)
        for density, raw in ((1.0, 0.0), (0.1, 0.0), (0.0, 0.0), (0.02, 0.5), (1.0, 1.0), (0.02, 0))
    ]
    assert rtl_encode(bench, config, table, images, pause=pause, hold=hold) == reference_encode(
        config, table, images)


@pytest.mark.parametrize("size", [1, 2, 8, 9, 40])
def test_sizes_of_an_image(bench, size):
    rng = np.random.default_rng(size)
    table = random_table(rng, CONFIG)
    images = [random_image(rng, size, density=0.7) for _ in range(5)]
    assert rtl_encode(bench, CONFIG, table, images) == reference_encode(CONFIG, table, images)


def test_loaded_table_equals_initial_one(bench):
    rng = np.random.default_rng(15)
    table = random_table(rng, CONFIG)
    images = [[(value, 0) for value in range(n, 256, 7)] for n in range(7)]
    images = [image[:36] for image in images]
    assert rtl_encode(bench, CONFIG, table, images, load=True) == reference_encode(
        CONFIG, table, images)


@pytest.mark.parametrize(("run", "gap", "count"), [(3, 1, 10), (5, 3, 4), (1, 7, 5), (8, 0, 5)])
def test_gaps_behind_runs_stay_silent(bench, run, gap, count):
    rng = np.random.default_rng(run)
    table = rng.integers(1, 16, 256).tolist()
    dut = Encoder(CONFIG, table)
    images = [random_image(rng, run * count) for _ in range(3)]
    size = count * (run + gap) - gap
    found = []

    async def driver(ctx):
        # Both banks are full of codes before, from images without gaps.
        ctx.set(dut.layout.valid, 1)
        for number, image in enumerate([[(1, 0)] * 40] * 2 + images):
            old = number < 2
            ctx.set(dut.layout.last, 39 if old else size - 1)
            ctx.set(dut.layout.run_last, 39 if old else run - 1)
            ctx.set(dut.layout.gap, 0 if old else gap)
            await send(ctx, dut, image)
            await ctx.tick()
            codes = await receive(ctx, dut, CONFIG, 40 if old else size)
            if not old:
                found.append(codes)

    bench.run(dut, driver)
    for codes, image in zip(found, images, strict=True):
        want = np.zeros((count, run + gap), int)
        want[:, :run] = np.reshape(encode(CONFIG, table, image), (count, run))
        assert codes == want.reshape(-1)[:size].tolist()


def test_one_sample_a_cycle_and_full_two_cycles_after_the_last(bench):
    table = [1] * 256
    dut = Encoder(CONFIG, table)
    size = 11
    source = bench.Source(dut.i, [{"value": n, "raw": 0} for n in range(3 * size)])
    full = []

    async def watch(ctx):
        ctx.set(dut.layout.valid, 1)
        ctx.set(dut.layout.last, size - 1)
        for cycle in range(5 * size):
            ctx.set(dut.image.release, int(cycle == 3 * size))
            _, _, value, ready = await ctx.tick().sample(dut.image.full, dut.i.ready)
            full.append(value)
            # Two images fill both banks: the third has to wait for the release.
            assert ready == (cycle < 2 * size or 3 * size < cycle <= 4 * size)

    bench.run(dut, watch, source.run)
    assert source.cycles[:2 * size] == list(range(2 * size))
    assert source.cycles[2 * size:] == list(range(3 * size + 1, 4 * size + 1))
    # Sample n is taken in cycle n: of the first image the last one in cycle size - 1.
    assert full.index(1) == size - 1 + 2


@pytest.mark.parametrize("size", [12, 11, 1])
def test_two_samples_a_cycle_and_full_two_cycles_after_the_last(bench, size):
    dut = Encoder(dataclasses.replace(CONFIG, samples=2), [1] * 256)
    image = list(bench.transfers(np.random.default_rng(size), [(7, 0)] * size, size, share=1))
    count = (size + 1) // 2
    assert len(image) == count
    source = bench.Source(dut.i, image)
    full = []

    async def watch(ctx):
        ctx.set(dut.layout.valid, 1)
        ctx.set(dut.layout.last, size - 1)
        ctx.set(dut.layout.run_last, size - 1)
        for _ in range(2 * size):
            _, _, value = await ctx.tick().sample(dut.image.full)
            full.append(value)
        assert await receive(ctx, dut, CONFIG, size) == [1] * size

    bench.run(dut, watch, source.run)
    assert source.cycles == list(range(count))
    assert 1 not in full or full.index(1) == count - 1 + 2


@settings(max_examples=15)
@given(seed=st.integers(0, 1 << 32), tick_bits=st.sampled_from([1, 4, 8]),
       run=st.integers(1, 12), gap=st.integers(0, 7), count=st.integers(1, 5),
       pause=st.sampled_from([0.0, 0.3]))
def test_singles_and_pairs_mixed_equal_look_up(bench, seed, tick_bits, run, gap, count, pause):
    config = CoreConfig(tick_bits=tick_bits, input_words=24, map_words=2, samples=2)
    # Runs begin at even places, as in every map, and gaps are less than a word.
    gap = gap % config.codes_per_word ^ run % 2 ^ gap % 2
    rng = np.random.default_rng(seed)
    table = random_table(rng, config)
    size = count * (run + gap) - gap
    # Raw are whole images, or samples here and there.
    images = [random_image(rng, count * run, density=0.7, raw=float(rng.choice([0, 0.1, 1])))
              for _ in range(4)]
    dut = Encoder(config, table)
    found = []

    async def driver(ctx):
        ctx.set(dut.layout.valid, 1)
        ctx.set(dut.layout.last, size - 1)
        ctx.set(dut.layout.run_last, run - 1)
        ctx.set(dut.layout.gap, gap)
        for image in images:
            while rng.random() < 0.4:
                # Part of an image, forgotten; the last transfer of it, if any, with the order to.
                lost = list(bench.transfers(rng, random_image(rng, count * run), run))
                first = int(rng.integers(len(lost)))
                await send_transfers(ctx, dut, lost[:first], pause=pause, rng=rng)
                ctx.set(dut.restart, 1)
                if rng.random() < 0.5:
                    await send_transfers(ctx, dut, lost[first:first + 1])
                else:
                    await ctx.tick()
                ctx.set(dut.restart, 0)
            await send_transfers(
                ctx, dut, list(bench.transfers(rng, image, run)), pause=pause, rng=rng)

    async def reader(ctx):
        held = np.random.default_rng(seed + 1)
        for _ in images:
            await ctx.tick().repeat(1 + int(held.integers(60)))
            found.append(await receive(ctx, dut, config, size))

    bench.run(dut, driver, reader)
    for codes, image in zip(found, images, strict=True):
        want = np.zeros((count, run + gap), int)
        want[:, :run] = np.reshape(encode(config, table, image), (count, run))
        assert codes == want.reshape(-1)[:size].tolist()


def test_takes_nothing_that_is_not_allowed(bench):
    dut = Encoder(CONFIG, [3] * 256)

    async def testbench(ctx):
        ctx.set(dut.layout.last, 0)
        ctx.set(dut.i.valid, 1)
        for _ in range(5):
            assert not ctx.get(dut.i.ready)
            await ctx.tick()
        assert not ctx.get(dut.image.full)
        ctx.set(dut.layout.valid, 1)
        # Nor while the table is written.
        ctx.set(dut.table.address, 9)
        ctx.set(dut.table.enable, 1)
        assert not ctx.get(dut.i.ready)
        await ctx.tick()
        ctx.set(dut.table.enable, 0)
        assert ctx.get(dut.i.ready)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        assert await receive(ctx, dut, CONFIG, 1) == [3]

    bench.run(dut, testbench)


@pytest.mark.parametrize("name", ["restart", "forget"])
@pytest.mark.parametrize("received", [0, 1, 7, 8, 19])
def test_samples_of_an_unfinished_image_are_forgotten(bench, name, received):
    rng = np.random.default_rng(received)
    table = random_table(rng, CONFIG)
    lost, *images = (random_image(rng, 20, density=0.3) for _ in range(4))
    dut = Encoder(CONFIG, table)
    found = []

    async def testbench(ctx):
        ctx.set(dut.layout.valid, 1)
        ctx.set(dut.layout.last, 19)
        for image in images:
            await send(ctx, dut, lost[:received])
            ctx.set(getattr(dut, name), 1)
            await ctx.tick()
            ctx.set(getattr(dut, name), 0)
            await ctx.tick().repeat(2)
            assert not ctx.get(dut.image.full)
            await send(ctx, dut, image)
            found.append(await receive(ctx, dut, CONFIG, 20))

    bench.run(dut, testbench)
    assert found == reference_encode(CONFIG, table, images)


@pytest.mark.parametrize(("name", "position"), [
    ("restart", 0), ("restart", 5), ("restart", 18), ("restart", 19),
    ("forget", 0), ("forget", 7), ("forget", 19),
])
def test_a_sample_that_comes_with_the_order_to_forget_is_forgotten_too(bench, name, position):
    rng = np.random.default_rng(position)
    table = random_table(rng, CONFIG)
    lost, image = random_image(rng, 20), random_image(rng, 20)
    dut = Encoder(CONFIG, table)

    async def testbench(ctx):
        ctx.set(dut.layout.valid, 1)
        ctx.set(dut.layout.last, 19)
        await send(ctx, dut, lost[:position])
        ctx.set(getattr(dut, name), 1)
        await send(ctx, dut, lost[position:position + 1])
        ctx.set(getattr(dut, name), 0)
        await send(ctx, dut, image)
        found = await receive(ctx, dut, CONFIG, 20)
        assert [found] == reference_encode(CONFIG, table, [image])
        assert not ctx.get(dut.image.full)

    bench.run(dut, testbench)


@pytest.mark.parametrize("finished", [1, 2])
@pytest.mark.parametrize("name", ["restart", "forget"])
def test_finished_images_outlive_a_restart_only(bench, name, finished):
    rng = np.random.default_rng(16)
    table = random_table(rng, CONFIG)
    images = [random_image(rng, 12) for _ in range(3)]
    dut = Encoder(CONFIG, table)

    async def testbench(ctx):
        ctx.set(dut.layout.valid, 1)
        ctx.set(dut.layout.last, 11)
        # An image that was used before, so that the second bank is the next one.
        await send(ctx, dut, images[2])
        await receive(ctx, dut, CONFIG, 12)
        for image in images[:finished]:
            await send(ctx, dut, image)
        await ctx.tick().repeat(2)
        ctx.set(getattr(dut, name), 1)
        await ctx.tick()
        ctx.set(getattr(dut, name), 0)
        kept = images[:finished] if name == "restart" else []
        assert ctx.get(dut.image.full) == bool(kept)
        found = [await receive(ctx, dut, CONFIG, 12) for _ in kept]
        await send(ctx, dut, images[2])
        found.append(await receive(ctx, dut, CONFIG, 12))
        assert found == reference_encode(CONFIG, table, [*kept, images[2]])

    bench.run(dut, testbench)


def test_smallest_size(bench):
    config = CoreConfig(tick_bits=1, input_words=2, map_words=2)
    table = [0, 1] * 128
    images = [[(n, 0)] for n in (0, 1, 1, 0, 255, 254)]
    assert rtl_encode(bench, config, table, images) == reference_encode(config, table, images)
