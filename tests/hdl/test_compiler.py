"""The compiler: what it refuses, where it puts what, and the bounds and thresholds it promises."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdl.compiler import DoesNotFit, compile_network, membrane_bounds, minimal_config
from hdl.config import CoreConfig
from hdl.shapes import Memory
from hdl.table import ENTRY_WORDS, FIELDS, HEADER_WORDS, MAGIC, Operation
from ttfs_sw import golden
from ttfs_sw.network import Layer

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=512,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=4)

#: Where the memories of a report are sized.
DEPTHS = {
    "weights": "weight_words", "membrane": "membrane_words", "input_map": "input_words",
    "map": "map_words", "slopes": "slopes", "layers": "layers",
}


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
    assert refusal(random_network(rng(), (131, 4)), CONFIG) == (
        "the network's input has 131 values and the core's input map holds 128: 3 too many")


def convolution(kind, pool):
    c_out = {"conv2d": 2, "depthwise": 1}[kind]
    return Layer(
        name="hidden1", kind=kind, source=-1, second_source=None, residual_shift=0,
        in_shape=(4, 4, 1), out_shape=(4, 4, c_out), kernel=(3, 3), stride=(1, 1), padding=(1, 1),
        pool=pool, spiking=True, ticks=15, weight_bits=4, weight=np.ones((3, 3, 1, c_out), int),
        bias=np.zeros(c_out, int), multiplier=np.ones(c_out, int), shift=np.ones(c_out, int),
        weight_scale=1.0, output_scale=1.0)


@pytest.mark.parametrize("kind", ["conv2d", "depthwise"])
@pytest.mark.parametrize("pool", [1, 2])
def test_refuses_convolution(random_network, kind, pool):
    first = convolution(kind, pool)
    network = random_network(rng(), (first.neurons, 3))
    layers = first, dataclasses.replace(network.layers[0], source=0)
    network = dataclasses.replace(network, layers=layers, input_shape=(4, 4, 1))
    assert refusal(network, CONFIG) == (
        f"layer hidden1 is {kind}, and this core runs dense layers only")


def test_refuses_a_residual(random_network):
    network = replace_layer(random_network(rng(), (8, 8, 8, 3)), 1, second_source=-1)
    assert refusal(network, CONFIG).startswith("layer hidden2 is pooling or a residual input, and")


def test_refuses_wider_weights(random_network):
    network = random_network(rng(), (4, 4, 4), weight_bits=5)
    assert refusal(network, CONFIG) == (
        "layer hidden1 has weights of 5 bits and the core's have 4; train with weight_bits = 4")
    compile_network(network, dataclasses.replace(CONFIG, weight_bits=5))


def test_refuses_more_neurons_than_the_core_numbers(random_network):
    config = dataclasses.replace(CONFIG, input_words=2, map_words=2)
    compile_network(random_network(rng(), (4, 16)), config)
    assert refusal(random_network(rng(), (4, 17)), config) == (
        "layer output has 17 neurons, and the core numbers at most 16")


@pytest.mark.parametrize(("weight", "bias", "low", "high"), [
    # Ten inputs of code 15: the bound is 150 times the weight, and the bias.
    (-7, -32768 + 1050, -32768, -31718), (7, 32767 - 1050, 31717, 32767),
])
def test_potentials_fill_the_accumulator_exactly(random_network, weight, bias, low, high):
    network = replace_layer(random_network(rng(), (10, 1)), 0, weight=np.full((10, 1), weight),
                            bias=np.array([bias]))
    plan, = compile_network(network, CONFIG).layers
    assert plan.bounds == (low, high)
    step = 1 if weight > 0 else -1
    wider = replace_layer(network, 0, bias=np.array([bias + step]))
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
        # The biases of all layers, each an even number of words, and the larger of every other
        # layer's potentials.
        "membrane": {"used": (6 + 10 + 4) + 6 + 10, "available": 36},
        "input_map": {"used": 5, "available": 5},
        # While the second layer fires, the map of the first one is still read.
        "map": {"used": 3 + 5, "available": 8},
        "slopes": {"used": 21 + 34, "available": 55},
        "layers": {"used": 3, "available": 3},
    }
    assert too_small(network, config, "weights", 31) == (
        "the network needs 531 weight words of 4 (most in layer hidden1) and the core's weights "
        "memory has 500: 31 too many; what would fit is 94% of that")
    assert "36 membrane words of 4 (most in layer hidden2)" in too_small(
        network, config, "membrane")
    assert "needs 55 slope words" in too_small(network, config, "slopes")
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


#: Networks of all shapes that a core of four lanes may be made for.
SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=5)


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, lanes=st.sampled_from([2, 4, 8]), weight_bits=st.integers(2, 4),
       ticks=st.sampled_from([1, 3, 15, 100, 255]), per_channel=st.booleans(),
       seed=st.integers(0, 1000))
def test_minimal_config_is_minimal(random_network, sizes, lanes, weight_bits, ticks, per_channel,
                                   seed):
    # The last layer is the smallest, so that a neuron's number has room everywhere.
    sizes = [*sizes, min(sizes)]
    network = random_network(np.random.default_rng(seed), sizes, weight_bits=weight_bits,
                             ticks=ticks, per_channel=per_channel, bias=seed)
    config = minimal_config(network, lanes=lanes)
    used = compile_network(network, config).report()["memories"]
    for memory, count in used.items():
        least = 1 if memory == "layers" else 2
        assert count["available"] == max(least, count["used"])
        if count["used"] > least:
            assert too_small(network, config, memory)
    for bits, least in (("weight_bits", 2), ("tick_bits", 1), ("accumulator_bits", 8)):
        if getattr(config, bits) > least:
            refusal(network, dataclasses.replace(config, **{bits: getattr(config, bits) - 1}))


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


@settings(max_examples=50, deadline=None)
@given(inputs=st.integers(1, 12), outputs=st.integers(1, 6), weight_bits=st.integers(2, 8),
       ticks=st.integers(1, 255), seed=st.integers(0, 1000))
def test_bounds_are_exact(random_network, inputs, outputs, weight_bits, ticks, seed):
    generator = np.random.default_rng(seed)
    network = random_network(generator, (inputs, outputs), weight_bits=weight_bits, ticks=ticks,
                             bias=seed, input_codes=np.arange(256) % (ticks + 1))
    layer, = network.layers
    low, high = membrane_bounds(layer, ticks)
    # Reached: for each neuron the input that excites all that pulls one way.
    worst = np.concatenate([layer.weight.T < 0, layer.weight.T > 0]) * ticks
    logits = golden.run(network, worst.astype(np.uint8), encoded=True, backend="numpy").logits
    assert (logits.min(), logits.max()) == (low, high)
    # And never passed, neither by sums nor on the way to them, in whatever order.
    codes = generator.integers(0, ticks + 1, (20, inputs))
    order = generator.permutation(inputs)
    partial = layer.bias + np.cumsum((codes[:, :, None] * layer.weight)[:, order], axis=1)
    assert low <= partial.min() <= partial.max() <= high


def codes_of_all_potentials(layer, config):
    """Every potential that the accumulator holds, and its codes [potentials, neurons]."""
    limit = 1 << (config.accumulator_bits - 1)
    potentials = np.arange(-limit, limit)
    return potentials, golden.fire(np.repeat(potentials[:, None], layer.outputs, 1), layer)


@settings(max_examples=60, deadline=None)
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
    assert table[0] == MAGIC << 16 | len(network.layers)
    assert table[1] == sizes[0] - 1 == program.inputs - 1
    assert list(program.memories[Memory.ENCODER].values()) == network.input_codes.tolist()
    assert [plan.name for plan in program.layers] == [layer.name for layer in network.layers]
    for index, layer in enumerate(network.layers):
        def value(name, index=index):
            return field(table, index, name)

        assert value("check") == MAGIC
        assert value("operation") == Operation.DENSE
        assert value("spiking") == layer.spiking
        assert value("last") == (not layer.spiking)
        assert value("ticks") == layer.ticks
        assert value("source_input") == (index == 0)
        assert value("source_base") == (field(table, index - 1, "destination_base") if index else 0)
        assert value("source_last") == -(-layer.inputs // config.codes_per_word) - 1
        assert value("last_word") * config.lanes + value("last_lane") == layer.outputs - 1
        # Weights of event j for word u, and the bias, lane by lane; 0 beyond the last neuron.
        for u, lane in itertools.product(range(value("last_word") + 1), range(config.lanes)):
            neuron = u * config.lanes + lane
            words = [weights[value("weight_base") + j + u * value("weight_stride")]
                     if u else weights[value("weight_base") + j] for j in range(layer.inputs)]
            found = [signed(word >> (lane * config.weight_bits), config.weight_bits)
                     for word in words]
            bias = signed(membrane[value("bias_base") + u] >> (lane * config.accumulator_bits),
                          config.accumulator_bits)
            inside = neuron < layer.outputs
            assert found == (layer.weight[:, neuron].tolist() if inside else [0] * layer.inputs)
            assert bias == (layer.bias[neuron] if inside else 0)
        if value("last_word") == 0:
            # The second copy starts from nothing.
            assert membrane[value("bias_base") + 1] == 0
        if layer.spiking:
            assert value("destination_last") == -(-layer.outputs // config.codes_per_word) - 1
            count = layer.outputs if value("per_channel") else 1
            found = [slopes[value("slope_base") + n] for n in range(count)]
            pairs = list(zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True))
            assert found == [m | s << 16 for m, s in pairs[:count]]
            assert len(set(pairs[:count])) == len(set(pairs))
    assert len(table) == HEADER_WORDS + ENTRY_WORDS * len(network.layers)


def overlap(one, other):
    return one[0] < other[1] and other[0] < one[1]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), layers=st.integers(1, 6), seed=st.integers(0, 1000))
def test_nothing_that_is_needed_is_overwritten(random_network, data, layers, seed):
    # Any layer may read any earlier map, more than once or not at all.
    sources = [data.draw(st.integers(-1, index - 1)) for index in range(layers)]
    sizes = data.draw(st.lists(st.integers(1, 60), min_size=layers + 1, max_size=layers + 1))
    network = random_network(np.random.default_rng(seed), sizes, sources=sources)
    config = dataclasses.replace(CONFIG, weight_words=1 << 14, membrane_words=512, map_words=64,
                                 layers=6)
    plans = compile_network(network, config).layers

    biases = [(plan.bias_base, plan.bias_base + plan.membrane_words) for plan in plans]
    potentials = [(plan.membrane_base, plan.membrane_base + plan.membrane_words) for plan in plans]
    places = [(plan.weight_base, plan.weight_base + plan.weight_words) for plan in plans]
    for one, other in itertools.combinations(biases, 2):
        assert not overlap(one, other)
    for one, other in itertools.combinations(places, 2):
        assert not overlap(one, other)
    assert not any(overlap(bias, place) for bias in biases for place in potentials)
    # Two copies where there is one word, at even addresses.
    for plan in plans:
        assert plan.membrane_words >= max(2, plan.words)
        assert plan.words > 1 or plan.bias_base % 2 == plan.membrane_base % 2 == 0
    # One layer may accumulate while the one before it fires.
    assert not any(overlap(*pair) for pair in itertools.pairwise(potentials))

    maps = {n: (plan.destination_base, plan.destination_base + plan.destination_words)
            for n, plan in enumerate(plans) if plan.spiking}
    for index, plan in enumerate(plans):
        assert plan.source_base == (None if sources[index] < 0 else maps[sources[index]][0])
        for other, place in maps.items():
            # A map written by this layer while another one waits for this or a later reader.
            read_later = any(source == other for source in sources[index:])
            if plan.spiking and other < index and read_later:
                assert not overlap(place, maps[index])
