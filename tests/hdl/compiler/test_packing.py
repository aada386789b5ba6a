# SPDX-License-Identifier: Apache-2.0
"""Pixels that share a membrane word: which, where their weights lie, and that spikes stay exact."""

import dataclasses

import numpy as np
import pytest

from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.shapes import Memory

LANES = 8


def conv(channels, **options):
    return {"kind": "conv2d", "channels": channels, "kernel": 3, **options}


def network_of(bench, layer, *, shape=(8, 8, 2), **options):
    """One convolution, and a dense layer that reads all of it."""
    return bench.shaped_network(
        np.random.default_rng(3), shape, [layer, {"kind": "dense", "channels": 3}], **options)


@pytest.mark.parametrize(("layer", "packed"), [
    # As many as fit, beside each other in the map.
    (conv(1, padding=1), 8), (conv(2, padding=1), 4), (conv(3, padding=1), 2),
    (conv(4, padding=1), 2), (conv(5, padding=1), 1), (conv(8, padding=1), 1),
    # The row ends with a whole word.
    (conv(2), 2), (conv(2, kernel=2), 1), (conv(1, stride=2, padding=1), 4),
    # Two of a pooling window.
    (conv(1, padding=1, pool=2), 2), (conv(4, padding=1, pool=2), 2),
    (conv(3, padding=1, pool=4), 2), (conv(5, padding=1, pool=2), 1), (conv(1, pool=3), 1),
    # A depthwise layer's lanes are busy one at a time in any case.
    ({"kind": "depthwise", "channels": 2, "kernel": 3, "padding": 1}, 1),
])
def test_which_layers_are_packed_and_that_they_are_exact(bench, layer, packed):
    network = network_of(bench, layer)
    config = minimal_config(network, lanes=LANES)
    program = compile_network(network, config)
    plan = program.layers[0]
    assert plan.packed == packed
    height, width, _ = network.layers[0].out_shape
    pool = network.layers[0].pool
    assert plan.rows * plan.row_words * packed == (height - height % pool) * (width - width % pool)
    images = bench.some_images(np.random.default_rng(4), network.inputs, count=1)
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
    assert any(answer.spikes for answer in answers)


@pytest.mark.parametrize(("lanes", "ticks", "channels", "columns", "pitch", "packed"), [
    # Places of a pixel are a power of two up to a word, and then so many words.
    (32, 255, 9, 2, 12, 2), (32, 255, 12, 4, 12, 2), (32, 255, 13, 2, 16, 2),
    (64, 15, 17, 2, 24, 2), (64, 15, 20, 2, 24, 2), (64, 15, 25, 2, 32, 2),
    # As many pixels as fit need not be a power of two either.
    (64, 255, 12, 5, 12, 5), (64, 255, 12, 4, 12, 2), (64, 255, 18, 3, 20, 3),
])
@pytest.mark.parametrize("per_channel", [False, True])
def test_pixels_of_more_than_two_words(
    bench, lanes, ticks, channels, columns, pitch, packed, per_channel
):
    network = network_of(bench, conv(channels, padding=1), shape=(1, columns, 1), ticks=ticks)
    if per_channel:
        layer = network.layers[0]
        layer = dataclasses.replace(
            layer, multiplier=layer.multiplier * np.arange(1, channels + 1) // 4 + 1)
        network = dataclasses.replace(network, layers=(layer, *network.layers[1:]))
    program = compile_network(network, minimal_config(network, lanes=lanes))
    plan = program.layers[0]
    assert (plan.map.pitch, plan.packed) == (pitch, packed)
    images = bench.some_images(np.random.default_rng(4), network.inputs, count=1)
    answers = bench.run_core(Core(program.config, program), [(None, images)])
    bench.check(network, program, images, answers)
    # Of every pixel of a word, and of its last channels.
    fired = {divmod(place, pitch) for answer in answers for _, place, _ in answer.spikes}
    assert {pixel % packed for pixel, _ in fired} == set(range(packed))
    assert max(channel for _, channel in fired) >= channels - 2


@pytest.mark.parametrize("pool", [1, 2])
def test_a_slope_for_every_lane(bench, pool):
    network = network_of(bench, conv(3, padding=1, pool=pool))
    layer = network.layers[0]
    layer = dataclasses.replace(layer, multiplier=layer.multiplier * np.array([1, 2, 3]) // 3)
    network = dataclasses.replace(network, layers=(layer, *network.layers[1:]))
    assert len(set(layer.multiplier.tolist())) == 3
    config = minimal_config(network, lanes=LANES)
    program = compile_network(network, config)
    found = [program.memories[Memory.SLOPES][n] & 0xFFFF for n in range(6 if pool == 2 else 8)]
    m = layer.multiplier.tolist()
    assert found == ([m[0], m[0], m[1], m[1], m[2], m[2]] if pool == 2 else [*m, m[2], *m, m[2]])
    images = bench.some_images(np.random.default_rng(5), network.inputs, count=1)
    bench.check(network, program, images, bench.run_core(Core(config, program), [(None, images)]))


def test_logits_are_not_packed(bench):
    network = bench.shaped_network(np.random.default_rng(6), (4, 4, 1), [conv(1, padding=1)])
    program = compile_network(network, minimal_config(network, lanes=LANES))
    assert [plan.packed for plan in program.layers] == [1]


def test_packing_takes_fewer_cycles_than_the_roofline_without_it(bench):
    # Every sample is an event, and nothing fires.
    network = network_of(bench, conv(4, padding=1), shape=(16, 16, 1), slope=0.0)
    program = compile_network(network, minimal_config(network, lanes=LANES))
    images = np.full((1, network.inputs), 255)
    answer, = bench.run_core(Core(program.config, program), [(None, images)])
    _, events, clock = answer.statistics[0]
    assert events == 256
    # Three taps along a row are two words, or one at its ends.
    assert clock < 0.86 * program.layers[0].roofline(np.ones((1, network.inputs), int))[0]
