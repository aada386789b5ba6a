# SPDX-License-Identifier: Apache-2.0
"""Residuals: how a second map is added to a layer's potentials, row by row between the source's.

A neuron of the second map adds its code to one potential, times ``2 ** residual_shift``. To the
core that is a depthwise layer of one tap whose weights are an identity. A weight holds less than
most powers of two: then the event updates its membrane word more than once, with weights whose sum
is the power. It walks taps as any event does, a rectangle of at most 7 x 7, and stays where it is.
"""

from collections.abc import Iterator

import numpy as np

from ttfs_fpga.hdl.compiler.layout import MapPlan, axis_of
from ttfs_fpga.hdl.compiler.placement import Measure, ResidualMeasure
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.protocols import Layer
from ttfs_fpga.hdl.table import MAX_KERNEL

__all__ = ["identity", "interleaved", "largest_shift", "maps_of", "measure_residual", "reads"]


def reads(layer: Layer) -> set[int]:
    """The maps that a layer reads: one, or with a residual two."""
    return {layer.source} if layer.second_source is None else {layer.source, layer.second_source}


def maps_of(measure: Measure) -> list[tuple[int, MapPlan]]:
    """The same of a layer that is measured, with their layouts."""
    first = (measure.source, measure.source_map)
    second = measure.residual
    return [first] if second is None else [first, (second.source, second.map)]


def largest_shift(weight_bits: int) -> int:
    """Largest ``residual_shift`` of a core: 49 times the largest weight is to be reached."""
    return (MAX_KERNEL**2 * ((1 << (weight_bits - 1)) - 1)).bit_length() - 1


def measure_residual(
    layer: Layer, config: CoreConfig, second: MapPlan, rows: int, columns: int,
    steps: tuple[int, int],
) -> ResidualMeasure:
    """How large a layer's residual is.

    Parameters
    ----------
    layer : :class:`hdl.protocols.Layer`
        The layer, with a second source.
    config : :class:`hdl.CoreConfig`
        Sizes of the core.
    second : :class:`hdl.compiler.layout.MapPlan`
        Layout of the second map.
    rows, columns : :class:`int`
        Outputs that are computed: what would fill no window of pooling is not.
    steps : tuple of :class:`int`
        Weight words from a row of taps to the next, and from a tap to the next, in this layer.
    """
    assert layer.second_source is not None
    row_taps, column_taps, weights = _split(
        1 << layer.residual_shift, (1 << (config.weight_bits - 1)) - 1, steps)
    return ResidualMeasure(
        source=layer.second_source,
        map=second,
        weight_words=max(weights) + layer.out_shape[2],
        weights=weights,
        row_taps=row_taps,
        column_taps=column_taps,
        row_axis=axis_of(layer.out_shape[0], rows, 1, 1, 0),
        column_axis=axis_of(layer.out_shape[1], columns, 1, 1, 0),
    )


def interleaved(plan: Measure) -> Iterator[tuple[bool, int, int]]:
    """The rows of both maps in the order in which they are read: (second, row, completes).

    A row of outputs is complete when its row of the second map has been read: right behind the last
    row of the source that reaches it, so that no more rows are open than without a residual.
    """
    axis = plan.row_axis
    if plan.residual is None:
        yield from ((False, row, count) for row, count in enumerate(axis.completes))
        return
    added = 0
    for row, count in enumerate(axis.completes):
        yield False, row, 0
        for second in range(added, added + count):
            yield True, second, 1
        added += count
    # Rows that no output needs have events all the same.
    yield from ((True, row, 0) for row in range(added, len(plan.residual.row_axis.taps)))


def identity(residual: ResidualMeasure, config: CoreConfig) -> np.ndarray:
    """Weight words of a residual, ``[words, lanes]``: a channel's lane has the weight."""
    words = np.zeros((residual.weight_words, config.lanes), np.int64)
    channels = np.arange(residual.map.shape[2])
    for offset, weight in residual.weights.items():
        words[offset + channels, channels % config.lanes] = weight
    return words


def _split(total: int, most: int, steps: tuple[int, int]) -> tuple[int, int, dict[int, int]]:
    """Rows and columns of taps, the fewest, and weights up to ``most`` whose sum is ``total``.

    Taps whose weights lie at the same place have the same weight.
    """
    shapes = sorted(
        ((rows, columns) for rows in range(1, MAX_KERNEL + 1)
         for columns in range(1, MAX_KERNEL + 1)),
        key=lambda shape: (shape[0] * shape[1], shape[0]))
    for rows, columns in shapes:
        if rows * columns * most < total:
            continue
        places = [row * steps[0] + column * steps[1]
                  for row in range(rows) for column in range(columns)]
        weights: dict[int, int] = {}
        left = total
        for place in sorted(set(places), key=places.count, reverse=True):
            weights[place] = min(most, left // places.count(place))
            left -= weights[place] * places.count(place)
        if not left:
            return rows, columns, weights
    raise ValueError(f"no {MAX_KERNEL} x {MAX_KERNEL} weights up to {most} add up to {total}")
