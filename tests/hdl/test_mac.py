"""The lanes of the ``mac`` datapath with their membrane and weight memories, against numpy."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hdl.config import CoreConfig
from hdl.mac import MacLanes
from hdl.membrane import Membrane
from hdl.weights import WeightMemory


class Datapath(wiring.Component):
    """Lanes between their two memories, as the core connects them."""

    busy: Out(1)

    def __init__(self, config, weights, potentials):
        self.lanes = MacLanes(config)
        self.weights = WeightMemory(config, pack(weights, config.weight_bits))
        self.membrane = Membrane(config, pack(potentials, config.accumulator_bits))
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.lanes, m.submodules.weights = lanes, weights = self.lanes, self.weights
        m.submodules.membrane = membrane = self.membrane
        m.d.comb += [
            self.busy.eq(lanes.busy),
            weights.address.eq(lanes.weight_address),
            lanes.weights.eq(weights.data),
            membrane.read.eq(lanes.read),
            membrane.enable.eq(lanes.enable),
            lanes.potentials.eq(membrane.potentials),
            membrane.write.eq(lanes.write),
            membrane.word.eq(lanes.word),
            membrane.sums.eq(lanes.sums),
        ]
        return m


def pack(words, bits):
    mask = (1 << bits) - 1
    return [sum((int(v) & mask) << (n * bits) for n, v in enumerate(word)) for word in words]


def rtl_accumulate(bench, config, weights, potentials, updates):
    """Potentials after ``updates`` of one cycle each: (weight, read, write, code), or None."""
    dut = Datapath(config, weights, potentials)
    names = "weight", "read", "write", "code"
    # The sums on their way into the membrane memory are what it holds: test_membrane.py.
    found = np.array(potentials)

    async def testbench(ctx):
        # After the last update, until it has been written.
        for cycle, update in enumerate([*updates, None, None]):
            ctx.set(dut.lanes.i.valid, update is not None)
            if update is not None:
                ctx.set(dut.lanes.i.payload, dict(zip(names, update, strict=True)))
            _, _, write, word, sums, busy = await ctx.tick().sample(
                dut.lanes.write, dut.lanes.word, dut.lanes.sums, dut.busy)
            recent = [*updates, None, None][max(0, cycle - 2):cycle]
            assert busy == any(update is not None for update in recent)
            # An update of cycle t writes in cycle t + 2, and in no other.
            assert write == (cycle >= 2 and updates[cycle - 2] is not None)
            if write:
                found[word] = list(sums)
        assert not ctx.get(dut.busy)

    bench.run(dut, testbench)
    return found.tolist()


def reference_accumulate(config, weights, potentials, updates):
    half = 1 << (config.accumulator_bits - 1)
    found = np.array(potentials)
    for weight, read, write, code in filter(None, updates):
        found[write] = (found[read] + weights[weight] * code + half) % (2 * half) - half
    return found.tolist()


def random_updates(rng, config, count, pause):
    """Updates that keep to the rule: none reads what the one a cycle before it writes."""
    written = None
    for _ in range(count):
        read, write = rng.integers(config.membrane_words, size=2).tolist()
        if rng.random() < pause or read == written:
            written = None
            yield None
        else:
            written = write
            yield (int(rng.integers(config.weight_words)), read, write,
                   int(rng.integers(config.max_ticks + 1)))


@pytest.mark.parametrize("pause", [0.0, 0.4])
@pytest.mark.parametrize(("lanes", "weight_bits", "tick_bits", "accumulator_bits"), [
    (2, 2, 1, 8), (4, 3, 4, 16), (4, 8, 8, 24), (16, 4, 4, 16), (2, 8, 8, 32),
])
def test_equals_numpy(bench, lanes, weight_bits, tick_bits, accumulator_bits, pause):
    config = CoreConfig(
        lanes=lanes, weight_bits=weight_bits, tick_bits=tick_bits,
        accumulator_bits=accumulator_bits, weight_words=8, membrane_words=3)
    rng = np.random.default_rng(weight_bits)
    high, half = 1 << (weight_bits - 1), 1 << (accumulator_bits - 1)
    weights = rng.integers(-high, high, (8, lanes))
    potentials = rng.integers(-half, half, (3, lanes))
    updates = list(random_updates(rng, config, 200, pause))
    arguments = config, weights, potentials, updates
    assert rtl_accumulate(bench, *arguments) == reference_accumulate(*arguments)


@pytest.mark.parametrize(("weight", "start"), [(-128, -32768), (127, 32767)])
def test_wraps_around(bench, weight, start):
    # What leaves the range on its way comes back exactly: 9 steps out of it and 9 back.
    config = CoreConfig(lanes=2, weight_bits=8, tick_bits=8, weight_words=2, membrane_words=2)
    weights = np.array([[weight, weight], [-weight - 1, -weight - 1]])
    out = [(0, 0, 0, 255), None] * 9
    potentials = np.full((2, 2), start)
    found = rtl_accumulate(bench, config, weights, potentials, out)
    exact = start + 9 * 255 * weight
    assert found[0] == [(exact + 32768) % 65536 - 32768] * 2
    # -w - 1 and w add up to -1.
    back = rtl_accumulate(bench, config, weights, potentials, out + [(1, 0, 0, 255), None] * 9)
    assert back[0] == [(start - 9 * 255 + 32768) % 65536 - 32768] * 2


def test_an_update_is_read_from_its_third_cycle_on(bench):
    config = CoreConfig(lanes=2, weight_words=2, membrane_words=2)
    weights, potentials = np.array([[1, -1], [0, 0]]), np.array([[100, 200], [0, 0]])
    # In cycle t + 2 the next update of the word arrives, and reads it in cycle t + 3.
    updates = [(0, 0, 0, 3), None, (0, 0, 0, 5)]
    assert rtl_accumulate(bench, config, weights, potentials, updates)[0] == [108, 192]
    # One cycle earlier it would meet the write: the check of every memory sees that.
    with pytest.raises(AssertionError, match="a memory word is read while it is written"):
        rtl_accumulate(bench, config, weights, potentials, [(0, 0, 0, 3), (0, 0, 0, 5)])


def test_two_words_keep_the_lanes_busy_every_cycle(bench):
    # The bias is read where it lies, the sums go elsewhere: words 0 and 1 to 2 and 3.
    config = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, weight_words=16, membrane_words=4)
    rng = np.random.default_rng(8)
    weights = rng.integers(-8, 8, (16, 4))
    potentials = rng.integers(-100, 100, (4, 4))
    codes = rng.integers(1, 16, 8)
    updates = [
        (2 * event + word, word if event == 0 else 2 + word, 2 + word, int(code))
        for event, code in enumerate(codes) for word in range(2)
    ]
    assert None not in updates
    found = rtl_accumulate(bench, config, weights, potentials, updates)
    assert found[:2] == potentials[:2].tolist()
    expected = potentials[:2] + np.einsum("e,ewl->wl", codes, weights.reshape(8, 2, 4))
    assert found[2:] == expected.tolist()
