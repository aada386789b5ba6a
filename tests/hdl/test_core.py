"""The whole core in Amaranth's simulator, against the golden model, event by event."""

import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator

from hdl.compiler import compile_network
from hdl.config import CoreConfig
from hdl.core import Core
from hdl.testing import watchdog
from ttfs_sw import golden
from ttfs_sw.network import dense_network

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=512,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=4)


def random_network(rng, sizes, ticks=15, weight_bits=4, per_channel=False, bias=40):
    high = 1 << (weight_bits - 1)
    hidden = len(sizes) - 2
    return dense_network(
        [rng.integers(-high, high, (a, b)) for a, b in itertools.pairwise(sizes)],
        [rng.integers(-bias, bias + 1, n) for n in sizes[1:]],
        [rng.integers(1, 3000, n if per_channel else None) for n in sizes[1:-1]],
        [rng.integers(8, 16, n if per_channel else None) for n in sizes[1:-1]],
        [ticks] * hidden,
        weight_bits=weight_bits,
        input_ticks=ticks,
    )


def run_core(core, jobs, *, pause=0.0, seed=0):
    """Load networks and classify images, one job after another.

    ``jobs`` is a list of ``(program or None, images)``. Gives a list of images' results, each a
    dictionary of spikes, logits, winner, layer statistics and cycles.
    """
    rng = np.random.default_rng(seed)
    results = []
    expected = sum(len(images) for _, images in jobs)

    async def driver(ctx):
        for number, (program, images) in enumerate(jobs):
            done = sum(len(pixels) for _, pixels in jobs[:number])
            while len(results) < done:
                await ctx.tick()
            if program is not None:
                ctx.set(core.load.valid, 1)
                for memory, address, value in program.writes():
                    ctx.set(core.load.payload,
                            {"memory": memory, "address": address, "data": value})
                    await ctx.tick().until(core.load.ready)
                ctx.set(core.load.valid, 0)
            for pixels in images:
                for value in pixels:
                    while pause and rng.random() < pause:
                        await ctx.tick()
                    ctx.set(core.i.payload, {"value": int(value), "raw": 0})
                    ctx.set(core.i.valid, 1)
                    await ctx.tick().until(core.i.ready)
                    ctx.set(core.i.valid, 0)

    async def monitor(ctx):
        spikes, statistics, logits = [], [], []
        ports = (core.spikes.valid, core.spikes.payload, core.statistics.valid,
                 core.statistics.payload, core.o.valid, core.o.ready, core.o.payload, core.cycles)
        while len(results) < expected:
            ctx.set(core.o.ready, int(rng.random() >= pause))
            _, _, s_valid, spike, t_valid, stats, valid, ready, logit, cycles = (
                await ctx.tick().sample(*ports))
            if s_valid:
                spikes.append((spike.layer, spike.neuron, spike.code))
            if t_valid:
                statistics.append((stats.layer, stats.events, stats.cycles))
            if valid and ready:
                assert logit.index == len(logits)
                logits.append(logit.value)
                if logit.last:
                    results.append({"spikes": spikes, "logits": logits, "winner": logit.winner,
                                    "statistics": statistics, "cycles": cycles})
                    spikes, statistics, logits = [], [], []

    sim = Simulator(core)
    sim.add_clock(1e-6)
    sim.add_testbench(driver, background=True)
    sim.add_testbench(monitor)
    sim.add_testbench(watchdog(400_000), background=True)
    sim.run()
    return results


def check(network, program, images, results, *, on_time=True):
    trace = golden.run(network, np.asarray(images, np.uint8), backend="numpy")
    for n, result in enumerate(results):
        spikes = [
            (layer, int(neuron), int(codes[n, neuron]))
            for layer, codes in enumerate(trace.codes) for neuron in np.flatnonzero(codes[n])
        ]
        assert result["spikes"] == spikes
        assert result["logits"] == trace.logits[n].tolist()
        assert result["winner"] == trace.winners[n]
        events = trace.events[n].tolist()
        assert [count for _, count, _ in result["statistics"]] == events
        assert [layer for layer, _, _ in result["statistics"]] == list(range(len(events)))
        if on_time:
            for (_, _, cycles), plan, count in zip(
                    result["statistics"], program.layers, events, strict=True):
                fired = np.count_nonzero(trace.codes[0][n]) if plan.spiking else plan.neurons
                assert cycles <= plan.roofline(count) + plan.map_words + 2 * plan.words + max(
                    fired, plan.neurons) + 32


@pytest.mark.parametrize("sizes", [(20, 12, 5), (3, 1, 1), (30, 18, 17, 10), (7, 3)])
def test_equals_golden(sizes):
    rng = np.random.default_rng(1)
    network = random_network(rng, sizes)
    program = compile_network(network, CONFIG)
    images = rng.integers(0, 256, (4, sizes[0]))
    images[1] = 0
    images[2] = 255
    check(network, program, images, run_core(Core(CONFIG, program), [(None, images)]))


def test_one_core_runs_three_networks_loaded_one_after_another():
    rng = np.random.default_rng(2)
    core = Core(CONFIG)
    networks = [random_network(rng, sizes) for sizes in ((25, 9, 4), (8, 16, 12, 6), (40, 10))]
    programs = [compile_network(network, CONFIG) for network in networks]
    jobs = [
        (program, rng.integers(0, 256, (3, network.layers[0].inputs)))
        for program, network in zip(programs, networks, strict=True)
    ]
    results = run_core(core, jobs, pause=0.3)
    for n, (network, program) in enumerate(zip(networks, programs, strict=True)):
        check(network, program, jobs[n][1], results[3 * n:3 * n + 3], on_time=False)
