# amaranth: UnusedElaboratable=no
"""The whole core between networks and images: load, restart, reset and errors."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from hdl.compiler import compile_network
from hdl.config import CoreConfig
from hdl.controller import CoreError
from hdl.core import Core
from hdl.shapes import Memory
from hdl.table import ENTRY_WORDS

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=700,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=4)


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
            if loaded:
                # The header, which is kept outside of its memory, is gone with a reset.
                assert not ctx.get(run.core.i.ready)
                await run.load(ctx, program)
            await run.send(ctx, image)
            await run.send(ctx, image[:5])
            # After a reset it begins when all flags and maps have been wiped.
            await ctx.tick().until(run.core.busy)
            await ctx.tick().repeat(cycle)
            assert ctx.get(run.core.busy)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            run.forget()
            assert not ctx.get(run.core.busy)
            if loaded:
                await run.load(ctx, program)
            await run.send(ctx, image)
            await run.answered(ctx, 1 + answered)
            if loaded:
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)

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
        await ctx.tick()
        assert ctx.get(core.i.ready)
        # The first write of another network makes this one invalid.
        await run.load(ctx, programs[1], 1)
        await deaf()
        await run.load(ctx, programs[1], len(list(programs[1].writes())) - 1)
        await deaf()
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


@pytest.mark.parametrize(("flip", "error"), [
    (1 << 31, CoreError.TABLE_VERSION),
    (0b01, CoreError.LAYER), (0b10, CoreError.LAYER),  # operations 0 and 3
    (1 << 4, CoreError.LAYER), (1 << 5, CoreError.LAYER),  # not spiking; the last layer
])
def test_a_bad_table_is_an_error_until_the_next_load(bench, random_network, flip, error):
    rng = np.random.default_rng(14)
    networks, programs = two_networks(rng, random_network)
    images = bench.some_images(rng, 16)
    run = bench.CoreBench(Core(CONFIG, programs[0]))
    core, address = run.core, 2 * ENTRY_WORDS

    async def testbench(ctx):
        bad = programs[0].memories[Memory.TABLE][address] ^ flip
        ctx.set(core.load.valid, 1)
        ctx.set(core.load.payload, {"memory": Memory.TABLE, "address": address, "data": bad})
        await ctx.tick().until(core.load.ready)
        ctx.set(core.load.valid, 0)
        # The first layer runs, the second one is refused. An image that has begun is lost, too.
        await run.send(ctx, images[0])
        await run.send(ctx, images[1][:5])
        await ctx.tick().until(core.error != CoreError.NONE)
        ctx.set(core.i.valid, 1)
        for _ in range(100):
            assert ctx.get(core.error) == error
            assert not ctx.get(core.busy)
            assert not ctx.get(core.i.ready)
            await ctx.tick()
        ctx.set(core.i.valid, 0)
        assert [layer for layer, _, _ in run.statistics] == [0]
        run.forget()
        await run.load(ctx, programs[0])
        assert ctx.get(core.error) == CoreError.NONE
        for image in images:
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    bench.check(networks[0], programs[0], images, run.run(testbench))


def test_refuses_a_program_of_another_core(random_network):
    network = random_network(np.random.default_rng(15), (4, 3))
    program = compile_network(network, CONFIG)
    other = dataclasses.replace(CONFIG, map_words=8)
    assert Core(CONFIG, program).config == CONFIG
    with pytest.raises(ValueError, match=r"^the program was compiled for another"):
        Core(other, program)
