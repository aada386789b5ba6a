# SPDX-License-Identifier: Apache-2.0
"""Reading nextpnr's report: how full the device is, how fast each clock may be, what limits it."""

import re
from collections.abc import Mapping
from typing import Any

from ttfs_fpga.boards.families import is_carry_pin, origin
from ttfs_fpga.boards.reports import Clock, Frequency, SlowestPath, Utilization
from ttfs_sw.common.errors import FailureError

__all__ = ["clock_name", "clocks", "critical_path", "missed", "slack", "utilization"]


def clock_name(net: str) -> str:
    """Name of a clock as the designer knows it: ``$glbnet$cd_sync.clk`` is ``sync``."""
    found = re.search(r"(?:^|[$.])cd_(\w+)\.clk$", net)
    return found.group(1) if found else net.removeprefix("$glbnet$")


def utilization(report: dict[str, Any]) -> dict[str, Utilization]:
    """What the design uses of each kind of cell that the device has."""
    return {
        kind: Utilization(
            available=count["available"], used=count["used"],
            percent=round(100 * count["used"] / count["available"], 1))
        for kind, count in report["utilization"].items()
        if count["available"]
    }


def clocks(report: dict[str, Any]) -> dict[str, Frequency]:
    """Achieved and demanded frequency of each clock, in MHz, by the clock's readable name.

    A design's only clock is that of its ``sync`` domain, under whichever of its aliases the tools
    kept.
    """
    only = len(report["fmax"]) == 1
    return {
        "sync" if only else clock_name(net): Frequency(
            achieved=round(fmax["achieved"], 2), constraint=round(fmax["constraint"], 2))
        for net, fmax in report["fmax"].items()
    }


def slack(fmax_mhz: Mapping[str, Frequency]) -> float:
    """How much faster than demanded the worst clock is, as a ratio; below 1 timing is missed."""
    return min(clock.achieved / clock.constraint for clock in fmax_mhz.values())


def missed(
    fmax_mhz: Mapping[str, Frequency],
    clock_mhz: float,
    slowest: Mapping[str, SlowestPath] | None = None,
) -> str | None:
    """Say which clock misses its frequency and by how much; None when all are met.

    The path that takes so long is named where ``slowest`` (:func:`boards.analysis.analyse`) has it,
    and what nextpnr alone would say, where that is another figure.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If no clock was constrained to ``clock_mhz``: then "met" would mean nothing.
    """
    # The tolerance is nextpnr's own rounding of periods to picoseconds.
    if not any(clock.constraint >= 0.999 * clock_mhz for clock in fmax_mhz.values()):
        constrained = ", ".join(
            f"{name} to {clock.constraint:g} MHz" for name, clock in fmax_mhz.items()
        )
        raise FailureError(
            f"no clock of the design was held to the board's {clock_mhz:g} MHz, only "
            f"{constrained or 'none at all'}: the board's top must constrain its clock"
        )
    name, clock = min(
        fmax_mhz.items(), key=lambda item: item[1].achieved / item[1].constraint
    )
    if clock.achieved >= clock.constraint:
        return None
    short = clock.constraint - clock.achieved
    said = (
        f"clock {name} reaches {clock.achieved:g} MHz of the {clock.constraint:g} MHz asked "
        f"for, {short:.2f} MHz too slow"
    )
    alone = clock.nextpnr if isinstance(clock, Clock) else None
    if alone is not None and alone != clock.achieved:
        said += f" (by the paths that nextpnr times, {alone:g} MHz)"
    if slowest and name in slowest:
        said += f", on the path {' > '.join(slowest[name]['cells'])}"
    return said


def critical_path(report: dict[str, Any]) -> str:
    """The slowest path between registers of one clock that nextpnr times, a hop a line.

    A line has kind, delay and arrival time (ns), what the hop reaches, and its place on the device.
    A carry chain is one line.
    """

    def total(path: dict[str, Any]) -> float:
        return sum(hop["delay"] for hop in path["path"])

    paths = [path for path in report["critical_paths"] if path["from"] == path["to"]]
    if not paths:
        return "no path between registers\n"
    slowest = max(paths, key=total)
    lines = []
    arrival = routing = chain = 0.0
    for hop in slowest["path"]:
        arrival += hop["delay"]
        if hop["type"] == "routing":
            routing += hop["delay"]
        pin = hop["to"]
        if is_carry_pin(pin["port"]):
            chain += hop["delay"]
            continue
        if chain:
            lines.append(f"{'carry':>9} {chain:6.2f} {arrival - hop['delay']:6.2f}")
            chain = 0.0
        place = ",".join(str(axis) for axis in pin["loc"])
        lines.append(
            f"{hop['type']:>9} {hop['delay']:6.2f} {arrival:6.2f}  "
            f"{origin(pin['cell'])}.{pin['port']} ({place})"
        )
    clock = clock_name(slowest["from"].split()[-1])
    lines.append(
        f"clock {clock}: {arrival:.2f} ns, of which routing {routing:.2f}: {1000 / arrival:.1f} MHz"
    )
    return "\n".join(lines) + "\n"
