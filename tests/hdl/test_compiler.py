"""The compiler: what it refuses, where it puts what, and the bounds and thresholds it promises."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks

from hdl.compiler import DoesNotFit, compile_network, minimal_config
from hdl.config import DATAPATHS, CoreConfig
from hdl.core import Core
from hdl.shapes import Memory
from hdl.table import ENTRY_WORDS, FIELDS, HEADER_FIELDS, MAGIC, Operation, checksum
from ttfs_sw import golden

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=512,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=4)

#: Where the memories of a report are sized.
DEPTHS = {
    "weights": "weight_words", "membrane": "membrane_words", "input_map": "input_words",
    "map": "map_words", "slopes": "slopes", "layers": "layers", "table": "table_words",
}

#: Fewest words that a core has of a memory, where they are not two.
LEAST = {"layers": 1, "table": 32}


def rng():
    return np.random.default_rng(1)


def replace_layer(network, index, **changes):
    layers = list(network.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(network, layers=tuple(layers))


def refusal(network, config):
    """The sentence with which the compiler refuses a network."""
    with pytest.raises(DoesNotFit) as caught:
        compile_network(network, config)
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def test_refuses_more_layers_than_the_table_holds(random_network):
    network = random_network(rng(), (4, 4, 4, 4, 4, 4))
    compile_network(network, dataclasses.replace(CONFIG, layers=5))
    assert refusal(network, CONFIG) == (
        "the network has 5 layers and the core's table holds 4; merge or drop 1")


def test_refuses_what_is_not_dense_in_the_order_of_time(bench):
    for kind in ("conv2d", "depthwise"):
        network = bench.shaped_network(rng(), (4, 4, 2), [
            {"kind": kind, "channels": 2, "kernel": 3}, {"kind": "dense", "channels": 3}])
        sentence = (
            f"layer layer1 is a convolution ({kind}), and the ramp datapath runs dense layers "
            "only, because it needs events in the order of time and a convolution needs them in "
            "that of rows; choose the datapath mac or serial")
        assert refusal(network, dataclasses.replace(CONFIG, datapath="ramp")) == sentence
        with pytest.raises(DoesNotFit, match="layer layer1 is a convolution"):
            minimal_config(network, datapath="ramp")


def test_refuses_an_input_window_that_codes_do_not_hold(random_network):
    network = random_network(rng(), (4, 4, 4), ticks=[16, 15])
    assert refusal(network, CONFIG) == (
        "the network's input has T = 16, and codes of 4 bits hold at most 15; train with a smaller "
        "T or choose a core with tick_bits = 5")
    compile_network(network, dataclasses.replace(CONFIG, tick_bits=5))


def test_refuses_a_window_that_codes_do_not_hold(random_network):
    network = random_network(rng(), (4, 4, 4, 4), ticks=[15, 15, 16])
    assert refusal(network, CONFIG) == (
        "layer hidden2 has T = 16, and codes of 4 bits hold at most 15; train with a smaller T")


def test_refuses_a_larger_input_than_the_map_holds(random_network):
    compile_network(random_network(rng(), (128, 4)), CONFIG)
    # Whole words.
    assert refusal(random_network(rng(), (131, 4)), CONFIG) == (
        "the network's input needs 136 values and the core's input map holds 128: 8 too many")


def test_refuses_a_residual_that_weights_do_not_reach(random_network):
    def network(shift):
        return replace_layer(random_network(rng(), (8, 8, 8, 3)), 1, second_source=-1,
                             residual_shift=shift)

    # 49 weights of 7 are 343.
    config = dataclasses.replace(CONFIG, accumulator_bits=20, weight_words=1024)
    compile_network(network(8), config)
    assert refusal(network(9), config) == (
        "layer hidden2 adds its residual 512 times, and the core's weights of 4 bits can do that "
        "256 times; train it with residual_shift = 8 or choose a core with wider weights")
    # The smallest core has them.
    assert minimal_config(network(9)).weight_bits == 8
    assert minimal_config(network(9), lanes=2).weight_bits == 5
    with pytest.raises(DoesNotFit, match="adds its residual 512 times"):
        minimal_config(network(9), weight_bits=4)


def test_refuses_a_residual_in_ramps(random_network):
    network = replace_layer(random_network(rng(), (8, 8, 8, 3)), 1, second_source=-1)
    assert refusal(network, dataclasses.replace(CONFIG, datapath="ramp")) == (
        "layer hidden2 has a residual input, and the ramp datapath adds none; choose the datapath "
        "mac or serial")


def test_refuses_a_larger_kernel(bench):
    def network(kernel):
        return bench.shaped_network(rng(), (8, 8, 1), [
            {"kind": "conv2d", "channels": 1, "kernel": kernel}, {"kind": "dense", "channels": 2}])

    compile_network(network(7), CONFIG)
    assert refusal(network(8), CONFIG) == (
        "layer layer1 has a kernel of 8 x 8, and the core's descriptors hold 7 x 7; train with a "
        "smaller kernel")


def test_refuses_larger_windows_of_pooling(bench):
    def network(pool):
        return bench.shaped_network(rng(), (pool, pool, 1), [
            {"kind": "conv2d", "channels": 1, "pool": pool}, {"kind": "dense", "channels": 2}])

    compile_network(network(8), CONFIG)
    assert refusal(network(9), CONFIG) == (
        "layer layer1 pools 9 x 9, and the core at most 8 x 8")


def test_refuses_what_the_layer_table_cannot_say(bench):
    # A step of 256 words from one tap to the next in its row, where a field has eight bits.
    network = bench.shaped_network(rng(), (1, 1, 512), [
        {"kind": "depthwise"}, {"kind": "dense", "channels": 2}])
    assert compile_network(network, minimal_config(network, lanes=4))
    with pytest.raises(DoesNotFit) as caught:
        minimal_config(network, lanes=2)
    assert str(caught.value) == (
        "layer layer1 does not fit the layer table: membrane_step = 256 does not fit 8 bits")


def test_no_core_has_more_than_63_layers(random_network):
    assert minimal_config(random_network(rng(), [2] * 64)).layers == 63
    with pytest.raises(DoesNotFit, match=r"^the network has 64 layers and no core's table holds"):
        minimal_config(random_network(rng(), [2] * 65))


def test_refuses_wider_weights(random_network):
    network = random_network(rng(), (4, 4, 4), weight_bits=5)
    assert refusal(network, CONFIG) == (
        "layer hidden1 has weights of 5 bits and the core's have 4; train with weight_bits = 4")
    compile_network(network, dataclasses.replace(CONFIG, weight_bits=5))


def test_refuses_more_neurons_or_channels_than_the_core_numbers(bench, random_network):
    config = dataclasses.replace(CONFIG, input_words=2, map_words=2)
    compile_network(random_network(rng(), (4, 16)), config)
    assert refusal(random_network(rng(), (4, 17)), config) == (
        "layer output has 17 neurons, and the core numbers at most 16")
    assert refusal(random_network(rng(), (4, 17, 2)), config) == (
        "layer hidden1 has 17 channels, and the core numbers at most 16")
    # Logits are numbered through, rows and all.
    network = bench.shaped_network(rng(), (3, 3, 1), [{"kind": "conv2d", "channels": 2}])
    assert refusal(network, dataclasses.replace(config, input_words=3, tick_bits=8)).endswith(
        "layer layer1 has 18 neurons, and the core numbers at most 16")


@pytest.mark.parametrize(("weight", "bias", "low", "high"), [
    # Ten inputs of code 15: the bound is 150 times the weight, and the bias.
    (-7, -32768 + 1050, -32768, -31718), (7, 32767 - 1050, 31717, 32767),
])
def test_potentials_fill_the_accumulator_exactly(random_network, weight, bias, low, high):
    # As many outputs as lanes: otherwise the others would hold one less.
    network = replace_layer(random_network(rng(), (10, 4)), 0, weight=np.full((10, 4), weight),
                            bias=np.full(4, bias))
    plan, = compile_network(network, CONFIG).layers
    assert plan.bounds == (low, high)
    step = 1 if weight > 0 else -1
    wider = replace_layer(network, 0, bias=np.full(4, bias + step))
    low, high = low + step, high + step
    assert refusal(wider, CONFIG) == (
        f"layer output has potentials from {low} to {high}, which need 17 bits, and the core's "
        "accumulator_bits is 16; train with a penalty on weights or fewer bits")
    compile_network(wider, dataclasses.replace(CONFIG, accumulator_bits=17))


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


#: Networks of all kinds, which the core can run.
NETWORKS = networks(max_channels=9, max_size=9, max_neurons=300)


@settings(max_examples=40, deadline=None)
@given(network=NETWORKS, lanes=st.sampled_from([2, 4, 8]), datapath=st.sampled_from(DATAPATHS))
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


def codes_of_all_potentials(layer, config):
    """Every potential that the accumulator holds, and its codes [potentials, neurons]."""
    limit = 1 << (config.accumulator_bits - 1)
    potentials = np.arange(-limit, limit)
    return potentials, golden.fire(np.repeat(potentials[:, None], layer.outputs, 1), layer)


@settings(max_examples=40, deadline=None)
@given(slopes=st.lists(st.tuples(st.integers(1, 65535) | st.integers(1, 40), st.integers(0, 31)),
                       min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_fire_threshold_is_the_smallest_potential_that_fires(random_network, slopes, seed):
    config = dataclasses.replace(CONFIG, accumulator_bits=11)
    multiplier, shift = np.array(slopes).T
    network = replace_layer(random_network(np.random.default_rng(seed), (2, len(slopes), 1)), 0,
                            multiplier=multiplier, shift=shift)
    plan = compile_network(network, config).layers[0]
    potentials, codes = codes_of_all_potentials(network.layers[0], config)
    fires = codes.any(axis=1)
    # Where nothing fires there is no smallest; the largest potential is then a candidate in vain.
    expected = potentials[fires.argmax()] if fires.any() else potentials[-1]
    assert plan.fire_threshold == expected
    assert not fires[potentials < plan.fire_threshold].any()


def field(table, layer, name):
    place = FIELDS[name]
    word = table[(1 + layer) * ENTRY_WORDS + place.word]
    return word >> place.offset & ((1 << place.width) - 1)


def signed(value, bits):
    return (value & ((1 << bits) - 1)) - ((value >> (bits - 1) & 1) << bits)


CORES = {
    "narrow": dataclasses.replace(CONFIG, lanes=2, weight_bits=3, weight_words=600),
    "one part": dataclasses.replace(CONFIG, lanes=8, weight_bits=4),
    "two parts": dataclasses.replace(CONFIG, lanes=16, weight_bits=4),
    "four parts": dataclasses.replace(CONFIG, lanes=16, weight_bits=8),
}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("sizes", [(9, 5, 3), (1, 1, 1), (33, 16, 17, 4), (20, 6)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_memories_hold_the_network(random_network, core, sizes, per_channel):
    config = CORES[core]
    network = random_network(rng(), sizes, weight_bits=3, per_channel=per_channel)
    program = compile_network(network, config)
    table, slopes = program.memories[Memory.TABLE], program.memories[Memory.SLOPES]
    weights = program.memory_words(Memory.WEIGHTS)
    membrane = program.memory_words(Memory.MEMBRANE)
    header = {name: table[place.word] >> place.offset & ((1 << place.width) - 1)
              for name, place in HEADER_FIELDS.items()}
    # One run of samples, without gaps.
    assert header == {"layers": len(network.layers), "magic": MAGIC, "last_input": sizes[0] - 1,
                      "run_last": sizes[0] - 1, "gap": 0,
                      "checksum": checksum(table, config.table_words)}
    assert program.inputs == sizes[0]
    assert list(program.memories[Memory.ENCODER].values()) == network.input_codes.tolist()
    assert [plan.name for plan in program.layers] == [layer.name for layer in network.layers]
    assert [plan.bounds for plan in program.layers] == network.bounds()
    # What biases are made from.
    assert membrane[0] == 0
    for index, layer in enumerate(network.layers):
        def value(name, index=index):
            return field(table, index, name)

        assert value("check") == MAGIC
        assert value("operation") == Operation.FULL
        assert value("spiking") == layer.spiking
        assert value("last") == (not layer.spiking)
        assert value("ticks") == layer.ticks
        assert value("source_input") == (index == 0)
        assert value("follows") == value("clears") == (index > 0)
        base = field(table, index - 1, "destination_base") if index else 0
        assert value("source_base") == base
        assert value("source_last") == base - (-layer.inputs // config.codes_per_word) - 1
        assert value("last_word") == (layer.outputs - 1) // config.lanes
        # Weights of event j for word u, and the bias, lane by lane.
        for u, lane in itertools.product(range(value("last_word") + 1), range(config.lanes)):
            neuron = u * config.lanes + lane
            first = program.layers[index].weight_base + u * value("weight_step")
            found = [signed(word >> (lane * config.weight_bits), config.weight_bits)
                     for word in weights[first:first + layer.inputs]]
            bias = signed(membrane[value("bias_base") + u] >> (lane * config.accumulator_bits),
                          config.accumulator_bits)
            inside = neuron < layer.outputs
            assert found == (layer.weight[:, neuron].tolist() if inside else [0] * layer.inputs)
            # Lanes without a class are below all logits.
            idle = 0 if layer.spiking else program.layers[index].bounds[0] - 1
            assert bias == (layer.bias[neuron] if inside else idle)
        if layer.spiking:
            count = layer.outputs if value("per_channel") else 1
            found = [slopes[value("slope_base") + n] for n in range(count)]
            pairs = list(zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True))
            assert found == [m | s << 16 for m, s in pairs[:count]]
            assert len(set(pairs[:count])) == len(set(pairs))


def test_what_nobody_reads_stays_silent(random_network):
    # Nobody would wipe its map.
    network = random_network(rng(), (6, 5, 4, 3), sources=[-1, -1, 1], per_channel=True)
    slopes = compile_network(network, CONFIG).memories[Memory.SLOPES]
    assert [slopes[n] & 0xFFFF for n in range(5)] == [0] * 5
    assert [slopes[5 + n] & 0xFFFF for n in range(4)] == network.layers[1].multiplier.tolist()


def test_the_same_network_gives_the_same_program(bench):
    def program(kind):
        network = bench.shaped_network(rng(), (6, 5, 3), [
            {"kind": "depthwise", "kernel": 3}, {"kind": "conv2d", "channels": 5},
            {"kind": "dense", "channels": 3}])
        # However wide its integers are kept.
        for index, layer in enumerate(network.layers):
            network = replace_layer(network, index, weight=layer.weight.astype(kind))
        return compile_network(network, minimal_config(network, lanes=4))

    one, other = program(np.int8), program(np.int64)
    assert one.memories == other.memories
    assert list(one.writes()) == list(other.writes())
    assert one.report() == other.report()


def overlap(one, other):
    return one[0] < other[1] and other[0] < one[1]


def regions(plans):
    """Words of biases, and words of potentials, of every layer."""
    return ([(plan.bias_base, plan.bias_base + plan.pixel_words) for plan in plans],
            [(plan.membrane_base, plan.membrane_base + plan.membrane_words) for plan in plans])


@settings(max_examples=40, deadline=None)
@given(network=NETWORKS, lanes=st.sampled_from([2, 4, 8]), more=st.integers(0, 60))
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


@settings(max_examples=40, deadline=None)
@given(data=st.data(), layers=st.integers(1, 6), seed=st.integers(0, 1000))
def test_maps_that_are_needed_are_not_overwritten(random_network, data, layers, seed):
    # Any layer may read any earlier map, more than once or not at all.
    sources = [data.draw(st.integers(-1, index - 1)) for index in range(layers)]
    sizes = data.draw(st.lists(st.integers(1, 60), min_size=layers + 1, max_size=layers + 1))
    network = random_network(np.random.default_rng(seed), sizes, sources=sources)
    config = dataclasses.replace(CONFIG, weight_words=1 << 14, membrane_words=512, map_words=64,
                                 layers=6)
    check_maps(network, compile_network(network, config).layers, 64)


@settings(max_examples=40, deadline=None)
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
