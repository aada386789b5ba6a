"""The sequencer against two nested loops, for layers of one, two and many words."""

import numpy as np
import pytest

from hdl.config import CoreConfig
from hdl.sequencer import Sequencer

CONFIG = CoreConfig(lanes=4, weight_words=1024, membrane_words=64, input_words=128, map_words=2)

FIELDS = "last_word", "weight_base", "weight_stride", "membrane_base", "bias_base"


def rtl_sequence(bench, layers, *, pause=0.0, config=CONFIG):
    """For each layer (words, weights, inputs, membrane, bias, events): updates, their cycles.

    Cycles count from the one in which the layer's first event is taken.
    """
    dut = Sequencer(config)
    rng = np.random.default_rng(10)
    results = []

    async def testbench(ctx):
        for words, weights, inputs, membrane, bias, events in layers:
            for name, value in zip(FIELDS, (words - 1, weights, inputs, membrane, bias),
                                   strict=True):
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert not ctx.get(dut.touched)
            updates, cycles, left, cycle, began = [], [], list(events), 0, None
            while left or ctx.get(dut.busy):
                offered = bool(left) and rng.random() >= pause
                ctx.set(dut.i.valid, int(offered))
                if offered:
                    ctx.set(dut.i.payload, {"neuron": left[0][0], "code": left[0][1]})
                _, _, ready, valid, update = await ctx.tick().sample(
                    dut.i.ready, dut.o.valid, dut.o.payload)
                if offered and ready:
                    left.pop(0)
                    began = cycle if began is None else began
                if valid:
                    updates.append((update.weight, update.read, update.write, update.code))
                    cycles.append(cycle - began)
                cycle += 1
            ctx.set(dut.i.valid, 0)
            assert ctx.get(dut.alone) == (words == 1)
            assert ctx.get(dut.touched) == (len(events) > 0) + 2 * (words == 1 and len(events) > 1)
            results.append((updates, cycles))

    bench.run(dut, testbench)
    return results


def reference_sequence(layer):
    words, weights, inputs, membrane, bias, events = layer
    # The events of a layer of one word take turns in two copies of it.
    copies = 2 if words == 1 else 1
    return [
        (weights + neuron + word * inputs, (bias if n < copies else membrane) + word + n % copies,
         membrane + word + n % copies, code)
        for n, (neuron, code) in enumerate(events) for word in range(words)
    ]


def random_layer(rng, words, count):
    inputs = int(rng.integers(1, 1 + 1024 // (2 * words)))
    weights = int(rng.integers(0, 1024 - inputs * words + 1))
    space = max(2, words)
    places = rng.permutation(64 // space)[:2] * space
    events = [
        (int(rng.integers(inputs)), int(rng.integers(1, CONFIG.max_ticks + 1)))
        for _ in range(count)
    ]
    return words, weights, inputs, int(places[0]), int(places[1]), events


@pytest.mark.parametrize("pause", [0.0, 0.6])
@pytest.mark.parametrize("words", [1, 2, 3, 17, 32])
def test_equals_loops(bench, words, pause):
    rng = np.random.default_rng(words)
    layers = [random_layer(rng, words, count) for count in (6, 1, 0, 9)]
    found = rtl_sequence(bench, layers, pause=pause)
    assert [updates for updates, _ in found] == [reference_sequence(layer) for layer in layers]


@pytest.mark.parametrize("words", [1, 2, 3, 8])
def test_one_update_a_cycle_from_the_cycle_after_the_first_event_on(bench, words):
    layer = random_layer(np.random.default_rng(1), words, 10)
    (_, cycles), = rtl_sequence(bench, [layer])
    assert cycles == [1 + n for n in range(10 * words)]


@pytest.mark.parametrize("words", [1, 2, 5])
def test_no_update_reads_what_the_one_before_it_writes(bench, words):
    layer = random_layer(np.random.default_rng(2), words, 40)
    (updates, cycles), = rtl_sequence(bench, [layer], pause=0.3)
    at = dict(zip(cycles, updates, strict=True))
    assert all(at[cycle][1] != at[cycle - 1][2] for cycle in at if cycle - 1 in at)


def test_layers_of_one_and_of_many_words_take_turns(bench):
    rng = np.random.default_rng(3)
    layers = [random_layer(rng, words, 5) for words in (1, 4, 1, 2, 1, 16)]
    found = rtl_sequence(bench, layers)
    assert [updates for updates, _ in found] == [reference_sequence(layer) for layer in layers]


def test_smallest_core(bench):
    config = CoreConfig(lanes=2, weight_bits=2, tick_bits=1, accumulator_bits=8, weight_words=2,
                        membrane_words=4, input_words=2, map_words=2, slopes=2, layers=1)
    layer = 1, 0, 2, 2, 0, [(0, 1), (1, 1), (1, 1), (0, 1)]
    (updates, _), = rtl_sequence(bench, [layer], config=config)
    assert updates == reference_sequence(layer) == [
        (0, 0, 2, 1), (1, 1, 3, 1), (1, 2, 2, 1), (0, 3, 3, 1)]
