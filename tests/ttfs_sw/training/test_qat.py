# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware layers: the forward pass is the golden model, code for code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw import golden
from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets
from ttfs_sw.training import quantise, topology
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork
from ttfs_sw.training.qat import Fire, QuantisedLayer


def dense(*sizes):
    """Dense layers; the first size is the image's, the last the read-out's."""
    return topology.plan([str(size) for size in sizes[1:-1]], (1, 1, sizes[0]), sizes[-1])


def build(layers, bits, ticks, seed=0, spread=2.0, per_channel=False):
    """A quantised network with random weights, biases and windows, so that every case occurs."""
    generator = torch.Generator().manual_seed(seed)
    model = QuantisedNetwork(layers, bits, ticks, per_channel=per_channel)
    with torch.no_grad():
        for layer in model.layers:
            if layer.plan.learned:
                layer.weight.normal_(0, 1, generator=generator)
                layer.bias.normal_(0, spread, generator=generator)
            if layer.plan.second_source is not None:
                layer.residual_shift.random_(0, 9, generator=generator)
            elif layer.plan.learned:
                layer.log_scale.uniform_(-3, 1, generator=generator)
        for fire in model.fires:
            fire.log_scale.uniform_(-3, 3, generator=generator)
    return model


def export(model, ticks, maximum=255):
    return quantise.network(
        model.integers(), input_shape=model.input_shape, input_ticks=ticks[0],
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


@given(layers, st.integers(0, 10**6), st.booleans())
def test_forward_is_the_golden_model(shape, seed, per_channel):
    sizes, bits, ticks = shape
    model = build(dense(*sizes), bits, ticks, seed, per_channel=per_channel)
    network = export(model, ticks)
    pixels = np.random.default_rng(seed).integers(0, 256, (50, sizes[0]), np.uint8)
    check_equal(model, network, pixels)
    for layer, declared in zip(network.layers, bits, strict=True):
        assert abs(layer.weight.astype(int)).max() < 1 << (declared - 1)


def test_wide_layers_leave_float32():
    # 784 x 255 x 127 is more than 2^24: float32 would round such a sum.
    sizes, bits, ticks = (784, 3, 4), (8, 8), (255, 255)
    model = build(dense(*sizes), bits, ticks)
    with torch.no_grad():
        model.layers[0].weight.fill_(10.0)
        # Weights 127, 127 and 126 alternate between neurons, so that sums differ in the last bit.
        model.layers[0].weight[1, 0] = 0.0
        model.layers[0].log_scale.fill_(math.log(10 / 127))
        model.fires[0].log_scale.fill_(math.log(784 * 10 * 2 / 255))
    network = export(model, ticks)
    assert network.bounds()[0][1] > 1 << 24
    pixels = np.full((20, 784), 255, np.uint8)
    pixels[np.arange(20), np.arange(20)] = np.arange(20)
    check_equal(model, network, pixels)
    assert model.layers[0].dtype == torch.float64
    assert model.layers[1].dtype == torch.float32


def test_digits_codes():
    digits = datasets.load("digits")
    relu = ReluNetwork(dense(64, 40, 20, 10), torch.Generator().manual_seed(0))
    model = QuantisedNetwork(dense(64, 40, 20, 10), (4, 3, 4), (15, 15, 7))
    table = torch.from_numpy(quantise.code_table(15, 16)).float()
    model.start_from(relu, table[torch.from_numpy(digits.x_train).int()])
    network = export(model, (15,), 16)
    pixels = np.concatenate([digits.x_train, digits.x_test])
    trace = check_equal(model, network, pixels)
    # Not an easy case: neurons fire at every tick of the window, and some are silent.
    assert set(np.unique(trace.codes[0])) == set(range(16))


def check_trained_start(dataset, texts, bits, ticks, images):
    """Compare codes of real images, of a network as training starts from it."""
    layers = topology.plan(texts, dataset.shape, dataset.classes)
    relu = ReluNetwork(layers, torch.Generator().manual_seed(0))
    model = QuantisedNetwork(layers, bits, ticks)
    maximum = int(dataset.x_train.max())
    table = torch.from_numpy(quantise.code_table(ticks[0], maximum)).float()
    model.start_from(relu, table[torch.from_numpy(dataset.x_train[:500]).int()])
    return model, check_equal(model, export(model, ticks, maximum), images)


@pytest.fixture(scope="module")
def mnist():
    try:
        return datasets.load("mnist")
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.mnist
def test_mnist_codes_of_10000_images(mnist):
    _, trace = check_trained_start(mnist, ["128"], (4, 4), (15, 15), mnist.x_test)
    assert len(trace.codes[0]) == 10000
    assert set(np.unique(trace.codes[0])) == set(range(16))


LENET = ["8c5", "p2", "16c5", "p2", "64"]


@pytest.mark.mnist
@pytest.mark.parametrize("part", [
    slice(500), pytest.param(slice(None), marks=pytest.mark.slow),
], ids=["500", "10000"])
def test_mnist_codes_of_a_convolutional_network(mnist, part):
    model, trace = check_trained_start(mnist, LENET, (4,) * 4, (15,) * 4, mnist.x_test[part])
    assert [codes.shape[1] for codes in trace.codes] == [14 * 14 * 8, 7 * 7 * 16, 64]
    for codes in trace.codes:
        assert set(np.unique(codes)) == set(range(16))
    # Four bytes a number: exact, and twice as fast as eight.
    assert {layer.dtype for layer in model.layers} == {torch.float32}


def test_digits_codes_of_every_kind_of_layer():
    """Convolutions with stride, depthwise, both pools and residuals, with the real windows."""
    digits = datasets.load("digits")
    texts = ["6c3", "d3+1", "p2", "6c3+2", "a2", "12c2s1p1", "9c1", "20", "20+7"]
    _, trace = check_trained_start(
        digits, texts, (4, 4, 4, 3, 8, 4, 4, 4), (15, 15, 7, 15, 31, 15, 7, 15, 15), digits.x_test
    )
    assert all(codes.any() for codes in trace.codes)
    # The mean of four codes, rounded, in the average pool's own steps: not all are full.
    assert len(np.unique(trace.codes[3])) > 10


def shapes(draw):
    """A random list of layers, as they are written, that fits a small image."""
    height, width, channels = (draw(st.integers(1, high)) for high in (7, 7, 3))
    texts, maps = [], [(height, width, channels)]
    for _ in range(draw(st.integers(1, 4))):
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 2))
        text = draw(st.sampled_from([
            f"{draw(st.integers(1, 6))}c{kernel}s{stride}p{draw(st.integers(0, kernel - 1))}",
            f"{draw(st.integers(1, 6))}c3", f"d{kernel}", "d3", f"a{draw(st.integers(1, 3))}",
            str(draw(st.integers(1, 9))),
        ]))
        pool = [f"p{draw(st.integers(1, 3))}"] if "c" in text or "d" in text else []
        try:
            layer = topology.plan([*texts, text], maps[0], 3).layers[-2]
            seconds = [at for at, shape in enumerate(maps) if shape == layer.out_shape]
            if seconds and "a" not in text and draw(st.booleans()):
                text += f"+{draw(st.sampled_from(seconds))}"
            planned = topology.plan([*texts, text, *pool], maps[0], 3)
        except InputError:
            continue
        texts += [text, *pool]
        maps.append(planned.layers[-2].map_shape)
    return topology.plan(texts, maps[0], 3)


@given(st.composite(shapes)(), st.data(), st.integers(0, 10**6))
@settings(max_examples=150)
def test_forward_of_any_layers_is_the_golden_model(layers, data, seed):
    count = len(layers.layers)
    ticks = data.draw(st.lists(st.sampled_from([1, 3, 15, 255]), min_size=count, max_size=count))
    bits = data.draw(st.lists(st.integers(2, 8), min_size=count, max_size=count))
    model = build(layers, bits, ticks, seed, per_channel=data.draw(st.booleans()))
    network = export(model, ticks)
    pixels = np.random.default_rng(seed).integers(0, 256, (10, network.inputs), np.uint8)
    check_equal(model, network, pixels)


def test_convolutions_that_round_a_little(monkeypatch):
    """A convolution by another algorithm, as on a GPU: all but exact."""
    exact = torch.nn.functional.conv2d

    def rough(*arguments, **more):
        sums = exact(*arguments, **more)
        return sums + 0.1 * torch.sin(1000 * torch.arange(sums.numel())).view(sums.shape)

    monkeypatch.setattr("ttfs_sw.training.kinds.functional.conv2d", rough)
    digits = datasets.load("digits")
    check_trained_start(digits, ["6c3", "p2", "d3", "20"], (4,) * 4, (15,) * 4, digits.x_test[:50])


def test_residual_is_worth_what_its_map_says():
    """The layer that adds a map has its scale from it: 2^r units are one step of that map."""
    digits = datasets.load("digits")
    model, _ = check_trained_start(digits, ["6c3", "6c3+1", "8"], (4,) * 4, (15,) * 4,
                                   digits.x_test[:20])
    first, second = model.integers()[:2]
    assert 1 <= second.residual_shift <= 9
    unit = first.output_scale * second.weight_scale
    assert unit * 2**second.residual_shift == pytest.approx(first.output_scale)
    # Weights use their range: the shift that calibration found is neither too small nor too large.
    assert 4 <= abs(second.weight).max() <= 7


def test_average_pool_is_the_mean():
    layers = topology.plan(["a3"], (3, 6, 2), 4)
    model = QuantisedNetwork(layers, (4,), (15, 15))
    with torch.no_grad():
        model.fires[0].log_scale.fill_(math.log(1 / 15))
    (average, _) = export(model, (15, 15)).layers
    assert (average.kind, average.kernel, average.stride) == ("depthwise", (3, 3), (3, 3))
    assert (average.weight == 1).all() and average.weight_bits == 2
    codes = np.random.default_rng(0).integers(0, 16, (50, 3, 6, 2))
    found = model(torch.from_numpy(codes.reshape(50, -1)).float()).codes[0].detach()
    expected = codes.reshape(50, 3, 2, 3, 2).mean(axis=(1, 3))
    assert (found.numpy() == np.floor(expected + 0.5).reshape(50, -1)).all()


@pytest.mark.parametrize("texts", [
    LENET, ["6c3s2", "d3", "a2", "10"], ["4c3", "4c3+1", "p2", "d3+2", "9", "9+4"], ["7", "5"],
])
def test_start_from_keeps_the_predictions_of_any_relu_network(texts):
    """With 8-bit weights and 255 ticks the quantised network is the ReLU network, nearly."""
    digits = datasets.load("digits")
    layers = topology.plan(texts, (8, 8, 1), 10)
    relu = ReluNetwork(layers, torch.Generator().manual_seed(1))
    ticks = [255] * len(layers.layers)
    model = QuantisedNetwork(layers, [8] * len(layers.layers), ticks)
    pixels = torch.from_numpy(digits.x_train).float() / 16
    model.start_from(relu, (pixels * 255).round())
    with torch.no_grad():
        real, integer = relu(pixels), model((pixels * 255).round()).logits
    assert (real - integer).square().mean() < 0.06**2 * real.square().mean()


def test_worked_vector():
    # T = 7, w = [3, -2, 5], k = [1, 4, silent], β = 4, R = 16: V = 16, a = 1, k = 6.
    layer = QuantisedLayer(dense(3, 1).layers[0], weight_bits=4, source_ticks=7)
    fire = Fire(7)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, -2.0, 5.0]]))
        layer.bias.fill_(4.0)
        fire.log_scale.fill_(math.log(16))
    membrane, unit = layer(torch.tensor([[6.0, 3.0, 0.0]]), torch.tensor(1.0))
    assert membrane.item() == 16
    codes, scale, _ = fire(membrane, unit)
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
    codes, scale, _ = fire(membrane, torch.tensor(1.0, dtype=torch.float64))
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


@given(st.integers(1, 4), st.sampled_from([(), (3,), (2, 2)]), st.integers(0, 10**6))
@settings(max_examples=25)
def test_slopes_of_channels_are_those_of_layers_of_one_channel(channels, places, seed):
    """Codes and gradients of each channel do not depend on the units of the others."""
    generator = torch.Generator().manual_seed(seed)
    units = torch.rand(channels, generator=generator, dtype=torch.float64) * 3 + 0.01
    units.requires_grad_()
    membrane = torch.randint(-50, 200, (5, channels, *places), generator=generator).double()
    weights = torch.rand(membrane.shape, generator=generator, dtype=torch.float64)
    together = Fire(7).double()
    with torch.no_grad():
        together.log_scale.fill_(1.0)
    membrane.requires_grad_()
    codes, _, _ = together(membrane, units)
    (codes * weights).sum().backward()
    steps = []
    for channel in range(channels):
        alone = Fire(7).double()
        alone.load_state_dict(together.state_dict())
        inner = membrane.detach()[:, channel].requires_grad_()
        unit = units.detach()[channel].requires_grad_()
        expected, _, _ = alone(inner, unit)
        (expected * weights[:, channel]).sum().backward()
        assert (codes[:, channel] == expected).all()
        assert membrane.grad[:, channel].numpy() == pytest.approx(inner.grad.numpy())
        assert units.grad[channel].item() == pytest.approx(unit.grad.item())
        steps.append(alone.log_scale.grad)
    assert together.log_scale.grad.item() == pytest.approx(torch.stack(steps).sum().item())


def test_scales_of_channels_round_better_and_mean_the_same():
    """Channels of very different sizes: one scale for all rounds the small ones to nothing."""
    layers = topology.plan(["6c3", "p2", "12"], (8, 8, 1), 10)
    relu = ReluNetwork(layers, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in relu.layers[:-1]:
            sizes = torch.logspace(-1.2, 0, len(layer.weight))
            layer.weight *= sizes.view(-1, *(1,) * (layer.weight.ndim - 1))
    pixels = torch.from_numpy(datasets.load("digits").x_train).float()
    codes, errors = (pixels * 15 / 16).round(), {}
    for per_channel in (False, True):
        model = QuantisedNetwork(layers, (4, 4, 8), (15, 255, 255), per_channel=per_channel)
        model.start_from(relu, codes)
        with torch.no_grad():
            hidden = model(codes).codes[0] * model.fires[0].log_scale.exp()
            maps = (codes / 15).view(-1, 1, 8, 8)
            received = torch.nn.functional.conv2d(maps, relu.layers[0].weight, padding=1)
            expected = torch.nn.functional.max_pool2d(received.relu(), 2).permute(0, 2, 3, 1)
        # The smallest channel alone, by its own size.
        small = expected[..., 0]
        errors[per_channel] = ((hidden.view(expected.shape)[..., 0] - small).square().mean()
                               / small.square().mean()).sqrt()
    assert errors[True] < 0.5 < errors[False]
    # The read-out's membranes are compared with each other: one scale.
    assert [layer.log_scale.ndim for layer in model.layers] == [1, 1, 0]
    first, _, last = export(model, (15,)).layers
    assert len(set(zip(first.multiplier, first.shift, strict=True))) == 6
    assert last.multiplier.size == 0


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_smaller_window_saturates_earlier(share):
    digits = datasets.load("digits")
    relu = ReluNetwork(dense(64, 20, 10), torch.Generator().manual_seed(0))
    codes = (torch.from_numpy(digits.x_train).float() * 15 / 16).round()
    whole, part = (QuantisedNetwork(dense(64, 20, 10), (4, 4), (15, 15)) for _ in range(2))
    whole.start_from(relu, codes)
    part.start_from(relu, codes, share)
    scales = [model.fires[0].log_scale.exp().item() for model in (part, whole)]
    assert scales[0] == pytest.approx(share * scales[1], rel=1e-5)
    with torch.no_grad():
        first = [(model(codes).codes[0] == 15).sum() for model in (part, whole)]
    assert first[0] > 5 * first[1]


def test_rounding_passes_gradients_straight_through():
    layer = QuantisedLayer(dense(2, 1).layers[0], weight_bits=3, source_ticks=7)
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
    model = build(dense(3, 4, 2), (4, 4), (7, 7))
    with torch.no_grad():
        model.fires[0].log_scale.fill_(math.nan)
    assert model(torch.ones(1, 3)).logits.isnan().all()


def test_start_from_a_relu_network_keeps_its_predictions():
    # With 8-bit weights and 255 ticks the quantised network is the ReLU network, nearly.
    digits = datasets.load("digits")
    relu = ReluNetwork(dense(64, 50, 30, 10), torch.Generator().manual_seed(1))
    model = QuantisedNetwork(dense(64, 50, 30, 10), (8, 8, 8), (255, 255, 255))
    pixels = torch.from_numpy(digits.x_train).float() / 16
    codes = (pixels * 255).round()
    model.start_from(relu, codes)
    with torch.no_grad():
        real, integer = relu(pixels), model(codes).logits
    assert (real.argmax(dim=1) == integer.argmax(dim=1)).double().mean() > 0.97
    # Four-bit weights miss this by far.
    assert (real - integer).square().mean() < 0.05**2 * real.square().mean()


def test_overflow_names_the_layer():
    model = build(dense(5, 6, 3), (4, 4), (15, 15), spread=0.0)
    network = export(model, (15,))
    low, high = network.bounds()[0]
    need = max(high, -low - 1).bit_length() + 1
    assert quantise.overflow(network, 24) is None
    assert quantise.overflow(network, need - 1).startswith("layer hidden1 can reach membrane")
    assert quantise.overflow(network, need) is None or "output" in quantise.overflow(network, need)
