# SPDX-License-Identifier: Apache-2.0
"""The controller: order and overlap of layers, their fields, statistics, and layers without end."""

import numpy as np
import pytest

from tests.support.integer_networks import make_network
from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.core.controller import Controller
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import ENTRY_WORDS, FIELDS, field_widths


@pytest.fixture(scope="module")
def program():
    network = make_network(np.random.default_rng(3), (9, 8, 7, 6, 3))
    return compile_network(network, minimal_config(network, lanes=4))


def field(program, layer, name):
    """What the table says."""
    place = FIELDS[name]
    word = program.memories[Memory.TABLE].get((1 + layer) * ENTRY_WORDS + place.word, 0)
    return word >> place.offset & ((1 << place.width) - 1)


def drive(bench, program, delays, images=2, cycles=600):
    """Run images; halves of layers end after so many cycles. Gives what happened, in order."""
    controller = Controller(program.config, program.memory_words(Memory.TABLE))
    seen = []

    async def testbench(ctx):
        left_accumulate = left_fire = None
        done = 0
        for _ in range(cycles):
            ctx.set(controller.image.full, int(done < images))
            ctx.set(controller.accumulating.ended, int(left_accumulate == 0))
            ctx.set(controller.firing.ended, int(left_fire == 0))
            (_, _, accumulate, fire, layer, entry, firing, statistics, valid, release,
             busy) = await ctx.tick().sample(
                controller.accumulating.start, controller.firing.start,
                controller.accumulating.layer, controller.accumulating.entry,
                controller.firing.entry, controller.statistics.p, controller.statistics.valid,
                controller.image.release, controller.busy)
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
                seen.append(("release", None, busy))
                done += 1

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


@pytest.mark.parametrize(("waits", "earliest", "latest"), [
    (lambda cycle: False, 64, 128),
    # What the sink makes us wait for counts as progress.
    (lambda cycle: cycle < 190, 192, 320),
    (lambda cycle: cycle % 60 == 0 and cycle < 600, 600, 704),
    (lambda cycle: True, None, None),
])
@pytest.mark.parametrize("idle", [290, 330])
def test_a_layer_without_an_end_is_late(bench, program, waits, earliest, latest, idle):
    controller = Controller(program.config, program.memory_words(Memory.TABLE), late_bits=6)
    late = []

    async def testbench(ctx):
        # Waiting for an image is not late.
        for _ in range(idle):
            await ctx.tick()
            assert not ctx.get(controller.late)
        ctx.set(controller.image.full, 1)
        await ctx.tick().until(controller.accumulating.start)
        for _ in range(900):
            cycle = ctx.get(controller.clock)
            ctx.set(controller.stalled, int(waits(cycle)))
            late.extend([cycle] * ctx.get(controller.late))
            await ctx.tick()

    bench.run(controller, testbench, cycles=2000)
    if earliest is None:
        assert late == []
    else:
        assert earliest <= late[0] <= latest
