# SPDX-License-Identifier: Apache-2.0
"""From a board's top to its bitstream: synthesis once, place and route until timing is met.

Timing is met when the slowest of all paths holds the clock (:mod:`boards.analysis`), not only those
that nextpnr times.

Every finished step is kept in the user's cache under a name made of the design's digest and the
toolchain's identity, so nothing is computed twice: a second network on the same board, other seeds,
or a run that Ctrl-C stopped half-way starts from what is there.
"""

import dataclasses
import functools
import gzip
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from amaranth.build.run import BuildPlan
from amaranth.hdl import Elaboratable

from ttfs_fpga.boards import analysis, report
from ttfs_fpga.boards.families import find_chip
from ttfs_fpga.boards.registry import Board
from ttfs_fpga.boards.reports import Clock, SlowestPath
from ttfs_fpga.boards.toolchain import Toolchain, find_toolchain
from ttfs_sw.common.cache import cache_folder, new_folder
from ttfs_sw.common.process import run_tool

__all__ = ["CACHE", "SEEDS", "Bitstream", "Step", "Trial", "make_bitstream", "make_plan",
           "seeds_of"]

log = logging.getLogger(__name__)

#: The core never reads a word of a memory in the cycle in which it is written (its tests assert so
#: on every run), but Amaranth has no way to say it. Without this Yosys would delay every write and
#: bypass the memory to give the old word: 550 logic cells around the membrane of 16 lanes.
NO_COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 *core*/t:$memrd_v2"

#: Takes a memory of the core from block RAM and makes it of registers.
IN_REGISTERS = 'setattr -set ram_style "logic" *core.{}/m:{}'

#: Takes a memory from block RAM and makes it of LUTs, as small memories of an ECP5 can be.
IN_LUT_RAM = 'setattr -set ram_style "distributed" *{}/m:{}'

#: Makes the multipliers of a part of the core of LUTs, where the device has too few of its own.
IN_LUTS = "techmap *core.{}/t:$mul"

#: Where finished steps are kept in the user's cache.
CACHE = "bitstreams"

#: Seeds of nextpnr that are tried, one after the other, until timing is met.
SEEDS = (1, 2, 3, 4, 5, 6, 7, 8)


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a build: its name, how long it took, and whether that was in an earlier build."""

    name: str
    seconds: float
    cached: bool


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of place and route.

    Parameters
    ----------
    seed : :class:`int`
        Its seed.
    fmax_mhz : :class:`dict`
        Its clocks, as in :func:`boards.analysis.all_paths`.
    slowest : :class:`dict`
        The slowest path of each, as in :func:`boards.analysis.analyse`.
    folder : :class:`pathlib.Path`
        Where its files are.
    """

    seed: int
    fmax_mhz: dict[str, Clock]
    slowest: dict[str, SlowestPath]
    folder: Path


@dataclasses.dataclass(frozen=True)
class Bitstream:
    """A bitstream, and how it was made.

    Parameters
    ----------
    missed : :class:`str` or None
        Which clock is too slow, by how much and along which path; None when every clock meets its
        frequency.
    fmax_mhz, slowest : :class:`dict`
        Those of the trial that was taken.
    path : :class:`pathlib.Path`
        The bitstream, in the cache.
    synthesis_log, route_log : :class:`pathlib.Path`
        What Yosys and nextpnr said.
    nextpnr : :class:`dict`
        nextpnr's report of the seed that was taken.
    seed : :class:`int`
        That seed.
    trials : tuple of :class:`Trial`
        Every seed that was tried.
    steps : tuple of :class:`Step`
        What was done, in order.
    """

    missed: str | None
    fmax_mhz: dict[str, Clock]
    slowest: dict[str, SlowestPath]
    path: Path
    synthesis_log: Path
    route_log: Path
    nextpnr: dict[str, Any]
    seed: int
    trials: tuple[Trial, ...]
    steps: tuple[Step, ...]


def seeds_of(board: Board) -> tuple[int, ...]:
    """Seeds to try for a board, as many as :data:`SEEDS`: those known to be good come first."""
    return tuple(dict.fromkeys((*board.seeds, *SEEDS)))[:len(SEEDS)]


def make_plan(board: Board, top: Elaboratable) -> BuildPlan:
    """Elaborate ``top`` for ``board``: all files and commands of a build, nothing run yet.

    The same design gives the same plan, byte for byte, in whatever folder it lies.
    """
    chip = find_chip(board.device)
    return board.platform_factory().build(
        top,
        name="top",
        do_build=False,
        # Source positions are paths of this machine, and would make every digest unique.
        emit_src=False,
        script_after_read="\n".join([
            NO_COLLISIONS,
            *(IN_REGISTERS.format(*name) for name in board.in_registers),
            *(IN_LUT_RAM.format(*name) for name in board.in_lut_ram),
            *(IN_LUTS.format(part) for part in board.in_luts),
            chip.before_synthesis if chip else "",
        ]),
        script_after_synth=chip.after_synthesis if chip else "",
        synth_opts=board.synth_opts,
        nextpnr_opts=board.nextpnr_opts,
    )


def _key(plan: BuildPlan, toolchain: Toolchain) -> str:
    """Name of a design as made by a toolchain."""
    digest = hashlib.blake2b(plan.digest(), digest_size=10)
    digest.update(toolchain.identity.encode())
    return digest.hexdigest()


def _run(
    toolchain: Toolchain, command: list[str], folder: Path, log_name: str | None = None
) -> None:
    """Run one command of the plan in ``folder``, where it writes its log to ``log_name``."""
    tool, *arguments = command

    def each_line(line: str) -> None:
        if line.startswith("Preparing to run"):
            log.info("first run of %s on this machine: compiling it, about a minute", tool)

    run_tool(
        [toolchain.path(tool), *arguments],
        folder=folder,
        each_line=each_line,
        log_file=folder / log_name if log_name else None,
    )


def _step(
    name: str, folder: Path, keep: Iterable[str], work: Callable[[Path], None]
) -> Step:
    """Do ``work`` in a new folder and keep some files of it, unless ``folder`` is already there."""
    record = folder / "step.json"
    if record.exists():
        return Step(name, json.loads(record.read_text())["seconds"], cached=True)
    log.info("%s", name)
    started = time.monotonic()
    with new_folder(folder) as temporary:
        work(temporary)
        for path in temporary.iterdir():
            if path.name not in keep:
                path.unlink()
        step = Step(name, round(time.monotonic() - started, 2), cached=False)
        (temporary / record.name).write_text(json.dumps({"step": name, "seconds": step.seconds}))
    log.info("%s: %.1f s", name, step.seconds)
    return step


def _write_plan(plan: BuildPlan, folder: Path) -> None:
    for name, content in plan.files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def make_bitstream(
    board: Board,
    top: Elaboratable,
    *,
    seeds: Iterable[int] | None = None,
    exhaustive: bool = False,
    toolchain: Toolchain | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bitstream:
    """Synthesise, place, route and pack ``top`` for ``board``.

    When no seed meets the timing the best one is returned; its :attr:`Bitstream.missed` says so.

    Parameters
    ----------
    seeds : iterable of :class:`int`
        Seeds of place and route, tried in order until one meets the timing; by default
        :func:`seeds_of` the board.
    exhaustive : :class:`bool`
        Try all seeds and take the fastest result.
    toolchain : :class:`boards.toolchain.Toolchain`, optional
        By default the one that :func:`boards.toolchain.find_toolchain` finds.
    cache : :class:`pathlib.Path`, optional
        By default the folder :data:`CACHE` of the user's cache.
    progress : callable, optional
        Called as ``progress(done, total)`` after synthesis and after each seed.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.ToolError`
        If a tool is missing.
    :exc:`ttfs_sw.common.errors.FailureError`
        If a tool fails, as Yosys and nextpnr do on a design that the device has no room for.
    """
    seeds = seeds_of(board) if seeds is None else tuple(seeds)
    toolchain = toolchain or find_toolchain(board.family)
    started = time.monotonic()
    plan = make_plan(board, top)
    steps = [Step("elaborate", round(time.monotonic() - started, 2), cached=False)]
    synthesise, place_and_route, pack = json.loads(plan.files["build_top.json"])["commands"]
    base = (cache or cache_folder(CACHE)) / f"{board.name}-{_key(plan, toolchain)}"
    product = f"top{board.bitstream_suffix}"

    def synthesis(folder: Path) -> None:
        _write_plan(plan, folder)
        _run(toolchain, synthesise, folder, "top.rpt")

    def routing(folder: Path, seed: int) -> None:
        _write_plan(plan, folder)
        shutil.copy(base / "synthesis" / "top.json", folder)
        # A seed that misses the timing is a result too: the report tells, not the exit code.
        options = ["--seed", str(seed), "--report", "top.report.json", "--timing-allow-fail",
                   "--sdf", "top.sdf"]
        _run(toolchain, [*place_and_route, *options], folder)
        _run(toolchain, pack, folder)
        with gzip.open(folder / "top.sdf.gz", "wb", compresslevel=6) as packed:
            packed.write((folder / "top.sdf").read_bytes())

    def judging(folder: Path, routed: Path) -> None:
        nextpnr = json.loads((routed / "top.report.json").read_text())
        slowest = analysis.analyse(
            routed / "top.sdf.gz", base / "synthesis" / "top.json", board.device, nextpnr)
        (folder / "slowest.json").write_text(json.dumps(slowest))

    steps.append(_step("synthesis", base / "synthesis", ("top.json", "top.rpt"), synthesis))
    trials: list[Trial] = []
    for seed in seeds:
        if progress is not None:
            progress(1 + len(trials), 1 + len(seeds))
        # Not "seed-N": releases that kept no delays used that name.
        folder = base / f"routed-{seed}"
        steps.append(_step(
            f"place and route, seed {seed}",
            folder,
            (product, "top.report.json", "top.tim", "top.sdf.gz"),
            functools.partial(routing, seed=seed),
        ))
        judged = base / f"paths-{seed}-{analysis.IDENTITY}"
        steps.append(_step(
            f"all paths, seed {seed}",
            judged,
            ("slowest.json",),
            functools.partial(judging, routed=folder),
        ))
        slowest = json.loads((judged / "slowest.json").read_text())
        fmax_mhz = analysis.all_paths(
            json.loads((folder / "top.report.json").read_text()), slowest, board.clock_mhz)
        trials.append(Trial(seed, fmax_mhz, slowest, folder))
        if report.missed(fmax_mhz, board.clock_mhz) is None and not exhaustive:
            break
    if progress is not None:
        progress(1 + len(seeds), 1 + len(seeds))

    best = max(trials, key=lambda trial: report.slack(trial.fmax_mhz))
    nextpnr = json.loads((best.folder / "top.report.json").read_text())
    return Bitstream(
        missed=report.missed(best.fmax_mhz, board.clock_mhz, best.slowest),
        fmax_mhz=best.fmax_mhz,
        slowest=best.slowest,
        path=best.folder / product,
        synthesis_log=base / "synthesis" / "top.rpt",
        route_log=best.folder / "top.tim",
        nextpnr=nextpnr,
        seed=best.seed,
        trials=tuple(trials),
        steps=tuple(steps),
    )
