# SPDX-License-Identifier: Apache-2.0
"""What a co-simulation found, as objects: the report of ``ttfs cosim``.

``docs/cosim.md`` says what the keys of its JSON mean: they are the fields here, in their order.
"""

import dataclasses
from typing import Any

from ttfs_sw.common.report import Report, Spread, absent

__all__ = ["Cosimulation", "FirstMismatch", "LayerCycles", "OverLimit", "Spending", "Summary"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCycles(Report):
    """What one layer took, what it may take, and why.

    Parameters
    ----------
    name : :class:`str`
        Of the layer.
    events, cycles, roofline_cycles, limit_cycles, target_cycles : :class:`Spread` or ``None``
        Of all images; ``None`` where there were none.
    over_limit, over_target : :class:`int`
        Images that took longer than they ever may, and than what layers of many events are held to.
    worst_over_target : :class:`float` or ``None``
        How many times the target the longest of those took; ``None`` where there are none.
    over_target_because, over_target_why : :class:`str` or ``None``
        The term of :data:`hdl.compiler.cycles.TERMS` that is to blame, and what it is.
    spent_cycles : :class:`dict`
        Cycles of the mean image by term, and what ``overlapped``; they add up to ``cycles``.
    """

    name: str
    events: Spread | None
    cycles: Spread | None
    roofline_cycles: Spread | None
    limit_cycles: Spread | None
    over_limit: int
    target_cycles: Spread | None
    over_target: int
    worst_over_target: float | None
    over_target_because: str | None
    over_target_why: str | None
    spent_cycles: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OverLimit(Report):
    """The first image, and its layer, that took more cycles than its events ever may."""

    image: int
    layer: str
    cycles: int
    limit: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spending(Report):
    """Where the cycles went.

    Parameters
    ----------
    roofline_cycles : :class:`Spread` or ``None``
        Of an ideal core, an image.
    over_limit, over_target : :class:`int`
        The layers' together.
    first_over_limit : :class:`OverLimit` or ``None``
        The first of them.
    layers : list of :class:`LayerCycles`
        One a layer.
    """

    roofline_cycles: Spread | None
    over_limit: int
    first_over_limit: OverLimit | None
    over_target: int
    layers: list[LayerCycles]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstMismatch(Report):
    """A :class:`sim.mismatch.Mismatch`, told in a sentence, and where it can be looked at.

    Parameters
    ----------
    image, layer, kind, neuron, expected, seen, cycle
        As in :class:`sim.mismatch.Mismatch`.
    since : :class:`int`
        The first image of the same simulator.
    message : :class:`str`
        All of it in a sentence.
    wave, wave_place : :class:`str` or ``None``
        The file of the waveform, and the time in it; ``None`` if none was asked for.
    wave_alone : :class:`bool` or ``None``
        Whether the image alone shows the same.
    """

    image: int
    layer: str
    kind: str
    neuron: int | None
    expected: int | None
    seen: int | None
    cycle: int | None
    since: int
    message: str
    wave: str | None = absent()
    wave_place: str | None = absent()
    wave_alone: bool | None = absent()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Differences(Report):
    """How the core's events compare with the golden model's.

    Parameters
    ----------
    images, mismatched_images, mismatched_events : :class:`int`
        How many were compared, how many of them differ, and in how many events.
    mismatches : :class:`dict`
        Those events by their kind.
    first_mismatch : :class:`FirstMismatch` or ``None``
        The first of them.
    accuracy : :class:`float` or ``None``
        Share of the images that the core gave their label; ``None`` without labels or images.
    cycles : :class:`Spread` or ``None``
        An image.
    stream_efficiency : :class:`float` or ``None``
        Cycles of images as a part of those from answer to answer; ``None`` of a single image.
    """

    images: int
    mismatched_images: int
    mismatched_events: int
    mismatches: dict[str, int]
    first_mismatch: FirstMismatch | None
    accuracy: float | None
    cycles: Spread | None
    stream_efficiency: float | None


# Fields of the last base come first.
@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary(Spending, Differences):
    """What the simulators side by side have found."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin(Report):
    """Of what a co-simulation is; the command line knows.

    Parameters
    ----------
    network, dataset, core : :class:`str` or ``None``
        File of the network, name of the images, name of the core.
    """

    network: str | None = absent()
    dataset: str | None = absent()
    core: str | None = absent()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosimulation(Summary, Origin):
    """The report of a co-simulation: what it found, and how it was done.

    Parameters
    ----------
    simulated_cycles_per_second : :class:`int`
        Of all simulators together.
    images_per_second, seconds, compile_seconds, golden_seconds : :class:`float`
        How long simulating, compiling a simulator, and the golden model took.
    jobs : :class:`int`
        Simulators side by side.
    simulator : :class:`str`
        Its name and version.
    stall : :class:`int`
        Seed of the random pauses, 0 for none.
    netlist : :class:`bool`
        The core after synthesis was simulated, not its RTL.
    network_sha256, against_sha256 : :class:`str`, :class:`str` or ``None``
        What the core ran, and whose golden model it was compared with, if another's.
    config : :class:`dict`
        Sizes of the core: :meth:`hdl.config.CoreConfig.as_dict`.
    """

    simulated_cycles_per_second: int
    images_per_second: float
    seconds: float
    compile_seconds: float
    golden_seconds: float
    jobs: int
    simulator: str
    stall: int
    netlist: bool
    network_sha256: str
    against_sha256: str | None
    config: dict[str, Any]
