"""The controller: order and overlap of layers, their fields, statistics, and what it refuses."""

import numpy as np
import pytest

from hdl.compiler import compile_network, minimal_config
from hdl.controller import Controller, CoreError
from hdl.shapes import Memory
from hdl.table import ENTRY_WORDS, FIELDS, field_widths


@pytest.fixture(scope="module")
def program():
    from tests.hdl.conftest import make_network

    network = make_network(np.random.default_rng(3), (9, 8, 7, 6, 3))
    return compile_network(network, minimal_config(network, lanes=4))


def field(program, layer, name):
    """What the table says."""
    place = FIELDS[name]
    word = program.memories[Memory.TABLE].get((1 + layer) * ENTRY_WORDS + place.word, 0)
    return word >> place.offset & ((1 << place.width) - 1)


def drive(bench, program, delays, images=2, init=None, cycles=600):
    """Run images; halves of layers end after so many cycles. Gives what happened, in order."""
    words = program.memory_words(Memory.TABLE) if init is None else init
    controller = Controller(program.config, words)
    seen = []

    async def testbench(ctx):
        left_accumulate = left_fire = None
        done = 0
        for _ in range(cycles):
            ctx.set(controller.full, int(done < images))
            ctx.set(controller.accumulated, int(left_accumulate == 0))
            ctx.set(controller.fired, int(left_fire == 0))
            (_, _, accumulate, fire, layer, entry, firing, statistics, valid, release, busy,
             error) = await ctx.tick().sample(
                controller.accumulate, controller.fire, controller.layer, controller.entry,
                controller.firing, controller.statistics.p, controller.statistics.valid,
                controller.release, controller.busy, controller.error)
            left_accumulate = left_accumulate and left_accumulate - 1
            left_fire = left_fire and left_fire - 1
            if accumulate:
                seen.append(("accumulate", layer, entry))
                left_accumulate = delays[0]
            if fire:
                seen.append(("fire", None, firing))
                left_fire = delays[1]
            if valid:
                seen.append(("fired", statistics.layer, statistics.clock))
                left_fire = None
            if release:
                seen.append(("release", error, busy))
                done += 1
        seen.append(("end", ctx.get(controller.error), ctx.get(controller.valid)))

    bench.run(controller, testbench, cycles=cycles + 10)
    return seen


@pytest.mark.parametrize("delays", [(1, 1), (30, 2), (2, 30), (9, 10)])
def test_layers_in_order_and_one_ahead(bench, program, delays):
    seen = drive(bench, program, delays)
    count = len(program.layers)
    assert [layer for what, layer, _ in seen if what == "accumulate"] == [*range(count)] * 2
    assert [layer for what, layer, _ in seen if what == "fired"] == [*range(count)] * 2
    assert sum(what == "release" for what, *_ in seen) == 2
    started = fired = 0
    for what, *_ in seen:
        started += what == "accumulate"
        # A layer may accumulate while the one before it fires, and no other.
        fired += what == "fired"
        assert fired <= started <= fired + 2
    if delays == (2, 30):
        order = [what for what, *_ in seen]
        assert order.index("fired") > [n for n, w in enumerate(order) if w == "accumulate"][1]


def test_fields_are_those_of_the_table(bench, program):
    seen = drive(bench, program, (5, 5), images=1)
    widths = field_widths(program.config)
    for what in "accumulate", "fire":
        entries = [values for name, _, values in seen if name == what]
        assert len(entries) == len(program.layers)
        for layer, values in enumerate(entries):
            for name in values.shape().members:
                mask = (1 << widths[name]) - 1
                assert values[name] == field(program, layer, name) & mask, (what, layer, name)


@pytest.mark.parametrize(("layer", "word", "bits", "error"), [
    (0, 0, 0xF, CoreError.LAYER),
    (1, 0, 0xFFFF0000, CoreError.TABLE_VERSION),
    (2, 0, 1 << FIELDS["last"].offset, CoreError.LAYER),
    (3, 0, 1 << FIELDS["spiking"].offset, CoreError.LAYER),
])
def test_a_bad_entry_gives_up_the_image(bench, program, layer, word, bits, error):
    words = program.memory_words(Memory.TABLE)
    words[(1 + layer) * ENTRY_WORDS + word] ^= bits
    seen = drive(bench, program, (3, 3), images=1, init=words)
    assert sum(what == "release" for what, *_ in seen) == 1
    assert seen[-1] == ("end", error, 0)
    assert [number for what, number, _ in seen if what == "fired"] == [*range(layer)]
