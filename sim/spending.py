# SPDX-License-Identifier: Apache-2.0
"""How long a core may take for what the golden model says happens: layer by layer, term by term."""

from collections.abc import Mapping

import numpy as np

from ttfs_fpga.hdl.compiler.cycles import TERMS, cycle_terms
from ttfs_fpga.hdl.compiler.placement import Placement
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.golden import Trace

__all__ = ["spending"]

#: Images at a time: what is made of their codes is many times as large as these.
_BATCH = 256


def spending(network: Network, trace: Trace, program: Program) -> tuple[np.ndarray, np.ndarray]:
    """What the core that ``program`` was compiled for needs for a run of the golden model.

    Returns
    -------
    roofline : :class:`numpy.ndarray`
        int64 ``[images, layers]``: :meth:`hdl.compiler.placement.Measure.roofline`.
    terms : :class:`numpy.ndarray`
        int64 ``[images, layers, terms]``: :func:`hdl.compiler.cycles.cycle_terms`.
    """
    images, layers = len(trace.logits), len(program.layers)
    roofline = np.empty((images, layers), np.int64)
    terms = np.empty((images, layers, len(TERMS)), np.int64)
    for start in range(0, images, _BATCH):
        part = slice(start, start + _BATCH)
        maps = {-1: trace.input_codes[part]}
        maps |= {index: codes[part] for index, codes in enumerate(trace.codes)}
        for index, (layer, plan) in enumerate(zip(network.layers, program.layers, strict=True)):
            read = maps[layer.source]
            second = None if layer.second_source is None else maps[layer.second_source]
            roofline[part, index] = plan.roofline(read, second)
            terms[part, index] = cycle_terms(
                plan, program.config, read, _candidates(network, index, plan, maps), second)
    return roofline, terms


def _candidates(
    network: Network, index: int, plan: Placement, maps: Mapping[int, np.ndarray]
) -> np.ndarray:
    """Neurons of a layer that the sweep passes on, for each image: before pooling."""
    layer = network.layers[index]
    if not layer.spiking:
        return np.array(layer.outputs)
    slopes = set(zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True))
    if layer.pool == 1 and len(slopes) == 1:
        # Whoever is above the threshold fires, and nobody else.
        return np.count_nonzero(maps[index], axis=1)
    rows, columns = (size - size % layer.pool for size in layer.out_shape[:2])
    potentials = golden.potentials(network, layer, maps)[:, :rows, :columns]
    return np.count_nonzero(potentials >= plan.fire_threshold, axis=(1, 2, 3))
