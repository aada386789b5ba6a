# SPDX-License-Identifier: Apache-2.0
"""Real spike times against the float ReLU network on one side and the integers on the other."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.networks import networks, random_images
from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.research.continuous import ContinuousLayer, ContinuousNetwork, integrate, matrix


def float_network(sizes, seed, *, windows=None):
    """Random real layers; windows that no activation can leave unless others are given."""
    generator = np.random.default_rng(seed)
    layers, reach = [], 1.0
    for index in range(len(sizes) - 1):
        weight = generator.normal(0, 1.5 / np.sqrt(sizes[index]), sizes[index:index + 2])
        bias = generator.normal(0, 0.3, sizes[index + 1])
        # The largest activation of a layer whose inputs reach at most so far.
        reach = max(float((np.maximum(weight, 0).sum(axis=0) * reach + bias).max()), 0.1)
        if index < len(sizes) - 2:
            reach = windows[index] if windows else reach
            layers.append(ContinuousLayer(weight, bias, reach))
    return ContinuousNetwork([*layers, ContinuousLayer(weight, bias, None)])


def relu_network(network, inputs):
    """Activations and logits of the same layers as a ReLU network, clipped at the windows."""
    activations = []
    for layer in network.layers:
        membrane = (inputs @ layer.weight + layer.bias) / layer.slope
        if layer.window is not None:
            inputs = np.clip(membrane, 0, layer.window)
            activations.append(inputs)
    return activations, membrane


class TestMembrane:
    def test_by_hand(self):
        """Slope 2 from 1, slope -1 from 2, until 4: 2 - 2 = 0. The silent input adds nothing."""
        times = np.array([[2.0, 1.0, 4.0]])
        weight = np.array([[-3.0], [2.0], [100.0]])
        assert integrate(times, weight, 0.0, 4.0).tolist() == [[0.0]]
        assert integrate(times, weight, 0.0, 4.0, drift=0.5).tolist() == [[2.0]]

    def test_no_spikes(self):
        assert integrate(np.full((2, 3), 1.0), np.ones((3, 4)), 0.0, 1.0).tolist() == [[0] * 4] * 2

    def test_nothing_fires_on_a_partial_sum(self):
        """The membrane passes the threshold long before the inhibition comes, and must not fire."""
        layer = ContinuousLayer(np.array([[4.0], [-9.0]]), np.array([0.0]), 1.0)
        network = ContinuousNetwork([layer, ContinuousLayer(np.eye(1), np.zeros(1), None)])
        trace = network.run([[1.0, 0.5]])
        half_way = integrate(np.array([[0.0, 0.5]]), layer.weight, 0.0, 0.5)
        assert half_way.item() == 2.0 > layer.window
        assert trace.spike_times[0].item() == trace.windows[0][1]
        assert trace.early == (0,)


class TestReluNetwork:
    @given(
        sizes=st.lists(st.integers(1, 30), min_size=2, max_size=6), seed=st.integers(0, 10_000),
        density=st.floats(0, 1),
    )
    @settings(max_examples=80)
    def test_equal_to_rounding(self, sizes, seed, density):
        network = float_network(sizes, seed)
        generator = np.random.default_rng(seed)
        inputs = generator.random((6, sizes[0])) * (generator.random((6, sizes[0])) < density)
        trace = network.run(inputs)
        activations, logits = relu_network(network, inputs)
        # Spike times are as large as the time axis is long, so that is what rounding scales with.
        end = trace.windows[-1][1] if trace.windows else 1.0
        weights = max(1.0, *(np.abs(layer.weight).sum(axis=0).max() for layer in network.layers))
        tolerance = 1e-14 * (1 + end) * weights ** len(network.layers)
        for layer, expected in enumerate(activations):
            assert np.abs(trace.activations(layer) - expected).max() <= tolerance
        assert np.abs(trace.logits - logits).max() <= tolerance

    def test_mnist_size(self):
        network = float_network((784, 128, 10), 0)
        generator = np.random.default_rng(0)
        inputs = generator.random((50, 784)) * (generator.random((50, 784)) < 0.19)
        trace = network.run(inputs)
        (hidden,), logits = relu_network(network, inputs)
        assert np.abs(trace.activations(0) - hidden).max() < 1e-12
        assert np.abs(trace.logits - logits).max() < 1e-12
        assert 0.2 < (hidden > 0).mean() < 0.8
        assert trace.early == (0,)

    def test_windows_tile_the_time_axis(self):
        network = float_network((5, 4, 3, 2), 1, windows=[2.0, 3.0])
        trace = network.run(np.ones((2, 5)))
        assert trace.windows == ((1.0, 3.0), (3.0, 6.0))
        for times, (start, end) in zip(trace.spike_times, trace.windows, strict=True):
            assert (times >= start).all() and (times <= end).all()

    @given(seed=st.integers(0, 1000), windows=st.tuples(*[st.floats(0.05, 2.0)] * 2))
    @settings(max_examples=40)
    def test_short_windows_clip_and_never_break_causality(self, seed, windows):
        network = float_network((12, 10, 8, 4), seed, windows=windows)
        inputs = np.random.default_rng(seed).random((20, 12))
        trace = network.run(inputs)
        activations, logits = relu_network(network, inputs)
        for layer, expected in enumerate(activations):
            assert np.allclose(trace.activations(layer), expected, rtol=0, atol=1e-12)
            assert (trace.spike_times[layer] >= trace.windows[layer][0]).all()
            # No activation is the window by chance, so all that are were clipped, and counted.
            assert trace.early[layer] == (expected == windows[layer]).sum()
        assert np.allclose(trace.logits, logits, rtol=0, atol=1e-12)

    def test_short_windows_happen(self):
        network = float_network((12, 10, 4), 3, windows=[0.05])
        assert network.run(np.random.default_rng(0).random((20, 12))).early[0] > 10


class TestIntegerNetwork:
    """Two statements about a ``Network`` and its real form, for which its scales stand.

    One layer, from the same input spikes: the code is the activation in steps, rounded to nearest.
    Many layers, from the same image: the difference is at most half a step of each layer, carried
    on by the weights - and so it vanishes as T grows.
    """

    @staticmethod
    def single(network, index):
        """Layer ``index`` alone, as a network that shows its spikes."""
        layer = dataclasses.replace(network.layers[index], source=-1)
        count = layer.outputs
        readout = dense_network([np.eye(count, dtype=int)], None, [], [], []).layers[0]
        return dataclasses.replace(
            network, input_shape=layer.in_shape, input_ticks=network.map_ticks(index - 1),
            input_codes=np.zeros(256, int),
            input_scale=network.layers[index - 1].output_scale if index else network.input_scale,
            layers=(layer, dataclasses.replace(readout, source=0)),
        )

    @given(
        seed=st.integers(0, 1000), ticks=st.sampled_from([1, 2, 7, 15, 255]),
        per_channel=st.booleans(),
    )
    @settings(max_examples=40)
    def test_codes_are_the_nearest_step(self, make_network, make_images, seed, ticks, per_channel):
        network = make_network((20, 12, 9, 4), ticks=ticks, per_channel=per_channel, seed=seed)
        trace = golden.run(network, make_images(network, 10, seed=seed))
        sources = (trace.input_codes, *trace.codes)
        for index, layer in enumerate(network.layers[:-1]):
            alone = self.single(network, index)
            real = ContinuousNetwork.from_network(alone).run(sources[index] * alone.input_scale)
            steps = real.activations(0) / layer.output_scale
            assert np.abs(steps - trace.codes[index]).max() <= 0.5 + 1e-9

    def test_ties_take_the_earlier_tick(self):
        """Scales that are powers of two keep every float exact, so ties are exact too."""
        generator = np.random.default_rng(0)
        network = dense_network(
            [generator.integers(-8, 8, (10, 20)), np.ones((20, 2), int)], None, [1], [4], 15,
            input_scale=1 / 16, weight_scales=[1 / 8, 1.0],
        )
        codes = generator.integers(0, 16, (200, 10)).astype(np.uint8)
        trace = golden.run(network, codes, encoded=True)
        real = ContinuousNetwork.from_network(network).run(codes / 16)
        steps = real.activations(0) / network.layers[0].output_scale
        assert (steps % 1 == 0.5).sum() > 100
        assert np.array_equal(np.floor(steps + 0.5), trace.codes[0])

    @staticmethod
    def bounds(real, network):
        """How far each spiking layer and the logits can be from the real network's."""
        error, bounds = 0.0, []
        for layer, integers in zip(real.layers, network.layers, strict=True):
            error = (np.abs(layer.weight).sum(axis=0) * error / layer.slope).max()
            if integers.spiking:
                error += integers.output_scale / 2
            bounds.append(error)
        return bounds

    @given(seed=st.integers(0, 1000), ticks=st.sampled_from([1, 3, 15, 255]),
           per_channel=st.booleans())
    @settings(max_examples=40)
    def test_half_steps_add_up(self, make_network, make_images, seed, ticks, per_channel):
        network = make_network((16, 10, 8, 6, 3), ticks=ticks, per_channel=per_channel, seed=seed)
        trace = golden.run(network, make_images(network, 10, seed=seed))
        real = ContinuousNetwork.from_network(network)
        self.check(real, network, trace)

    def check(self, real, network, trace):
        """Assert the bound in every layer, and return the largest error of the last codes."""
        simulated = real.run(trace.input_codes * network.input_scale)
        *bounds, logit_bound = self.bounds(real, network)
        for index, (codes, bound) in enumerate(zip(trace.codes, bounds, strict=True)):
            scale = network.layers[index].output_scale
            error = np.abs(simulated.activations(index) - codes * scale).max()
            assert error <= bound * (1 + 1e-9)
        logits = trace.logits * network.layers[-1].output_scale
        assert np.abs(simulated.logits - logits).max() <= logit_bound * (1 + 1e-9) + 1e-9
        return error

    def test_finer_ticks_converge_to_real_spike_times(self):
        """The same real network with 1 to 255 ticks in the same windows."""
        generator = np.random.default_rng(7)
        weights = [generator.integers(-8, 8, shape) for shape in ((15, 12), (12, 10), (10, 4))]
        biases = [generator.integers(-3, 4, weight.shape[1]) for weight in weights]
        codes = generator.integers(0, 16, (100, 15)).astype(np.uint8)
        errors, spikes = {}, []
        for ticks in (1, 3, 15, 51, 255):
            # Windows of 16 and 8; biases count in source steps, which shrink as T grows.
            network = dense_network(
                weights,
                [biases[0] * 15, biases[1] * ticks, biases[2] * ticks],
                [ticks, 1], [8, 1], ticks, input_ticks=15, input_scale=1 / 16,
                weight_scales=[1.0, 1 / 4, 1 / 4],
            )
            assert [layer.output_scale * layer.ticks for layer in network.layers[:2]] \
                == pytest.approx([16, 8])
            trace = golden.run(network, codes, encoded=True)
            real = ContinuousNetwork.from_network(network)
            errors[ticks] = self.check(real, network, trace)
            spikes.append(real.run(codes / 16).spike_times)
        for layers in spikes:
            for layer, first in zip(layers, spikes[0], strict=True):
                assert np.allclose(layer, first, rtol=0, atol=1e-12)
        # With 1 tick and with 3, some neuron is wrong by the whole window.
        assert errors[1] >= errors[3] > errors[15] > errors[51] > errors[255] > 0
        assert errors[255] < errors[3] / 40


def scaled(network):
    """``network`` with scales for which each layer's window is what its slopes make of it."""
    scales, layers = {-1: 1 / network.input_ticks}, []
    for index, layer in enumerate(network.layers):
        step = scales[layer.source] / 8
        if layer.spiking:
            step *= float(np.mean(2.0 ** layer.shift / layer.multiplier))
        scales[index] = step
        layers.append(dataclasses.replace(layer, weight_scale=1 / 8, output_scale=step))
    return dataclasses.replace(network, layers=tuple(layers), input_scale=scales[-1])


class TestEveryKindOfLayer:
    """Convolutions, pools, residuals and layers that read any earlier map."""

    @given(network=networks(max_size=6, max_channels=5, max_neurons=150), seed=st.integers(0, 999))
    @settings(max_examples=60)
    def test_codes_are_the_nearest_step(self, network, seed):
        """Layer by layer: the real neurons are given the codes that the integer ones were given."""
        network = scaled(network)
        trace = golden.run(network, random_images(np.random.default_rng(seed), network, 3))
        real = ContinuousNetwork.from_network(network)
        codes = {-1: trace.input_codes, **dict(enumerate(trace.codes))}
        start, maps = 0.0, [None] * (len(network.layers) + 1)
        for index in range(-1, len(network.layers) - 1):
            # Times in the window of each map, were its activations those of the codes.
            layer = network.layers[index] if index >= 0 else None
            scale = layer.output_scale if layer else network.input_scale
            end = start + network.map_ticks(index) * scale
            maps[index] = (end - codes[index] * scale, start, end)
            start = end
        for index, (layer, integers) in enumerate(zip(real.layers, network.layers, strict=True)):
            membrane = real._gather(index, maps, drift=layer.window is None)
            if layer.window is None:
                logits = trace.logits * integers.output_scale
                assert np.allclose(membrane, logits, rtol=1e-9, atol=1e-9 * maps[-1][2])
                continue
            values = np.clip((membrane + layer.bias) / layer.slope, 0, layer.window)
            if layer.pools is not None:
                values = values[:, layer.pools].max(axis=2)
            steps = values / integers.output_scale
            assert np.abs(steps - trace.codes[index]).max() <= 0.5 + 1e-6

    @given(network=networks(max_size=6, max_channels=5, max_neurons=150, ticks=15),
           seed=st.integers(0, 999))
    @settings(max_examples=40)
    def test_simulated_network_is_the_clipped_relu_network(self, network, seed):
        """The whole, in spike times, against activations in closed form."""
        network = scaled(network)
        real = ContinuousNetwork.from_network(network)
        pixels = random_images(np.random.default_rng(seed), network, 3)
        inputs = network.input_codes[pixels] * network.input_scale
        trace = real.run(inputs)
        maps = {-1: inputs}
        for index, layer in enumerate(real.layers):
            membrane = maps[layer.source] @ layer.weight + layer.bias
            if layer.residual is not None:
                membrane += maps[layer.residual[0]] * layer.residual[1]
            if layer.window is None:
                break
            values = np.clip(membrane / layer.slope, 0, layer.window)
            if layer.pools is not None:
                values = values[:, layer.pools].max(axis=2)
            maps[index] = values
            span = trace.windows[-1][1]
            assert np.allclose(trace.activations(index), values, rtol=0, atol=1e-9 * span)
        assert np.allclose(trace.logits, membrane, rtol=1e-9, atol=1e-9 * (1 + abs(membrane).max()))

    @given(network=networks(max_size=6, max_channels=5, max_neurons=150, kinds=("conv2d",)))
    @settings(max_examples=30)
    def test_matrix_has_each_weight_where_it_acts(self, network):
        """One bright input at a time, through the first layer alone."""
        layer = network.layers[0]
        alone = dataclasses.replace(
            network, layers=(dataclasses.replace(
                layer, spiking=False, ticks=0, pool=1, multiplier=np.zeros(0, int),
                shift=np.zeros(0, int), bias=np.zeros(layer.out_shape[2], int), second_source=None,
                residual_shift=0,
            ),),
        )
        inputs = np.eye(layer.inputs, dtype=np.uint8)
        assert np.array_equal(golden.run(alone, inputs, encoded=True).logits, matrix(layer))


class TestRefuses:
    def test_read_out_must_be_last_and_only(self):
        spiking = ContinuousLayer(np.eye(2), np.zeros(2), 1.0)
        readout = ContinuousLayer(np.eye(2), np.zeros(2), None)
        for layers in ([], [spiking], [readout, spiking], [readout, readout]):
            with pytest.raises(ValueError, match="layers must end with the only layer without"):
                ContinuousNetwork(layers)

    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
    def test_inputs_outside_their_window(self, value):
        with pytest.raises(ValueError, match=r"inputs must be from 0 to 1\.0"):
            float_network((2, 2), 0).run([[0.5, value]])
