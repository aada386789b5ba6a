# SPDX-License-Identifier: Apache-2.0
"""What building for a board tells of itself, as objects; the fields are the keys of the JSON."""

import dataclasses
from typing import Any, TypedDict

from ttfs_sw.common.report import Report, Spread, absent

__all__ = [
    "BuildReport", "Clock", "FlashReport", "Frequency", "ImageReport", "Latency", "LatencyParts",
    "Seed", "SlowestPath", "StepReport", "Utilization", "VerilogReport",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utilization(Report):
    """How many cells of a kind the device has, how many a design uses, and their share in percent.
    """

    available: int
    used: int
    percent: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frequency(Report):
    """How fast a clock may be, and how fast it must be, in MHz."""

    achieved: float
    constraint: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clock(Frequency):
    """A clock judged by all its paths: ``achieved`` is the lower of the two figures.

    Parameters
    ----------
    nextpnr : :class:`float` or ``None``
        MHz by the paths that nextpnr times; ``None`` where it has none of this clock.
    all_paths : :class:`float`
        MHz by the slowest of all paths.
    """

    nextpnr: float | None
    all_paths: float


class SlowestPath(TypedDict):
    """The slowest of all paths of a clock, as it is kept in a file of the cache.

    ``mhz``; ``cells`` that it passes, in the designer's words; ``hops``, each a kind, picoseconds
    and a pin.
    """

    mhz: float
    cells: list[str]
    hops: list[tuple[str, float, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency(Report):
    """Time from the complete image to the answer, in µs."""

    median: float
    max: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatencyParts(Report):
    """What an image waits for, in µs: :func:`boards.build.latency_parts_us` says what each is."""

    core: float | None = absent()
    image_load: float
    link: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seed(Report):
    """A seed of place and route that was tried, and the clocks that it gave."""

    seed: int
    fmax_mhz: dict[str, Clock]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepReport(Report):
    """One step of a build, how long it took, and whether that was in an earlier build."""

    step: str
    seconds: float
    cached: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildReport(Report):
    """The report of ``ttfs build``.

    Parameters
    ----------
    board, device : :class:`str`
        What was built for.
    utilization : :class:`dict`
        :class:`Utilization` by kind of cell.
    fmax_mhz : :class:`dict`
        :class:`Clock` by name.
    slowest_path : :class:`dict`
        The cells of the slowest of all paths, by clock.
    clock_mhz : :class:`float`
        What the board's clock runs at.
    timing_met : :class:`bool`
        Whether every clock is as fast as it must be.
    cycles, latency_us, latency_parts_us
        Cycles of an image, if they are known, and what follows from them.
    network_sha256 : :class:`str`
        Of the network in the flash image.
    image_bytes : :class:`int`
        Length of that image.
    core : :class:`dict`
        Sizes of the core: :meth:`hdl.config.CoreConfig.as_dict`.
    seed, seeds : :class:`int`, list of :class:`Seed`
        The seed that was taken, and all that were tried.
    toolchain : :class:`str`
        :attr:`boards.toolchain.Toolchain.identity`.
    steps : list of :class:`StepReport`
        What was done, in order.
    files : :class:`dict`
        Paths of what was written, by what it is.
    seconds : :class:`float`
        How long all of it took.
    """

    board: str
    device: str
    utilization: dict[str, Utilization]
    fmax_mhz: dict[str, Clock]
    slowest_path: dict[str, list[str]]
    clock_mhz: float
    timing_met: bool
    cycles: Spread | None
    latency_us: Latency | None
    latency_parts_us: LatencyParts
    network_sha256: str
    image_bytes: int
    core: dict[str, Any]
    seed: int
    seeds: list[Seed]
    toolchain: str
    steps: list[StepReport]
    files: dict[str, str]
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerilogReport(Report):
    """The report of ``ttfs verilog``.

    Parameters
    ----------
    files : :class:`dict`
        Paths of what was written, by what it is.
    lanes : :class:`int`
        Of the core.
    widths : :class:`dict`
        Bits of a ``weight``, a ``tick`` and the ``accumulator``.
    config : :class:`dict`
        All its sizes: :meth:`hdl.config.CoreConfig.as_dict`.
    network_sha256 : :class:`str` or ``None``
        Of the network whose memory images were written, if there is one.
    memories : :class:`dict` or ``None``
        Words that it uses of each memory, and those there are.
    initialised : :class:`bool` or ``None``
        Whether the Verilog has the memories' contents in it.
    layers : list or ``None``
        Where each layer lies, if that was asked for: :meth:`hdl.compiler.program.Program.report`.
    """

    files: dict[str, str]
    lanes: int
    widths: dict[str, int]
    config: dict[str, Any]
    network_sha256: str | None = absent()
    memories: dict[str, Any] | None = absent()
    initialised: bool | None = absent()
    layers: list[dict[str, Any]] | None = absent()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageReport(Report):
    """The report of ``ttfs image``.

    Parameters
    ----------
    board : :class:`str`
        What the image is for.
    network_sha256, sha256 : :class:`str`
        Of the network, and of the image.
    bytes, flash_offset : :class:`int`
        Length of the image, and where it goes in the board's flash.
    files : :class:`dict`
        The path of the ``image``.
    memories, layers
        As in :class:`VerilogReport`, if they were asked for.
    """

    board: str
    network_sha256: str
    bytes: int
    sha256: str
    flash_offset: int
    files: dict[str, str]
    memories: dict[str, Any] | None = absent()
    layers: list[dict[str, Any]] | None = absent()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlashReport(Report):
    """The report of ``ttfs flash``.

    Parameters
    ----------
    board : :class:`str`
        What was programmed.
    network_sha256 : :class:`str` or ``None``
        Of the network in the image; the command line knows.
    dry_run : :class:`bool` or ``None``
        Whether the commands were only shown; likewise.
    commands : list of lists of :class:`str`
        What was run, word by word.
    seconds : :class:`float` or ``None``
        How long that took, if it was run.
    """

    board: str
    network_sha256: str | None = absent()
    dry_run: bool | None = absent()
    commands: list[list[str]]
    seconds: float | None = absent()
