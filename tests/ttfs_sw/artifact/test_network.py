# SPDX-License-Identifier: Apache-2.0
"""Layers and networks: what is valid, what is refused and how, and the bounds of every membrane."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw.artifact.network import Layer, Network, NetworkError, dense_network, linear_codes
from ttfs_sw.common.errors import InputError


def convolution(name, source, in_shape, out_shape, *, kind="conv2d", kernel=(1, 1), stride=(1, 1),
                padding=(0, 0), pool=1, second_source=None, residual_shift=0, seed=0):
    """A convolution with random weights of 4 bits."""
    generator = np.random.default_rng(seed)
    channels = out_shape[2]
    fan = (in_shape[2], channels) if kind == "conv2d" else (channels, 1)
    return Layer(
        name=name, kind=kind, source=source, second_source=second_source,
        residual_shift=residual_shift, in_shape=in_shape, out_shape=out_shape, kernel=kernel,
        stride=stride, padding=padding, pool=pool, spiking=True, ticks=7, weight_bits=4,
        weight=generator.integers(-8, 8, (*kernel, *fan)),
        bias=generator.integers(-50, 50, channels),
        multiplier=generator.integers(1, 65536, channels), shift=np.full(channels, 14),
        weight_scale=0.5, output_scale=0.25,
    )


def readout(source, inputs, classes, seed=0):
    """A dense read-out with random weights of 4 bits."""
    generator = np.random.default_rng(seed)
    return Layer(
        name="output", kind="dense", source=source, second_source=None, residual_shift=0,
        in_shape=(1, 1, inputs), out_shape=(1, 1, classes), kernel=(1, 1), stride=(1, 1),
        padding=(0, 0), pool=1, spiking=False, ticks=0, weight_bits=4,
        weight=generator.integers(-8, 8, (inputs, classes)), bias=np.zeros(classes, int),
        multiplier=[], shift=[], weight_scale=0.5, output_scale=0.25,
    )


def network_of(*layers, input_shape=(8, 6, 2)):
    return Network(
        input_shape=input_shape, input_ticks=15, input_codes=linear_codes(15), input_scale=1 / 15,
        layers=layers, dataset="made-up", preset="none",
    )


@pytest.fixture(scope="module")
def convolutional():
    """Every kind of layer: padding, stride, pooling, depthwise, a residual and a dense read-out."""
    return network_of(
        convolution("stem", -1, (8, 6, 2), (8, 6, 4), kernel=(3, 3), padding=(1, 1), pool=2),
        convolution("depth", 0, (4, 3, 4), (4, 3, 4), kind="depthwise", kernel=(3, 3),
                    padding=(1, 1)),
        convolution("point", 1, (4, 3, 4), (4, 3, 4), second_source=0, residual_shift=2),
        convolution("down", 2, (4, 3, 4), (2, 1, 3), kernel=(2, 3), stride=(2, 1)),
        readout(3, 6, 3),
    )


class TestLayer:
    def test_sizes(self, convolutional):
        stem = convolutional.layers[0]
        assert (stem.inputs, stem.outputs, stem.neurons) == (96, 192, 48)
        assert stem.map_shape == (4, 3, 4)
        assert convolutional.map_shape(-1) == (8, 6, 2)
        assert convolutional.map_ticks(-1) == 15
        assert convolutional.map_ticks(0) == 7
        assert (convolutional.inputs, convolutional.classes) == (96, 3)

    def test_pool_drops_what_does_not_fill_a_window(self):
        assert convolution("odd", -1, (7, 5, 1), (7, 5, 1), pool=2).map_shape == (3, 2, 1)

    def test_arrays_are_copies_and_read_only(self):
        weight = np.ones((3, 2), np.int64)
        layer = dense_network([weight], None, [], [], []).layers[0]
        weight[:] = 5
        assert layer.weight.dtype == np.int8 and (layer.weight == 1).all()
        with pytest.raises(ValueError, match="read-only"):
            layer.weight[0, 0] = 3

    def test_numpy_integers_are_integers(self, convolutional):
        layer = dataclasses.replace(convolutional.layers[0], ticks=np.int64(9), spiking=np.True_)
        assert type(layer.ticks) is int and type(layer.spiking) is bool

    @pytest.mark.parametrize("bits", range(2, 9))
    def test_weights_use_all_of_their_bits(self, bits):
        limit = 1 << bits - 1
        for weights in ([[-limit], [limit - 1]], [[0], [0]]):
            assert dense_network([weights], None, [], [], [], weight_bits=bits).layers
        for weights in ([[-limit - 1], [0]], [[limit], [0]]):
            with pytest.raises(NetworkError, match=r"layer 'output': weight"):
                dense_network([weights], None, [], [], [], weight_bits=bits)

    @pytest.mark.parametrize(("layer", "change", "message"), [
        (0, {"name": "two words"}, "the name of a layer must match"),
        (0, {"name": 7}, "the name of a layer must match"),
        (0, {"kind": "lstm"}, "layer 'stem': kind must be one of dense, conv2d, depthwise"),
        (0, {"source": -2}, "layer 'stem': source must be from -1"),
        (0, {"source": 0.0}, "layer 'stem': source must be an integer"),
        (0, {"source": True}, "layer 'stem': source must be an integer"),
        (0, {"second_source": "stem"}, "layer 'stem': second_source must be an integer"),
        (0, {"residual_shift": 1}, "residual_shift must be 0 without a second_source"),
        (2, {"residual_shift": 24}, "layer 'point': residual_shift must be from 0 to 23"),
        (0, {"in_shape": (8, 6)}, "layer 'stem': in_shape must be 3 integers"),
        (0, {"in_shape": (8, 6, 0)}, "layer 'stem': in_shape must be from 1"),
        (0, {"out_shape": None}, "layer 'stem': out_shape must be 3 integers"),
        (0, {"out_shape": (7, 6, 4)}, "its height follows from .* as 8"),
        (0, {"out_shape": (8, 5, 4)}, "its width follows from .* as 6"),
        (0, {"kernel": (3,)}, "layer 'stem': kernel must be 2 integers"),
        (0, {"stride": (0, 1)}, "layer 'stem': stride must be from 1"),
        (0, {"padding": (3, 1)}, "layer 'stem': padding 3 must be less than the kernel 3"),
        (0, {"padding": (-1, 1)}, "layer 'stem': padding must be from 0"),
        (0, {"kernel": (11, 3)}, "kernel 11 is larger than the padded height 10"),
        (0, {"pool": 7}, "pool 7 is larger than the 8 x 6 map"),
        (0, {"pool": 0}, "layer 'stem': pool must be from 1"),
        (0, {"spiking": 1}, "layer 'stem': spiking must be true or false"),
        (0, {"ticks": 0}, "ticks must be from 1 to 255 in a spiking layer"),
        (0, {"ticks": 256}, "layer 'stem': ticks must be from 0 to 255"),
        (0, {"weight_bits": 1}, "layer 'stem': weight_bits must be from 2 to 8"),
        (0, {"weight_bits": 9}, "layer 'stem': weight_bits must be from 2 to 8"),
        (0, {"weight_bits": 3}, "weight has values from -8 to 7, but its weight_bits 3 allow -4"),
        (0, {"weight": np.zeros((3, 3, 2, 5), int)}, "layer 'stem': weight must have shape"),
        (0, {"weight": np.full((3, 3, 2, 4), 200)}, "from 200 to 200, which do not fit int8"),
        (0, {"weight": np.zeros((3, 3, 2, 4))}, "weight must be an array of integers, not float64"),
        (0, {"weight": [[1], [2, 3]]}, "layer 'stem': weight must be an array"),
        (0, {"bias": np.zeros(3, int)}, r"layer 'stem': bias must have shape \(4,\)"),
        (0, {"bias": np.full(4, 1 << 31)}, "layer 'stem': bias has values .* do not fit int32"),
        (0, {"multiplier": [1, 2, 0, 3]}, "layer 'stem': multiplier must be from 1 to 65535"),
        (0, {"multiplier": [1, 2, 65536, 3]}, "layer 'stem': multiplier has values"),
        (0, {"multiplier": [300]}, r"layer 'stem': multiplier must have shape \(4,\)"),
        (0, {"shift": [1, 2, 32, 3]}, "layer 'stem': shift must be from 0 to 31, not 32"),
        (0, {"shift": [1, 2, -1, 3]}, "layer 'stem': shift has values"),
        (0, {"weight_scale": float("nan")}, "layer 'stem': weight_scale must be finite"),
        (0, {"output_scale": float("inf")}, "layer 'stem': output_scale must be finite"),
        (0, {"output_scale": 0}, "layer 'stem': output_scale must be finite and greater than 0"),
        (0, {"output_scale": "1"}, "layer 'stem': output_scale must be a number"),
        (1, {"out_shape": (4, 3, 8)}, "a depthwise layer keeps its 4 channels"),
        (4, {"kernel": (3, 3)}, "layer 'output': a dense layer has kernel"),
        (4, {"in_shape": (2, 1, 3)}, r"layer 'output': in_shape of a dense layer must be \(1, 1"),
        (4, {"ticks": 3}, "layer 'output': ticks must be 0 in a layer that does not spike"),
        (4, {"multiplier": [1, 1, 1]}, r"layer 'output': multiplier must have shape \(0,\)"),
    ])
    def test_refuses(self, convolutional, layer, change, message):
        with pytest.raises(NetworkError, match=message):
            dataclasses.replace(convolutional.layers[layer], **change)

    def test_a_layer_that_does_not_spike_does_not_pool(self, convolutional):
        with pytest.raises(NetworkError, match="pool must be 1 in a layer that does not spike"):
            dataclasses.replace(
                convolutional.layers[0], spiking=False, ticks=0, multiplier=[], shift=[]
            )


class TestNetwork:
    @pytest.mark.parametrize(("change", "message"), [
        ({"input_shape": (8, 6, 3)}, r"layer 'stem': source -1 gives a map of shape \(8, 6, 3\)"),
        ({"input_shape": "8x6"}, "input_shape must be 3 integers"),
        ({"input_ticks": 0}, "input_ticks must be from 1 to 255"),
        ({"input_ticks": 14}, "input_codes has the code 15, which is more than input_ticks 14"),
        ({"input_codes": np.zeros(255, int)}, "input_codes must have 256 entries"),
        ({"input_codes": np.full(256, 256)}, "input_codes has values"),
        ({"input_scale": -1.0}, "input_scale must be finite and greater than 0"),
        ({"dataset": None}, "dataset must match"),
        ({"preset": "a\nb"}, "preset must match"),
        ({"layers": ()}, "layers must be 1 to 255, not 0"),
        ({"layers": ("stem",)}, "layers must be a sequence of Layer"),
    ])
    def test_refuses(self, convolutional, change, message):
        with pytest.raises(NetworkError, match=message):
            dataclasses.replace(convolutional, **change)

    @pytest.mark.parametrize(("layer", "change", "message"), [
        (1, {"name": "stem"}, "layer 'stem': the name is taken"),
        (1, {"source": 1}, "layer 'depth': source must be -1 .* or an earlier layer, not 1"),
        (1, {"source": 3}, "layer 'depth': source must be -1 .* or an earlier layer, not 3"),
        (2, {"second_source": 2}, "layer 'point': second_source must be -1"),
        (2, {"second_source": -1}, r"layer 'point': second_source -1 gives .* \(8, 6, 2\)"),
        (3, {"source": -1}, r"layer 'down': source -1 gives a map of shape \(8, 6, 2\)"),
        (4, {"source": 2}, r"layer 'output': source 2 gives a map of shape \(1, 1, 48\)"),
    ])
    def test_refuses_layers_that_do_not_fit_together(self, convolutional, layer, change, message):
        layers = list(convolutional.layers)
        layers[layer] = dataclasses.replace(layers[layer], **change)
        with pytest.raises(NetworkError, match=message):
            dataclasses.replace(convolutional, layers=layers)

    def test_exactly_the_last_layer_does_not_spike(self, convolutional):
        *spiking, last = convolutional.layers
        with pytest.raises(NetworkError, match="layer 'down': spiking must be false in the last"):
            dataclasses.replace(convolutional, layers=spiking)
        with pytest.raises(NetworkError, match="layer 'output': spiking must be true in every"):
            again = dataclasses.replace(last, name="again", source=3)
            dataclasses.replace(convolutional, layers=(*spiking, last, again))

    def test_too_many_layers(self, make_network):
        network = make_network()
        with pytest.raises(NetworkError, match="layers must be 1 to 255, not 256"):
            dataclasses.replace(network, layers=network.layers[:1] * 256)

    def test_a_network_error_is_bad_input(self):
        assert issubclass(NetworkError, InputError) and NetworkError.exit_code == 2

    def test_equality_is_of_content(self, make_network):
        first, same, other = make_network(seed=1), make_network(seed=1), make_network(seed=2)
        assert first == same and hash(first) == hash(same)
        assert first != other and first != "network"

    @pytest.mark.parametrize("field", [
        "name", "weight_bits", "weight", "bias", "multiplier", "shift", "weight_scale",
        "output_scale", "ticks",
    ])
    def test_sha256_covers_every_field_of_a_layer(self, make_network, field):
        network = make_network()
        layer = network.layers[0]
        value = getattr(layer, field)
        if isinstance(value, np.ndarray):
            changed = value.copy()
            changed.flat[0] ^= 1
        else:
            changed = value + ("x" if field == "name" else 1)
        layers = (dataclasses.replace(layer, **{field: changed}), *network.layers[1:])
        assert dataclasses.replace(network, layers=layers).sha256 != network.sha256

    @pytest.mark.parametrize("change", [
        {"dataset": "mnist"}, {"preset": "p"}, {"input_scale": 0.5}, {"input_ticks": 8},
        {"input_codes": np.zeros(256, int)}, {"input_shape": (3, 4, 1)},
    ])
    def test_sha256_covers_every_field_of_a_network(self, make_network, change):
        assert dataclasses.replace(make_network(), **change).sha256 != make_network().sha256


class TestBounds:
    def test_dense_by_hand(self):
        network = dense_network([[[3], [-2], [5]]], [[4]], [], [], [], input_ticks=7)
        assert network.bounds() == [(4 - 14, 4 + 56)]

    @given(st.data())
    @settings(max_examples=50)
    def test_dense_are_reached_and_never_passed(self, data):
        """Every input of three codes each, on small networks."""
        inputs, outputs, ticks = (data.draw(st.integers(1, high)) for high in (4, 3, 3))
        weight = np.array(data.draw(st.lists(
            st.lists(st.integers(-8, 7), min_size=outputs, max_size=outputs),
            min_size=inputs, max_size=inputs,
        )))
        bias = np.array(data.draw(
            st.lists(st.integers(-100, 100), min_size=outputs, max_size=outputs)
        ))
        network = dense_network([weight], [bias], [], [], [], input_ticks=ticks)
        codes = np.array(list(itertools.product(range(ticks + 1), repeat=inputs)))
        membranes = bias + codes @ weight
        assert network.bounds() == [(membranes.min(), membranes.max())]

    def test_convolutions_by_walking_over_every_neuron(self, convolutional):
        for index, (layer, bound) in enumerate(
            zip(convolutional.layers, convolutional.bounds(), strict=True)
        ):
            assert bound == walk(convolutional, layer), f"layer {index}"

    def test_a_neuron_at_the_border_can_be_the_extreme(self):
        """All windows are partial here, so no neuron sees every tap."""
        layer = convolution("wide", -1, (3, 3, 1), (3, 3, 2), kernel=(5, 5), padding=(2, 2))
        network = network_of(layer, readout(0, 18, 2), input_shape=(3, 3, 1))
        assert network.bounds()[0] == walk(network, layer)
        every_tap = layer.bias + 15 * np.maximum(layer.weight, 0).astype(int).sum(axis=(0, 1, 2))
        assert network.bounds()[0][1] < every_tap.max()


def walk(network, layer):
    """The bound of one layer, each neuron and each tap by itself."""
    weight = layer.weight[None, None] if layer.kind == "dense" else layer.weight
    ticks = network.map_ticks(layer.source)
    height, width, inputs = layer.in_shape
    lows, highs = [], []
    for row, column, channel in np.ndindex(*layer.out_shape):
        low = high = int(layer.bias[channel])
        for tap_row, tap_column in np.ndindex(*layer.kernel):
            y = row * layer.stride[0] - layer.padding[0] + tap_row
            x = column * layer.stride[1] - layer.padding[1] + tap_column
            if not (0 <= y < height and 0 <= x < width):
                continue
            for source in range(inputs):
                if layer.kind != "depthwise":
                    product = int(weight[tap_row, tap_column, source, channel]) * ticks
                elif source == channel:
                    product = int(weight[tap_row, tap_column, channel, 0]) * ticks
                else:
                    continue
                low, high = low + min(product, 0), high + max(product, 0)
        if layer.second_source is not None:
            high += network.map_ticks(layer.second_source) << layer.residual_shift
        lows.append(low)
        highs.append(high)
    return min(lows), max(highs)


class TestDenseNetwork:
    def test_defaults(self):
        network = dense_network([[[1, -4], [0, 3]], [[7], [-9]]], None, [3], [2], 7)
        hidden, output = network.layers
        assert (hidden.name, hidden.source, hidden.ticks) == ("hidden1", -1, 7)
        assert (output.name, output.source, output.ticks) == ("output", 0, 0)
        assert hidden.spiking and not output.spiking
        assert (hidden.weight_bits, output.weight_bits) == (3, 5)
        assert (hidden.multiplier == 3).all() and (hidden.shift == 2).all()
        assert not hidden.bias.any() and hidden.weight.tolist() == [[1, -4], [0, 3]]
        assert (network.input_shape, network.input_ticks) == ((1, 1, 2), 7)
        assert (network.input_codes == linear_codes(7)).all()
        # An output step is 2^s / m membrane steps, each worth input scale x weight scale.
        assert network.input_scale == 1 / 7
        assert hidden.output_scale == pytest.approx(1 / 7 * 4 / 3)
        assert output.output_scale == pytest.approx(1 / 7 * 4 / 3)

    def test_only_a_readout(self):
        network = dense_network([np.ones((4, 2), int)], [[1, 2]], [], [], [])
        assert (network.input_ticks, network.classes) == (15, 2)

    def test_everything_said(self):
        codes = np.minimum(np.arange(256), 31)
        network = dense_network(
            [np.ones((4, 2), int), np.ones((2, 3), int)], [[1, 2], [3, 4, 5]], [[7, 8]], [[0, 31]],
            [255], weight_bits=6, input_shape=(2, 2, 1), input_ticks=31, input_codes=codes,
            input_scale=0.5, weight_scales=[2.0, 4.0], dataset="digits", preset="mine",
        )
        hidden, output = network.layers
        assert hidden.multiplier.tolist() == [7, 8] and hidden.shift.tolist() == [0, 31]
        assert hidden.bias.tolist() == [1, 2] and output.bias.tolist() == [3, 4, 5]
        assert (hidden.ticks, hidden.weight_bits, output.weight_scale) == (255, 6, 4.0)
        assert (network.input_shape, network.input_ticks) == ((2, 2, 1), 31)
        assert (network.dataset, network.preset) == ("digits", "mine")
        assert network.input_codes.tolist() == codes.tolist()

    @pytest.mark.parametrize(("change", "message"), [
        ({"weights": []}, "at least one layer"),
        ({"weights": [[[1, 2], [3]], [[1], [1]]]}, "layer 'hidden1': weight must be an array"),
        ({"weights": [[1, 2], [[1], [1]]]}, r"layer 'hidden1': weight must be \[inputs, outputs\]"),
        ({"weights": [np.ones((2, 3), int), [[1], [1]]]}, "layer 'output': source 0 gives a map"),
        ({"weights": [np.ones((2, 0), int), [[1], [1]]]}, r"\[inputs, outputs\], not \(2, 0\)"),
        ({"weights": [[[0.5, 1], [1, 1]], [[1], [1]]]}, "array of integers, not float64"),
        ({"biases": [[0, 0]]}, "biases has 1 entries, but 2 layers need 2"),
        ({"multipliers": []}, "multipliers has 0 entries, but 2 layers need 1"),
        ({"multipliers": [[1, 2, 3]]}, "layer 'hidden1': multiplier must be one integer or 2"),
        ({"multipliers": [0]}, "layer 'hidden1': multiplier must be from 1 to 65535"),
        ({"multipliers": ["m"]}, "layer 'hidden1': multiplier must be an array of integers"),
        ({"shifts": [32]}, "layer 'hidden1': shift must be from 0 to 31"),
        ({"ticks": 0}, "input_ticks must be from 1 to 255"),
        ({"ticks": [3, 3]}, "ticks has 2 entries, but 2 layers need 1"),
        ({"ticks": 7.5}, "input_ticks must be an integer"),
        ({"weight_scales": [1.0]}, "weight_scales has 1 entries"),
        ({"weight_scales": [1.0, float("nan")]}, "layer 'output': weight_scale must be finite"),
        ({"input_codes": [1, 2]}, "input_codes must have 256 entries"),
        ({"input_shape": (2, 2, 1)}, "layer 'hidden1': source -1 gives a map of shape"),
    ])
    def test_refuses(self, change, message):
        good = {
            "weights": [[[1, 2], [3, 4]], [[1], [1]]], "biases": None, "multipliers": [1],
            "shifts": [1], "ticks": 7,
        }
        with pytest.raises(NetworkError, match=message):
            dense_network(**{**good, **change})


class TestLinearCodes:
    @pytest.mark.parametrize("ticks", [1, 2, 15, 254, 255])
    def test_bytes_follow_the_integer_rule(self, ticks):
        assert linear_codes(ticks).tolist() == [(p * ticks + 127) // 255 for p in range(256)]

    @pytest.mark.parametrize("ticks", [1, 15, 255])
    def test_small_maximum_rounds_half_up_and_saturates(self, ticks):
        codes = linear_codes(ticks, maximum=16)
        assert codes.tolist() == [min(ticks, (p * ticks + 8) // 16) for p in range(256)]
