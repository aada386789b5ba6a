"""Quantisation-aware layers: the forward pass is the golden model, code for code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw import datasets, golden, quantise
from ttfs_sw.errors import InputError
from ttfs_sw.network import linear_codes
from ttfs_sw.qat import Fire, QuantisedLinear, QuantisedNetwork, ReluNetwork


def build(sizes, bits, ticks, seed=0, spread=2.0):
    """A quantised network with random weights, biases and windows, so that every case occurs."""
    generator = torch.Generator().manual_seed(seed)
    model = QuantisedNetwork(sizes, bits, ticks)
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.normal_(0, 1, generator=generator)
            layer.bias.normal_(0, spread, generator=generator)
            layer.log_scale.uniform_(-3, 1, generator=generator)
        for fire in model.fires:
            fire.log_scale.uniform_(-3, 3, generator=generator)
    return model


def export(model, sizes, ticks, maximum=255):
    return quantise.dense(
        model.integers(), input_shape=(1, 1, sizes[0]), input_ticks=ticks[0],
        input_codes=quantise.code_table(ticks[0], maximum), input_scale=1 / ticks[0],
    )


def check_equal(model, network, pixels):
    """Compare every code of every neuron, and the order of all logits, with the golden model."""
    trace = golden.run(network, pixels, backend="numpy")
    with torch.no_grad():
        activity = model(torch.from_numpy(trace.input_codes).float())
    for found, expected in zip(activity.codes, trace.codes, strict=True):
        assert (found.numpy() == expected).all()
    unit = network.layers[-1].output_scale
    assert (np.rint(activity.logits.double().numpy() / unit) == trace.logits).all()
    assert (activity.logits.argmax(dim=1).numpy() == trace.winners).all()
    return trace


layers = st.integers(0, 2).flatmap(
    lambda hidden: st.tuples(
        st.lists(st.integers(1, 12), min_size=hidden + 2, max_size=hidden + 2),
        st.lists(st.integers(2, 8), min_size=hidden + 1, max_size=hidden + 1),
        st.lists(st.sampled_from([1, 2, 3, 7, 15, 100, 255]), min_size=hidden + 1,
                 max_size=hidden + 1),
    )
)


@given(layers, st.integers(0, 10**6))
def test_forward_is_the_golden_model(shape, seed):
    sizes, bits, ticks = shape
    model = build(sizes, bits, ticks, seed)
    network = export(model, sizes, ticks)
    pixels = np.random.default_rng(seed).integers(0, 256, (50, sizes[0]), np.uint8)
    check_equal(model, network, pixels)
    for layer, declared in zip(network.layers, bits, strict=True):
        assert abs(layer.weight.astype(int)).max() < 1 << (declared - 1)


def test_wide_layers_leave_float32():
    # 784 x 255 x 127 is more than 2^24: float32 would round such a sum.
    sizes, bits, ticks = (784, 3, 4), (8, 8), (255, 255)
    model = build(sizes, bits, ticks)
    with torch.no_grad():
        model.layers[0].weight.fill_(10.0)
        # Weights 127, 127 and 126 alternate between neurons, so that sums differ in the last bit.
        model.layers[0].weight[1, 0] = 0.0
        model.layers[0].log_scale.fill_(math.log(10 / 127))
        model.fires[0].log_scale.fill_(math.log(784 * 10 * 2 / 255))
    network = export(model, sizes, ticks)
    assert network.bounds()[0][1] > 1 << 24
    pixels = np.full((20, 784), 255, np.uint8)
    pixels[np.arange(20), np.arange(20)] = np.arange(20)
    check_equal(model, network, pixels)
    assert model.layers[0].dtype == torch.float64
    assert model.layers[1].dtype == torch.float32


def test_digits_codes():
    digits = datasets.load("digits")
    relu = ReluNetwork((64, 40, 20, 10), torch.Generator().manual_seed(0))
    model = QuantisedNetwork((64, 40, 20, 10), (4, 3, 4), (15, 15, 7))
    table = torch.from_numpy(quantise.code_table(15, 16)).float()
    model.start_from(relu, table[torch.from_numpy(digits.x_train).int()])
    network = export(model, (64,), (15,), 16)
    pixels = np.concatenate([digits.x_train, digits.x_test])
    trace = check_equal(model, network, pixels)
    # Not an easy case: neurons fire at every tick of the window, and some are silent.
    assert set(np.unique(trace.codes[0])) == set(range(16))


@pytest.mark.mnist
def test_mnist_codes_of_10000_images():
    try:
        mnist = datasets.load("mnist")
    except InputError as error:
        pytest.skip(str(error))
    sizes, ticks = (784, 128, 10), (15, 15)
    relu = ReluNetwork(sizes, torch.Generator().manual_seed(0))
    model = QuantisedNetwork(sizes, (4, 4), ticks)
    table = torch.from_numpy(quantise.code_table(15)).float()
    model.start_from(relu, table[torch.from_numpy(mnist.x_train[:2000]).int()])
    trace = check_equal(model, export(model, sizes, ticks), mnist.x_test)
    assert len(trace.codes[0]) == 10000
    assert set(np.unique(trace.codes[0])) == set(range(16))


def test_worked_vector():
    # T = 7, w = [3, -2, 5], k = [1, 4, silent], β = 4, R = 16: V = 16, a = 1, k = 6.
    layer, fire = QuantisedLinear(3, 1, weight_bits=4, source_ticks=7), Fire(7)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, -2.0, 5.0]]))
        layer.bias.fill_(4.0)
        fire.log_scale.fill_(math.log(16))
    membrane, unit = layer(torch.tensor([[6.0, 3.0, 0.0]]), torch.tensor(1.0))
    assert membrane.item() == 16
    codes, scale = fire(membrane, unit)
    assert codes.item() == 1
    assert scale.item() == pytest.approx(16)


@given(
    st.integers(1, 255), st.floats(0.05, 50.0),
    st.lists(st.integers(-2000, 2000), min_size=1, max_size=20),
)
def test_gradients_of_firing_are_those_of_the_clipped_ramp(ticks, step, membranes):
    fire = Fire(ticks).double()
    with torch.no_grad():
        fire.log_scale.fill_(math.log(step))
    membrane = torch.tensor(membranes, dtype=torch.float64, requires_grad=True)
    codes, scale = fire(membrane, torch.tensor(1.0, dtype=torch.float64))
    (codes * scale).sum().backward()
    values, window = membrane.detach(), ticks * step
    inside = (values >= 0) & (values <= window)
    edge = (abs(values - window) < 1e-6 * window) | (values == 0)
    assert (membrane.grad[~edge] == pytest.approx(inside[~edge].double()))
    # dh/dλ, times λ = dh/dlog λ: h - z inside the window, λ above it.
    outputs = (codes * scale).detach()
    expected = torch.where(inside, outputs - values, torch.where(values > 0, window, 0.0))
    if not edge.any():
        assert fire.log_scale.grad.item() == pytest.approx(expected.sum().item(), abs=1e-6 * window)


def test_rounding_passes_gradients_straight_through():
    layer = QuantisedLinear(2, 1, weight_bits=3, source_ticks=7)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.6, 30.0]]))
        layer.bias.fill_(0.4)
    membrane, _ = layer(torch.tensor([[2.0, 5.0]]), torch.tensor(1.0))
    assert membrane.item() == 1 * 2 + 3 * 5 + 0
    membrane.sum().backward()
    # The clipped weight has no gradient, the other the code that arrives over it.
    assert layer.weight.grad.tolist() == [[2.0, 0.0]]
    assert layer.bias.grad.tolist() == [1.0]
    # d/dlog s of round(W/s) is round(W/s) - W/s through the rounding, held here at ± the limit.
    assert layer.log_scale.grad.item() == pytest.approx(2 * -0.6 + 5 * 0 - 0.4)


def test_divergence_reaches_the_logits():
    model = build((3, 4, 2), (4, 4), (7, 7))
    with torch.no_grad():
        model.fires[0].log_scale.fill_(math.nan)
    assert model(torch.ones(1, 3)).logits.isnan().all()


def test_start_from_a_relu_network_keeps_its_predictions():
    # With 8-bit weights and 255 ticks the quantised network is the ReLU network, nearly.
    digits = datasets.load("digits")
    relu = ReluNetwork((64, 50, 30, 10), torch.Generator().manual_seed(1))
    model = QuantisedNetwork((64, 50, 30, 10), (8, 8, 8), (255, 255, 255))
    pixels = torch.from_numpy(digits.x_train).float() / 16
    codes = (pixels * 255).round()
    model.start_from(relu, codes)
    with torch.no_grad():
        real, integer = relu(pixels), model(codes).logits
    assert (real.argmax(dim=1) == integer.argmax(dim=1)).double().mean() > 0.97
    # Four-bit weights miss this by far.
    assert (real - integer).square().mean() < 0.05**2 * real.square().mean()


@given(st.floats(2.0**-15, 2.0**15))
def test_slope_has_sixteen_bits(ratio):
    multiplier, shift = quantise.slope(ratio)
    assert 1 <= multiplier <= 65535
    assert 0 <= shift <= 31
    assert multiplier * 2.0**-shift == pytest.approx(ratio, rel=2.0**-16)


@given(st.floats(1e-300, 1e300))
def test_slope_always_fits_its_fields(ratio):
    multiplier, shift = quantise.slope(ratio)
    assert 1 <= multiplier <= 65535
    assert 0 <= shift <= 31


def test_slope_at_the_limits():
    assert quantise.slope(1.0) == (32768, 15)
    assert quantise.slope(0.5) == (32768, 16)
    # Just below a power of two, m would round to 2^16.
    assert quantise.slope(1 - 2.0**-20) == (32768, 15)
    assert quantise.slope(2.0**-31) == (1, 31)
    assert quantise.slope(1e-12) == (1, 31)
    assert quantise.slope(65535.0) == (65535, 0)
    assert quantise.slope(1e6) == (65535, 0)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="ratio must be positive and finite"):
            quantise.slope(bad)


@given(st.integers(1, 255), st.integers(1, 255), st.integers(0, 255))
@settings(max_examples=50)
def test_code_table(ticks, maximum, dead_zone):
    table = quantise.code_table(ticks, maximum, dead_zone)
    assert table.dtype == np.uint8
    assert not table[:dead_zone].any()
    assert (table[dead_zone:] == linear_codes(ticks, maximum)[dead_zone:]).all()


def test_code_table_is_the_integer_rule():
    pixels = np.arange(256)
    assert (quantise.code_table(15) == (pixels * 15 + 127) // 255).all()


def test_overflow_names_the_layer():
    model = build((5, 6, 3), (4, 4), (15, 15), spread=0.0)
    network = export(model, (5,), (15,))
    low, high = network.bounds()[0]
    need = max(high, -low - 1).bit_length() + 1
    assert quantise.overflow(network, 24) is None
    assert quantise.overflow(network, need - 1).startswith("layer hidden1 can reach membrane")
    assert quantise.overflow(network, need) is None or "output" in quantise.overflow(network, need)
