"""The whole core in Amaranth's simulator, against the golden model, event by event."""

import dataclasses

import numpy as np
import pytest

from hdl.compiler import compile_network, minimal_config
from hdl.config import CoreConfig
from hdl.core import Core

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=700,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=4)


@pytest.mark.parametrize("sizes", [(20, 12, 5), (3, 1, 1), (30, 18, 17, 10), (7, 3), (1, 1)])
def test_equals_golden(bench, random_network, sizes):
    rng = np.random.default_rng(1)
    network = random_network(rng, sizes)
    program = compile_network(network, CONFIG)
    images = bench.some_images(rng, sizes[0])
    bench.check(network, program, images, bench.run_core(Core(CONFIG, program), [(None, images)]))


def test_a_layer_without_events_waits_until_its_map_is_silent(bench, random_network):
    # Its 50 map words take longer than the updates of its 13 words.
    rng = np.random.default_rng(17)
    network = random_network(rng, (4, 200, 3), ticks=255)
    config = minimal_config(network, lanes=16)
    program = compile_network(network, config)
    images = np.array([[255] * 4, [0] * 4, [255, 0, 0, 0]])
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
    fired = len(answers[1].spikes)
    assert answers[1].statistics[0] == (0, 0, 1 + 1 + (50 + 2) + (2 * 13 + fired + 2) + 8)


def test_a_silent_image_is_not_scanned(bench, random_network):
    rng = np.random.default_rng(18)
    network = random_network(rng, (120, 3, 2))
    first = dataclasses.replace(network.layers[0], bias=np.full(3, 4000))
    network = dataclasses.replace(network, layers=(first, *network.layers[1:]))
    program = compile_network(network, CONFIG)
    images = np.array([[255] * 120, [255] * 120, [0] * 120])
    answers = bench.run_core(Core(CONFIG, program), [(None, images)])
    bench.check(network, program, images, answers)
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
    images = bench.some_images(rng, sizes[0])
    core = Core(config, program)
    bench.check(network, program, images,
          bench.run_core(core, [(None, images)], i_pause=pause, o_pause=pause, seed=seed),
          on_time=not pause)


@pytest.mark.parametrize("ticks", [1, 15, 255])
@pytest.mark.parametrize("slope", [0.0, 1.0, np.inf])
def test_windows_and_layers_all_silent_or_all_saturated(bench, random_network, ticks, slope):
    rng = np.random.default_rng(ticks)
    network = random_network(rng, (11, 9, 6, 3), ticks=ticks, slope=slope, bias=200)
    config = minimal_config(network, lanes=4)
    program = compile_network(network, config)
    images = bench.some_images(rng, 11)
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
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
    images = bench.some_images(rng, sizes[0])
    # The last image comes when the core rests, so that its first entry is there.
    answers = bench.run_core(Core(CONFIG, program), [(None, images), (None, images[3:4])])
    bench.check(network, program, np.concatenate([images, images[3:4]]), answers)
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
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
    assert answers[1].logits[0] == [-(1 << 12), (1 << 12) - 1][end]


@pytest.mark.parametrize("sources", [(-1, -1, -1), (-1, 0, 0, 1), (-1, -1, 1, 0, 2)])
def test_layers_that_read_earlier_maps(bench, random_network, sources):
    rng = np.random.default_rng(5)
    sizes = (14, 9, 6, 11, 5, 7)[:len(sources) + 1]
    network = random_network(rng, sizes, sources=sources)
    config = dataclasses.replace(CONFIG, layers=5)
    program = compile_network(network, config)
    images = bench.some_images(rng, 14)
    bench.check(network, program, images, bench.run_core(Core(config, program), [(None, images)]))


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_one_core_runs_three_networks_loaded_one_after_another(bench, random_network, pause):
    rng = np.random.default_rng(2)
    # Smaller images after larger ones, in the same words of the input map.
    networks = [random_network(rng, sizes) for sizes in ((40, 9, 4), (33, 16, 12, 6), (25, 10))]
    programs = [compile_network(network, CONFIG) for network in networks]
    jobs = [(program, rng.integers(0, 256, (3, program.inputs))) for program in programs]
    results = bench.run_core(Core(CONFIG), jobs, i_pause=pause, o_pause=pause)
    for n, (network, program) in enumerate(zip(networks, programs, strict=True)):
        bench.check(network, program, jobs[n][1], results[3 * n:3 * n + 3], on_time=not pause)


def test_an_image_is_received_while_the_one_before_it_is_computed(bench, random_network):
    rng = np.random.default_rng(6)
    network = random_network(rng, (30, 20, 4))
    program = compile_network(network, CONFIG)
    images = bench.some_images(rng, 30, count=4)
    run = bench.CoreBench(Core(CONFIG, program))

    async def testbench(ctx):
        for image in images:
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    bench.check(network, program, images, run.run(testbench))
    # All but the first image, in part or whole.
    assert run.overlapped > 30 * (len(images) - 2)


def test_cycles_count_from_the_complete_image_to_the_last_logit(bench, random_network):
    rng = np.random.default_rng(7)
    network = random_network(rng, (10, 9, 4))
    program = compile_network(network, CONFIG)
    images = bench.some_images(rng, 10)
    for answer in bench.run_core(Core(CONFIG, program), [(None, [image]) for image in images]):
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
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
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
    run = bench.CoreBench(Core(CONFIG, program))

    async def testbench(ctx):
        for image in images:
            await run.send(ctx, image, raw=True)
        await run.answered(ctx, len(images))

    bench.check(network, program, images, run.run(testbench), encoded=True)
