# SPDX-License-Identifier: Apache-2.0
"""What a co-simulation found, put together from what its simulators did."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.sim.compare import Comparison
from ttfs_fpga.sim.layers import join, layer_report, spread
from ttfs_fpga.sim.reports import FirstMismatch, Summary

__all__ = ["summary"]


def summary(
    program: Program, comparisons: Sequence[Comparison], labels: np.ndarray | None, *,
    held: bool = False,
) -> Summary:
    """Put together what the simulators side by side have found.

    Parameters
    ----------
    program : :class:`hdl.compiler.program.Program`
        The network, compiled for the core that was simulated.
    comparisons : sequence of :class:`sim.compare.Comparison`
        One a simulator, in the order of their images.
    labels : :class:`numpy.ndarray` or ``None``
        The class of every image.
    held : :class:`bool`
        Logits were not always taken at once.
    """
    winners, cycles, mismatched = (
        join(comparisons, name) for name in ("winners", "cycles", "mismatched"))
    accuracy = None
    if labels is not None and len(winners):
        starts = [(each.first_image, each.done) for each in comparisons]
        truth = np.concatenate([labels[start:start + done] for start, done in starts])
        accuracy = float(np.mean(winners == truth))

    counts = collections.Counter[str]()
    for each in comparisons:
        counts.update(each.counts)
    first = next((
        FirstMismatch(
            **dataclasses.asdict(each.first), since=each.first_image, message=str(each.first))
        for each in comparisons if each.first is not None
    ), None)
    return Summary(
        images=len(winners),
        mismatched_images=int(np.count_nonzero(mismatched)),
        mismatched_events=int(counts.total()),
        mismatches=dict(sorted(counts.items())),
        first_mismatch=first,
        accuracy=accuracy,
        cycles=spread(cycles),
        stream_efficiency=_stream_efficiency(comparisons),
        **vars(layer_report(program, comparisons, held=held)),
    )


def _stream_efficiency(comparisons: Sequence[Comparison]) -> float | None:
    """Cycles of images, as a part of those from answer to answer: 1 if nothing waits for images.

    The next image is received while one is computed. It is only waited for where an image has more
    samples than it takes cycles.
    """
    computed = passed = 0
    for each in comparisons:
        computed += int(each.cycles[1:each.done].sum())
        passed += int(np.diff(each.answered_at[:each.done]).sum())
    return computed / passed if passed else None
