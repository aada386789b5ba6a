# SPDX-License-Identifier: Apache-2.0
"""Kinds of layers in torch: what :mod:`ttfs_sw.artifact.kinds` says of them, done with tensors."""

import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.training.topology import LayerPlan

__all__ = ["batch_norm", "raster", "received", "shown", "weight_shape"]


def weight_shape(plan: LayerPlan) -> tuple[int, ...]:
    """Shape of the weights of a layer, as torch has them."""
    if plan.form.flat:
        return plan.out_shape[2], plan.in_shape[2]
    return plan.out_shape[2], plan.fan_in // plan.kernel**2, plan.kernel, plan.kernel


def received(
    plan: LayerPlan, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """What a layer's neurons receive of the values that it reads, as :func:`shown` gives them."""
    if plan.form.flat:
        return functional.linear(values, weight, bias)
    groups = plan.form.groups(plan.out_shape[2])
    return functional.conv2d(values, weight, bias, plan.stride, plan.padding, groups=groups)


def shown(plan: LayerPlan, values: torch.Tensor) -> torch.Tensor:
    """A map as the layer reads it: in raster order, or as it is."""
    return raster(values) if plan.form.flat else values


def raster(values: torch.Tensor) -> torch.Tensor:
    """Return maps as ``[images, neurons]`` in raster order: row, column, channel."""
    return values.permute(0, 2, 3, 1).flatten(1) if values.ndim == 4 else values


def batch_norm(plan: LayerPlan) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """A batch-norm of what the layer's neurons receive."""
    channels = plan.out_shape[2]
    return nn.BatchNorm1d(channels) if plan.form.flat else nn.BatchNorm2d(channels)
