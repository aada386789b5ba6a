# SPDX-License-Identifier: Apache-2.0
"""Where the cycles of a layer go: terms whose sum, the limit, no image exceeds.

A layer's cycles are those from the end of the layer before to its own end. The limit adds up all
that the layer does as if nothing overlapped, so it holds whatever the image and the weights are,
as long as the sink takes every logit at once. ``docs/core.md`` says where each term comes from.
"""

import numpy as np

from ttfs_fpga.hdl.compiler.layout import MapPlan
from ttfs_fpga.hdl.compiler.placement import Measure
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_of

__all__ = ["TERMS", "cycle_terms", "most_cycles"]

#: What a layer spends cycles on, and when that is why it took more than its target.
TERMS = {
    "updates": "an event takes a cycle for each membrane word that it reaches",
    "short events": "an event that reaches one membrane word or none takes two cycles",
    "repeats": "an event that begins in the word where the one before it ended waits a cycle",
    "scan": "a word of the source map without a spike takes a cycle",
    "rows": "a row of the source takes a few cycles, however few spikes it has",
    "residual": "rows of two maps take turns, and each update by the second one takes two cycles",
    "sweep": "a word of potentials takes cycles to be looked through, whether or not it fires",
    "firing": "neurons fire one a cycle",
    "start and end": "the layer's entry is read first, and its last spike is awaited",
}

#: For a row of the source: two, or four where events do not hide that its descriptor is read.
ROW_CYCLES = 4
#: For a row of either map of a layer with a residual: what describes a map is read before each.
RESIDUAL_ROW_CYCLES = 16
#: For an output row, beyond its words.
SWEEP_ROW_CYCLES = 4
#: Once: an entry of 9 words read, the first word scanned, the last code requantised and written.
START_CYCLES = 48


def cycle_terms(
    plan: Measure, config: CoreConfig, codes: np.ndarray, candidates: np.ndarray,
    second: np.ndarray | None = None,
) -> np.ndarray:
    """Cycles of a layer for each image by term, int64 ``[images, terms]``, as if none overlapped.

    Parameters
    ----------
    plan : :class:`hdl.compiler.placement.Measure`
        The layer.
    config : :class:`hdl.CoreConfig`
        The core that it was compiled for.
    codes : :class:`numpy.ndarray`
        Codes of its source, ``[images, inputs]``.
    candidates : :class:`numpy.ndarray`
        Neurons, before pooling, whose potential is at least ``plan.fire_threshold``; in the output
        layer all.
    second : :class:`numpy.ndarray`, optional
        Codes of a residual's map.
    """
    datapath = datapath_of(config)
    taken = datapath.additions(codes)
    reached = _updates(plan)
    updates = taken @ reached + datapath.tick_updates(plan.source_ticks, plan.slope_words)
    short = taken @ (np.maximum(reached, 2) - reached)
    scan = _silent_words(plan.source_map, codes, plan.flat) + datapath.queueing(codes)
    rows = ROW_CYCLES * len(plan.row_axis.taps)
    residual, added = plan.residual, 0
    if residual is not None:
        assert second is not None
        taken = datapath.additions(second)
        # Updates of one word come every other cycle.
        updates = updates + taken @ residual.updates
        turns = len(plan.row_axis.taps) + len(residual.row_axis.taps)
        added = taken @ residual.updates + RESIDUAL_ROW_CYCLES * turns
        scan = scan + _silent_words(residual.map, second, False)
    # The memory's answer to the sweep takes as long as a weight.
    sweep = (2 + config.weight_latency) * plan.rows * plan.row_words + SWEEP_ROW_CYCLES * plan.rows
    terms = {
        "updates": updates, "short events": short, "repeats": _repeats(plan, config, codes),
        "scan": scan, "rows": rows, "residual": added, "sweep": sweep, "firing": candidates,
        "start and end": START_CYCLES,
    }
    return np.stack(
        [np.broadcast_to(terms[name], len(codes)) for name in TERMS], axis=1).astype(np.int64)


def most_cycles(plan: Measure, config: CoreConfig) -> int:
    """The limit of the worst image: every neuron is on in both maps, and all of the layer's fire.

    A spike that is left out saves two cycles at least, and costs two at most: one for the word that
    it leaves silent, and one if the spikes around it now repeat a word.
    """
    def all_on(count: int) -> np.ndarray:
        return np.full((1, count), datapath_of(config).worst_code(config))

    second = None if plan.residual is None else all_on(plan.residual.map.places.size)
    candidates = np.array([plan.rows * plan.row_words * config.lanes])
    inputs = plan.source_map.places.size
    return int(cycle_terms(plan, config, all_on(inputs), candidates, second).sum())


def _updates(plan: Measure) -> np.ndarray:
    """Updates of an event of each neuron of the source; pixels that share a word share one."""
    if plan.flat:
        return np.full(plan.inputs, plan.pixel_words)
    taps = np.outer(plan.row_axis.taps, plan.column_axis.taps)
    return np.repeat(taps.reshape(-1) * plan.tap_words, plan.source_map.shape[2])


def _repeats(plan: Measure, config: CoreConfig, codes: np.ndarray) -> np.ndarray:
    """Events of two updates or more that end in the word where the next one begins.

    They walk a single row of outputs, which has one word a pixel that they meet.
    """
    single = np.array(plan.row_axis.taps) == 1
    if plan.flat or not single.any() or plan.tap_words > 1:
        return np.zeros(len(codes), np.int64)
    rows, columns, channels = plan.source_map.shape
    row, column, channel = (each.reshape(-1) for each in np.indices((rows, columns, channels)))
    first, taps = (np.array(each)[column] for each in (
        plan.column_axis.first, plan.column_axis.taps))
    own = channel // config.lanes if plan.own_channel else 0
    begins = first * plan.pixel_words + own
    ends = begins + (taps - 1) * plan.pixel_words
    image, neuron = np.nonzero(codes)
    before, after = neuron[:-1], neuron[1:]
    repeated = (
        (image[:-1] == image[1:]) & (row[before] == row[after]) & single[row[before]]
        & (taps[before] > 1) & (ends[before] == begins[after])
    )
    return np.bincount(image[:-1][repeated], minlength=len(codes))


def _silent_words(plan: MapPlan, codes: np.ndarray, flat: bool) -> np.ndarray:
    """Words of a map without a spike, for each image; not a row's last one, which ends the row."""
    loud = np.zeros((len(codes), plan.words), bool)
    row_words = plan.words if flat else plan.row_words
    loud[:, row_words - 1::row_words] = True
    image, neuron = np.nonzero(codes)
    loud[image, plan.places[neuron] // plan.codes_per_word] = True
    return plan.words - np.count_nonzero(loud, axis=1)
