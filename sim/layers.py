# SPDX-License-Identifier: Apache-2.0
"""Where the cycles went, layer by layer: the part of ``ttfs cosim``'s report that explains them."""

from collections.abc import Sequence

import numpy as np

from ttfs_fpga.hdl.compiler.cycles import TERMS
from ttfs_fpga.hdl.compiler.placement import Placement
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.sim.compare import Comparison
from ttfs_fpga.sim.reports import LayerCycles, OverLimit, Spending
from ttfs_sw.common.report import Spread

__all__ = ["join", "layer_report", "spread"]

_NAMES = list(TERMS)


def spread(values: np.ndarray) -> Spread | None:
    """Least, median, mean and most of some numbers; ``None`` if there are none."""
    if not values.size:
        return None
    return Spread(
        min=int(values.min()),
        median=float(np.median(values)),
        mean=round(float(values.mean()), 2),
        max=int(values.max()),
    )


def join(comparisons: Sequence[Comparison], name: str) -> np.ndarray:
    """What all simulators together have found of their images, in order, by its name."""
    return np.concatenate([getattr(each, name)[:each.done] for each in comparisons])


def layer_report(
    program: Program, comparisons: Sequence[Comparison], *, held: bool = False
) -> Spending:
    """What each layer took, what it may take, and why.

    Images that differ from the golden model are left out of what is judged: their events, and so
    what they may cost, are not known.

    Parameters
    ----------
    program : :class:`hdl.compiler.program.Program`
        The network, compiled for the core that was simulated.
    comparisons : sequence of :class:`sim.compare.Comparison`
        One a simulator, in the order of their images.
    held : :class:`bool`
        Logits were not always taken at once: the last layer, which waits for that, is not judged.
    """
    image = np.concatenate([each.first_image + np.arange(each.done) for each in comparisons])
    cycles, events, roofline, terms = (
        join(comparisons, name) for name in ("layer_cycles", "events", "roofline", "terms"))
    agree = join(comparisons, "mismatched") == 0
    layers: list[LayerCycles] = []
    first: OverLimit | None = None
    for index, plan in enumerate(program.layers):
        judged = agree & (not held or plan.spiking)
        taken, limit = cycles[:, index], terms[:, index].sum(axis=1)
        over = np.flatnonzero(judged & (taken > limit))
        if len(over) and (first is None or image[over[0]] < first.image):
            first = OverLimit(image=int(image[over[0]]), layer=plan.name,
                              cycles=int(taken[over[0]]), limit=int(limit[over[0]]))
        layers.append(_layer(
            plan, judged, events[:, index], taken, roofline[:, index], terms[:, index]))
    return Spending(
        roofline_cycles=spread(roofline.sum(axis=1)),
        over_limit=sum(layer.over_limit for layer in layers),
        first_over_limit=first,
        over_target=sum(layer.over_target for layer in layers),
        layers=layers,
    )


def _layer(
    plan: Placement, judged: np.ndarray, events: np.ndarray, taken: np.ndarray,
    roofline: np.ndarray, terms: np.ndarray,
) -> LayerCycles:
    """Where the cycles of a layer went, and why some images took more than its target."""
    target, limit = plan.target(roofline), terms.sum(axis=1)
    over = judged & (taken > target)
    spent = dict.fromkeys((*TERMS, "overlapped"), 0.0)
    if len(taken):
        parts = np.column_stack([terms, taken - limit])
        spent = dict(zip(spent, np.round(parts.mean(axis=0), 2).tolist(), strict=True))
    because = _reason(plan, taken[over], terms[over]) if over.any() else None
    return LayerCycles(
        name=plan.name,
        events=spread(events),
        cycles=spread(taken),
        roofline_cycles=spread(roofline),
        limit_cycles=spread(limit),
        over_limit=int(np.count_nonzero(judged & (taken > limit))),
        target_cycles=spread(target),
        over_target=int(np.count_nonzero(over)),
        worst_over_target=round(float((taken / target)[over].max()), 3) if over.any() else None,
        over_target_because=because,
        over_target_why=None if because is None else TERMS[because],
        # Of the mean image; they add up to its cycles.
        spent_cycles=spent,
    )


def _reason(plan: Placement, taken: np.ndarray, terms: np.ndarray) -> str:
    """The term that takes these images furthest beyond what their layer's target has for it."""
    spent = dict(zip(_NAMES, terms.mean(axis=0).tolist(), strict=True))
    # A layer is swept while it, or the next one, accumulates: that is what overlaps first.
    overlapped = float((terms.sum(axis=1) - taken).mean())
    swept = spent["sweep"] + spent["firing"]
    left = max(0.0, 1 - overlapped / max(swept, 1.0))
    granted = {"scan": plan.map_words, "start and end": 32, "sweep": left * plan.words}
    beyond = {
        name: (left * cycles if name in ("sweep", "firing") else cycles) - granted.get(name, 0)
        for name, cycles in spent.items() if name != "updates"
    }
    return max(beyond, key=beyond.__getitem__)
