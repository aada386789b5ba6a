# SPDX-License-Identifier: Apache-2.0
"""The sequencer against loops over outputs and taps, for compiled layers of every kind."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring

from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.datapaths.sequencer import Sequencer
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import ENTRY_WORDS, FIELDS

#: (shape of the source, layer): what windows can do.
LAYERS = {
    "dense": ((1, 1, 9), {"kind": "dense", "channels": 10}),
    "one word": ((1, 1, 9), {"kind": "dense", "channels": 3}),
    "conv": ((7, 5, 3), {"kind": "conv2d", "channels": 6, "kernel": 3, "padding": 1}),
    "stride 2": ((7, 6, 2), {"kind": "conv2d", "channels": 5, "kernel": 3, "stride": 2}),
    "kernel 1, stride 2": ((5, 5, 2), {"kind": "conv2d", "channels": 9, "stride": 2}),
    "kernel 5": ((8, 8, 1), {
        "kind": "conv2d", "channels": 3, "kernel": 5, "padding": 2}),
    "padding without input": ((3, 3, 1), {
        "kind": "conv2d", "channels": 4, "kernel": 3, "padding": 2}),
    "depthwise": ((6, 5, 9), {"kind": "depthwise", "kernel": 3, "padding": 1}),
    "residual": ((5, 4, 6), {"kind": "conv2d", "channels": 6, "kernel": 3, "padding": 1,
                             "second": -1, "shift": 2}),
    "residual, depthwise": ((3, 4, 9), {"kind": "depthwise", "second": -1, "shift": 5}),
    "residual, dense": ((1, 1, 9), {"kind": "dense", "channels": 9, "second": -1, "shift": 7}),
}


class Harness(wiring.Component):
    """A sequencer and its table; with ``steal`` somebody else reads word 0 now and then."""

    def __init__(self, config, words):
        self.config, self.words = config, words
        self.sequencer = Sequencer(config)
        self.steal = Signal()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = self.sequencer
        m.submodules.table = table = memory.Memory(
            shape=32, depth=self.config.table_words, init=self.words)
        read = table.read_port()
        port = sequencer.table
        m.d.comb += [
            port.grant.eq(port.request | ~self.steal),
            read.en.eq(port.request | self.steal),
            port.data.eq(read.data),
        ]
        with m.If(port.request):
            m.d.comb += read.addr.eq(port.address)
        return m


def compiled(bench, name, spare):
    """A core, and the layer's program; the read-out behind it is not looked at."""
    shape, layer = LAYERS[name]
    network = bench.shaped_network(
        np.random.default_rng(1), shape, [layer, {"kind": "dense", "channels": 2}])
    config = minimal_config(network, lanes=4, membrane_words=512)
    return network.layers[0], compile_network(network, config, spare=spare)


def random_events(rng, shape, density, late=None):
    """(row, column, channel, code, residual) in raster order, and None behind each row.

    With ``late`` there is a residual: a row of it comes so many rows later than that of the source.
    """
    order = []
    for row in range(shape[0]):
        order.append((row, False))
        if late is not None and row >= late:
            order.append((row - late, True))
    order += [(row, True) for row in range(shape[0] - (late or 0), shape[0])]
    events = []
    for row, second in order:
        events += [(row, column, channel, int(rng.integers(1, 16)), second)
                   for column in range(shape[1]) for channel in range(shape[2])
                   if rng.random() < density]
        events.append(None)
    return events


def late(layer):
    """Rows from a row of outputs to the last one that it waits for, if it has a residual."""
    return None if layer.second_source is None else layer.kernel[0] // 2


def rtl_sequence(bench, program, events, *, pause=0.0, hold=0.0, steal=0.0, slow=0):
    """Updates (weight, word, bias, code), and their cycles; rows leave ``slow`` cycles late."""
    entry = program.memory_words(Memory.TABLE)[ENTRY_WORDS:2 * ENTRY_WORDS]
    dut = Harness(program.config, program.memory_words(Memory.TABLE))
    sequencer, plan = dut.sequencer, program.layers[0]
    rng, updates, cycles = np.random.default_rng(3), [], []

    def value(name):
        field = FIELDS[name]
        return entry[field.word] >> field.offset & ((1 << field.width) - 1)

    async def testbench(ctx):
        for name in sequencer.FIELDS:
            port = sequencer.entry[name]
            ctx.set(port, value(name) & ((1 << len(port)) - 1))
        ctx.set(sequencer.run.start, 1)
        await ctx.tick()
        ctx.set(sequencer.run.start, 0)
        left, swept, waited, cycle = list(events), 0, 0, 0
        window = sequencer.window
        while ctx.get(sequencer.run.busy):
            offered = bool(left) and rng.random() >= pause
            ctx.set(sequencer.i.valid, int(offered))
            if offered:
                _, column, channel, code, _ = left[0] or (0, 0, 0, 0, 0)
                ctx.set(sequencer.i.payload, {"column": column, "channel": channel, "code": code,
                                              "end": int(left[0] is None), "place": 0})
            # As for a residual's map, before it is scanned.
            ctx.set(sequencer.entry.column_table, value(
                "second_column_table" if ctx.get(sequencer.row.second) else "column_table"))
            ctx.set(window.hold, int(rng.random() < hold))
            ctx.set(dut.steal, int(rng.random() < steal))
            waited = waited + 1 if ctx.get(window.completed) > swept else 0
            leaves = waited > slow
            ctx.set(window.swept, int(leaves))
            _, _, ready, valid, update, held = await ctx.tick().sample(
                sequencer.i.ready, sequencer.o.valid, sequencer.o.payload, window.hold)
            if leaves:
                swept, waited = swept + 1, 0
            if offered and ready:
                left.pop(0)
            if valid:
                assert not held
                updates.append((update.weight, update.word, update.bias, update.code))
                cycles.append(cycle)
            cycle += 1
        assert not left
        assert ctx.get(window.completed) == plan.rows

    bench.run(dut, testbench)
    # A word is not updated in two cycles in succession.
    at = {cycle: update[1] for cycle, update in zip(cycles, updates, strict=True)}
    assert all(at[cycle] != at.get(cycle - 1) for cycle in at)
    return updates, cycles


def reference_sequence(layer, program, events):
    """(weights of the lanes, word, bias, code) of every update, from the layer alone."""
    config, plan = program.config, program.layers[0]
    lanes, found = config.lanes, []
    for event in filter(None, events):
        row, column, channel, code, second = event
        if second:
            word, lane = divmod(channel, lanes)
            own = [0] * lanes
            own[lane] = 1 << layer.residual_shift
            place = row % plan.window_rows * plan.row_words + column * plan.pixel_words
            found.append((own, plan.membrane_base + place + word, plan.bias_base + word, code))
            continue
        if plan.kind == "dense":
            weight = layer.weight.reshape(1, 1, -1, layer.out_shape[2])
            outputs, geometry = (1, 1), ((1, 1), (1, 1), (0, 0))
        else:
            weight, outputs = layer.weight, layer.out_shape[:2]
            geometry = layer.kernel, layer.stride, layer.padding
        kernel, stride, padding = geometry
        for y in range(outputs[0]):
            for x in range(outputs[1]):
                ky, kx = row + padding[0] - y * stride[0], column + padding[1] - x * stride[1]
                if not (0 <= ky < kernel[0] and 0 <= kx < kernel[1]):
                    continue
                own = np.zeros(plan.pixel_words * lanes, int)
                if plan.kind == "depthwise":
                    own[channel] = weight[ky, kx, channel, 0]
                    words = [channel // lanes]
                else:
                    own[:layer.out_shape[2]] = weight[ky, kx, channel]
                    words = range(plan.pixel_words)
                place = y % plan.window_rows * plan.row_words + x * plan.pixel_words
                found += [(own[word * lanes:][:lanes].tolist(), plan.membrane_base + place + word,
                           plan.bias_base + word, code) for word in words]
    return found


def with_weights(program, updates):
    """The weights in place of their addresses."""
    config, words = program.config, program.memory_words(Memory.WEIGHTS)
    bits = config.weight_bits
    half = 1 << (bits - 1)
    return [
        ([((words[weight] >> n * bits & (2 * half - 1)) ^ half) - half
          for n in range(config.lanes)], *rest)
        for weight, *rest in updates
    ]


def together(updates):
    """Updates of one word in succession, by the same code, as one: weights are added."""
    found = []
    for weights, *rest in updates:
        if found and found[-1][1:] == rest:
            weights = [sum(pair) for pair in zip(found.pop()[0], weights, strict=True)]
        found.append([weights, *rest])
    return found


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("options", [
    {}, {"pause": 0.4, "hold": 0.3}, {"steal": 0.6, "slow": 30}, {"spare": True, "hold": 0.2},
])
def test_equals_loops(bench, name, options):
    options = dict(options)
    layer, program = compiled(bench, name, options.pop("spare", False))
    for seed, density in enumerate((0.0, 0.2, 1.0)):
        events = random_events(
            np.random.default_rng(seed), LAYERS[name][0], density, late(layer))
        updates, _ = rtl_sequence(bench, program, events, **options)
        found, wanted = with_weights(program, updates), reference_sequence(layer, program, events)
        if layer.second_source is None:
            assert found == wanted
        else:
            assert together(found) == together(wanted)


def test_weights_of_a_residual_are_few(bench):
    # 2^2 is a weight; 2^5 takes five of at most 7; 2^7 nineteen, of which there is no rectangle.
    for name, count in (("residual", 1), ("residual, depthwise", 5), ("residual, dense", 20)):
        layer, program = compiled(bench, name, True)
        plan, shape = program.layers[0], LAYERS[name][0]
        assert (plan.residual.updates == count).all()
        events = random_events(np.random.default_rng(6), shape, 1.0, late(layer))
        # The source is silent.
        events = [event for event in events if event is None or event[4]]
        updates, cycles = rtl_sequence(bench, program, events)
        assert len(updates) == count * int(np.prod(shape))
        # Every other cycle, of one word.
        if count > 1:
            assert cycles[:count] == list(range(cycles[0], cycles[0] + 2 * count, 2))


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_one_update_a_cycle_within_a_row(bench, name):
    _, program = compiled(bench, name, True)
    plan, shape = program.layers[0], LAYERS[name][0]
    events = random_events(np.random.default_rng(5), (1, *shape[1:]), 1.0)
    # The rows after it are silent.
    events += [None] * (shape[0] - 1)
    _, cycles = rtl_sequence(bench, program, events)
    assert plan.pixel_words > 1
    assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))
