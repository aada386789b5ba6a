# SPDX-License-Identifier: Apache-2.0
"""From real numbers to the integers of a network: scales, slopes, code tables. numpy only.

A real activation is ``s_x a``, a weight ``s_w w`` and a bias ``s_w s_x β``, with integers ``a``,
``w`` and ``β``. The membrane then counts in units of ``s_w s_x``, and one step of the layer's own
codes is worth ``R = s_y / (s_w s_x)`` of them. The hardware multiplies by ``m / 2^s``, which stands
for ``1 / R``; :func:`slope` finds ``m`` and ``s``.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ttfs_sw.artifact.kinds import Kind
from ttfs_sw.artifact.network import Layer, Network, linear_codes
from ttfs_sw.training.topology import LayerPlan

__all__ = [
    "MAX_MULTIPLIER",
    "MAX_SHIFT",
    "LayerIntegers",
    "code_table",
    "network",
    "overflow",
    "slope",
    "stored",
    "weight_limit",
]

MAX_MULTIPLIER = (1 << 16) - 1
MAX_SHIFT = 31


def weight_limit(bits: int) -> int:
    """Largest magnitude of a weight of ``bits`` bits; symmetric, the lowest code is not used."""
    return (1 << (bits - 1)) - 1


def slope(ratio: float) -> tuple[int, int]:
    """Return the integers ``m``, ``s`` for which ``m / 2^s`` is nearest to ``ratio``.

    ``s`` is the largest that the limits of both allow, so that ``m`` has 16 significant bits, and
    the relative error is below 2^-16, for every ratio from 2^-16 to 2^16. Beyond that, the result
    is the nearest there is.

    Parameters
    ----------
    ratio : :class:`float`
        Codes of a layer per unit of its membrane, 1 / R. Positive.
    """
    if not 0 < ratio < math.inf:
        raise ValueError(f"ratio must be positive and finite, not {ratio}")
    _, exponent = math.frexp(ratio)  # ratio < 2^exponent
    shift = max(0, min(MAX_SHIFT, 16 - exponent))
    multiplier = round(math.ldexp(ratio, shift))
    if multiplier > MAX_MULTIPLIER and shift:
        # Just below a power of two, and rounded up to it.
        multiplier, shift = multiplier >> 1, shift - 1
    return min(max(multiplier, 1), MAX_MULTIPLIER), shift


def code_table(ticks: int, maximum: int = 255, dead_zone: int = 0) -> np.ndarray:
    """Return the code of every pixel byte, uint8 ``[256]``: linear, rounded half up.

    Parameters
    ----------
    ticks : :class:`int`
        T of the input: the code of ``maximum`` and of anything above.
    maximum : :class:`int`
        The brightest pixel of the dataset.
    dead_zone : :class:`int`
        Bytes below this are silent.
    """
    codes = linear_codes(ticks, maximum)
    codes[:dead_zone] = 0
    return codes


@dataclasses.dataclass(frozen=True)
class LayerIntegers:
    """The integers of one layer, as training found them.

    Parameters
    ----------
    plan : :class:`ttfs_sw.training.topology.LayerPlan`
        What the layer computes.
    weight : :class:`numpy.ndarray`
        As :class:`ttfs_sw.artifact.network.Layer` has them; see :func:`stored`.
    bias : :class:`numpy.ndarray`
        ``[c_out]``.
    weight_bits : :class:`int`
        Declared width of a weight.
    weight_scale : :class:`float`
        Real value of one step of a weight; a mean where channels differ.
    output_scale : :class:`float`
        Real value of one step of the layer's codes, or of its logits.
    ticks : :class:`int`
        T; 0 in the read-out.
    multiplier, shift : tuple of :class:`int`
        m and s: one for all channels, or one a channel; empty in the read-out.
    residual_shift : :class:`int`
        r; 0 without a residual.
    """

    plan: LayerPlan
    weight: np.ndarray = dataclasses.field(repr=False)
    bias: np.ndarray = dataclasses.field(repr=False)
    weight_bits: int
    weight_scale: float
    output_scale: float
    ticks: int = 0
    multiplier: tuple[int, ...] = ()
    shift: tuple[int, ...] = ()
    residual_shift: int = 0


def stored(weight: np.ndarray, form: Kind) -> np.ndarray:
    """Return weights in the order of the network's file from that of torch.

    That is ``[inputs, outputs]``, ``[ky, kx, c_in, c_out]`` or depthwise ``[ky, kx, c, 1]``.
    """
    return weight.transpose(form.order)


def network(layers: Sequence[LayerIntegers], **fields: Any) -> Network:
    """Return the network of ``layers``, each reading the one before it; the last is the read-out.

    Parameters
    ----------
    layers : sequence of :class:`LayerIntegers`
        From the input on.
    fields
        Input shape, ticks, codes and scale, dataset and preset: the other parameters of
        :class:`ttfs_sw.artifact.network.Network`.
    """
    made = []
    for index, layer in enumerate(layers):
        plan = layer.plan
        slopes = plan.out_shape[2] if layer.ticks else 0
        made.append(
            Layer(
                name=f"hidden{index + 1}" if layer.ticks else "output",
                kind=plan.form.name,
                source=index - 1, second_source=plan.second_source,
                residual_shift=layer.residual_shift,
                in_shape=plan.in_shape, out_shape=plan.out_shape,
                kernel=(plan.kernel,) * 2, stride=(plan.stride,) * 2, padding=(plan.padding,) * 2,
                pool=plan.pool,
                spiking=layer.ticks > 0, ticks=layer.ticks, weight_bits=layer.weight_bits,
                weight=layer.weight, bias=layer.bias,
                multiplier=np.full(slopes, layer.multiplier, np.int64),
                shift=np.full(slopes, layer.shift, np.int64),
                weight_scale=layer.weight_scale, output_scale=layer.output_scale,
            )
        )
    return Network(layers=tuple(made), **fields)


def overflow(network: Network, bits: int) -> str | None:
    """Say which layer could leave a membrane of ``bits`` bits, for some image; ``None`` if none."""
    limit = 1 << (bits - 1)
    for layer, (low, high) in zip(network.layers, network.bounds(), strict=True):
        if low < -limit or high >= limit:
            return (
                f"layer {layer.name} can reach membrane potentials from {low} to {high}, but "
                f"accumulator_bits {bits} hold {-limit} to {limit - 1}"
            )
    return None
