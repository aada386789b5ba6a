# SPDX-License-Identifier: Apache-2.0
"""The slowest of all paths of a routed design: nextpnr's wires, and every cell's whole delay.

nextpnr's own analysis takes every port of some cells for a register and lets paths through them go
(:mod:`boards.cell_timing`, docs/timing.md). Here every path between registers is followed, with the
delays of wires and cells that nextpnr writes (SDF), completed by that table.

What neither times: inputs and outputs of the chip, which the gateware takes for asynchronous, and
paths between two clocks.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping

from ttfs_fpga.boards.cell_timing import CellTable
from ttfs_fpga.boards.families import origin
from ttfs_fpga.boards.sdf import Sdf
from ttfs_sw.common.errors import FailureError

__all__ = ["Hop", "Path", "Timing"]


@dataclasses.dataclass(frozen=True)
class Hop:
    """One step of a path: ``kind``, how long it takes, and the pin that it reaches."""

    kind: str
    ps: float
    pin: str


@dataclasses.dataclass(frozen=True)
class Path:
    """A path between two registers of one clock.

    ``ps`` is the least period that it allows: its delay, or twice that where it starts at one edge
    and ends at the other. ``clock`` is the pin that drives the clock.
    """

    clock: str
    ps: float
    hops: tuple[Hop, ...]

    def cells(self) -> list[str]:
        """What the path passes, in the designer's words, each once in a row."""
        names = [origin(hop.pin) for hop in self.hops]
        return [name for at, name in enumerate(names) if at == 0 or name != names[at - 1]]


def _circle(pin: str) -> FailureError:
    return FailureError("the design has a path in a circle, which has no delay and so no clock: it "
                        f"passes {origin(pin)}")


class Timing:
    """Arrival times of a routed design.

    Parameters
    ----------
    sdf : :class:`boards.sdf.Sdf`
        nextpnr's delays.
    device : :class:`boards.cell_timing.CellTable`
        What it leaves out.
    parameters : mapping
        Configurations of cells, from :func:`boards.cell_timing.cell_parameters`.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If a cell's delays are unknown, or a path goes in a circle.
    """

    def __init__(
        self, sdf: Sdf, device: CellTable, parameters: Mapping[str, Mapping[str, int]]
    ):
        self._after: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
        #: Pins that drive a pin, and how long that takes.
        self._before: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
        self._launches: list[tuple[str, str, str, float]] = []
        self._captures: list[tuple[str, str, str, float]] = []
        self._read(sdf, device, parameters)
        #: By pin, and by the start's clock, its edge and its own delay to the start: when the
        #: latest arrives, that delay included, and from which pin. Starts of other delays are kept
        #: apart, because the slowest path may come from a clock that is early.
        self._arrivals: dict[str, dict[tuple[str, str, float], tuple[float, str]]] = (
            collections.defaultdict(dict))
        self._clocks: dict[str, tuple[str, float]] = {}
        self._propagate()

    def _read(self, sdf, device, parameters):
        ports = collections.defaultdict(set)
        #: Ends of wires; all else is logic.
        self._wired = {(wire.start, wire.end) for wire in sdf.wires}
        for wire in sdf.wires:
            self._arc(wire.start, wire.end, wire.ps)
            for pin in wire.start, wire.end:
                name, _, port = pin.rpartition("/")
                ports[name].add(port)
        for name, cell in sdf.cells.items():
            clocks = device.clock_ports(name, cell)
            cell = device.completed(name, cell, ports[name], parameters)
            # A register starts at the edge at which it ends; SDF of nextpnr has only the latter.
            edges = collections.defaultdict(set)
            for check in cell.checks:
                edges[check.clock].add(check.edge)
            for arc in cell.arcs:
                start, end = f"{name}/{arc.start}", f"{name}/{arc.end}"
                if arc.start in clocks:
                    both = {"pos", "neg"} if arc.end in device.second_edge else {"pos"}
                    for edge in sorted(edges[arc.start] or both):
                        self._launches.append((start, edge, end, arc.ps))
                else:
                    self._arc(start, end, arc.ps)
            for check in cell.checks:
                self._captures.append(
                    (f"{name}/{check.clock}", check.edge, f"{name}/{check.port}", check.ps))

    def _arc(self, start, end, ps):
        self._after[start].append((end, ps))
        self._before[end].append((start, ps))

    def _clock(self, pin):
        """The pin that a clock starts from, and how long it takes from there to ``pin``."""
        if pin not in self._clocks:
            driver, late, passed = pin, 0.0, {pin}
            while len(self._before[driver]) == 1:
                (driver, ps), = self._before[driver]
                late += ps
                if driver in passed:
                    raise _circle(driver)
                passed.add(driver)
            self._clocks[pin] = driver, late
        return self._clocks[pin]

    def _propagate(self):
        for clock, edge, pin, ps in self._launches:
            driver, late = self._clock(clock)
            self._arrive(pin, (driver, edge, late), (late + ps, clock))
        waiting = collections.Counter(
            end for arcs in self._after.values() for end, _ in arcs)
        ready = [pin for pin in self._after if not waiting[pin]]
        while ready:
            pin = ready.pop()
            arrivals = list(self._arrivals.get(pin, {}).items())
            for end, ps in self._after.get(pin, ()):
                for start, (time, _) in arrivals:
                    self._arrive(end, start, (time + ps, pin))
                waiting[end] -= 1
                if not waiting[end]:
                    ready.append(end)
        circle = [pin for pin, count in waiting.items() if count]
        if circle:
            raise _circle(circle[0])

    def _arrive(self, pin, start, arrival):
        arrivals = self._arrivals[pin]
        if start not in arrivals or arrival[0] > arrivals[start][0]:
            arrivals[start] = arrival

    def paths(self) -> Iterator[Path]:
        """The slowest path to every input of a register, from each edge and each delay of a clock.

        The slowest comes first.
        """
        ends = []
        for clock, edge, pin, setup in self._captures:
            driver, late = self._clock(clock)
            for start, (time, _) in self._arrivals.get(pin, {}).items():
                launched = start[2]
                if start[0] == driver:
                    # A clock that comes late to the end is no help: nextpnr 0.11 has no delay at
                    # all for the clock of an SPRAM, which would make every path from there 0.9 ns
                    # shorter.
                    skew = max(0.0, launched - late)
                    delay = time - launched + skew + setup
                    ends.append((delay if start[1] == edge else 2 * delay, pin, start, setup, skew))
        for ps, pin, start, setup, skew in sorted(ends, key=lambda end: (-end[0], end[1], end[2])):
            yield Path(start[0], ps, self._hops(pin, start, setup, skew))

    def slowest(self) -> dict[str, Path]:
        """The slowest path of each clock, by the pin that drives it."""
        found: dict[str, Path] = {}
        for path in self.paths():
            found.setdefault(path.clock, path)
        return found

    def driver(self, cell: str) -> str | None:
        """The pin that drives the clock of a cell, the first if it has several."""
        return next((self._clock(clock)[0] for clock, _, _, _ in self._launches + self._captures
                     if clock.rpartition("/")[0] == cell), None)

    def _hops(self, pin, start, setup, skew):
        hops = [Hop("setup", setup, pin)]
        while start in self._arrivals.get(pin, {}):
            time, before = self._arrivals[pin][start]
            earlier = self._arrivals.get(before, {}).get(start)
            kind = ("clk-to-q" if earlier is None
                    else "routing" if (before, pin) in self._wired else "logic")
            hops.append(Hop(kind, time - (start[2] if earlier is None else earlier[0]), pin))
            pin = before
        if skew:
            hops.append(Hop("skew", skew, pin))
        return tuple(reversed(hops))
