# SPDX-License-Identifier: Apache-2.0
"""Weights that make up for errors: of the codes that they read, and of each other's rounding.

What the real network's membranes are is known for every training image, and so are the codes that
the layer reads. :func:`refit` moves the weights to those with the least squared error between the
two, and :func:`round_weights` rounds them one input after another, so that those not yet rounded
take up what rounding has changed (optimal brain quantisation; Frantar et al. 2022, "GPTQ"). What a
bias can take up, it does: only deviations from the mean count. Where an input has hardly moved,
nothing is known, and its weights stay what they are.
"""

import dataclasses

import torch
from torch.nn import functional

from ttfs_sw.training.qat import QuantisedLayer

__all__ = ["Moments", "moments", "refit", "round_weights"]

#: Products that are added up for a layer, rows of inputs at most, and numbers held at a time.
PRODUCTS, ROWS, HELD = 5 * 10**10, 10**6, 2 * 10**6

#: Inputs whose products with each other are looked at; of more, the matrix takes gigabytes, and
#: their weights are rounded each by itself.
JOINT = 4700

#: Share of the mean variance that stands for what is not known of an input: so much, and so much
#: for each weight of a neuron that a row of inputs has to settle.
DAMPING, DAMPING_PER_WEIGHT = 0.01, 0.1

#: How far from a multiple of the step a weight may be that is to be rounded to it, in steps.
LEAN = 0.45


@dataclasses.dataclass(frozen=True)
class Moments:
    """How the codes that a neuron reads vary, together and with what it should receive.

    Parameters
    ----------
    variance : :class:`torch.Tensor`
        ``[groups, inputs]``; a group is a channel of a depthwise layer, else there is one.
    covariance, cross : :class:`torch.Tensor` or ``None``
        ``[groups, inputs, inputs]`` and ``[groups, outputs, inputs]``: of the codes, and of what is
        to be received, in real numbers, with the codes. ``None`` where inputs are too many.
    rows : :class:`int`
        Readings that these are the means of: images, times positions of the kernel.
    """

    variance: torch.Tensor
    covariance: torch.Tensor | None
    cross: torch.Tensor | None
    rows: int

    @property
    def damping(self) -> torch.Tensor:
        """What to add to each variance, ``[groups]``."""
        share = DAMPING + DAMPING_PER_WEIGHT * self.variance.shape[1] / self.rows
        return (share * self.variance.mean(1)).clamp(min=1e-12)

    def variances(self, layer: QuantisedLayer) -> torch.Tensor:
        """Variance of what each weight of ``layer`` meets, in a shape that fits the weights."""
        return self.variance.view(len(self.variance), *layer.weight.shape[1:])


@torch.no_grad()
def moments(layer: QuantisedLayer, codes: torch.Tensor, wanted: torch.Tensor) -> Moments:
    """Look at the codes that each weight of a neuron meets.

    Parameters
    ----------
    layer : :class:`ttfs_sw.training.qat.QuantisedLayer`
        What reads them.
    codes, wanted : :class:`torch.Tensor`
        Of the same images: what it reads, and what its weights and biases should make of it.
    """
    plan = layer.plan
    inputs, positions = plan.fan_in, plan.out_shape[0] * plan.out_shape[1]
    groups = plan.form.groups(plan.out_shape[2])
    most = min(ROWS, max(PRODUCTS // (groups * inputs**2), 8 * inputs)) // positions + 1
    every = -(-len(codes) // most)
    size = max(1, HELD // (positions * groups * inputs))
    # In float64 the sums of products of codes are exact, and so their variances not below zero.
    squares = products = cross = mean = wanted_mean = torch.zeros((), dtype=torch.float64)
    count, joint = 0, inputs <= JOINT
    for part, target in zip(
        codes[::every].split(size), wanted[::every].split(size), strict=True
    ):
        part, target = part.double(), target.double()
        if plan.form.flat:
            rows, target = part[None], target[None]
        else:
            rows = functional.unfold(part, plan.kernel, padding=plan.padding, stride=plan.stride)
            rows, target = (
                item.reshape(len(part), groups, -1, positions).permute(1, 0, 3, 2).flatten(1, 2)
                for item in (rows, target)
            )
        count += rows.shape[1]
        mean = mean + rows.sum(1)
        wanted_mean = wanted_mean + target.sum(1)
        if joint:
            products = products + rows.mT @ rows
            cross = cross + target.mT @ rows
        else:
            squares = squares + rows.square().sum(1)
    mean, wanted_mean = mean[:, None, :] / count, wanted_mean[:, :, None] / count
    if not joint:
        return Moments(squares / count - mean[:, 0].square(), None, None, count)
    covariance = products / count - mean.mT * mean
    variance = covariance.diagonal(dim1=1, dim2=2).clamp(min=0)
    return Moments(variance, covariance, cross / count - wanted_mean * mean, count)


@torch.no_grad()
def refit(layer: QuantisedLayer, found: Moments, source_scale: torch.Tensor) -> None:
    """Move the weights of ``layer`` to where they make the best of the codes that they read."""
    if found.covariance is None or found.cross is None:
        return
    groups, inputs = found.variance.shape
    weight = layer.weight.double().view(groups, -1, inputs)
    damping = found.damping[:, None, None]
    damped = found.covariance + damping * torch.eye(inputs, dtype=torch.float64)
    target = found.cross / source_scale.double() + damping * weight
    layer.weight.copy_(torch.linalg.solve(damped, target.mT).mT.reshape(layer.weight.shape))


@torch.no_grad()
def round_weights(layer: QuantisedLayer, found: Moments, step: torch.Tensor) -> None:
    """Settle to which multiple of ``step``, a number or one a channel, each weight is rounded.

    Within what is rounded so, a weight stays as near as it can to where it was, and training that
    goes on from here knows to which side it leans.
    """
    if found.covariance is None:
        return
    groups, inputs = found.variance.shape
    weight = layer.weight.double().view(groups, -1, inputs)
    steps = step.double().expand(layer.weight.shape[0]).reshape(groups, -1)
    rounded = torch.stack([
        _rounded(*each, layer.limit)
        for each in zip(weight, steps, found.covariance, found.damping, strict=True)
    ])
    reach = LEAN * steps[:, :, None]
    layer.weight.copy_(weight.clamp(rounded - reach, rounded + reach).view_as(layer.weight))


def _rounded(
    weight: torch.Tensor, step: torch.Tensor, covariance: torch.Tensor, damping: torch.Tensor,
    limit: int,
) -> torch.Tensor:
    """The rows of ``weight`` as multiples of their ``step``."""
    # Those that move most come first, when there are most others to make up for them.
    order = covariance.diagonal().argsort(descending=True)
    damped = covariance[order][:, order] + damping * torch.eye(len(order), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True)
    left, result = weight[:, order].clone(), torch.empty_like(weight)
    for index, place in enumerate(order):
        wanted = left[:, index]
        kept = torch.floor(wanted / step + 0.5).clamp(-limit, limit) * step
        result[:, place] = kept
        error = (wanted - kept) / upper[index, index]
        left[:, index + 1:] -= error[:, None] * upper[index, index + 1:]
    return result
