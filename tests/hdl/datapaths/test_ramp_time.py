# SPDX-License-Identifier: Apache-2.0
"""In the ``ramp`` datapath the membrane ramps: its memory, tick by tick, against real time."""

import numpy as np
import pytest
from amaranth.lib import memory

from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.core import Core
from ttfs_sw import golden
from ttfs_sw.research.continuous import integrate


@pytest.fixture
def memories(monkeypatch):
    """Every memory that is made from here on."""
    made = []

    class Recorded(memory.Memory):
        def __init__(self, *args, **options):
            made.append(self)
            super().__init__(*args, **options)

    monkeypatch.setattr(memory, "Memory", Recorded)
    return made


def watch(bench, memories, config, program, images):
    """For every image (layer, tick, potentials of the layer) whenever the core says so."""
    core = Core(config, program)
    run = bench.CoreBench(core)
    seen, each = [], []

    async def ticks(ctx):
        while True:
            _, _, valid, now = await ctx.tick().sample(core.time.valid, core.time.payload)
            if not valid:
                continue
            plan, bits = program.layers[now.layer], config.accumulator_bits
            potentials = []
            for word in range(plan.membrane_base, plan.membrane_base + plan.words):
                # Of one or more lanes each; they are made when the core is elaborated.
                for one in memories:
                    if one.depth == config.membrane_words and one.shape != 1:
                        value = ctx.get(one.data[word])
                        potentials += [value >> at & ((1 << bits) - 1)
                                       for at in range(0, one.shape, bits)]
            half = 1 << (bits - 1)
            potentials = [(value + half) % (2 * half) - half for value in potentials[:plan.neurons]]
            each.append((int(now.layer), int(now.tick), potentials))

    async def testbench(ctx):
        for number, image in enumerate(images):
            await run.send(ctx, image)
            await run.answered(ctx, number + 1)
            seen.append(list(each))
            each.clear()

    bench.run(core, testbench, background=(run.monitor, ticks), cycles=200_000)
    return seen, run.answers


@pytest.mark.parametrize("seed", range(8))
def test_every_membrane_at_every_tick_is_the_one_of_continuous_time(
    bench, random_network, memories, seed
):
    rng = np.random.default_rng(seed)
    ticks = int(rng.choice([1, 2, 7, 15, 31]))
    sizes = [*rng.integers(1, 21, int(rng.integers(2, 4))).tolist(), int(rng.integers(1, 9))]
    network = random_network(rng, sizes, ticks=ticks, slope=float(rng.choice([0.5, 2])))
    # A depth that no other memory has.
    config = minimal_config(network, lanes=(2, 4)[seed % 2], datapath="ramp")
    config = minimal_config(
        network, lanes=config.lanes, datapath="ramp", membrane_words=config.membrane_words + 777)
    program = compile_network(network, config)
    images = bench.some_images(rng, sizes[0], count=1)
    seen, answers = watch(bench, memories, config, program, images)
    bench.check(network, program, images, answers)
    trace = golden.run(network, images.astype(np.uint8), backend="numpy")
    for number, image in enumerate(seen):
        wanted = []
        for index, layer in enumerate(network.layers):
            codes = (trace.codes[layer.source] if layer.source >= 0 else trace.input_codes)[number]
            # A spike of code a comes at tick T - a, at the beginning of that tick.
            times = np.where(codes > 0, ticks - codes, np.inf)[None]
            weight = layer.weight.reshape(layer.inputs, layer.outputs).astype(float)
            first = min(ticks - int(codes.max(initial=0)), ticks - 1)
            for tick in range(ticks):
                end = tick + 1.0
                real = layer.bias + integrate(np.minimum(times, end), weight, 0.0, end)[0]
                ramp = layer.bias + sum(
                    (layer.weight.reshape(layer.inputs, -1)[j].astype(int) * int(end - times[0, j])
                     for j in np.flatnonzero(times[0] <= tick)), np.zeros(layer.outputs, int))
                assert (real == ramp).all()
                # Before the first spike the membrane stays at its bias: those ticks are left out.
                if tick < first:
                    assert (real == layer.bias).all()
                else:
                    wanted.append((index, tick, real.astype(int).tolist()))
            if index == len(network.layers) - 1:
                assert wanted[-1][2] == trace.logits[number].tolist()
        assert image == wanted
