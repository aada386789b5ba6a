"""The scanner against a walk over the codes of a map."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.utils import ceil_log2

from hdl.config import CoreConfig
from hdl.scanner import Scanner

#: Cycles from ``start`` to the first event, if the first word has one.
LATENCY = 4


class Harness(wiring.Component):
    """A scanner and the map that it reads."""

    def __init__(self, config, codes):
        self.config, self.codes = config, codes
        self.scanner = Scanner(config)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.scanner = scanner = self.scanner
        bits = self.config.tick_bits
        words = [
            sum(int(code) << (n * bits) for n, code in enumerate(word))
            for word in self.codes.reshape(-1, self.config.codes_per_word)
        ]
        m.submodules.map = storage = memory.Memory(
            shape=self.config.map_width, depth=len(words), init=words)
        read = storage.read_port()
        m.d.comb += [
            read.addr.eq(scanner.map_address[:ceil_log2(len(words))]),
            read.en.eq(scanner.map_enable),
            scanner.map_data.eq(read.data),
        ]
        return m


def rtl_scan(bench, config, codes, scans, *, pause=0.0):
    """For each (base, first, last, empty): events, their cycles and the cycles of ``busy``.

    Cycles count from the one in which ``start`` is set.
    """
    dut = Harness(config, codes)
    scanner = dut.scanner
    rng = np.random.default_rng(9)
    results = []

    async def testbench(ctx):
        for base, first, last, empty in scans:
            for name, value in (("base", base), ("first", first), ("last", last), ("empty", empty)):
                ctx.set(getattr(scanner, name), value)
            assert not ctx.get(scanner.busy)
            ctx.set(scanner.start, 1)
            await ctx.tick()
            ctx.set(scanner.start, 0)
            # They were looked at with start: they need not hold, last excepted.
            for name in ("base", "first", "empty"):
                ctx.set(getattr(scanner, name), int(rng.integers(2)))
            events, cycles, cycle, offered = [], [], 1, None
            while ctx.get(scanner.busy):
                ready = bool(rng.random() >= pause)
                ctx.set(scanner.o.ready, ready)
                _, _, valid, event = await ctx.tick().sample(scanner.o.valid, scanner.o.payload)
                if offered is not None:
                    assert valid and event == offered
                offered = event if valid and not ready else None
                if valid and ready:
                    events.append((event.neuron, event.code))
                    cycles.append(cycle)
                cycle += 1
            assert not ctx.get(scanner.o.valid)
            results.append((events, cycles, cycle))

    bench.run(dut, testbench)
    return results


def reference_scan(config, codes, scan):
    base, first, last, empty = scan
    start = base * config.codes_per_word
    return [] if empty else [
        (neuron, int(codes[start + neuron]))
        for neuron in range(first * config.codes_per_word, (last + 1) * config.codes_per_word)
        if codes[start + neuron]
    ]


def documented_cycles(config, codes, scan):
    """Cycle of every event, and the one in which the scan has ended, by the documented formula."""
    base, first, last, _ = scan
    words = codes.reshape(-1, config.codes_per_word)[base + first:base + last + 1]
    cycles, before = [], 0
    for word in words:
        cycles += [LATENCY + before + n for n in range(np.count_nonzero(word))]
        before += max(1, np.count_nonzero(word))
    return cycles, LATENCY + before


def random_codes(rng, config, words, density):
    codes = rng.integers(1, config.max_ticks + 1, words * config.codes_per_word)
    return codes * (rng.random(codes.size) < density)


def make_config(tick_bits):
    return CoreConfig(tick_bits=tick_bits, input_words=16, map_words=16)


SCANS = [(0, 0, 11, 0), (3, 0, 5, 0), (0, 2, 2, 0), (1, 3, 9, 0), (0, 0, 0, 1), (11, 0, 0, 0)]


@pytest.mark.parametrize("tick_bits", [1, 3, 4, 8])
@pytest.mark.parametrize("density", [0.0, 0.03, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_equals_walk(bench, tick_bits, density, pause):
    config = make_config(tick_bits)
    codes = random_codes(np.random.default_rng(int(100 * density)), config, 12, density)
    results = rtl_scan(bench, config, codes, SCANS, pause=pause)
    for scan, (events, cycles, end) in zip(SCANS, results, strict=True):
        assert events == reference_scan(config, codes, scan)
        if not pause and not scan[3]:
            expected, expected_end = documented_cycles(config, codes, scan)
            assert cycles == expected
            assert end <= expected_end


@pytest.mark.parametrize("tick_bits", [1, 4, 8])
def test_smallest_map(bench, tick_bits):
    config = CoreConfig(tick_bits=tick_bits, input_words=2, map_words=2)
    codes = np.zeros(2 * config.codes_per_word, int)
    codes[[0, -1]] = config.max_ticks
    (both, cycles, _), (one, _, _) = rtl_scan(
        bench, config, codes, [(0, 0, 1, 0), (1, 0, 0, 0)])
    assert both == [(0, config.max_ticks), (codes.size - 1, config.max_ticks)]
    assert cycles == [4, 5]
    assert one == [(config.codes_per_word - 1, config.max_ticks)]


def test_nothing_to_scan_is_over_at_once(bench):
    config = make_config(4)
    codes = np.ones(12 * config.codes_per_word, int)
    (events, _, end), = rtl_scan(bench, config, codes, [(0, 3, 7, 1)])
    assert (events, end) == ([], 1)
