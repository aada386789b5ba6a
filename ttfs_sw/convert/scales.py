# SPDX-License-Identifier: Apache-2.0
"""The scale of a layer's weights, found from what the layer reads and from what it sends.

An error in a weight costs as much as the input behind it moves: its mean goes into the bias. So
errors are weighed with the variance of what each weight is multiplied by, and a weight whose input
does not move in calibration has no say, however large it is; it is clipped. Where an input that
never moved does move later, its effect has the right sign, and is as large as the clipped weight.

What a neuron sends is rounded to its codes. An error far below that rounding is none, and of
all scales that are so good the coarsest is taken: a channel whose weights are zero, or tiny against
its bias, gets a scale in which its bias and its window are small integers.
"""

import torch

from ttfs_sw.training.qat import MAX_RESIDUAL_SHIFT, QuantisedLayer

__all__ = ["set_scale"]

#: Scales that are tried, as shares of the one that clips no weight.
SHARES = torch.cat([torch.logspace(-9, -2, 29, base=2.0), torch.linspace(0.25, 1.0, 49)[1:]])

#: And beyond it, up to the scale whose rounding of the bias alone is no error any more.
COARSER = 24

#: Part of a code's step that is no error.
NEGLIGIBLE = 1 / 8


@torch.no_grad()
def set_scale(
    layer: QuantisedLayer,
    source_scale: torch.Tensor,
    second_scale: torch.Tensor | None,
    variance: torch.Tensor,
    step: float | torch.Tensor,
) -> None:
    """Set the weight scale of ``layer``, or the shift of its residual, which stands for one.

    Parameters
    ----------
    layer : :class:`ttfs_sw.training.qat.QuantisedLayer`
        With weights and biases.
    source_scale, second_scale : :class:`torch.Tensor`
        Real value of a code that it reads, and of one that it adds.
    variance : :class:`torch.Tensor`
        Of the codes that each weight meets; it broadcasts over the weights.
    step : :class:`float` or :class:`torch.Tensor`
        Real value of a step of what it sends.
    """
    source_scale = source_scale.double()
    weighed = variance * source_scale.square()
    coarsest = (NEGLIGIBLE * step / source_scale).clamp(min=1e-30)
    if second_scale is not None:
        scales = (second_scale.double() / source_scale) * 2.0 ** -torch.arange(
            MAX_RESIDUAL_SHIFT + 1.0, dtype=torch.float64)
    else:
        # A weight whose input does not move may be clipped at once.
        moved = layer.weight.double().abs() * (weighed > 0)
        top = moved.flatten(1).amax(1) if layer.log_scale.ndim else moved.max()
        top = (top / layer.limit).clamp(min=coarsest * 2.0**-20)
        growth = (coarsest / top).clamp(min=1).log()
        shares = SHARES.double().view(-1, *[1] * top.ndim)
        beyond = torch.linspace(0, 1, COARSER + 1).double()[1:].view(-1, *[1] * top.ndim)
        scales = torch.cat([top * shares, top * (growth * beyond).exp()])
    # Rounding errors are spread evenly over a unit.
    errors = torch.stack([
        layer.errors(scale, weighed) + (scale * source_scale).square() / 12 for scale in scales
    ])
    if second_scale is not None:
        errors = errors.view(len(scales))
    allowed = errors.amin(0).clamp(min=(NEGLIGIBLE * step) ** 2 / 12 * (1 + 1e-9))
    chosen = torch.where(errors <= allowed, scales, 0).argmax(0, keepdim=True)
    if second_scale is not None:
        layer.residual_shift.copy_(chosen.view(()))
    else:
        layer.log_scale.copy_(scales.gather(0, chosen).squeeze(0).log())
