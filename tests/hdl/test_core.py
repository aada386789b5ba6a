# amaranth: UnusedElaboratable=no
"""The whole core in Amaranth's simulator, against the golden model, event by event."""

import dataclasses
import itertools

import numpy as np
import pytest

from hdl.compiler import compile_network, minimal_config
from hdl.config import CoreConfig
from hdl.controller import CoreError
from hdl.core import Core
from hdl.shapes import Memory
from hdl.table import ENTRY_WORDS
from ttfs_sw import golden

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=700,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=4)


@dataclasses.dataclass
class Answer:
    """What the core said of one image.

    ``complete`` is the cycle of the last sample that was taken before the answer, ``finished`` the
    one in which the last logit became valid.
    """

    spikes: list
    logits: list
    winner: int
    statistics: list
    cycles: int
    complete: int
    finished: int


class CoreBench:
    """A core, and the testbenches that load networks, send images and take answers."""

    def __init__(self, bench, core, *, i_pause=0.0, o_pause=0.0, seed=0):
        self.bench, self.core = bench, core
        self.i_pause, self.o_pause = i_pause, o_pause
        self.rng = np.random.default_rng(seed)
        self.answers: list[Answer] = []
        #: What the image that is computed has said so far.
        self.spikes: list = []
        self.statistics: list = []
        #: Samples that were taken while an image was computed.
        self.overlapped = 0

    async def load(self, ctx, program, count=None):
        """Write a program's memories, or only the first ``count`` words of them."""
        port = self.core.load
        ctx.set(port.valid, 1)
        for memory, address, value in itertools.islice(program.writes(), count):
            ctx.set(port.payload, {"memory": memory, "address": address, "data": value})
            await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def send(self, ctx, values, *, raw=False):
        """Send samples; the last one of an image starts it."""
        port = self.core.i
        for value in values:
            while self.i_pause and self.rng.random() < self.i_pause:
                await ctx.tick()
            ctx.set(port.payload, {"value": int(value), "raw": int(raw)})
            ctx.set(port.valid, 1)
            busy, = await ctx.tick().sample(self.core.busy).until(port.ready)
            self.overlapped += busy
            ctx.set(port.valid, 0)

    async def answered(self, ctx, count):
        """Wait until so many images have been answered since the beginning."""
        while len(self.answers) < count:
            await ctx.tick()

    async def monitor(self, ctx):
        """Take answers for ever."""
        core = self.core
        logits = []
        cycle = complete = appeared = 0
        ports = (core.spikes.valid, core.spikes.payload, core.statistics.valid,
                 core.statistics.payload, core.o.valid, core.o.payload, core.cycles,
                 core.i.valid & core.i.ready)
        offered = None
        while True:
            ready = not self.o_pause or self.rng.random() >= self.o_pause
            ctx.set(core.o.ready, int(ready))
            _, _, s_valid, spike, t_valid, stats, valid, logit, cycles, taken = (
                await ctx.tick().sample(*ports))
            if taken:
                complete = cycle
            if s_valid:
                self.spikes.append((spike.layer, spike.neuron, spike.code))
            if t_valid:
                self.statistics.append((stats.layer, stats.events, stats.cycles))
            if offered is not None:
                assert valid and logit == offered
            elif valid:
                appeared = cycle
            offered = logit if valid and not ready else None
            if valid and ready:
                assert logit.index == len(logits)
                logits.append(logit.value)
                if logit.last:
                    self.answers.append(Answer(self.spikes, logits, logit.winner, self.statistics,
                                               cycles, complete, appeared))
                    self.spikes, self.statistics, logits = [], [], []
            cycle += 1

    def run(self, testbench, cycles=100_000):
        self.bench.run(self.core, testbench, background=(self.monitor,), cycles=cycles)
        return self.answers


def run_core(bench, core, jobs, **options):
    """Answers to jobs, (program or None to leave what is there, images), one after another."""
    run = CoreBench(bench, core, **options)

    async def testbench(ctx):
        done = 0
        for program, images in jobs:
            if program is not None:
                await run.load(ctx, program)
            done += len(images)
            for pixels in images:
                await run.send(ctx, pixels)
            await run.answered(ctx, done)

    return run.run(testbench)


def potentials_of(network, trace, index, n):
    """Membrane potentials of a layer for image ``n``."""
    layer = network.layers[index]
    codes = trace.input_codes if layer.source < 0 else trace.codes[layer.source]
    return codes[n].astype(int) @ layer.weight.astype(int) + layer.bias


def check(network, program, images, answers, *, on_time=True, encoded=False):
    """Compare answers with the golden model, and cycles with the formula of the core."""
    trace = golden.run(network, np.asarray(images, np.uint8), backend="numpy", encoded=encoded)
    assert len(answers) == len(images)
    for n, answer in enumerate(answers):
        assert answer.spikes == [
            (layer, int(neuron), int(codes[n, neuron]))
            for layer, codes in enumerate(trace.codes) for neuron in np.flatnonzero(codes[n])
        ]
        assert answer.logits == trace.logits[n].tolist()
        assert answer.winner == trace.winners[n]
        events = [int(trace.events[n, 1 + layer.source]) for layer in network.layers]
        assert [count for _, count, _ in answer.statistics] == events
        assert [layer for layer, _, _ in answer.statistics] == list(range(len(events)))
        # The layers' cycles are the image's cycles.
        assert sum(cycles for _, _, cycles in answer.statistics) == answer.cycles
        if on_time:
            for index, ((_, _, cycles), plan, count) in enumerate(
                    zip(answer.statistics, program.layers, events, strict=True)):
                potentials = potentials_of(network, trace, index, n)
                candidates = (np.count_nonzero(potentials >= plan.fire_threshold)
                              if plan.spiking else plan.neurons)
                assert cycles <= documented_cycles(plan, count, candidates)


def documented_cycles(plan, events, candidates):
    """Most cycles of a layer by the docstring of :class:`hdl.core.Core`."""
    emitted = candidates if plan.spiking and plan.words > 1 else 2 * plan.neurons
    accumulate = max(plan.roofline(events) + plan.map_words, plan.destination_words)
    return accumulate + 2 * plan.words + emitted + 32


def some_images(rng, inputs, count=2):
    """Random images dense and sparse, a silent one, and one with everything on."""
    dense = rng.integers(0, 256, (count, inputs))
    sparse = dense[::-1] * (rng.random((count, inputs)) < 0.15)
    return np.concatenate([dense, np.zeros((1, inputs), int), np.full((1, inputs), 255), sparse])


@pytest.mark.parametrize("sizes", [(20, 12, 5), (3, 1, 1), (30, 18, 17, 10), (7, 3), (1, 1)])
def test_equals_golden(bench, random_network, sizes):
    rng = np.random.default_rng(1)
    network = random_network(rng, sizes)
    program = compile_network(network, CONFIG)
    images = some_images(rng, sizes[0])
    check(network, program, images, run_core(bench, Core(CONFIG, program), [(None, images)]))


def test_a_layer_without_events_waits_until_its_map_is_silent(bench, random_network):
    # Its 50 map words take longer than the updates of its 13 words.
    rng = np.random.default_rng(17)
    network = random_network(rng, (4, 200, 3), ticks=255)
    config = minimal_config(network, lanes=16)
    program = compile_network(network, config)
    images = np.array([[255] * 4, [0] * 4, [255, 0, 0, 0]])
    answers = run_core(bench, Core(config, program), [(None, images)])
    check(network, program, images, answers)
    fired = len(answers[1].spikes)
    assert answers[1].statistics[0] == (0, 0, 1 + 1 + (50 + 2) + (2 * 13 + fired + 2) + 8)


def test_a_silent_image_is_not_scanned(bench, random_network):
    rng = np.random.default_rng(18)
    network = random_network(rng, (120, 3, 2))
    first = dataclasses.replace(network.layers[0], bias=np.full(3, 4000))
    network = dataclasses.replace(network, layers=(first, *network.layers[1:]))
    program = compile_network(network, CONFIG)
    images = np.array([[255] * 120, [255] * 120, [0] * 120])
    answers = run_core(bench, Core(CONFIG, program), [(None, images)])
    check(network, program, images, answers)
    # All neurons fire by their bias, and not one cycle goes into the 15 map words of the image.
    assert answers[2].statistics[0] == (0, 0, 1 + 1 + (1 + 2) + (2 * 3 + 3) + 8)


@pytest.mark.parametrize("seed", range(24))
def test_random_networks_on_the_smallest_core_that_holds_them(bench, random_network, seed):
    rng = np.random.default_rng(seed)
    lanes, weight_bits = [
        (2, 2), (2, 5), (2, 8), (4, 2), (4, 3), (4, 6), (4, 7), (4, 8), (8, 4), (8, 3), (16, 2),
        (16, 4),
    ][seed % 12]
    most = int(rng.choice([1, 3, 15, 63, 255]))
    # The last layer has few neurons, for a small core numbers few.
    sizes = [*rng.integers(1, 36, rng.integers(1, 4)).tolist(), int(rng.integers(1, 9))]
    network = random_network(
        rng, sizes, weight_bits=weight_bits, bias=int(rng.choice([0, 40, 1000])),
        ticks=[most, *rng.integers(1, most + 1, len(sizes) - 2).tolist()],
        per_channel=bool(rng.integers(2)), slope=float(rng.choice([0.3, 1, 4])))
    config = minimal_config(network, lanes=lanes)
    program = compile_network(network, config)
    pause = [0.0, 0.0, 0.4][seed % 3]
    images = some_images(rng, sizes[0])
    core = Core(config, program)
    check(network, program, images,
          run_core(bench, core, [(None, images)], i_pause=pause, o_pause=pause, seed=seed),
          on_time=not pause)


@pytest.mark.parametrize("ticks", [1, 15, 255])
@pytest.mark.parametrize("slope", [0.0, 1.0, np.inf])
def test_windows_and_layers_all_silent_or_all_saturated(bench, random_network, ticks, slope):
    rng = np.random.default_rng(ticks)
    network = random_network(rng, (11, 9, 6, 3), ticks=ticks, slope=slope, bias=200)
    config = minimal_config(network, lanes=4)
    program = compile_network(network, config)
    images = some_images(rng, 11)
    answers = run_core(bench, Core(config, program), [(None, images)])
    check(network, program, images, answers)
    codes = {code for answer in answers for _, _, code in answer.spikes}
    if slope == 0.0:
        assert not codes
    elif slope == np.inf:
        assert codes == {ticks}
    else:
        assert len(codes) >= min(ticks, 3)


@pytest.mark.parametrize("sizes", [(6, 8, 4), (6, 7, 5), (6, 2, 3), (6, 12, 1)])
def test_every_neuron_fires(bench, random_network, sizes):
    # Multiples of the four lanes, one less, one more, and fewer neurons than lanes.
    rng = np.random.default_rng(3)
    network = random_network(rng, sizes)
    layers = [dataclasses.replace(layer, weight=np.abs(layer.weight).clip(1, 7),
                                  bias=np.full(layer.outputs, 30)) for layer in network.layers]
    network = dataclasses.replace(network, layers=tuple(layers))
    program = compile_network(network, CONFIG)
    images = some_images(rng, sizes[0])
    # The last image comes when the core rests, so that its first entry is there.
    answers = run_core(bench, Core(CONFIG, program), [(None, images), (None, images[3:4])])
    check(network, program, np.concatenate([images, images[3:4]]), answers)
    # Where nothing is silent nothing waits, and the cycles are exactly those of docs/core.md.
    assert len(answers[-1].spikes) == sizes[1]
    assert [(events, cycles) for _, events, cycles in answers[-1].statistics] == [
        (plan.inputs, plan.roofline(plan.inputs) + (index == 0) + (17 if plan.spiking else 9)
         + (2 * plan.words + plan.neurons + 2 if plan.spiking and plan.words > 1
            else 2 * plan.neurons + 3))
        for index, plan in enumerate(program.layers)
    ]


@pytest.mark.parametrize("end", [0, 1])
def test_potentials_at_the_ends_of_the_accumulator(bench, random_network, end):
    # The widest bound that the compiler takes, reached in the output layer.
    rng = np.random.default_rng(4)
    network = random_network(rng, (9, 5, 3), bias=0)
    output = network.layers[1]
    reach = np.stack([15 * np.minimum(output.weight, 0).sum(0, dtype=int),
                      15 * np.maximum(output.weight, 0).sum(0, dtype=int)])
    bias = [-(1 << 12) - reach[0], (1 << 12) - 1 - reach[1]][end]
    # The hidden layer copies what pulls neuron 0 of the output to its end.
    hidden = dataclasses.replace(
        network.layers[0], weight=np.eye(9, 5, dtype=int), bias=np.zeros(5, int),
        multiplier=np.full(5, 1), shift=np.full(5, 0))
    output = dataclasses.replace(output, bias=bias)
    network = dataclasses.replace(network, layers=(hidden, output))
    config = dataclasses.replace(CONFIG, accumulator_bits=13)
    program = compile_network(network, config)
    sign = output.weight[:, 0] < 0 if end == 0 else output.weight[:, 0] > 0
    images = np.zeros((3, 9), int)
    images[1:, :5] = 255 * sign
    answers = run_core(bench, Core(config, program), [(None, images)])
    check(network, program, images, answers)
    assert answers[1].logits[0] == [-(1 << 12), (1 << 12) - 1][end]


@pytest.mark.parametrize("sources", [(-1, -1, -1), (-1, 0, 0, 1), (-1, -1, 1, 0, 2)])
def test_layers_that_read_earlier_maps(bench, random_network, sources):
    rng = np.random.default_rng(5)
    sizes = (14, 9, 6, 11, 5, 7)[:len(sources) + 1]
    network = random_network(rng, sizes, sources=sources)
    config = dataclasses.replace(CONFIG, layers=5)
    program = compile_network(network, config)
    images = some_images(rng, 14)
    check(network, program, images, run_core(bench, Core(config, program), [(None, images)]))


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_one_core_runs_three_networks_loaded_one_after_another(bench, random_network, pause):
    rng = np.random.default_rng(2)
    # What an image leaves in the last word of the input map is 0: their sizes fill whole words.
    networks = [random_network(rng, sizes) for sizes in ((24, 9, 4), (8, 16, 12, 6), (40, 10))]
    programs = [compile_network(network, CONFIG) for network in networks]
    jobs = [(program, rng.integers(0, 256, (3, program.inputs))) for program in programs]
    results = run_core(bench, Core(CONFIG), jobs, i_pause=pause, o_pause=pause)
    for n, (network, program) in enumerate(zip(networks, programs, strict=True)):
        check(network, program, jobs[n][1], results[3 * n:3 * n + 3], on_time=not pause)


def test_an_image_is_received_while_the_one_before_it_is_computed(bench, random_network):
    rng = np.random.default_rng(6)
    network = random_network(rng, (30, 20, 4))
    program = compile_network(network, CONFIG)
    images = some_images(rng, 30, count=4)
    run = CoreBench(bench, Core(CONFIG, program))

    async def testbench(ctx):
        for image in images:
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    check(network, program, images, run.run(testbench))
    # All but the first image, in part or whole.
    assert run.overlapped > 30 * (len(images) - 2)


def test_cycles_count_from_the_complete_image_to_the_last_logit(bench, random_network):
    rng = np.random.default_rng(7)
    network = random_network(rng, (10, 9, 4))
    program = compile_network(network, CONFIG)
    images = some_images(rng, 10)
    for answer in run_core(bench, Core(CONFIG, program), [(None, [image]) for image in images]):
        # The image is complete in the input map two cycles after its last sample.
        assert answer.cycles == answer.finished - (answer.complete + 2)


def test_a_layer_of_many_events_keeps_within_its_bound(bench, random_network):
    # 5 % of the roofline, and W, pay for the second pass of the sweep and for those that fire.
    rng = np.random.default_rng(8)
    network = random_network(rng, (120, 64, 10), slope=0.2)
    config = dataclasses.replace(
        minimal_config(network, lanes=8), map_words=16, membrane_words=64)
    program = compile_network(network, config)
    images = rng.integers(1, 256, (3, 120)).clip(20)
    answers = run_core(bench, Core(config, program), [(None, images)])
    check(network, program, images, answers)
    for answer in answers:
        events = [count for _, count, _ in answer.statistics]
        for (_, count, cycles), plan, bound in zip(
                answer.statistics, program.layers, program.bounds(events), strict=True):
            assert cycles >= plan.roofline(count)
            if plan.words >= 2:
                assert cycles <= bound


def test_raw_samples_are_codes(bench, random_network):
    rng = np.random.default_rng(9)
    network = random_network(rng, (12, 7, 3))
    program = compile_network(network, CONFIG)
    images = rng.integers(0, 16, (3, 12))
    run = CoreBench(bench, Core(CONFIG, program))

    async def testbench(ctx):
        for image in images:
            await run.send(ctx, image, raw=True)
        await run.answered(ctx, len(images))

    check(network, program, images, run.run(testbench), encoded=True)


def two_networks(rng, random_network):
    networks = [random_network(rng, sizes) for sizes in ((16, 9, 4), (24, 6, 5, 3))]
    return networks, [compile_network(network, CONFIG) for network in networks]


@pytest.mark.parametrize("received", [1, 8, 15])
def test_a_load_forgets_an_image_received_in_part(bench, random_network, received):
    rng = np.random.default_rng(10)
    networks, programs = two_networks(rng, random_network)
    images = [some_images(rng, program.inputs) for program in programs]
    run = CoreBench(bench, Core(CONFIG))

    async def testbench(ctx):
        for n in (0, 1):
            await run.load(ctx, programs[n])
            for image in images[n]:
                await run.send(ctx, image)
            await run.answered(ctx, (1 + n) * len(images[n]))
            await run.send(ctx, rng.integers(0, 256, received))

    answers = run.run(testbench)
    check(networks[0], programs[0], images[0], answers[:len(images[0])])
    check(networks[1], programs[1], images[1], answers[len(images[0]):])


@pytest.mark.parametrize("received", [1, 8, 15])
def test_restart_forgets_an_image_received_in_part(bench, random_network, received):
    rng = np.random.default_rng(11)
    networks, programs = two_networks(rng, random_network)
    images = some_images(rng, 16)
    run = CoreBench(bench, Core(CONFIG, programs[0]))

    async def testbench(ctx):
        for image in images:
            await run.send(ctx, rng.integers(0, 256, received))
            ctx.set(run.core.restart, 1)
            await ctx.tick()
            ctx.set(run.core.restart, 0)
            # While this one is computed, the next one begins and is forgotten.
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    check(networks[0], programs[0], images, run.run(testbench))


def test_nothing_is_taken_before_a_network_is_whole(bench, random_network):
    rng = np.random.default_rng(12)
    networks, programs = two_networks(rng, random_network)
    run = CoreBench(bench, Core(CONFIG))
    core = run.core
    image = some_images(rng, 16)[0]

    async def testbench(ctx):
        async def deaf():
            ctx.set(core.i.valid, 1)
            for _ in range(10):
                assert not ctx.get(core.i.ready)
                assert not ctx.get(core.busy)
                await ctx.tick()
            ctx.set(core.i.valid, 0)

        await deaf()
        await run.load(ctx, programs[0])
        assert ctx.get(core.i.ready)
        # The first write of another network makes this one invalid.
        await run.load(ctx, programs[1], 1)
        await deaf()
        await run.load(ctx, programs[1], len(list(programs[1].writes())) - 1)
        await deaf()
        await run.load(ctx, programs[0])
        await run.send(ctx, image)
        await run.answered(ctx, 1)

    check(networks[0], programs[0], [image], run.run(testbench))


def test_no_load_while_an_image_is_computed(bench, random_network):
    rng = np.random.default_rng(13)
    networks, programs = two_networks(rng, random_network)
    image = some_images(rng, 16)[0]
    run = CoreBench(bench, Core(CONFIG, programs[0]))
    core = run.core

    async def testbench(ctx):
        await run.send(ctx, image)
        await ctx.tick().until(core.busy)
        ctx.set(core.load.valid, 1)
        ctx.set(core.load.payload, {"memory": Memory.WEIGHTS, "address": 0, "data": 0x12345678})
        while ctx.get(core.busy):
            assert not ctx.get(core.load.ready)
            await ctx.tick()
        assert ctx.get(core.load.ready)
        ctx.set(core.load.valid, 0)
        await run.answered(ctx, 1)

    check(networks[0], programs[0], [image], run.run(testbench))


@pytest.mark.parametrize(("flip", "error"), [
    (1 << 31, CoreError.TABLE_VERSION), (0b11, CoreError.LAYER),
])
def test_a_bad_table_is_an_error_until_the_next_load(bench, random_network, flip, error):
    rng = np.random.default_rng(14)
    networks, programs = two_networks(rng, random_network)
    images = some_images(rng, 16)
    run = CoreBench(bench, Core(CONFIG, programs[0]))
    core, address = run.core, 2 * ENTRY_WORDS

    async def testbench(ctx):
        bad = programs[0].memories[Memory.TABLE][address] ^ flip
        ctx.set(core.load.valid, 1)
        ctx.set(core.load.payload, {"memory": Memory.TABLE, "address": address, "data": bad})
        await ctx.tick().until(core.load.ready)
        ctx.set(core.load.valid, 0)
        # The first layer runs, the second one is refused. An image that has begun is lost, too.
        await run.send(ctx, images[0])
        await run.send(ctx, images[1][:5])
        await ctx.tick().until(core.error != CoreError.NONE)
        ctx.set(core.i.valid, 1)
        for _ in range(100):
            assert ctx.get(core.error) == error
            assert not ctx.get(core.busy)
            assert not ctx.get(core.i.ready)
            await ctx.tick()
        ctx.set(core.i.valid, 0)
        assert [layer for layer, _, _ in run.statistics] == [0]
        run.spikes.clear()
        run.statistics.clear()
        await run.load(ctx, programs[0])
        assert ctx.get(core.error) == CoreError.NONE
        for image in images:
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    check(networks[0], programs[0], images, run.run(testbench))


def test_refuses_a_program_of_another_core(random_network):
    network = random_network(np.random.default_rng(15), (4, 3))
    program = compile_network(network, CONFIG)
    other = dataclasses.replace(CONFIG, map_words=8)
    assert Core(CONFIG, program).config == CONFIG
    with pytest.raises(ValueError, match=r"^the program was compiled for another"):
        Core(other, program)
