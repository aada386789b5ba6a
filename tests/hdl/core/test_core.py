# SPDX-License-Identifier: Apache-2.0
"""The whole core in Amaranth's simulator, against the golden model, event by event."""

import dataclasses

import numpy as np
import pytest

from tests.support.networks import random_images
from tests.support.networks import random_network as random_shapes
from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.config import DATAPATHS, CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import HEADER_FIELDS
from ttfs_sw import golden

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=700,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=5)

#: Networks that meet what windows can do, as (shape of the input, layers).
SHAPED = {
    # A window of three rows wraps around in seven; pooled; then flattened.
    "conv": ((7, 7, 1), [
        {"kind": "conv2d", "channels": 5, "kernel": 3, "padding": 1, "pool": 2},
        {"kind": "dense", "channels": 3}]),
    "stride 2": ((8, 6, 2), [
        {"kind": "conv2d", "channels": 4, "kernel": 3, "stride": 2, "padding": 1},
        {"kind": "conv2d", "channels": 6, "kernel": 2, "stride": 2},
        {"kind": "dense", "channels": 2}]),
    # Events that reach nothing.
    "kernel 1, stride 2": ((5, 5, 3), [
        {"kind": "conv2d", "channels": 3, "kernel": 1, "stride": 2},
        {"kind": "dense", "channels": 4}]),
    "depthwise": ((6, 5, 6), [
        {"kind": "depthwise", "kernel": 3, "padding": 1},
        {"kind": "conv2d", "channels": 9, "pool": 2}, {"kind": "dense", "channels": 3}]),
    # What would fill no window of pooling is not computed; 10 channels are two words and a half.
    "pool 3": ((8, 8, 1), [
        {"kind": "conv2d", "channels": 10, "kernel": 3, "padding": 1, "pool": 3},
        {"kind": "dense", "channels": 3}]),
    "kernel 7": ((9, 9, 1), [
        {"kind": "conv2d", "channels": 2, "kernel": 7, "padding": 3},
        {"kind": "dense", "channels": 2}]),
    "padding without input": ((3, 3, 1), [
        {"kind": "conv2d", "channels": 4, "kernel": 3, "padding": 2},
        {"kind": "dense", "channels": 2}]),
    "logits in rows": ((5, 4, 2), [
        {"kind": "conv2d", "channels": 3, "kernel": 2},
        {"kind": "conv2d", "channels": 5, "kernel": 3}]),
    "two readers": ((6, 6, 1), [
        {"kind": "conv2d", "channels": 4, "kernel": 3, "padding": 1},
        {"kind": "conv2d", "channels": 4, "kernel": 3, "padding": 1, "pool": 2},
        {"kind": "dense", "channels": 3, "source": 0}]),
    "dense between": ((4, 4, 1), [
        {"kind": "conv2d", "channels": 3, "kernel": 3}, {"kind": "dense", "channels": 11},
        {"kind": "dense", "channels": 5}]),
}


@pytest.mark.parametrize("datapath", DATAPATHS)
@pytest.mark.parametrize("sizes", [(20, 12, 5), (3, 1, 1), (30, 18, 17, 10), (7, 3), (1, 1)])
def test_equals_golden(bench, random_network, sizes, datapath):
    rng = np.random.default_rng(1)
    network = random_network(rng, sizes)
    config = dataclasses.replace(CONFIG, datapath=datapath)
    program = compile_network(network, config)
    images = bench.some_images(rng, sizes[0])
    bench.check(network, program, images, bench.run_core(Core(config, program), [(None, images)]))


@pytest.mark.parametrize("name", SHAPED)
def test_windows_of_every_kind(bench, name):
    rng = np.random.default_rng(1)
    network = bench.shaped_network(rng, *SHAPED[name])
    config = minimal_config(network, lanes=4)
    program = compile_network(network, config)
    images = bench.some_images(rng, network.inputs, count=1)
    core = Core(config, program)
    answers = bench.run_core(core, [(None, images)])
    bench.check(network, program, images, answers)
    # Something fires in the layers that are read.
    assert any(answer.spikes for answer in answers)


@pytest.mark.parametrize("slope", [0.0, np.inf])
@pytest.mark.parametrize("ticks", [1, 255])
def test_windows_all_silent_or_all_saturated(bench, slope, ticks):
    rng = np.random.default_rng(2)
    network = bench.shaped_network(rng, *SHAPED["conv"], ticks=ticks, slope=slope)
    config = minimal_config(network, lanes=4)
    program = compile_network(network, config)
    images = bench.some_images(rng, network.inputs, count=1)
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
    codes = {code for answer in answers for _, _, code in answer.spikes}
    assert codes == ({ticks} if slope else set())


@pytest.mark.parametrize("seed", range(15))
def test_random_networks_of_every_kind(bench, seed):
    rng = np.random.default_rng(100 + seed)
    lanes = (2, 4, 8)[seed % 3]
    network = random_shapes(rng, lanes=lanes, max_size=7, max_channels=9, max_neurons=120)
    config = minimal_config(network, lanes=lanes, datapath=("mac", "serial")[seed % 5 == 4])
    # With spare rows in the windows, or without any.
    spare = config if seed % 2 else dataclasses.replace(config, membrane_words=1 << 10)
    program = compile_network(network, spare)
    images = random_images(rng, network, count=2)
    pause = [0.0, 0.0, 0.3][seed // 3 % 3]
    # Half of the cores are loaded, the others begin with the network in their memories.
    core = Core(spare, program if seed % 4 < 2 else None)
    answers = bench.run_core(core, [(program if seed % 4 >= 2 else None, images)],
                             i_pause=pause, o_pause=pause, seed=seed)
    bench.check(network, program, images, answers, on_time=not pause)


@pytest.mark.parametrize("datapath", ["mac", "ramp"])
@pytest.mark.parametrize("seed", range(12))
def test_random_networks_on_the_smallest_core_that_holds_them(
    bench, random_network, seed, datapath
):
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
    config = minimal_config(network, lanes=lanes, datapath=datapath)
    program = compile_network(network, config)
    pause = [0.0, 0.0, 0.4][seed % 3]
    images = bench.some_images(rng, sizes[0])
    # Where nothing multiplies, biases are made in another way.
    loaded = datapath == "ramp" and seed % 2
    core = Core(config, None if loaded else program)
    answers = bench.run_core(core, [(program if loaded else None, images)],
                             i_pause=pause, o_pause=pause, seed=seed)
    bench.check(network, program, images, answers, on_time=not pause)


@pytest.mark.parametrize("datapath", ["mac", "ramp"])
@pytest.mark.parametrize("ticks", [1, 15, 255])
@pytest.mark.parametrize("slope", [0.0, 1.0, np.inf])
def test_windows_and_layers_all_silent_or_all_saturated(
    bench, random_network, ticks, slope, datapath
):
    rng = np.random.default_rng(ticks)
    network = random_network(rng, (11, 9, 6, 3), ticks=ticks, slope=slope, bias=200)
    config = minimal_config(network, lanes=4, datapath=datapath)
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


@pytest.mark.parametrize("datapath", ["mac", "ramp"])
@pytest.mark.parametrize("sizes", [(6, 8, 4), (6, 7, 5), (6, 2, 3), (6, 12, 1)])
def test_every_neuron_fires(bench, random_network, sizes, datapath):
    # Multiples of the four lanes, one less, one more, and fewer neurons than lanes.
    rng = np.random.default_rng(3)
    network = random_network(rng, sizes)
    layers = [dataclasses.replace(layer, weight=np.abs(layer.weight).clip(1, 7),
                                  bias=np.full(layer.outputs, 30)) for layer in network.layers]
    network = dataclasses.replace(network, layers=tuple(layers))
    config = dataclasses.replace(CONFIG, datapath=datapath)
    program = compile_network(network, config)
    images = bench.some_images(rng, sizes[0])
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
    assert all(len(answer.spikes) == sizes[1] for answer in answers)


@pytest.mark.parametrize("datapath", ["mac", "ramp"])
@pytest.mark.parametrize("end", [0, 1])
def test_potentials_at_the_ends_of_the_accumulator(bench, random_network, end, datapath):
    # The widest bound that the compiler takes, reached in the output layer.
    rng = np.random.default_rng(4)
    network = random_network(rng, (9, 5, 4), bias=0)
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
    config = dataclasses.replace(CONFIG, accumulator_bits=13, datapath=datapath)
    program = compile_network(network, config)
    sign = output.weight[:, 0] < 0 if end == 0 else output.weight[:, 0] > 0
    images = np.zeros((3, 9), int)
    images[1:, :5] = 255 * sign
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
    assert answers[1].logits[0] == [-(1 << 12), (1 << 12) - 1][end]


@pytest.mark.parametrize("datapath", ["mac", "ramp"])
@pytest.mark.parametrize("sources", [(-1, -1, -1), (-1, 0, 0, 1), (-1, -1, 1, 0, 2)])
def test_layers_that_read_earlier_maps(bench, random_network, sources, datapath):
    rng = np.random.default_rng(5)
    sizes = (14, 9, 6, 11, 5, 7)[:len(sources) + 1]
    network = random_network(rng, sizes, sources=sources)
    config = dataclasses.replace(CONFIG, layers=5, datapath=datapath)
    program = compile_network(network, config)
    images = bench.some_images(rng, 14)
    bench.check(network, program, images, bench.run_core(Core(config, program), [(None, images)]))


@pytest.mark.parametrize(("datapath", "pause"), [("mac", 0.0), ("mac", 0.3), ("ramp", 0.0),
                                                 ("ramp", 0.3)])
def test_one_core_runs_three_networks_loaded_one_after_another(
    bench, random_network, datapath, pause
):
    rng = np.random.default_rng(2)
    # Smaller images after larger ones, in the same words of the input map.
    between = (random_network(rng, (31, 20, 7), ticks=7, bias=2000) if datapath == "ramp"
               else bench.shaped_network(rng, *SHAPED["conv"]))
    networks = [random_network(rng, (49, 9, 4)), between, random_network(rng, (25, 10))]
    config = dataclasses.replace(CONFIG, map_words=32, datapath=datapath)
    programs = [compile_network(network, config) for network in networks]
    jobs = [(program, rng.integers(0, 256, (3, program.inputs))) for program in programs]
    results = bench.run_core(Core(config), jobs, i_pause=pause, o_pause=pause)
    for n, (network, program) in enumerate(zip(networks, programs, strict=True)):
        bench.check(network, program, jobs[n][1], results[3 * n:3 * n + 3], on_time=not pause)


@pytest.mark.parametrize("datapath", ["mac", "ramp"])
def test_an_image_is_received_while_the_one_before_it_is_computed(bench, random_network, datapath):
    rng = np.random.default_rng(6)
    network = random_network(rng, (30, 20, 4))
    config = dataclasses.replace(CONFIG, datapath=datapath)
    program = compile_network(network, config)
    images = bench.some_images(rng, 30, count=4)
    run = bench.CoreBench(Core(config, program))

    async def testbench(ctx):
        for image in images:
            await run.send(ctx, image)
        await run.answered(ctx, len(images))

    bench.check(network, program, images, run.run(testbench))
    # All but the first image, in part or whole. The first one waits until the maps are wiped.
    assert run.overlapped > 30 * (len(images) - 3)


@pytest.mark.parametrize(("name", "pause"), [
    ("dense", 0.6), ("conv", 0.6), ("stride 2", 0.6), ("depthwise", 0.0)])
def test_two_samples_a_transfer(bench, random_network, name, pause):
    rng = np.random.default_rng(23)
    config = dataclasses.replace(CONFIG, input_words=32, map_words=64, samples=2)
    network = (random_network(rng, (31, 12, 5)) if name == "dense"
               else bench.shaped_network(rng, *SHAPED[name]))
    program = compile_network(network, config)
    run_last = HEADER_FIELDS["run_last"]
    run = 1 + program.memories[Memory.TABLE][run_last.word] % (1 << run_last.width)
    # Rows of seven pixels end with one that is alone.
    assert program.pairs == (name != "conv")
    images = bench.some_images(rng, program.inputs)
    core = Core(config, program)
    source = bench.Source(core.i, [
        payload for image in images
        for payload in bench.transfers(rng, [(value, 0) for value in image], run)], pause=pause)
    cores = bench.CoreBench(core, o_pause=pause)

    async def testbench(ctx):
        await source.run(ctx)
        await cores.answered(ctx, len(images))

    bench.check(network, program, images, cores.run(testbench), on_time=not pause)


def test_cycles_count_from_the_complete_image_to_the_last_logit(bench, random_network):
    rng = np.random.default_rng(7)
    network = random_network(rng, (10, 9, 4))
    program = compile_network(network, CONFIG)
    images = bench.some_images(rng, 10)
    answers = bench.run_core(Core(CONFIG, program), [(None, [image]) for image in images])
    # The first image waits until the maps are wiped.
    for answer in answers[1:]:
        # The image is complete in the input map two cycles after its last sample.
        assert answer.cycles == answer.finished - (answer.complete + 2)


@pytest.mark.parametrize("datapath", ["mac", "ramp"])
def test_a_network_of_many_events_keeps_to_its_target(bench, random_network, datapath):
    rng = np.random.default_rng(8)
    # Events wait for the map to be scanned in ``ramp``, and of that the target knows nothing: in
    # layers of 20 words it does not matter.
    network = random_network(rng, (120, 160 if datapath == "ramp" else 64, 10), slope=0.2)
    config = dataclasses.replace(
        minimal_config(network, lanes=8, datapath=datapath), map_words=32, membrane_words=128)
    program = compile_network(network, config)
    images = rng.integers(1, 256, (3, 120)).clip(20)
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
    trace = golden.run(network, images.astype(np.uint8), backend="numpy")
    for n, answer in enumerate(answers):
        first, cycles = program.layers[0], answer.statistics[0][2]
        roofline = first.roofline(trace.input_codes[n])
        assert cycles <= first.target(roofline)
        # Of `ramp`, it counts the end of a tick and its last event apart: one walk does both.
        assert cycles >= roofline - (0 if datapath == "mac" else 15 * first.words)


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


@pytest.mark.parametrize("channels", [16, 64])
def test_a_pixel_as_large_as_the_map(bench, channels):
    rng = np.random.default_rng(22)
    network = bench.shaped_network(rng, (1, 1, channels), [
        {"kind": "depthwise"}, {"kind": "dense", "channels": 3}])
    program = compile_network(network, minimal_config(network, lanes=4))
    images = bench.some_images(rng, channels)
    answers = bench.run_core(Core(program.config, program), [(None, images)])
    bench.check(network, program, images, answers)
