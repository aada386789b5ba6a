# SPDX-License-Identifier: Apache-2.0
"""The lanes of the ``mac`` and of the ``serial`` datapath against numpy."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.mac import MacLanes
from ttfs_fpga.hdl.datapaths.mac_dsp import MacPair
from ttfs_fpga.hdl.datapaths.serial import SerialLanes


def wrapped(values, bits):
    half = 1 << (bits - 1)
    return (np.asarray(values) + half) % (2 * half) - half


def some_inputs(config, count):
    """Codes, weights and potentials of so many cycles, each anywhere or at an end of its range."""
    rng = np.random.default_rng(config.lanes)

    def values(low, high, shape):
        anything = rng.integers(low, high + 1, shape)
        extreme = rng.choice([low, high], shape)
        return np.where(rng.random(shape) < 0.5, extreme, anything)

    weight, potential = 1 << (config.weight_bits - 1), 1 << (config.accumulator_bits - 1)
    codes = values(0, config.max_ticks, count)
    weights = values(-weight, weight - 1, (count, config.lanes))
    potentials = values(-potential, potential - 1, (count, config.lanes))
    # For certain: both largest products, led beyond both ends.
    for n, (w, v) in enumerate([(-weight, -potential), (weight - 1, potential - 1)]):
        codes[n], weights[n], potentials[n] = config.max_ticks, w, v
    return codes, weights, potentials


def rtl_sums(bench, config, codes, weights, potentials, lanes=MacLanes):
    """Sums of every update: its code is there one cycle before its weights, two before the rest."""
    dut = lanes(config)
    found = []
    count = len(codes)

    async def testbench(ctx):
        for cycle in range(count + 2):
            # What belongs to no update is as far off as it can be.
            ctx.set(dut.i.operand.code, int(codes[cycle]) if cycle < count else config.max_ticks)
            if 1 <= cycle <= count:
                ctx.set(dut.i.weights, weights[cycle - 1].tolist())
            if cycle >= 2:
                ctx.set(dut.memory.potentials, potentials[cycle - 2].tolist())
            _, _, sums = await ctx.tick().sample(dut.memory.sums)
            found.append(list(sums))

    bench.run(dut, testbench)
    return found[2:]


@pytest.mark.parametrize(("lanes", "weight_bits", "tick_bits", "accumulator_bits"), [
    # In pairs that a DSP block would hold: fewer and more lanes than there are blocks for.
    (2, 2, 1, 8), (4, 8, 7, 16), (16, 4, 4, 16),
    # Lanes of their own, because codes or potentials are too wide for a block.
    (4, 8, 8, 24), (2, 8, 8, 32), (8, 4, 4, 17),
])
def test_equals_numpy(bench, lanes, weight_bits, tick_bits, accumulator_bits):
    config = CoreConfig(lanes=lanes, weight_bits=weight_bits, tick_bits=tick_bits,
                        accumulator_bits=accumulator_bits)
    assert MacPair.fits(config) == (tick_bits <= 7 and accumulator_bits <= 16)
    codes, weights, potentials = some_inputs(config, 300)
    expected = wrapped(potentials + codes[:, None] * weights, accumulator_bits)
    assert rtl_sums(bench, config, codes, weights, potentials) == expected.tolist()


@pytest.mark.parametrize(("lanes", "weight_bits", "tick_bits", "accumulator_bits"), [
    (2, 2, 1, 8), (4, 8, 8, 24), (16, 4, 4, 16), (8, 3, 5, 17),
])
def test_pulses_equal_numpy(bench, lanes, weight_bits, tick_bits, accumulator_bits):
    config = CoreConfig(lanes=lanes, weight_bits=weight_bits, tick_bits=tick_bits,
                        accumulator_bits=accumulator_bits)
    codes, weights, potentials = some_inputs(config, 300)
    pulses = 1 << codes % tick_bits
    expected = wrapped(potentials + pulses[:, None] * weights, accumulator_bits)
    found = rtl_sums(bench, config, pulses, weights, potentials, SerialLanes)
    assert found == expected.tolist()


@pytest.mark.parametrize(("weight", "start"), [(-128, -32768), (127, 32767)])
def test_what_leaves_the_range_on_its_way_comes_back(bench, weight, start):
    config = CoreConfig(lanes=2, weight_bits=8, tick_bits=8)
    # Nine steps out and nine back; -w - 1 and w add up to -1.
    steps = [weight] * 9 + [-weight - 1] * 9
    potential, seen = start, []
    for step in steps:
        found, = rtl_sums(bench, config, np.array([255]), np.full((1, 2), step),
                          np.full((1, 2), potential))
        assert found[0] == found[1]
        potential = found[0]
        seen.append(potential)
    exact = start + 255 * np.cumsum(steps)
    assert not -32768 <= exact[8] <= 32767
    assert seen == wrapped(exact, 16).tolist()
    assert seen[-1] == wrapped(start - 9 * 255, 16)
