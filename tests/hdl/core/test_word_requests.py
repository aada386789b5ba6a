# SPDX-License-Identifier: Apache-2.0
"""Which words the sweep asks for, when, and what it knows of them when they come."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.membrane import Membrane
from ttfs_fpga.hdl.core.word_requests import WordRequests

CONFIG = CoreConfig(lanes=2, accumulator_bits=8, membrane_words=32)


class Quick(CoreConfig):
    """Weights, and so potentials, come as fast as from SPRAM, which needs more lanes than these."""

    weight_latency = 1


QUICK = Quick(**CONFIG.as_dict())
ROWS, ROW_WORDS, PIXEL_WORDS, BASE = 5, 6, 2, 8
#: A window of two rows.
ENTRY = {"membrane_base": BASE, "membrane_last": BASE + 2 * ROW_WORDS - 1,
         "sweep_last": ROW_WORDS - 1, "rows_last": ROWS - 1, "bias_base": 1,
         "last_word": PIXEL_WORDS - 1}


class Harness(wiring.Component):
    """Requests, and a membrane memory whose every word holds its own address."""

    def __init__(self, config=CONFIG):
        self.requests = WordRequests(config)
        self.membrane = Membrane(config, [word | word << 8 for word in range(32)])
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.requests, m.submodules.membrane = self.requests, self.membrane
        asks, operation = self.requests.membrane, self.membrane.operation
        m.d.comb += [
            *(getattr(operation, name).eq(getattr(asks, name))
              for name in ("valid", "sweep", "load", "peek", "word", "stall")),
            # The bias is looked at where it is asked for.
            operation.bias.eq(asks.word),
            *(getattr(asks, name).eq(getattr(operation, name))
              for name in ("potentials", "updating", "sweeping", "coming")),
        ]
        return m


def rtl_request(bench, *, pending=0.0, ready=1.0, spare=1, late=0.0, accumulating=1, config=CONFIG):
    """Words (word, row ends, layer ends, pixel ends), biases, cycles, and those of swept rows."""
    dut, rng = Harness(config), np.random.default_rng(3)
    requests = dut.requests
    window, memory = requests.window, requests.membrane
    found, biases, cycles, swept = [], [], [], []

    async def testbench(ctx):
        ctx.set(requests.entry, ENTRY)
        ctx.set(requests.accumulating, accumulating)
        ctx.set(requests.spare, spare)
        ctx.set(requests.run.start, 1)
        await ctx.tick()
        ctx.set(requests.run.start, 0)
        cycle = complete = 0
        while ctx.get(requests.run.busy) or cycles[-1:] == [cycle]:
            cycle += 1
            complete = min(ROWS, complete + int(rng.random() >= late))
            ctx.set(window.completed, complete if accumulating else 0)
            ctx.set(window.pending, int(rng.random() < pending))
            ctx.set(requests.o.ready, int(rng.random() < ready))
            if ctx.get(memory.valid) and not ctx.get(memory.stall):
                biases.append(ctx.get(memory.bias))
                assert ctx.get(window.hold)
                assert not accumulating or len(biases) <= complete * ROW_WORDS
            _, _, valid, taken, word, left = await ctx.tick().sample(
                requests.o.valid, requests.o.ready, requests.o.p, window.swept)
            if valid and taken:
                assert word.potentials[0] == word.potentials[1]
                found.append((word.potentials[0], word.row_ends, word.layer_ends, word.pixel_ends))
                cycles.append(cycle)
            if left:
                swept.append(cycle)

    bench.run(dut, testbench)
    return found, biases, cycles, swept


def reference_requests():
    return [(BASE + row % 2 * ROW_WORDS + n, int(n == ROW_WORDS - 1),
             int((row, n) == (ROWS - 1, ROW_WORDS - 1)), int(n % PIXEL_WORDS == 1))
            for row in range(ROWS) for n in range(ROW_WORDS)]


@pytest.mark.parametrize("config", [CONFIG, QUICK])
@pytest.mark.parametrize("options", [
    {}, {"pending": 0.5}, {"pending": 1.0}, {"ready": 0.4}, {"late": 0.9}, {"accumulating": 0},
    {"pending": 0.5, "ready": 0.5, "late": 0.8}])
def test_words_of_rows_in_order(bench, options, config):
    found, biases, cycles, swept = rtl_request(bench, config=config, **options)
    assert found == reference_requests()
    assert biases == [1 + n % PIXEL_WORDS for n in range(ROWS * ROW_WORDS)]
    # In the next cycle. Of a layer that does not accumulate any more nobody waits for places.
    assert swept == ([cycle + 1 for cycle in cycles[ROW_WORDS - 1::ROW_WORDS]]
                     if options.get("accumulating", 1) else [])
    if not options:
        assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))


@pytest.mark.parametrize("config", [CONFIG, QUICK])
def test_one_word_at_a_time_while_others_want_the_memory(bench, config):
    _, _, cycles, _ = rtl_request(bench, pending=1.0, config=config)
    assert set(np.diff(cycles[:ROW_WORDS]).tolist()) == {3 + config.weight_latency}


def test_no_word_is_asked_for_that_would_have_to_wait(bench):
    dut = Harness()

    async def testbench(ctx):
        ctx.set(dut.requests.entry, ENTRY)
        ctx.set(dut.requests.window.completed, 1)
        ctx.set(dut.requests.window.pending, 1)
        ctx.set(dut.requests.accumulating, 1)
        ctx.set(dut.requests.run.start, 1)
        await ctx.tick()
        ctx.set(dut.requests.run.start, 0)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.requests.membrane.valid)
        ctx.set(dut.requests.spare, 1)
        await ctx.tick()
        assert ctx.get(dut.requests.membrane.valid)

    bench.run(dut, testbench)
