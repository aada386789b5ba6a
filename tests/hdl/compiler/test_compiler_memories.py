# SPDX-License-Identifier: Apache-2.0
"""The compiler: the words that each memory needs, and who shares them."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.compiling import CONFIG, NETWORKS, refusal, rng
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network, minimal_config
from ttfs_fpga.hdl.config import DATAPATHS
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.table import ENTRY_WORDS

#: Where the memories of a report are sized.
DEPTHS = {
    "weights": "weight_words", "membrane": "membrane_words", "input_map": "input_words",
    "map": "map_words", "slopes": "slopes", "layers": "layers", "table": "table_words",
}

#: Fewest words that a core has of a memory, where they are not two.
LEAST = {"layers": 1, "table": 32}


def too_small(network, config, memory, by=1):
    """The refusal of a core whose ``memory`` lacks so many words, where ``config`` just fits."""
    depth = DEPTHS[memory]
    compile_network(network, config)
    return refusal(network, dataclasses.replace(config, **{depth: getattr(config, depth) - by}))


def test_every_memory_fits_to_the_last_word_and_not_one_less(random_network):
    network = random_network(rng(), (40, 21, 34, 10), per_channel=True)
    config = minimal_config(network, lanes=4)
    used = compile_network(network, config).report()["memories"]
    assert used == {
        # 6, 9 and 3 words of neurons: 40 + 6 rows and so on.
        "weights": {"used": 40 * 6 + 21 * 9 + 34 * 3, "available": 531},
        # A word of zeros, the biases of all layers, and the larger of every other layer's
        # potentials.
        "membrane": {"used": 1 + (6 + 9 + 3) + 6 + 9, "available": 34},
        "input_map": {"used": 5, "available": 5},
        # While the second layer fires, the map of the first one is still read.
        "map": {"used": 3 + 5, "available": 8},
        "slopes": {"used": 21 + 34, "available": 55},
        "layers": {"used": 3, "available": 3},
        # Entries, and of each layer one row and one column.
        "table": {"used": 4 * ENTRY_WORDS + 3 * (2 + 1), "available": 73},
    }
    assert too_small(network, config, "weights", 31) == (
        "the network needs 531 weight words of 4 (most in layer hidden1) and the core's weights "
        "memory has 500: 31 too many; what would fit is 94% of that")
    assert too_small(network, config, "membrane") == (
        "the network needs 34 membrane words of 4 (most in layer hidden2) and the core's membrane "
        "memory has 33: 1 too many; what would fit is 97% of that")
    assert too_small(network, config, "slopes") == (
        "the network needs 55 slope words (most in layer hidden2) and the core's slopes memory has "
        "54: 1 too many; what would fit is 98% of that")
    assert too_small(network, config, "table", 3) == (
        "the network needs 73 table words (most in layer hidden1) and the core's table memory has "
        "70: 3 too many; what would fit is 96% of that")
    assert too_small(network, config, "map", 2) == (
        "layer hidden2 needs 5 map words at 3 and the core's map memory has 6: 2 too many; what "
        "would fit is 24 neurons")
    assert too_small(network, config, "map", 6) == (
        "layer hidden1 needs 3 map words at 0 and the core's map memory has 2: 1 too many; what "
        "would fit is 16 neurons")
    assert too_small(network, config, "map", 5) == (
        "layer hidden2 needs 5 map words and the core's map memory has none of its 3 left")
    assert too_small(network, config, "input_map").endswith("holds 32: 8 too many")
    assert too_small(network, config, "layers").endswith("table holds 2; merge or drop 1")


@settings(max_examples=40)
@given(network=NETWORKS, lanes=st.sampled_from([1, 2, 4, 8]),
       datapath=st.sampled_from(list(DATAPATHS)))
def test_minimal_config_is_minimal(network, lanes, datapath):
    if datapath == "ramp" and any(
            layer.kind != "dense" or layer.second_source is not None for layer in network.layers):
        datapath = "mac"
    config = minimal_config(network, lanes=lanes, datapath=datapath)
    used = compile_network(network, config).report()["memories"]
    assert used.keys() == DEPTHS.keys()
    for memory, count in used.items():
        least = LEAST.get(memory, 2)
        if memory == "map":
            # The numbers of the output layer's neurons must have room as well.
            most = max(max(layer.neurons, layer.out_shape[2]) for layer in network.layers)
            least = max(least, -(-most // config.codes_per_word))
        assert count["available"] == max(least, count["used"])
        if count["used"] > least:
            assert too_small(network, config, memory)
    for bits, least in (("weight_bits", 2), ("tick_bits", 1), ("accumulator_bits", 8)):
        if getattr(config, bits) > least:
            refusal(network, dataclasses.replace(config, **{bits: getattr(config, bits) - 1}))


def test_a_depthwise_layer_takes_no_more_than_its_weights(bench):
    # A square of its channels would take 9 * 20000^2 numbers.
    network = bench.shaped_network(rng(), (1, 1, 20000), [
        {"kind": "depthwise", "kernel": 3, "padding": 1}, {"kind": "dense", "channels": 1}])
    program = compile_network(network, minimal_config(network, lanes=256))
    assert program.layers[0].weight_words == 9 * 20000


def test_the_smallest_core_runs_what_it_was_made_for(bench):
    network = bench.shaped_network(rng(), (5, 5, 2), [
        {"kind": "conv2d", "channels": 5, "kernel": 3, "padding": 1, "pool": 2},
        {"kind": "dense", "channels": 3}])
    config = minimal_config(network, lanes=2)
    program = compile_network(network, config)
    # Not a word of the membrane memory is left.
    assert program.report()["memories"]["membrane"]["used"] == config.membrane_words
    images = rng().integers(0, 256, (1, network.inputs))
    bench.check(network, program, images,
                bench.run_core(Core(config, program), [(None, images)]))


def test_minimal_config_takes_what_is_given(random_network):
    network = random_network(rng(), (10, 6, 3))
    config = minimal_config(network, lanes=2, weight_bits=8, tick_bits=8, weight_words=999)
    assert (config.lanes, config.weight_bits, config.tick_bits) == (2, 8, 8)
    assert config.weight_words == 999
    assert config.input_words == 3
    compile_network(network, config)
    with pytest.raises(DoesNotFit, match="accumulator_bits is 8"):
        minimal_config(network, accumulator_bits=8)
    with pytest.raises(TypeError, match="lane"):
        minimal_config(network, lane=2)


def overlap(one, other):
    return one[0] < other[1] and other[0] < one[1]


def regions(plans):
    """Words of biases, and words of potentials, of every layer."""
    return ([(plan.bias_base, plan.bias_base + plan.pixel_words) for plan in plans],
            [(plan.membrane_base, plan.membrane_base + plan.membrane_words) for plan in plans])


@settings(max_examples=40)
@given(network=NETWORKS, lanes=st.sampled_from([1, 2, 4, 8]), more=st.integers(0, 60))
def test_windows_share_the_membrane_memory(network, lanes, more):
    config = minimal_config(network, lanes=lanes)
    config = dataclasses.replace(config, membrane_words=config.membrane_words + more)
    tight = compile_network(network, config, spare=False).layers
    assert [plan.window_rows for plan in tight] == [plan.row_axis.live for plan in tight]
    plans = compile_network(network, config).layers
    biases, potentials = regions(plans)
    assert min(base for base, _ in biases) == 1
    for one, other in itertools.combinations(biases, 2):
        assert not overlap(one, other)
    assert not any(overlap(bias, place) for bias in biases for place in potentials)
    # One layer may accumulate while the one before it fires.
    assert not any(overlap(*pair) for pair in itertools.pairwise(potentials))
    assert max(end for _, end in potentials) <= config.membrane_words

    # Two rows more for whoever has them, while there is room.
    sizes = [plan.membrane_words for plan in plans]
    for index, plan in enumerate(plans):
        wanted = min(plan.row_axis.live + 2, plan.rows)
        assert plan.row_axis.live <= plan.window_rows <= wanted
        if plan.window_rows < wanted:
            grown = [*sizes[:index], sizes[index] + plan.row_words, *sizes[index + 1:]]
            needed = biases[-1][1] + max(grown[::2]) + max(grown[1::2], default=0)
            assert needed > config.membrane_words
    places = [(plan.weight_base, plan.weight_base + plan.weight_words) for plan in plans]
    for one, other in itertools.combinations(places, 2):
        assert not overlap(one, other)


def test_windows_have_two_spare_rows_where_there_is_room(bench):
    network = bench.shaped_network(rng(), (9, 6, 1), [
        {"kind": "conv2d", "channels": 4, "kernel": 3, "padding": 1, "pool": 2},
        {"kind": "conv2d", "channels": 8, "kernel": 3}])
    config = minimal_config(network, lanes=4, membrane_words=200)
    rows = [plan.window_rows for plan in compile_network(network, config).layers]
    # Three rows live; the second layer has only two.
    assert rows == [5, 2]
    # Word 0, three biases, and six words a row of the first layer, two rows of two words.
    needed = 1 + 3 + 3 * 6 + 2 * 2
    for membrane_words, first in ((needed, 3), (needed + 5, 3), (needed + 6, 4), (needed + 12, 5)):
        config = dataclasses.replace(config, membrane_words=membrane_words)
        assert compile_network(network, config).layers[0].window_rows == first
    assert refusal(network, dataclasses.replace(config, membrane_words=needed - 1))


def check_maps(network, plans, map_words):
    """No map is written over another one that is still read; all of them are in the memory."""
    sources = [layer.source for layer in network.layers]
    reads = [{layer.source, layer.second_source} for layer in network.layers]
    maps = {n: (plan.destination_base, plan.destination_base + plan.destination_words)
            for n, plan in enumerate(plans) if plan.spiking}
    for index, plan in enumerate(plans):
        assert plan.source_base == (None if sources[index] < 0 else maps[sources[index]][0])
        residual = plan.residual
        if residual is not None:
            assert residual.base == (None if residual.source < 0 else maps[residual.source][0])
        if not plan.spiking:
            continue
        assert maps[index][1] <= map_words
        for other in range(index):
            # By this layer, while its spikes are written, or by a later one.
            if other in set().union(*reads[index:]):
                assert not overlap(maps[other], maps[index])


@settings(max_examples=40)
@given(data=st.data(), layers=st.integers(1, 6), seed=st.integers(0, 1000))
def test_maps_that_are_needed_are_not_overwritten(random_network, data, layers, seed):
    # Any layer may read any earlier map, more than once or not at all.
    sources = [data.draw(st.integers(-1, index - 1)) for index in range(layers)]
    sizes = data.draw(st.lists(st.integers(1, 60), min_size=layers + 1, max_size=layers + 1))
    network = random_network(np.random.default_rng(seed), sizes, sources=sources)
    config = dataclasses.replace(CONFIG, weight_words=1 << 14, membrane_words=512, map_words=64,
                                 layers=6)
    check_maps(network, compile_network(network, config).layers, 64)


@settings(max_examples=40)
@given(network=NETWORKS)
def test_maps_with_rows_that_are_needed_are_not_overwritten(network):
    config = minimal_config(network, lanes=4)
    check_maps(network, compile_network(network, config).layers, config.map_words)


def test_a_map_takes_the_place_of_one_that_is_no_longer_read(random_network):
    # Three words each; the first map is read again by the third layer.
    for sources, bases in (((-1, 0, 1, 2), [0, 3, 0]), ((-1, 0, 0, 2), [0, 3, 3])):
        network = random_network(rng(), (5, 20, 20, 20, 4), sources=sources)
        plans = compile_network(network, CONFIG).layers
        assert [plan.destination_base for plan in plans[:-1]] == bases
