# SPDX-License-Identifier: Apache-2.0
"""Candidates on their way to the requantiser, or through its adder to the read-out."""

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.logit_gate import LogitGate
from ttfs_fpga.hdl.core.requantiser import Requantiser

CONFIG = CoreConfig(accumulator_bits=12, input_words=4, map_words=4)
LOWEST = -2048


class Harness(wiring.Component):
    """The gate, and the requantiser whose adder it uses."""

    def __init__(self):
        self.gate, self.requantiser = LogitGate(CONFIG), Requantiser(CONFIG)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate, m.submodules.requantiser = self.gate, self.requantiser
        wiring.connect(m, self.gate.adder, self.requantiser.adder)
        wiring.connect(m, self.gate.candidates, self.requantiser.i)
        return m


def candidates(values):
    return [{"place": n, "channel": n, "above": value - LOWEST, "last": n == len(values) - 1}
            for n, value in enumerate(values)]


def rtl_gate(bench, values, *, i_pause=0.0, o_pause=0.0, settled_at=0):
    """(potential, last) of each logit, cycles in and out, and cycles of ``answered``."""
    dut = Harness()
    gate = dut.gate
    source = bench.Source(gate.i, candidates(values), pause=i_pause, seed=1)
    sink = bench.Sink(gate.o, len(values), pause=o_pause, seed=2)
    answered = []

    async def watch(ctx):
        ctx.set(dut.requantiser.entry.fire_threshold, LOWEST % 4096)
        cycle = 0
        while True:
            ctx.set(gate.settled, int(cycle >= settled_at))
            _, _, value, valid = await ctx.tick().sample(gate.answered, gate.candidates.valid)
            assert not valid
            answered.extend([cycle] * value)
            cycle += 1

    bench.run(dut, source.run, sink.run, background=(watch,))
    return [(o.potential, o.last) for o in sink.values], source.cycles, sink.cycles, answered


@pytest.mark.parametrize(("i_pause", "o_pause"), [(0, 0), (0.4, 0), (0, 0.4), (0.3, 0.3)])
@pytest.mark.parametrize("settled_at", [0, 150])
def test_logits_in_order_and_the_last_one_when_settled(bench, i_pause, o_pause, settled_at):
    values = np.random.default_rng(1).integers(LOWEST, -LOWEST, 40).tolist()
    found, came, went, answered = rtl_gate(
        bench, values, i_pause=i_pause, o_pause=o_pause, settled_at=settled_at)
    assert found == [(value, int(n == 39)) for n, value in enumerate(values)]
    assert answered == went[-1:]
    assert went[-1] >= settled_at
    assert went[-2] < 150
    if not i_pause and not o_pause:
        assert went[:-1] == [cycle + 1 for cycle in came[:-1]] == list(range(1, 40))


def test_candidates_of_hidden_layers_go_by(bench):
    dut = Harness()
    gate = dut.gate
    source = bench.Source(gate.i, candidates([5, 6, 7]))
    passed = []

    async def watch(ctx):
        ctx.set(gate.spiking, 1)
        while True:
            _, _, valid, payload, out = await ctx.tick().sample(
                gate.candidates.valid, gate.candidates.payload, gate.o.valid)
            assert not out
            if valid:
                passed.append((payload.place, payload.above + LOWEST))

    bench.run(dut, source.run, background=(watch,))
    assert passed == [(0, 5), (1, 6), (2, 7)]
    assert source.cycles == [0, 1, 2]


def test_what_waits_is_dropped_by_a_reset(bench):
    dut, reset = Harness(), Signal()
    gate = dut.gate

    async def testbench(ctx):
        await bench.Source(gate.i, candidates([5])).run(ctx)
        assert not ctx.get(gate.o.valid)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(gate.settled, 1)
        ctx.set(gate.o.ready, 1)
        for _ in range(4):
            assert not ctx.get(gate.o.valid)
            await ctx.tick()

    async def open_once(ctx):
        # So that it comes out of the adder, where it waits for the layer to be settled.
        ctx.set(gate.o.ready, 1)

    bench.run(ResetInserter(reset)(dut), open_once, testbench)
