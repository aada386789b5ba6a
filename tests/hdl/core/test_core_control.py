# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The whole core between networks and images: load, restart, reset and errors."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.core.guard import CoreError
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import ENTRY_WORDS, FIELDS, ROW_FIELDS

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=700,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=4)

#: Cycles from the last write until samples are taken.
LOOKED_THROUGH = 6 + CONFIG.table_words


def two_networks(rng, random_network):
    networks = [random_network(rng, sizes) for sizes in ((16, 9, 4), (24, 6, 5, 3))]
    return networks, [compile_network(network, CONFIG) for network in networks]


@pytest.mark.parametrize("received", [1, 8, 15])
def test_a_load_forgets_an_image_received_in_part(bench, random_network, received):
    rng = np.random.default_rng(10)
    networks, programs = two_networks(rng, random_network)
    images = [bench.some_images(rng, program.inputs) for program in programs]
    run = bench.CoreBench(Core(CONFIG))

    async def testbench(ctx):
        for n in (0, 1):
            await run.load(ctx, programs[n])
            for image in images[n]:
                await run.send(ctx, image)
            await run.answered(ctx, (1 + n) * len(images[n]))
            await run.send(ctx, rng.integers(0, 256, received))

    answers = run.run(testbench)
    bench.check(networks[0], programs[0], images[0], answers[:len(images[0])])
    bench.check(networks[1], programs[1], images[1], answers[len(images[0]):])


@pytest.mark.parametrize("received", [1, 8, 15])
def test_restart_forgets_an_image_received_in_part(bench, random_network, received):
    rng = np.random.default_rng(11)
    networks, programs = two_networks(rng, random_network)
    images = bench.some_images(rng, 16)
    run = bench.CoreBench(Core(CONFIG, programs[0]))

    async def testbench(ctx):
        for image in images:
            await run.send(ctx, rng.integers(0, 256, received))
            ctx.set(run.core.restart, 1)
            await ctx.tick()
            ctx.set(run.core.restart, 0)
            # While this one is computed, the next one begins and is forgotten.
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    bench.check(networks[0], programs[0], images, run.run(testbench))


@pytest.mark.parametrize("loaded", [False, True])
def test_reset_in_the_middle_of_an_image(bench, random_network, loaded):
    rng = np.random.default_rng(19)
    network = random_network(rng, (16, 9, 4))
    program = compile_network(network, CONFIG)
    image, = rng.integers(0, 256, (1, 16))
    reset = Signal()
    run = bench.CoreBench(Core(CONFIG, None if loaded else program))
    cycles = range(5, 85, 16)

    async def testbench(ctx):
        for answered, cycle in enumerate(cycles):
            if loaded and not answered:
                await run.load(ctx, program)
            # Its network is still there after a reset.
            await run.send(ctx, image)
            await run.send(ctx, image[:5])
            await ctx.tick().until(run.core.busy)
            await ctx.tick().repeat(cycle)
            assert ctx.get(run.core.busy)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            run.forget()
            assert not ctx.get(run.core.busy)
            # Samples are taken when all flags and maps have been wiped.
            assert not ctx.get(run.core.i.ready)
            await run.send(ctx, image)
            await run.answered(ctx, 1 + answered)

    answers = run.run(testbench, dut=ResetInserter(reset)(run.core))
    bench.check(network, program, [image] * len(cycles), answers)


def test_nothing_is_taken_before_a_network_is_whole(bench, random_network):
    rng = np.random.default_rng(12)
    networks, programs = two_networks(rng, random_network)
    run = bench.CoreBench(Core(CONFIG))
    core = run.core
    image = bench.some_images(rng, 16)[0]

    async def testbench(ctx):
        async def deaf():
            ctx.set(core.i.valid, 1)
            for _ in range(10):
                assert not ctx.get(core.i.ready)
                assert not ctx.get(core.busy)
                await ctx.tick()
            ctx.set(core.i.valid, 0)

        await deaf()
        await run.load(ctx, programs[0])
        await ctx.tick().repeat(LOOKED_THROUGH)
        assert ctx.get(core.i.ready)
        # The first write of another network makes this one invalid.
        await run.load(ctx, programs[1], 1)
        await deaf()
        await run.load(ctx, programs[1], len(list(programs[1].writes())) - 1)
        await deaf()
        await ctx.tick().repeat(LOOKED_THROUGH)
        await deaf()
        assert ctx.get(core.error) == CoreError.NONE
        await run.load(ctx, programs[0])
        await run.send(ctx, image)
        await run.answered(ctx, 1)

    bench.check(networks[0], programs[0], [image], run.run(testbench))


def test_no_load_while_an_image_is_computed(bench, random_network):
    rng = np.random.default_rng(13)
    networks, programs = two_networks(rng, random_network)
    image = bench.some_images(rng, 16)[0]
    run = bench.CoreBench(Core(CONFIG, programs[0]))
    core = run.core

    async def testbench(ctx):
        await run.send(ctx, image)
        await ctx.tick().until(core.busy)
        ctx.set(core.load.valid, 1)
        ctx.set(core.load.payload, {"memory": Memory.WEIGHTS, "address": 0, "data": 0x12345678})
        while ctx.get(core.busy):
            assert not ctx.get(core.load.ready)
            await ctx.tick()
        await ctx.tick()
        assert ctx.get(core.load.ready)
        ctx.set(core.load.valid, 0)
        await run.answered(ctx, 1)

    bench.check(networks[0], programs[0], [image], run.run(testbench))


async def idle_with_error(ctx, core, error):
    """Nothing more is taken or computed, and the error stays."""
    ctx.set(core.i.valid, 1)
    for _ in range(LOOKED_THROUGH + 50):
        assert ctx.get(core.error) == error
        assert not ctx.get(core.busy)
        assert not ctx.get(core.i.ready)
        await ctx.tick()
    ctx.set(core.i.valid, 0)


@pytest.mark.parametrize(("fields", "sealed", "error"), [
    ({"check": 0x7E00}, True, CoreError.TABLE_VERSION),
    ({"operation": 3}, True, CoreError.LAYER),
    ({"source_last": CONFIG.map_words}, True, CoreError.RANGE),
    ({"ticks": 3}, False, CoreError.CHECKSUM),
])
@pytest.mark.parametrize("initial", [False, True])
def test_a_bad_table_is_an_error_until_the_next_load(
    bench, random_network, fields, sealed, error, initial
):
    rng = np.random.default_rng(14)
    networks, programs = two_networks(rng, random_network)
    images = bench.some_images(rng, 16)
    bad = bench.with_fields(programs[0], 1, sealed=sealed, **fields)
    run = bench.CoreBench(Core(CONFIG, bad if initial else programs[1]))
    core = run.core

    async def testbench(ctx):
        if not initial:
            await run.send(ctx, rng.integers(0, 256, 24))
            await run.send(ctx, rng.integers(0, 256, 5))
            await run.answered(ctx, 1)
            run.answers.clear()
            await run.load(ctx, bad)
        for _ in range(LOOKED_THROUGH):
            assert not ctx.get(core.i.ready)
            await ctx.tick()
        await idle_with_error(ctx, core, error)
        assert not (run.statistics or run.spikes or run.logits)
        await run.load(ctx, programs[0])
        assert ctx.get(core.error) == CoreError.NONE
        for image in images:
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    bench.check(networks[0], programs[0], images, run.run(testbench))


@pytest.mark.parametrize("layer", [0, 1])
def test_a_layer_without_an_end_is_given_up(bench, random_network, layer):
    rng = np.random.default_rng(20)
    networks, programs = two_networks(rng, random_network)
    images = bench.some_images(rng, 16)
    # Its row opens more rows than there is room for.
    table = programs[0].memories[Memory.TABLE]
    row = table[ENTRY_WORDS * (1 + layer) + FIELDS["row_table"].word] & 0xFFFF
    bad = bench.with_words(programs[0], {row: table[row] | 15 << ROW_FIELDS["opens"].offset})
    run = bench.CoreBench(Core(CONFIG, late_bits=9))
    core = run.core

    async def testbench(ctx):
        for _ in range(2):
            await run.load(ctx, bad)
            # The second one waits, and is forgotten.
            await run.send(ctx, images[0])
            await run.send(ctx, images[1])
            await ctx.tick().until(core.error != CoreError.NONE)
            assert [number for number, _, _ in run.statistics] == [*range(layer)]
            await ctx.tick()
            await idle_with_error(ctx, core, CoreError.TIMEOUT)
            assert not run.logits
            run.forget()
        await run.load(ctx, programs[0])
        for image in images:
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    bench.check(networks[0], programs[0], images, run.run(testbench))


def test_a_sink_that_does_not_take_is_no_error(bench, random_network):
    rng = np.random.default_rng(21)
    networks, programs = two_networks(rng, random_network)
    images = bench.some_images(rng, 16)[:2]
    run = bench.CoreBench(Core(CONFIG, programs[0], late_bits=9), o_pause=1.0)
    core = run.core

    async def testbench(ctx):
        for image in images:
            await run.send(ctx, image)
        for _ in range(4000):
            assert ctx.get(core.error) == CoreError.NONE
            await ctx.tick()
        assert ctx.get(core.busy) and ctx.get(core.o.valid)
        run.o_pause = 0.0
        await run.answered(ctx, len(images))
        # Nor is one that takes slowly, nor an image that does not come.
        run.o_pause = 0.998
        await run.send(ctx, images[0])
        await run.answered(ctx, 1 + len(images))
        await ctx.tick().repeat(2000)
        assert ctx.get(core.error) == CoreError.NONE

    answers = run.run(testbench)
    bench.check(networks[0], programs[0], [*images, images[0]], answers, on_time=False)


def test_refuses_a_program_of_another_core(random_network):
    network = random_network(np.random.default_rng(15), (4, 3))
    program = compile_network(network, CONFIG)
    other = dataclasses.replace(CONFIG, map_words=8)
    assert Core(CONFIG, program).config == CONFIG
    with pytest.raises(ValueError, match=r"^the program was compiled for another"):
        Core(other, program)
