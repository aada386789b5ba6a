# SPDX-License-Identifier: Apache-2.0
"""Scales of weights: channels without any, inputs that never fire, constants in the padding."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ttfs_sw import golden
from ttfs_sw.convert.calibrate import calibrate, relu_network, settle_constants
from ttfs_sw.convert.layers import Folded
from ttfs_sw.convert.scales import NEGLIGIBLE
from ttfs_sw.training import quantise
from ttfs_sw.training.models import QuantisedNetwork
from ttfs_sw.training.topology import LayerPlan, Topology


def folded(*layers, input_shape):
    """A network of plans with their weights and biases."""
    plans, weights = zip(*layers, strict=True)
    return Folded(Topology(input_shape, plans), list(weights), [str(n) for n in range(len(plans))])


def integers(network, images, bits, ticks, *, per_channel=False, window=1.0, constants=()):
    """The artifact that calibration on ``images`` (codes from 0 to T) gives, and its real twin."""
    relu = relu_network(network)
    settle_constants(relu, constants, images / ticks)
    learned = sum(plan.learned for plan in network.topology.layers)
    quantised = QuantisedNetwork(
        network.topology, (bits,) * learned, (ticks,) * len(network.topology.layers),
        per_channel=per_channel)
    calibrate(quantised, relu, images / ticks, images, window, constants)
    made = quantise.network(
        quantised.integers(), input_shape=network.topology.input_shape, input_ticks=ticks,
        input_codes=np.minimum(np.arange(256), ticks).astype(np.uint8), input_scale=1 / ticks,
        dataset="", preset="")
    return made, relu


def bits_of(network):
    """Bits that hold all membranes."""
    return 1 + max(max(high.bit_length(), (-1 - low).bit_length())
                   for low, high in network.bounds())


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1), bits=st.sampled_from((4, 8)), ticks=st.sampled_from((15, 255)),
    sizes=st.lists(st.integers(0, 30), min_size=6, max_size=6), per_channel=st.booleans(),
    kind=st.sampled_from(("dense", "conv2d", "depthwise")),
)
def test_channels_with_tiny_weights_keep_their_biases(seed, bits, ticks, sizes, per_channel, kind):
    # Weights of channel i are 2^-sizes[i] as large as others, or zero; biases are not.
    rng = np.random.default_rng(seed)
    channels = len(sizes)
    factor = np.where(np.array(sizes) < 30, 2.0 ** -np.array(sizes), 0)
    if kind == "dense":
        shape, plan = (1, 1, 20), LayerPlan("dense", (1, 1, 20), (1, 1, channels))
        weight = rng.normal(size=(channels, 20))
    else:
        inputs = channels if kind == "depthwise" else 3
        shape = (6, 6, inputs)
        plan = LayerPlan(kind, shape, (6, 6, channels), kernel=3, padding=1)
        weight = rng.normal(size=(channels, 1 if kind == "depthwise" else inputs, 3, 3))
    weight *= factor.reshape(-1, *[1] * (weight.ndim - 1))
    bias = rng.normal(size=channels)
    bias[0] = 1.0
    outputs = int(np.prod(plan.out_shape))
    last = LayerPlan("dense", (1, 1, outputs), (1, 1, 4))
    network = folded(
        (plan, (weight, bias)), (last, (rng.normal(size=(4, outputs)), np.zeros(4))),
        input_shape=shape)
    images = torch.from_numpy(rng.integers(0, ticks + 1, (200, int(np.prod(shape))))).float()
    made, relu = integers(network, images, bits, ticks, per_channel=per_channel)
    without = folded(
        (plan, (weight, 0 * bias)), (last, network.weights[-1]), input_shape=shape)
    # A bias needs no more bits than weights that are as large as the window is wide.
    ordinary, _ = integers(without, images, bits, ticks, per_channel=per_channel)
    window = ticks / NEGLIGIBLE * ticks * math.sqrt(plan.fan_in)
    assert bits_of(made) <= max(bits_of(ordinary), 1 + math.ceil(math.log2(window))) + 1
    codes = golden.run(made, images.numpy().astype(np.uint8)).codes[0]
    layer = made.layers[0]
    with torch.no_grad():
        received = relu.layers[0](
            images / ticks if kind == "dense"
            else (images / ticks).view(-1, *shape).permute(0, 3, 1, 2))
    if received.ndim == 4:
        received = received.permute(0, 2, 3, 1).flatten(1)
    real = received.clamp(0, layer.ticks * layer.output_scale).numpy()
    silent = np.tile(factor < 1e-4, outputs // channels)
    off = np.abs(codes * layer.output_scale - real)[:, silent]
    # A channel that is its bias fires within one step of it, in every image.
    assert not off.size or off.max() <= 0.75 * layer.output_scale


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.002])
def test_inputs_that_hardly_fire_do_not_set_the_scale(per_channel, share):
    # Forty inputs fire (almost) never, and their weights are 40 times the others.
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(16, 100))
    weight[:, :40] *= 40
    first = LayerPlan("dense", (1, 1, 100), (1, 1, 16))
    last = LayerPlan("dense", (1, 1, 16), (1, 1, 4))
    network = folded(
        (first, (weight, np.zeros(16))), (last, (rng.normal(size=(4, 16)), np.zeros(4))),
        input_shape=(1, 1, 100))
    images = torch.from_numpy(rng.integers(0, 16, (1000, 100))).float()
    images[:, :40] *= torch.from_numpy(rng.random((1000, 40)) < share)
    made, relu = integers(network, images, 4, 15, per_channel=per_channel)

    def agreement(pixels):
        trace = golden.run(made, pixels.numpy().astype(np.uint8))
        return (trace.winners == relu(pixels / 15).argmax(1).numpy()).mean()

    assert agreement(images) > 0.85
    if share:
        return
    # Where such an input does fire, its weights are as large as there are, with the right sign.
    stored = made.layers[0].weight[:40].T.astype(int)
    large = np.abs(weight[:, :40]) > 10
    assert (np.abs(stored[large]) == 7).all()
    assert (np.sign(stored[large]) == np.sign(weight[:, :40][large])).all()


def test_constant_counts_with_what_its_code_is_worth():
    # The window is half of what the constant needs. At the border, where some taps miss it, no
    # bias makes up for weights that count on more than its code is worth.
    rng = np.random.default_rng(1)
    copy = np.eye(2, 1).reshape(2, 1, 1, 1)
    weight = np.stack([np.zeros((3, 3)), np.full((3, 3), 0.5)])[None]
    network = folded(
        (LayerPlan("conv2d", (6, 6, 1), (6, 6, 2)), (copy, np.array([0.0, 1.0]))),
        (LayerPlan("conv2d", (6, 6, 2), (6, 6, 1), kernel=3, padding=1), (weight, np.zeros(1))),
        (LayerPlan("dense", (1, 1, 36), (1, 1, 2)), (rng.normal(size=(2, 36)), np.zeros(2))),
        input_shape=(6, 6, 1))
    images = torch.from_numpy(rng.integers(0, 256, (300, 36))).float()
    made, _ = integers(network, images, 8, 255, window=0.5, constants=[0])
    first, reader = made.layers[:2]
    taps = reader.weight[:, :, 1, 0] * reader.weight_scale * first.ticks * first.output_scale
    np.testing.assert_allclose(taps, 0.5, atol=0.03)


def test_zero_channels_of_training_have_a_scale():
    plan = LayerPlan("dense", (1, 1, 8), (1, 1, 3))
    network = QuantisedNetwork(
        Topology((1, 1, 8), (plan, LayerPlan("dense", (1, 1, 3), (1, 1, 2)))), (4, 4), (15, 15),
        per_channel=True)
    layer = network.layers[0]
    with torch.no_grad():
        layer.weight.copy_(nn.functional.pad(torch.ones(2, 8), (0, 0, 0, 1)))
        layer.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
        layer.calibrate(network.input_scale)
    _, bias = layer.integers(network.input_scale)
    assert 0 < bias[2] < 1 << 13
    assert (bias * layer.unit(network.input_scale))[2].item() == pytest.approx(1, rel=1e-2)
