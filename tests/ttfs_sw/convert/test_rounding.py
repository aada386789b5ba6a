# SPDX-License-Identifier: Apache-2.0
"""Weights that make up for errors in what they read, and for each other's rounding."""

import dataclasses

import pytest
import torch

from ttfs_sw.convert import rounding
from ttfs_sw.convert.rounding import moments, refit, round_weights
from ttfs_sw.training.qat import QuantisedLayer
from ttfs_sw.training.topology import LayerPlan

PLANS = {
    "dense": LayerPlan("dense", (1, 1, 40), (1, 1, 6)),
    "conv2d": LayerPlan("conv2d", (7, 7, 4), (4, 4, 6), kernel=3, stride=2, padding=1),
    "depthwise": LayerPlan("depthwise", (7, 7, 6), (7, 7, 6), kernel=3, padding=1),
}


@pytest.fixture(params=PLANS)
def layer(request):
    """A layer with random weights, codes that it reads, some related, and what it receives."""
    plan = PLANS[request.param]
    torch.manual_seed(0)
    layer = QuantisedLayer(plan, weight_bits=4, source_ticks=15, per_channel=False)
    torch.nn.init.normal_(layer.weight)
    shape = plan.in_shape
    size = (300, shape[2], *shape[:2]) if plan.kind != "dense" else (300, shape[2])
    shared = torch.rand(300, *[1] * (len(size) - 1))
    real = (15 * (0.6 * shared + 0.4 * torch.rand(size))).clamp(0, 15)
    with torch.no_grad():
        return layer, real.round(), apply(layer, layer.weight, real)


def apply(layer, weight, values):
    if layer.plan.kind == "dense":
        return values @ weight.T
    groups = layer.plan.out_shape[2] if layer.plan.kind == "depthwise" else 1
    return torch.nn.functional.conv2d(
        values, weight, None, layer.plan.stride, layer.plan.padding, groups=groups)


def error(layer, weight, codes, wanted):
    """Mean squared error of the membranes, but for their mean, which a bias takes up."""
    off = apply(layer, weight, codes) - wanted
    over = [axis for axis in range(off.ndim) if axis != 1]
    return (off - off.mean(over, keepdim=True)).square().mean().item()


def test_moments_are_those_of_what_each_weight_meets(layer):
    layer, codes, wanted = layer
    found = moments(layer, codes, wanted)
    # The effect of a change of one weight on the membranes, without its mean.
    change = torch.zeros_like(layer.weight)
    change[0].view(-1)[5] = 1
    effect = apply(layer, change, codes)[:, 0].double()
    assert found.variances(layer)[0].reshape(-1)[5].item() == pytest.approx(
        effect.var(correction=0).item(), rel=1e-6)
    other = wanted[:, 0].double()
    assert found.cross[0, 0, 5].item() == pytest.approx(
        (effect * other).mean().item() - (effect.mean() * other.mean()).item(), rel=1e-4)
    assert found.rows == effect.numel()


def test_refit_and_rounding_lower_the_error(layer):
    layer, codes, wanted = layer
    found = moments(layer, codes, wanted)
    one = torch.tensor(1.0)
    before = error(layer, layer.weight, codes, wanted)
    refit(layer, found, one)
    assert error(layer, layer.weight, codes, wanted) < before
    step = torch.tensor(0.4)
    real = layer.weight.detach().clone()
    plain = ((real / step).round().clamp(-7, 7) * step)
    round_weights(layer, found, step)
    rounded = (layer.weight / step + 0.5).floor()
    assert rounded.abs().max() <= 7
    assert error(layer, rounded * step, codes, wanted) < 0.8 * error(layer, plain, codes, wanted)
    # A weight leans to where it came from.
    assert ((layer.weight - rounded * step) * (real - rounded * step) >= 0).all()


def test_what_never_moves_is_rounded_as_it_is(layer):
    layer, codes, wanted = layer
    silent = torch.zeros_like(codes)
    before = layer.weight.detach().clone()
    found = moments(layer, silent, wanted)
    refit(layer, found, torch.tensor(1.0))
    torch.testing.assert_close(layer.weight.detach(), before)
    round_weights(layer, found, torch.tensor(0.5))
    torch.testing.assert_close(
        (layer.weight / 0.5 + 0.5).floor(), (before / 0.5 + 0.5).floor().clamp(-7, 7))


def test_too_many_inputs_are_taken_one_by_one(layer, monkeypatch):
    layer, codes, wanted = layer
    joint = moments(layer, codes, wanted)
    monkeypatch.setattr(rounding, "JOINT", 1)
    single = moments(layer, codes, wanted)
    torch.testing.assert_close(single.variance, joint.variance)
    before = layer.weight.detach().clone()
    refit(layer, single, torch.tensor(1.0))
    round_weights(layer, single, torch.tensor(0.5))
    assert torch.equal(layer.weight, before)
    assert dataclasses.asdict(single)["covariance"] is None
