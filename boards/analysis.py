# SPDX-License-Identifier: Apache-2.0
"""Judging a routed design by the slowest of all its paths, and saying which one that is."""

import gzip
import hashlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttfs_fpga.boards import cell_timing, families, report, sdf, timing
from ttfs_fpga.boards.cell_timing import cell_parameters
from ttfs_fpga.boards.families import device_timing, origin
from ttfs_fpga.boards.reports import Clock, Frequency, SlowestPath
from ttfs_fpga.boards.sdf import read_sdf
from ttfs_fpga.boards.timing import Timing
from ttfs_sw.common.errors import FailureError

__all__ = ["IDENTITY", "all_paths", "analyse", "follow", "slowest_paths"]

#: Changes with whatever the figures depend on besides the routed design.
IDENTITY = hashlib.blake2b(
    "".join([
        *map(inspect.getsource, (sys.modules[__name__], cell_timing, report, sdf, timing)),
        *(path.read_text(encoding="utf-8")
          for path in sorted(Path(families.__path__[0]).glob("*.py"))),
    ]).encode(), digest_size=6
).hexdigest()


def follow(delays: Path, netlist: Path, device: str) -> Timing:
    """Follow every path of a routed design.

    Parameters
    ----------
    delays : :class:`pathlib.Path`
        SDF of nextpnr, plain or compressed (``.gz``).
    netlist : :class:`pathlib.Path`
        What was routed: Yosys' JSON.
    device : :class:`str`
        As in :attr:`boards.registry.Board.device`.
    """
    with (gzip.open if delays.suffix == ".gz" else open)(delays, "rt") as lines:
        routed = read_sdf(lines)
    table = device_timing(device)
    types = {table.configured[cell.type] for cell in routed.cells.values()
             if cell.type in table.configured}
    return Timing(routed, table, cell_parameters(netlist, types) if types else {})


def analyse(
    delays: Path, netlist: Path, device: str, nextpnr: dict[str, Any]
) -> dict[str, SlowestPath]:
    """The slowest of all paths of each clock, in a form for a JSON file.

    Parameters
    ----------
    nextpnr : :class:`dict`
        nextpnr's report, in whose names of clocks the answer is.

    Returns
    -------
    :class:`dict`
        By clock: ``mhz``, ``cells`` that the path passes in the designer's words, and ``hops``,
        each of a kind, picoseconds and a pin.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If a delay is unknown, or nextpnr knows a clock that no path was found for.
    """
    followed = follow(delays, netlist, device)
    slowest = followed.slowest()
    named = report.clocks(nextpnr)
    if len(named) == len(slowest) == 1:
        names = {next(iter(slowest)): next(iter(named))}
    else:
        names = {}
        for path in nextpnr["critical_paths"]:
            net = path["from"].split()[-1]
            if net == path["to"].split()[-1] and net in nextpnr["fmax"]:
                driver = followed.driver(path["path"][0]["from"]["cell"])
                if driver is not None:
                    names[driver] = "sync" if len(named) == 1 else report.clock_name(net)
    missing = set(named) - {names.get(driver) for driver in slowest}
    if missing:
        raise FailureError(
            f"the delays that nextpnr wrote hold no path of the clock {', '.join(sorted(missing))}")
    return {
        names.get(driver, origin(driver)): {
            "mhz": round(1e6 / path.ps, 2) if path.ps else 0.0,
            "cells": path.cells(),
            "hops": [(hop.kind, hop.ps, hop.pin) for hop in path.hops],
        }
        for driver, path in slowest.items()
    }


def all_paths(
    nextpnr: dict[str, Any], analysed: Mapping[str, SlowestPath], clock_mhz: float
) -> dict[str, Clock]:
    """Each clock as in :func:`boards.report.clocks`, judged by the slowest of all paths.

    ``nextpnr`` and ``all_paths`` are the two figures in MHz, ``achieved`` the lower one, and
    ``constraint`` what is demanded: of a clock that nextpnr has no path of, the board's frequency.
    """
    named = report.clocks(nextpnr)
    found = {}
    for name, path in analysed.items():
        clock = named.get(name, Frequency(achieved=path["mhz"], constraint=clock_mhz))
        found[name] = Clock(
            achieved=min(clock.achieved, path["mhz"]),
            constraint=clock.constraint,
            nextpnr=clock.achieved if name in named else None,
            all_paths=path["mhz"],
        )
    return found


def slowest_paths(analysed: Mapping[str, SlowestPath]) -> str:
    """The slowest of all paths of each clock, a hop a line.

    A line has kind, delay and arrival time (ns), and the pin that is reached; a stage inside a DSP
    block stands in parentheses.
    """
    lines = []
    for name, path in analysed.items():
        arrival = routing = 0.0
        for kind, ps, pin in path["hops"]:
            arrival += ps / 1000
            routing += ps / 1000 if kind == "routing" else 0.0
            cell, _, port = pin.rpartition("/")
            lines.append(f"{kind:>9} {ps / 1000:6.2f} {arrival:6.2f}  {origin(cell)}.{port}")
        lines.append(f"clock {name}, all paths: {arrival:.2f} ns, of which routing {routing:.2f}: "
                     f"{path['mhz']:.1f} MHz")
    return "\n".join(lines) + "\n"
