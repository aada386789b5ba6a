# SPDX-License-Identifier: Apache-2.0
"""The integer network in numpy and in torch: both are the contract, integer for integer."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.integer_networks import code
from tests.support.networks import networks, random_images
from tests.support.patience import PATIENCE
from ttfs_sw import golden
from ttfs_sw.artifact.network import Layer, Network, dense_network, linear_codes
from ttfs_sw.common.errors import InputError
from ttfs_sw.golden import arithmetic
from ttfs_sw.golden.torch_model import GoldenModel


def by_hand(network, codes):
    """The contract in Python integers, which never round and never overflow: all loops, no tricks.

    Maps and membranes are lists in raster order: row, column, channel.
    """
    maps, membrane = {-1: list(map(int, codes))}, []
    for index, layer in enumerate(network.layers):
        height, width, channels = layer.out_shape
        membrane = [
            potential(layer, maps, y, x, c)
            for y in range(height) for x in range(width) for c in range(channels)
        ]
        if not layer.spiking:
            break
        fired = [
            code(v, int(layer.multiplier[i % channels]), int(layer.shift[i % channels]),
                 layer.ticks)
            for i, v in enumerate(membrane)
        ]
        pool = range(layer.pool)
        maps[index] = [
            max(fired[((y * layer.pool + dy) * width + x * layer.pool + dx) * channels + c]
                for dy in pool for dx in pool)
            for y in range(height // layer.pool) for x in range(width // layer.pool)
            for c in range(channels)
        ]
    return [maps[index] for index in range(len(network.layers) - 1)], membrane


def potential(layer, maps, y, x, c):
    """Membrane of the neuron at row y, column x and channel c."""
    height, width, c_in = layer.in_shape
    _, out_width, channels = layer.out_shape
    source, v = maps[layer.source], int(layer.bias[c])
    if layer.kind == "dense":
        v += sum(int(layer.weight[j, c]) * a for j, a in enumerate(source))
    else:
        for ky in range(layer.kernel[0]):
            for kx in range(layer.kernel[1]):
                row = y * layer.stride[0] - layer.padding[0] + ky
                column = x * layer.stride[1] - layer.padding[1] + kx
                if 0 <= row < height and 0 <= column < width:
                    for j in range(c_in) if layer.kind == "conv2d" else (c,):
                        weight = layer.weight[ky, kx, j, c if layer.kind == "conv2d" else 0]
                        v += int(weight) * source[(row * width + column) * c_in + j]
    if layer.second_source is not None:
        v += maps[layer.second_source][(y * out_width + x) * channels + c] << layer.residual_shift
    return v


dense_networks = given(
    sizes=st.lists(st.integers(1, 24), min_size=2, max_size=5),
    ticks=st.sampled_from([1, 2, 3, 7, 15, 100, 255]),
    input_ticks=st.sampled_from([1, 7, 15, 255]),
    weight_bits=st.integers(2, 8),
    per_channel=st.booleans(),
    seed=st.integers(0, 1000),
)


class TestForward:
    @dense_networks
    @settings(max_examples=60)
    def test_both_backends_compute_the_contract(
        self, make_network, make_images, sizes, ticks, input_ticks, weight_bits, per_channel, seed
    ):
        network = make_network(
            sizes, ticks=ticks, input_ticks=input_ticks, weight_bits=weight_bits,
            per_channel=per_channel, seed=seed,
        )
        pixels = make_images(network, 5, seed=seed)
        traces = [golden.run(network, pixels, backend=name) for name in ("numpy", "torch")]
        for image, input_codes in enumerate(traces[0].input_codes):
            expected, logits = by_hand(network, input_codes)
            for trace in traces:
                assert [codes[image].tolist() for codes in trace.codes] == expected
                assert trace.logits[image].tolist() == logits
        assert_same(*traces)

    @given(
        network=networks(max_size=7, max_channels=9, weight_bits=None), seed=st.integers(0, 1000)
    )
    @settings(max_examples=150)
    def test_every_kind_of_layer(self, network, seed):
        pixels = random_images(np.random.default_rng(seed), network, 2)
        traces = [golden.run(network, pixels, backend=name) for name in ("numpy", "torch")]
        assert_same(*traces)
        for image, input_codes in enumerate(traces[0].input_codes):
            expected, logits = by_hand(network, input_codes)
            assert [codes[image].tolist() for codes in traces[0].codes] == expected
            assert traces[0].logits[image].tolist() == logits

    @given(network=networks(max_layers=6), seed=st.integers(0, 1000))
    @settings(max_examples=60)
    def test_backends_agree_on_larger_maps(self, network, seed):
        pixels = random_images(np.random.default_rng(seed), network, 4)
        trace = golden.run(network, pixels, backend="numpy", batch=3)
        assert_same(trace, golden.run(network, pixels, backend="torch"))

    @given(network=networks(max_layers=6), seed=st.integers(0, 1000))
    @settings(max_examples=60)
    def test_potentials_stay_within_the_bounds(self, network, seed):
        pixels = random_images(np.random.default_rng(seed), network, 10)
        low, high = network.bounds()[-1]
        logits = golden.run(network, pixels, backend="numpy").logits
        assert low <= logits.min() <= logits.max() <= high

    def test_windows_are_gathered_in_parts(self, monkeypatch):
        """A map too large for one matrix of windows: parts of one image, of two, and a rest."""
        rng = np.random.default_rng(0)
        network = one_layer(
            "conv2d", (9, 8, 3), (9, 8, 4), kernel=(3, 3), padding=(1, 1),
            weight=rng.integers(-8, 8, (3, 3, 3, 4)),
        )
        pixels = random_images(rng, network, 5)
        expected = golden.run(network, pixels, backend="numpy")
        for images in (1, 2, 6):
            monkeypatch.setattr(arithmetic, "WINDOW_ELEMENTS", images * 9 * 8 * 27)
            assert len(arithmetic.chunks(network.layers[0], 7)) == -(-7 // images)
            for backend in ("numpy", "torch"):
                assert_same(golden.run(network, pixels, backend=backend), expected)

    @pytest.mark.parametrize("weight", [-128, 127])
    @pytest.mark.parametrize(("channels", "float_type"), [(20, np.float32), (22, np.float64)])
    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    def test_convolution_around_the_limit_of_float32(self, weight, channels, float_type, backend):
        """Windows of 5 x 5 with every code at 255, biases and residuals at their largest.

        A window has 500 or 550 products of about 2^15: below and above 2^24 in sum.
        """
        weights = np.full((5, 5, channels, channels), weight)
        # Odd sums, which float32 would round above 2^24.
        weights[0, 0, 0] = weight + (1 if weight < 0 else -1)
        network = one_layer(
            "conv2d", (6, 6, channels), (6, 6, channels), kernel=(5, 5), padding=(2, 2),
            weight=weights, weight_bits=8, input_ticks=255, second_source=-1, residual_shift=23,
            bias=np.resize([2**31 - 1, -(2**31)], channels),
        )
        assert golden.exact_float(network.layers[0], 255) is float_type
        pixels = np.full((1, network.inputs), 255, np.uint8)
        trace = golden.run(network, pixels, backend=backend)
        assert trace.logits[0].tolist() == by_hand(network, trace.input_codes[0])[1]
        assert abs(trace.logits).max() > 1 << 31

    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    def test_potentials_far_beyond_the_window(self, backend):
        """V of 2^38 times m would leave float64: 2^31 + 255 << 23, through the steepest slope."""
        layer = dataclasses.replace(
            one_layer("conv2d", (2, 2, 1), (2, 2, 1), weight=np.full((1, 1, 1, 1), 127),
                      weight_bits=8, input_ticks=255, second_source=-1, residual_shift=23,
                      bias=[2**31 - 1]).layers[0],
            spiking=True, ticks=255, multiplier=np.array([65535]), shift=np.array([31]), name="one",
        )
        last = one_layer("conv2d", (2, 2, 1), (2, 2, 1), weight=np.ones((1, 1, 1, 1), int)).layers
        network = Network(
            input_shape=(2, 2, 1), input_ticks=255, input_codes=np.arange(256), input_scale=1.0,
            layers=(layer, dataclasses.replace(last[0], source=0)),
        )
        codes = np.array([[0, 1, 128, 255]], np.uint8)
        trace = golden.run(network, codes, encoded=True, backend=backend)
        assert trace.codes[0][0].tolist() == by_hand(network, codes[0])[0][0]

    @pytest.mark.parametrize("weight", [-128, 127])
    @pytest.mark.parametrize("inputs", [500, 514, 600, 40_000])
    def test_extremes_around_the_limit_of_float32(self, inputs, weight):
        """All inputs at 255, all weights at an end: sums on both sides of 2^24."""
        network = dense_network(
            [np.full((inputs, 3), weight), np.full((3, 2), weight)],
            [[2**31 - 1, -(2**31), 1], [1, -1]], [[65535, 1, 777]], [[31, 0, 15]], 255,
            input_ticks=255, weight_bits=8,
        )
        pixels = np.full((2, inputs), 255, np.uint8)
        pixels[1, ::2] = 254
        for backend in ("numpy", "torch"):
            trace = golden.run(network, pixels, backend=backend)
            for image in range(2):
                expected, logits = by_hand(network, trace.input_codes[image])
                assert trace.codes[0][image].tolist() == expected[0]
                assert trace.logits[image].tolist() == logits

    def test_floats_are_as_narrow_as_is_exact(self):
        def reach(inputs, weight):
            network = dense_network([[[weight]] * inputs], None, [], [], [], weight_bits=8)
            return golden.exact_float(network.layers[0], 255)

        # 255 x 128 x 514 is just below 2^24, and 515 just above.
        assert reach(514, -128) is np.float32
        assert reach(515, -128) is np.float64
        assert reach(518, 127) is np.float32
        assert reach(519, 127) is np.float64

    def test_float32_would_round_where_float64_is_chosen(self):
        """The choice matters: this sum is odd and above 2^24."""
        weight = np.full((1000, 1), 127)
        weight[0] = 126
        network = dense_network([weight], None, [], [], [], input_ticks=255)
        codes = np.full((1, 1000), 255, np.uint8)
        exact = 255 * 126 + 999 * 255 * 127
        assert exact % 2 and exact > 1 << 24
        assert (codes.astype(np.float32) @ weight.astype(np.float32)).item() != exact
        assert golden.forward(network, codes)[1].item() == exact

    def test_layers_may_read_any_earlier_layer(self, make_network, make_images):
        network = make_network((6, 5, 5, 4, 3))
        layers = list(network.layers)
        layers[2] = dataclasses.replace(layers[2], source=0)
        network = dataclasses.replace(network, layers=layers)
        pixels = make_images(network)
        for backend in ("numpy", "torch"):
            trace = golden.run(network, pixels, backend=backend)
            expected, logits = by_hand(network, trace.input_codes[3])
            assert [codes[3].tolist() for codes in trace.codes] == expected
            assert trace.logits[3].tolist() == logits

    def test_module_has_its_integers_as_buffers(self, make_network):
        model = GoldenModel(make_network((6, 5, 3)))
        assert not list(model.parameters())
        assert {name for name, _ in model.named_buffers()} >= {"layers.0.weight", "layers.1.bias"}
        codes, logits = model(torch.zeros((2, 6), dtype=torch.uint8))
        assert [each.dtype for each in (*codes, logits)] == [torch.uint8, torch.int64]


def one_layer(kind, in_shape, out_shape, *, weight, kernel=(1, 1), padding=(0, 0), weight_bits=4,
              input_ticks=15, bias=None, second_source=None, residual_shift=0):
    """A network that is one layer, which does not fire."""
    none = np.zeros(0, int)
    layer = Layer(
        name="output", kind=kind, source=-1, second_source=second_source,
        residual_shift=residual_shift, in_shape=in_shape, out_shape=out_shape, kernel=kernel,
        stride=(1, 1), padding=padding, pool=1, spiking=False, ticks=0, weight_bits=weight_bits,
        weight=weight, bias=np.zeros(out_shape[2], int) if bias is None else bias, multiplier=none,
        shift=none, weight_scale=1.0, output_scale=1.0,
    )
    return Network(
        input_shape=in_shape, input_ticks=input_ticks, input_codes=linear_codes(input_ticks),
        input_scale=1.0, layers=(layer,),
    )


def assert_same(one, other):
    """Two traces are equal in every value and every type."""
    for here, there in zip(
        (*one.codes, one.input_codes, one.logits), (*other.codes, other.input_codes, other.logits),
        strict=True,
    ):
        assert here.dtype == there.dtype and np.array_equal(here, there)
    assert one.ticks == other.ticks


class TestRun:
    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    @pytest.mark.parametrize("batch", [1, 3, 7, 100])
    def test_batches_do_not_matter(self, make_network, make_images, batch, backend):
        network = make_network((20, 9, 8, 5))
        pixels = make_images(network, 10)
        calls = []
        trace = golden.run(network, pixels, batch=batch, backend=backend,
                           progress=lambda done, total: calls.append((done, total)))
        assert_same(trace, golden.run(network, pixels))
        assert calls == [(min(end, 10), 10) for end in range(batch, 10 + batch, batch)]

    def test_pixels_go_through_the_code_table(self, make_network):
        table = np.random.default_rng(0).integers(0, 8, 256)
        network = make_network((256, 5, 3), input_codes=table)
        trace = golden.run(network, np.arange(256, dtype=np.uint8)[None])
        assert trace.input_codes[0].tolist() == table.tolist()

    def test_codes_may_come_encoded(self, make_network, make_images):
        network = make_network()
        trace = golden.run(network, make_images(network))
        assert_same(golden.run(network, trace.input_codes, encoded=True), trace)

    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    def test_no_images(self, make_network, backend):
        trace = golden.run(make_network((6, 5, 3)), np.zeros((0, 6), np.uint8), backend=backend)
        assert trace.logits.shape == (0, 3) and trace.codes[0].shape == (0, 5)
        assert trace.spikes_per_neuron == 0

    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    def test_read_only_and_strided_pixels(self, make_network, make_images, backend):
        network = make_network()
        pixels = make_images(network, 8)
        expected = golden.run(network, pixels[::2].copy(), backend=backend)
        pixels.flags.writeable = False
        assert_same(golden.run(network, pixels[::2], backend=backend), expected)

    @pytest.mark.parametrize(("pixels", "message"), [
        (np.zeros((2, 11), np.uint8), "the network reads images of 12 bytes"),
        (np.zeros(12, np.uint8), "the network reads images of 12 bytes"),
        (np.zeros((2, 12)), "these are float64"),
    ])
    def test_refuses_images(self, make_network, pixels, message):
        with pytest.raises(InputError, match=message):
            golden.run(make_network(), pixels)

    @pytest.mark.parametrize(("arguments", "message"), [
        ({"batch": 0}, "batch must be at least 1"),
        ({"backend": "jax"}, "backend must be auto, torch or numpy, not 'jax'"),
        ({"encoded": True}, "input codes must be at most 7, not 255"),
    ])
    def test_refuses_arguments(self, make_network, arguments, message):
        with pytest.raises(InputError, match=message):
            golden.run(make_network(), np.full((1, 12), 255, np.uint8), **arguments)

    def test_torch_missing(self, make_network, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(InputError, match="backend torch needs torch: pip install torch"):
            golden.run(make_network(), np.zeros((1, 12), np.uint8), backend="torch")

    def test_torch_is_not_imported_for_its_own_sake(self):
        code = (
            "import sys, numpy as np\n"
            "from ttfs_sw import golden\n"
            "from ttfs_sw.artifact.network import dense_network\n"
            "network = dense_network([[[1]]], None, [], [], [])\n"
            "golden.run(network, np.zeros((1, 1), np.uint8))\n"
            "assert 'torch' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)

    def test_threads_are_given_back(self, make_network, make_images):
        before = torch.get_num_threads()
        golden.run(make_network(), make_images(make_network()), backend="torch")
        assert torch.get_num_threads() == before


class TestTrace:
    trace = golden.Trace(
        codes=(np.array([[0, 7], [3, 0]], np.uint8), np.array([[0], [0]], np.uint8)),
        input_codes=np.array([[1, 1, 1], [0, 0, 15]], np.uint8),
        logits=np.array([[5, 5, 4], [-3, -2, -2]], np.int64),
        ticks=(7, 255),
    )

    def test_winner_is_the_lowest_among_equals(self):
        assert self.trace.winners.tolist() == [0, 1]

    def test_spike_times(self):
        times = self.trace.spike_times(0)
        assert times.dtype == np.uint8 and times.tolist() == [[7, 0], [4, 7]]
        assert self.trace.spike_times(1).tolist() == [[255], [255]]

    def test_events_and_spikes_per_neuron(self):
        assert self.trace.events.tolist() == [[3, 1, 0], [1, 1, 0]]
        assert self.trace.spikes_per_neuron == 2 / 6
