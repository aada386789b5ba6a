# SPDX-License-Identifier: Apache-2.0
"""The lanes and the sequencer of the ``ramp`` datapath."""

import itertools

import numpy as np
import pytest

from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.ramp import RampLanes
from ttfs_fpga.hdl.datapaths.ramp_sequencer import RampSequencer
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import FIELDS


@pytest.mark.parametrize(("lanes", "weight_bits", "accumulator_bits"), [
    (2, 2, 8), (16, 4, 16), (4, 8, 24), (2, 8, 32),
])
def test_lanes_add_weights_or_what_they_have_kept(bench, lanes, weight_bits, accumulator_bits):
    config = CoreConfig(
        lanes=lanes, weight_bits=weight_bits, accumulator_bits=accumulator_bits, datapath="ramp")
    dut = RampLanes(config)
    rng = np.random.default_rng(lanes)
    high, half = 1 << (weight_bits - 1), 1 << (accumulator_bits - 1)
    # What begins in each cycle: an update by weights, by nothing, or by what was kept; and whether
    # the sum is kept.
    kinds, keeps, kept = [], [], False
    for _ in range(300):
        # Behind what is kept nothing may begin that takes its place.
        kinds.append("ramp" if keeps[-1:] == [1] else str(
            rng.choice(["event", "zero"] + ["ramp"] * (2 * kept))))
        keeps.append(int(rng.random() < 0.5))
        kept = keeps[-1] or (kept and kinds[-1] == "ramp")
    weights = rng.integers(-high, high, (len(kinds), lanes))
    potentials = rng.integers(-half, half, (len(kinds), lanes))
    found = []

    async def testbench(ctx):
        for cycle in range(len(kinds) + 2):
            ctx.set(dut.i.operand.event, cycle < len(kinds) and kinds[cycle] == "event")
            ctx.set(dut.i.operand.zero, cycle < len(kinds) and kinds[cycle] == "zero")
            ctx.set(dut.i.operand.keep, cycle < len(kinds) and keeps[cycle])
            if 1 <= cycle <= len(kinds):
                ctx.set(dut.i.weights, weights[cycle - 1].tolist())
            if cycle >= 2:
                ctx.set(dut.memory.potentials, potentials[cycle - 2].tolist())
            _, _, sums = await ctx.tick().sample(dut.memory.sums)
            found.append(list(sums))

    bench.run(dut, testbench)
    operand = None
    for n, kind in enumerate(kinds):
        operand = {"event": weights[n], "zero": 0, "ramp": operand}[kind]
        wanted = (potentials[n] + operand + half) % (2 * half) - half
        assert found[n + 2] == wanted.tolist(), (n, kind)
        if keeps[n]:
            operand = wanted


def run_sequencer(bench, random_network, neurons, transfers, *, pause=0.0, hold=0.0):
    """Operations of a layer and their cycles, ticks with those of their last one, and its plan."""
    network = random_network(np.random.default_rng(0), (20, 6, neurons))
    config = minimal_config(network, lanes=4, datapath="ramp")
    program = compile_network(network, config)
    plan, table = program.layers[1], program.memories[Memory.TABLE]
    dut = RampSequencer(config)
    operations, ticks = [], []

    def field(name):
        place = FIELDS[name]
        return table[32 + place.word] >> place.offset & ((1 << place.width) - 1)

    async def memory(ctx):
        while True:
            _, _, request, address = await ctx.tick().sample(
                dut.table.request, dut.table.address)
            ctx.set(dut.table.data, table[address] if request else 0xDEADBEEF)

    async def monitor(ctx):
        rng = np.random.default_rng(5)
        for cycle in itertools.count():
            ctx.set(dut.window.hold, int(rng.random() < hold))
            _, _, holds, valid, item, ticked, tick = await ctx.tick().sample(
                dut.window.hold, dut.o.valid, dut.o.payload, dut.time.valid, dut.time.payload)
            if valid:
                assert not holds
                assert not (item.event and item.zero)
                kind = "event" if item.event else "zero" if item.zero else "ramp"
                operations.append((cycle, kind, item.word, item.bias, item.weight, item.keep,
                                   item.peek, item.peek and item.sweep))
            if ticked:
                ticks.append((cycle - dut.latency, tick))

    async def testbench(ctx):
        for name in RampSequencer.FIELDS:
            ctx.set(dut.entry[name], field(name))
        ctx.set(dut.run.start, 1)
        await ctx.tick()
        ctx.set(dut.run.start, 0)
        assert ctx.get(dut.run.busy)
        await bench.Source(dut.i, transfers, pause=pause).run(ctx)
        while ctx.get(dut.run.busy):
            await ctx.tick()
        assert ctx.get(dut.window.completed) == 1 and not ctx.get(dut.window.pending)
        await ctx.tick().repeat(dut.latency + 1)

    bench.run(dut, testbench, background=(memory, monitor))
    return operations, ticks, plan


#: Ticks of two events, of one, and of none; the last one is empty or not.
TRANSFERS = [
    [{"channel": 3, "event": 1}, {"channel": 0, "event": 1, "end": 1, "tick": 4},
     {"channel": 5, "event": 1, "end": 1, "tick": 5}, {"end": 1, "tick": 6}, *last]
    for last in ([{"end": 1, "tick": 7, "last": 1}],
                 [{"channel": 2, "event": 1},
                  {"channel": 1, "event": 1, "end": 1, "tick": 7, "last": 1}])
]


@pytest.mark.parametrize("transfers", TRANSFERS, ids=["empty", "not empty"])
@pytest.mark.parametrize(("pause", "hold"), [(0, 0), (0.5, 0), (0, 0.4), (0.3, 0.3)])
@pytest.mark.parametrize("neurons", [1, 4, 7, 19])
def test_sequencer_walks_slopes_then_potentials(
    bench, random_network, neurons, pause, hold, transfers
):
    operations, ticks, plan = run_sequencer(
        bench, random_network, neurons, transfers, pause=pause, hold=hold)
    words, base = -(-neurons // 4), plan.membrane_base
    wanted = []
    for item in transfers:
        end, last = item.get("end", 0), item.get("last", 0)
        for n in range(words):
            # A slope that nothing was added to need not be written, nor one that ends.
            if "event" in item:
                weight = plan.weight_base + item["channel"] + n * 6
                wanted.append(("event", base + words + n, 0, weight, end, last, last))
            else:
                wanted.append(("zero", base + words + n, 0, None, 1, 1, last))
            if end:
                wanted.append(("ramp", base + n, plan.bias_base + n, None, 0, 0, 0))
    found = [(kind, word, bias, weight if kind == "event" else None, *rest)
             for _, kind, word, bias, weight, *rest in operations]
    assert found == wanted
    # No word twice in succession: the second one would not see what the first one writes.
    for (cycle, _, word, *_), (after, _, other, *_) in itertools.pairwise(operations):
        assert word != other or after - cycle >= 2
    # A tick is shown when its last potential is in the memory.
    ends = [cycle for cycle, kind, word, *_ in operations
            if kind == "ramp" and word == base + words - 1]
    assert ticks == [(end, 4 + n) for n, end in enumerate(ends)]


def test_sequencer_takes_an_event_without_a_bubble(bench, random_network):
    operations, *_ = run_sequencer(bench, random_network, 19, TRANSFERS[1])
    cycles = [cycle for cycle, *_ in operations]
    assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))
