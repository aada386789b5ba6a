# SPDX-License-Identifier: Apache-2.0
"""The requantiser against ``ttfs_sw.golden.fire``, over slopes, windows, widths and potentials."""

import itertools

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.requantiser import Requantiser
from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network

WIDTHS = list(itertools.product((8, 16, 24), (1, 4, 8)))


class Whole(CoreConfig):
    """The product in one step, as with SPRAM."""

    split_product = False


def make_config(accumulator_bits, tick_bits, slopes=128, kind=CoreConfig):
    return kind(lanes=4, accumulator_bits=accumulator_bits, tick_bits=tick_bits,
                      input_words=512, map_words=512, slopes=slopes)


def rtl_fire(bench, config, layers, *, pause=0.0, load=True):
    """Codes, [neurons] a layer, of layers of (T, m, s, potentials); and cycles in and out.

    m and s are lists of one number for the layer, or of one a neuron. The threshold is anything up
    to the lowest potential that is positive; others are never offered.
    """
    slopes = [m | s << 16 for _, ms, ss, _ in layers for m, s in zip(ms, ss, strict=True)]
    dut = Requantiser(config, () if load else slopes)
    rng = np.random.default_rng(13)
    found = [np.zeros(len(potentials), int) for _, _, _, potentials in layers]
    cycles_in, cycles_out, order = {}, {}, []

    async def testbench(ctx):
        if load:
            ctx.set(dut.slopes.enable, 1)
            for address, value in enumerate(slopes):
                ctx.set(dut.slopes.address, address)
                ctx.set(dut.slopes.data, value)
                await ctx.tick()
            ctx.set(dut.slopes.enable, 0)
        base = cycle = 0
        for number, (ticks, ms, _, potentials) in enumerate(layers):
            ctx.set(dut.entry.slope_base, base)
            ctx.set(dut.entry.per_channel, int(len(ms) > 1))
            ctx.set(dut.entry.ticks, ticks)
            base += len(ms)
            lowest = min((v for v in potentials if v > 0), default=1)
            threshold = int(rng.choice([1, lowest, rng.integers(1, lowest + 1)]))
            ctx.set(dut.entry.fire_threshold, threshold)
            position = 0
            while position < len(potentials) or ctx.get(dut.busy):
                if position < len(potentials) and potentials[position] <= 0:
                    position += 1
                    continue
                offered = position < len(potentials) and rng.random() >= pause
                ctx.set(dut.i.valid, int(offered))
                if offered:
                    ctx.set(dut.i.payload, {
                        "place": position, "channel": position,
                        "above": potentials[position] - threshold, "last": 0})
                    cycles_in[number, position] = cycle
                    position += 1
                _, _, valid, event = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                if valid:
                    assert event.code != 0
                    assert found[number][event.place] == 0
                    found[number][event.place] = event.code
                    cycles_out[number, event.place] = cycle
                    order.append((number, event.place))
                cycle += 1

    bench.run(dut, testbench, cycles=100_000)
    # In the order of i, each at its time.
    assert order == sorted(order)
    assert all(cycles_out[place] - cycles_in[place] == dut.latency for place in order)
    return [codes.tolist() for codes in found]


def golden_fire(layers):
    """What :func:`rtl_fire` must give."""
    found = []
    for ticks, ms, ss, potentials in layers:
        n = len(potentials)
        # Any weights will do: what matters is the hidden layer's slopes and window.
        layer = dense_network(
            [np.ones((1, n), int), np.ones((n, 1), int)], None, [np.resize(ms, n)],
            [np.resize(ss, n)], ticks,
        ).layers[0]
        found.append(golden.fire(np.array([potentials], np.int64), layer)[0].tolist())
    return found


def boundary_potentials(rng, config, ticks, m, s, count):
    """Potentials at and around the edges between codes, the ends of the range, and at random."""
    limit = 1 << (config.accumulator_bits - 1)
    codes = np.array([1, ticks, *rng.integers(1, ticks + 1, count)])
    edges = [(((2 * int(code) - 1) << s) // (2 * m)) for code in codes]
    near = [edge + step for edge in edges for step in (-1, 0, 1, 2)]
    wide = [-limit, -1, 0, 1, limit - 1, *rng.integers(-limit, limit, 4).tolist()]
    return [int(v) for v in wide + near if -limit <= v < limit]


def random_slope(rng):
    """Multipliers of every magnitude, the ends included."""
    bits = rng.integers(1, 17)
    return int(rng.choice([1, 65535, rng.integers(1, 65536), rng.integers(1, 1 << bits)]))


@pytest.mark.parametrize("kind", [CoreConfig, Whole])
@pytest.mark.parametrize(("accumulator_bits", "tick_bits"), WIDTHS)
def test_every_shift(bench, accumulator_bits, tick_bits, kind):
    config = make_config(accumulator_bits, tick_bits, kind=kind)
    rng = np.random.default_rng(accumulator_bits + tick_bits)
    layers = []
    for s in range(32):
        for m in (1, 65535, random_slope(rng), min(65535, 1 << max(0, s - tick_bits))):
            ticks = int(rng.choice([1, config.max_ticks, rng.integers(1, config.max_ticks + 1)]))
            layers.append((ticks, [m], [s], boundary_potentials(rng, config, ticks, m, s, 1)))
    assert rtl_fire(bench, config, layers) == golden_fire(layers)


@pytest.mark.parametrize("tick_bits", [1, 4, 8])
def test_every_window(bench, tick_bits):
    config = make_config(16, tick_bits, slopes=256)
    rng = np.random.default_rng(tick_bits)
    layers = []
    for ticks in range(1, config.max_ticks + 1):
        s = int(rng.integers(8, 20))
        # The window is as wide as the range, or half of it: what saturates is in it too.
        m = max(1, min(65535, (ticks << s) // int(rng.choice([16384, 32768]))))
        layers.append((ticks, [m], [s], boundary_potentials(rng, config, ticks, m, s, 1)))
    assert rtl_fire(bench, config, layers) == golden_fire(layers)


@pytest.mark.parametrize("pause", [0.0, 0.5])
@pytest.mark.parametrize(("accumulator_bits", "tick_bits"), WIDTHS)
def test_a_slope_for_each_channel(bench, accumulator_bits, tick_bits, pause):
    config = make_config(accumulator_bits, tick_bits)
    rng = np.random.default_rng(accumulator_bits * tick_bits)
    limit = 1 << (accumulator_bits - 1)
    layers = []
    for ticks, neurons in ((config.max_ticks, 70), (1, 2), (config.max_ticks, 40)):
        ss = rng.integers(0, 32, neurons).tolist()
        ms = [random_slope(rng) for _ in ss]
        layers.append((ticks, ms, ss, [
            int(rng.choice(boundary_potentials(rng, config, ticks, m, s, 2)))
            for m, s in zip(ms, ss, strict=True)]))
    layers.append((config.max_ticks, [1], [0], rng.integers(-limit, limit, 20).tolist()))
    assert rtl_fire(bench, config, layers, pause=pause) == golden_fire(layers)


def test_initial_slopes_equal_loaded_ones(bench):
    config = make_config(16, 4, slopes=2)
    layers = [(15, [77], [9], list(range(-5, 200, 3))), (7, [3], [0], list(range(-2, 5)))]
    expected = golden_fire(layers)
    assert rtl_fire(bench, config, layers, load=False) == expected
    assert rtl_fire(bench, config, layers, load=True) == expected


def test_every_potential_of_eight_bits(bench):
    config = make_config(8, 4)
    potentials = list(range(-128, 128))
    layers = [(ticks, [m], [s], potentials)
              for ticks, m, s in ((15, 1, 3), (15, 7, 6), (9, 200, 11), (1, 65535, 22), (15, 1, 0))]
    assert rtl_fire(bench, config, layers) == golden_fire(layers)


def test_one_potential_a_cycle_and_busy_until_it_is_out(bench):
    config = make_config(16, 4)
    dut = Requantiser(config, [1 | 0 << 16])
    sink = bench.Sink(dut.o, 5)
    source = bench.Source(dut.i, [
        {"place": n, "channel": n, "above": n, "last": 0} for n in range(5)])
    busy = []

    async def watch(ctx):
        ctx.set(dut.entry.ticks, 15)
        ctx.set(dut.entry.fire_threshold, 1)
        for _ in range(5 + dut.latency + 1):
            _, _, value = await ctx.tick().sample(dut.busy)
            busy.append(value)

    bench.run(dut, source.run, sink.run, watch)
    assert source.cycles == list(range(5))
    assert sink.cycles == [dut.latency + n for n in range(5)]
    assert busy == [0] + [1] * (4 + dut.latency) + [0]
