# SPDX-License-Identifier: Apache-2.0
"""The scanner against a walk over the neurons of a map, for every layout."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring

from ttfs_fpga.hdl.compiler.layout import plan_map
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.scanner import Scanner

#: Cycles from ``start`` to the first event, if the first word has one.
LATENCY = 5

#: (shape, flat): words of several pixels, pixels of several words, one row, one pixel.
MAPS = [((3, 5, 3), False), ((2, 3, 20), False), ((4, 9, 1), False), ((1, 1, 40), True),
        ((3, 2, 8), False), ((1, 1, 1), False)]


class Harness(wiring.Component):
    """A scanner and its map. ``stall`` reads word 0 instead; wiping is granted with ``grant``."""

    def __init__(self, config, words):
        self.config, self.words = config, words
        self.scanner = Scanner(config)
        self.grant = Signal()
        self.storage = memory.Memory(shape=config.map_width, depth=config.map_words, init=words)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.scanner = scanner = self.scanner
        m.submodules.map = storage = self.storage
        read, write = storage.read_port(), storage.write_port()
        with m.If(scanner.map.stall):
            m.d.comb += read.en.eq(1)
        with m.Else():
            m.d.comb += [read.addr.eq(scanner.map.address), read.en.eq(scanner.map.enable)]
        m.d.comb += [
            scanner.map.data.eq(read.data),
            scanner.wipe.ready.eq(self.grant),
            write.addr.eq(scanner.wipe.word),
            write.en.eq(scanner.wipe.valid & scanner.wipe.ready),
        ]
        return m


def rtl_scan(bench, config, plan, base, codes, *, pause=0.0, stall=0.0, limited=False, clears=0,
             single=False):
    """Transfers (column, channel, place, code) or "end", cycles of each, end; the map after it.

    Cycles count from the one in which ``start`` is set. The map lies at ``base``. With ``single``
    its rows are scanned one after another, as in a layer with a residual, and the last word has no
    meaning.
    """
    slots, bits = config.codes_per_word, config.tick_bits
    every = np.zeros(config.map_words * slots, int)
    every[base * slots + plan.places] = codes
    dut = Harness(config, [
        sum(int(code) << n * bits for n, code in enumerate(word))
        for word in every.reshape(-1, slots)])
    scanner, rng = dut.scanner, np.random.default_rng(9)
    found, cycles, left = [], [], []

    async def testbench(ctx):
        flat = plan.shape[:2] == (1, 1)
        for name, value in (
                ("source_base", base), ("source_last", base + plan.words - 1),
                ("residual", int(single)), ("row_last", plan.row_words - 1),
                ("chunk_last", plan.words - 1 if flat else plan.chunk_last),
                ("slot_shift", config.slot_bits if flat else plan.slot_shift),
                ("follows", int(limited)), ("clears", clears)):
            ctx.set(scanner.entry[name], value)
        ctx.set(scanner.final.limited, int(limited))
        ctx.set(scanner.final.word, base)
        cycle, offered, final, word = 0, None, base, 0
        rows = range(base, base + plan.words, plan.row_words) if single else [base]
        row_words = plan.row_words if single else plan.words
        left_rows, row = list(rows), base
        while left_rows or ctx.get(scanner.run.busy):
            starts = not ctx.get(scanner.run.busy)
            if starts:
                row = left_rows.pop(0)
                if single:
                    # Where it is, is known before.
                    ctx.set(scanner.row.begins, 1)
                    ctx.set(scanner.row.map, row)
                    await ctx.tick()
                    ctx.set(scanner.row.begins, 0)
                    ctx.set(scanner.row.map, 0)
                    ctx.set(scanner.entry.source_last, row)
            ctx.set(scanner.run.start, int(starts))
            if limited and rng.random() < 0.1:
                final += 1
                # What is final last of all lifts the limit.
                ctx.set(scanner.final.limited, int(final < base + plan.words))
                ctx.set(scanner.final.word, final)
            ready = rng.random() >= pause
            ctx.set(scanner.o.ready, int(ready))
            ctx.set(scanner.map.stall, int(rng.random() < stall))
            ctx.set(dut.grant, int(rng.random() >= stall))
            assert not (ctx.get(scanner.map.enable) and ctx.get(scanner.map.stall))
            if ctx.get(scanner.map.enable):
                assert row <= ctx.get(scanner.map.address) < row + row_words
            if limited and ctx.get(scanner.map.enable) and ctx.get(scanner.final.limited):
                assert ctx.get(scanner.map.address) < final
            _, _, valid, event = await ctx.tick().sample(scanner.o.valid, scanner.o.payload)
            if offered is not None:
                assert valid and event == offered
            offered = event if valid and not ready else None
            if valid and ready:
                found.append("end" if event.end else (
                    event.column, event.channel, event.place, event.code))
                cycles.append(cycle)
            cycle += 1
        cycles.append(cycle)
        for word in range(config.map_words):
            left.append(ctx.get(dut.storage.data[word]))

    bench.run(dut, testbench)
    return found, cycles, left


def reference_scan(config, plan, base, codes):
    height, width, channels = plan.shape
    found, places = [], plan.places + base * config.codes_per_word
    for row in range(height):
        for neuron in range(row * width * channels, (row + 1) * width * channels):
            if codes[neuron]:
                column, channel = divmod(neuron % (width * channels), channels)
                found.append((column, channel, int(places[neuron]), int(codes[neuron])))
        found.append("end")
    return found


def random_codes(rng, config, count, density):
    return rng.integers(1, config.max_ticks + 1, count) * (rng.random(count) < density)


def make_config(tick_bits):
    return CoreConfig(tick_bits=tick_bits, input_words=32, map_words=32)


@pytest.mark.parametrize(("shape", "flat"), MAPS)
@pytest.mark.parametrize("tick_bits", [1, 4, 8])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_equals_walk(bench, shape, flat, tick_bits, density):
    config = make_config(tick_bits)
    plan = plan_map(shape, flat, config, runs=False)
    codes = random_codes(np.random.default_rng(1), config, int(np.prod(shape)), density)
    base = min(3, config.map_words - plan.words)
    want = reference_scan(config, plan, base, codes)
    found, cycles, left = rtl_scan(bench, config, plan, base, codes)
    assert found == want
    # One transfer a cycle, or a word without any.
    places = plan.places // config.codes_per_word
    count = np.bincount(places[codes != 0], minlength=plan.words)
    count[plan.row_words - 1::plan.row_words] += 1
    assert cycles[-1] <= LATENCY + int(np.maximum(1, count).sum())
    if count[0]:
        assert cycles[0] == LATENCY
    # Nothing is wiped where other layers read still.
    assert sum(map(bool, left)) == len(set(places[codes != 0]))


@pytest.mark.parametrize("shape", [(3, 5, 3), (2, 3, 20)])
@pytest.mark.parametrize("options", [
    {"pause": 0.5}, {"stall": 0.4}, {"limited": True}, {"clears": 1},
    {"pause": 0.3, "stall": 0.3, "limited": True, "clears": 1}, {"single": True},
    {"pause": 0.3, "stall": 0.3, "limited": True, "clears": 1, "single": True},
])
def test_what_delays_it_loses_nothing(bench, shape, options):
    config = make_config(4)
    plan = plan_map(shape, False, config, runs=False)
    for seed, density in enumerate((0.1, 0.5, 1.0)):
        codes = random_codes(np.random.default_rng(seed), config, int(np.prod(shape)), density)
        found, _, left = rtl_scan(bench, config, plan, 2, codes, **options)
        assert found == reference_scan(config, plan, 2, codes)
        # What is read last is silent afterwards.
        assert any(left) != bool(options.get("clears"))
