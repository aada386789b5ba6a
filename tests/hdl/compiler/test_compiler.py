# SPDX-License-Identifier: Apache-2.0
"""The compiler: what it refuses, what it writes, and the bounds and thresholds it promises."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.compiling import CONFIG, refusal, replace_layer, rng
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network, minimal_config
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import ENTRY_WORDS, FIELDS, HEADER_FIELDS, MAGIC, Operation, checksum
from ttfs_sw import golden


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
        "the network's input has T = 16, and codes of 4 bits hold at most 15; make it with "
        "input_ticks = 15 or less")
    compile_network(network, dataclasses.replace(CONFIG, tick_bits=5))


def test_refuses_a_window_that_codes_do_not_hold(random_network):
    network = random_network(rng(), (4, 4, 4, 4), ticks=[15, 15, 16])
    assert refusal(network, CONFIG) == (
        "layer hidden2 has T = 16, and codes of 4 bits hold at most 15; make it with "
        "ticks = 15 or less")


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
        "256 times; let the added map count for less or choose a core with wider weights")
    # No core has wider ones than of 8 bits.
    config = dataclasses.replace(config, weight_bits=8, accumulator_bits=32)
    compile_network(network(12), config)
    assert refusal(network(13), config) == (
        "layer hidden2 adds its residual 8192 times, and the core's weights of 8 bits can do that "
        "4096 times; let the added map count for less")
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
        "layer hidden1 has weights of 5 bits and the core's have 4; make it with "
        "weight_bits = 4 or less")
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
        "accumulator_bits is 16; make it with fewer weight_bits or ticks, or train with "
        "accumulator_bits = 16")
    compile_network(wider, dataclasses.replace(CONFIG, accumulator_bits=17))


def codes_of_all_potentials(layer, config):
    """Every potential that the accumulator holds, and its codes [potentials, neurons]."""
    limit = 1 << (config.accumulator_bits - 1)
    potentials = np.arange(-limit, limit)
    return potentials, golden.fire(np.repeat(potentials[:, None], layer.outputs, 1), layer)


@settings(max_examples=40)
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
