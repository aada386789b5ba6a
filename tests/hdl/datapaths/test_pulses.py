# SPDX-License-Identifier: Apache-2.0
"""The pulses of the ``serial`` datapath: one for each set bit, in order, and nothing else."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.pulses import Pulses
from ttfs_sw.research.neighbours.few_spike import pulses


def events(config, count, *, seed=0):
    """Events of any code, some of them ends of rows."""
    rng = np.random.default_rng(seed)
    for n in range(count):
        end = bool(rng.random() < 0.1)
        code = 0 if end else int(rng.integers(1, config.max_ticks + 1))
        yield {"column": n % 7, "channel": n % 11, "code": code, "end": int(end), "place": n % 100}


def expected(event):
    bits = [1 << n for n in range(8) if event["code"] >> n & 1]
    return [event | {"code": bit} for bit in bits] or [event]


def plain(value):
    return {name: int(getattr(value, name)) for name in ("column", "channel", "code", "end",
                                                         "place")}


@pytest.mark.parametrize("pause", [0.0, 0.4])
@pytest.mark.parametrize("tick_bits", [1, 4, 8])
def test_one_pulse_for_every_set_bit(bench, tick_bits, pause):
    config = CoreConfig(tick_bits=tick_bits)
    sent = list(events(config, 200, seed=tick_bits))
    dut = Pulses(config)
    wanted = [pulse for event in sent for pulse in expected(event)]
    source = bench.Source(dut.i, sent, pause=pause, seed=1)
    sink = bench.Sink(dut.o, len(wanted), pause=pause, seed=2)
    bench.run(dut, source.run, sink.run)
    assert [plain(value) for value in sink.values] == wanted
    assert all(event["code"].bit_count() == 1 or event["end"] for event in wanted)
    if not pause:
        # One a cycle, without a gap between events.
        assert np.diff(sink.cycles).tolist() == [1] * (len(wanted) - 1)


def test_busy_until_the_last_pulse_has_left(bench):
    config = CoreConfig(tick_bits=4)
    dut = Pulses(config)

    async def testbench(ctx):
        assert not ctx.get(dut.run.busy)
        ctx.set(dut.i.payload, next(events(config, 1)) | {"code": 0b1011, "end": 0})
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for _ in range(5):
            assert ctx.get(dut.run.busy)
            await ctx.tick()
        ctx.set(dut.o.ready, 1)
        for _ in range(3):
            assert ctx.get(dut.run.busy) and ctx.get(dut.o.valid)
            await ctx.tick()
        assert not ctx.get(dut.run.busy) and not ctx.get(dut.o.valid)

    bench.run(dut, testbench)


def test_pulses_are_those_of_a_few_spike_neuron(bench):
    config = CoreConfig(tick_bits=6)
    codes = np.arange(1, 64)
    sent = [{"column": 0, "channel": 0, "code": int(code), "end": 0, "place": int(code)}
            for code in codes]
    # A neuron begins with the most significant bit; the core, whose sum is the same, ends with it.
    wanted = [(int(code), 1 << bit) for code, fired in zip(codes, pulses(codes, 6).T, strict=True)
              for bit in range(6) if fired[5 - bit]]
    dut = Pulses(config)
    source, sink = bench.Source(dut.i, sent), bench.Sink(dut.o, len(wanted))
    bench.run(dut, source.run, sink.run)
    assert [(int(pulse.place), int(pulse.code)) for pulse in sink.values] == wanted
