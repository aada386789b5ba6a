"""The sweep against a walk over the potentials of a layer."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from hdl.config import CoreConfig
from hdl.membrane import Membrane
from hdl.sweep import Sweep

CONFIG = CoreConfig(lanes=4, accumulator_bits=12, membrane_words=16, input_words=8, map_words=8)


class Harness(wiring.Component):
    """A sweep and the membrane memory that it reads."""

    def __init__(self, config, potentials):
        mask = (1 << config.accumulator_bits) - 1
        self.sweep = Sweep(config)
        self.membrane = Membrane(config, [
            sum((value & mask) << (n * config.accumulator_bits) for n, value in enumerate(word))
            for word in potentials.tolist()
        ])
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sweep, m.submodules.membrane = sweep, membrane = self.sweep, self.membrane
        m.d.comb += [
            membrane.read.eq(sweep.read),
            membrane.enable.eq(sweep.enable),
            sweep.potentials.eq(membrane.potentials),
        ]
        return m


def rtl_sweep(bench, potentials, sweeps, *, pause=0.0, config=CONFIG):
    """For each (base, neurons, spiking, threshold): what was emitted, and cycles until the end.

    A layer of one word has its second copy in the word after ``base``, and is read as a pair.
    """
    dut = Harness(config, potentials)
    sweep = dut.sweep
    rng = np.random.default_rng(11)
    results = []

    async def testbench(ctx):
        for base, neurons, spiking, threshold in sweeps:
            paired = neurons <= config.lanes
            ctx.set(sweep.base, base)
            ctx.set(sweep.paired, int(paired))
            ctx.set(sweep.other, base + 1 if paired else 0)
            ctx.set(sweep.last_word, (neurons - 1) // config.lanes)
            ctx.set(sweep.last_lane, (neurons - 1) % config.lanes)
            ctx.set(sweep.spiking, int(spiking))
            ctx.set(sweep.threshold, threshold)
            # In the core they are known long before the sweep begins.
            await ctx.tick()
            assert not ctx.get(sweep.busy)
            ctx.set(sweep.start, 1)
            await ctx.tick()
            ctx.set(sweep.start, 0)
            # Both bases were taken with start.
            ctx.set(sweep.base, 0)
            ctx.set(sweep.paired, int(not paired))
            emitted, cycles, offered = [], 0, None
            while ctx.get(sweep.busy):
                ready = bool(rng.random() >= pause)
                ctx.set(sweep.o.ready, ready)
                _, _, valid, o = await ctx.tick().sample(sweep.o.valid, sweep.o.payload)
                if offered is not None:
                    assert valid and o == offered
                offered = o if valid and not ready else None
                if valid and ready:
                    emitted.append((o.neuron, o.potential, bool(o.last)))
                cycles += 1
            assert not ctx.get(sweep.o.valid)
            results.append((emitted, cycles))

    bench.run(dut, testbench)
    return results


def reference_sweep(config, potentials, sweep):
    """Neurons with their potentials."""
    base, neurons, spiking, threshold = sweep
    layer = potentials[base:].reshape(-1)[:neurons]
    if neurons <= config.lanes:
        half = 1 << (config.accumulator_bits - 1)
        sums = (layer + potentials[base + 1, :neurons] + half) % (2 * half) - half
        # All of them: a sum is not compared again.
        return list(enumerate(sums.tolist()))
    return [(n, v) for n, v in enumerate(layer.tolist()) if not spiking or v >= threshold]


def check(potentials, sweeps, results, *, on_time):
    for sweep, (emitted, cycles) in zip(sweeps, results, strict=True):
        assert [(neuron, value) for neuron, value, _ in emitted] == reference_sweep(
            CONFIG, potentials, sweep)
        _, neurons, spiking, _ = sweep
        # In a spiking layer neuron N - 1 may be silent, and then nobody is the last one.
        assert [neuron for neuron, _, last in emitted if last and neuron == neurons - 1] == [
            neuron for neuron, _, _ in emitted if neuron == neurons - 1]
        if not spiking:
            assert [last for _, _, last in emitted] == [False] * (neurons - 1) + [True]
        if on_time:
            words = -(-neurons // CONFIG.lanes)
            if words == 1:
                assert cycles == 2 * neurons + 3
                continue
            # Two more while the last word's last potential goes through choice and multiplexer.
            through = 2 if emitted and emitted[-1][0] // CONFIG.lanes == words - 1 else 0
            assert cycles == 2 * words + len(emitted) + through


def random_potentials(rng, config=CONFIG):
    half = 1 << (config.accumulator_bits - 1)
    return rng.integers(-half, half, (config.membrane_words, config.lanes))


SWEEPS = [
    (base, neurons, spiking, threshold)
    for base, neurons in ((0, 1), (3, 4), (1, 5), (0, 31), (8, 32), (2, 8))
    for spiking, threshold in ((False, 0), (True, 1), (True, -2048), (True, 1200), (True, 2047))
]


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_equals_walk(bench, pause):
    potentials = random_potentials(np.random.default_rng(12))
    results = rtl_sweep(bench, potentials, SWEEPS, pause=pause)
    check(potentials, SWEEPS, results, on_time=not pause)


@pytest.mark.parametrize("value", [-2048, -1, 0, 1, 2047])
def test_equal_potentials_meet_an_inclusive_threshold(bench, value):
    potentials = np.full((16, 4), value)
    sweeps = [(0, 10, True, threshold) for threshold in (value - 1, value, value + 1)
              if -2048 <= threshold <= 2047]
    results = rtl_sweep(bench, potentials, sweeps)
    check(potentials, sweeps, results, on_time=True)
    fired = {threshold: len(emitted)
             for (_, _, _, threshold), (emitted, _) in zip(sweeps, results, strict=True)}
    assert fired[value] == 10
    assert fired.get(value + 1, 0) == 0


def test_lanes_beyond_the_last_neuron_stay_out(bench):
    potentials = np.full((16, 4), 2047)
    sweeps = [(1, neurons, spiking, 0) for neurons in range(1, 9) for spiking in (True, False)]
    results = rtl_sweep(bench, potentials, sweeps)
    assert [len(emitted) for emitted, _ in results] == [neurons for _, neurons, _, _ in sweeps]


@pytest.mark.parametrize(("lanes", "accumulator_bits"), [(2, 8), (16, 24), (64, 16)])
def test_other_sizes(bench, lanes, accumulator_bits):
    config = CoreConfig(lanes=lanes, weight_bits=4, accumulator_bits=accumulator_bits,
                        membrane_words=4, input_words=32, map_words=2)
    potentials = random_potentials(np.random.default_rng(lanes), config)
    sweeps = [(0, lanes + 1, True, 0), (1, lanes, False, 0), (0, 1, True, -1), (0, 2, False, 0)]
    results = rtl_sweep(bench, potentials, sweeps, config=config)
    for sweep, (emitted, _) in zip(sweeps, results, strict=True):
        assert [(neuron, value) for neuron, value, _ in emitted] == reference_sweep(
            config, potentials, sweep)
