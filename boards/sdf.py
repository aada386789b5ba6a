# SPDX-License-Identifier: Apache-2.0
"""Reading the delays of a routed design, as nextpnr writes them for simulators (SDF).

Of the three values of a delay the greatest is taken, of those for rising and falling edges too:
what nextpnr's own analysis reckons with. nextpnr 0.11 writes one item a line.
"""

import dataclasses
import re
from collections.abc import Iterable

from ttfs_sw.common.errors import FailureError

__all__ = ["Arc", "Cell", "Check", "Sdf", "read_sdf"]

_VALUES = r"(?:\([-+.:e\d]*\) ?)+"
_WIRE = re.compile(rf"\(INTERCONNECT (\S+) (\S+) ({_VALUES})\)")
_TYPE = re.compile(r'\(CELLTYPE "(.*)"\)')
_CELL = re.compile(r"\(INSTANCE (\S*)\)")
_ARC = re.compile(rf"\(IOPATH (?:\((?:pos|neg)edge (\S+)\)|(\S+)) (\S+) ({_VALUES})\)")
_CHECK = re.compile(
    rf"\(SETUPHOLD \((?:pos|neg)edge (\S+)\) \((pos|neg)edge (\S+)\) (\(\S*\)) {_VALUES}\)")
#: What a line that holds a delay must match one of: a line that does not is a path left out.
_ITEM = re.compile(r"\((INTERCONNECT|IOPATH|SETUPHOLD|CELLTYPE|INSTANCE)\b")


@dataclasses.dataclass(frozen=True)
class Arc:
    """A way through a cell: from a port to a port, in picoseconds."""

    start: str
    end: str
    ps: float


@dataclasses.dataclass(frozen=True)
class Check:
    """What a register asks of an input: to be there ``ps`` before ``edge`` of the port ``clock``.

    ``edge`` is ``"pos"`` or ``"neg"``.
    """

    port: str
    clock: str
    edge: str
    ps: float


@dataclasses.dataclass
class Cell:
    """One cell: its type, and its arcs and checks."""

    type: str
    arcs: list[Arc] = dataclasses.field(default_factory=list)
    checks: list[Check] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Sdf:
    """A routed design: its cells by name, and its wires from pin to pin.

    A pin is the cell's name, a slash, and the port's name.
    """

    cells: dict[str, Cell]
    wires: list[Arc]


def _greatest(values: str) -> float:
    return max(float(value) for value in re.findall(r"[-+.e\d]+", values))


def read_sdf(lines: Iterable[str]) -> Sdf:
    """Read the lines of an SDF file that nextpnr has written.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If a line holds a delay in a form that nextpnr 0.11 does not write: then what is read would
        not be all there is.
    """
    cells: dict[str, Cell] = {}
    wires = []
    kind, cell = "", Cell("")
    for line in lines:
        item = _ITEM.search(line)
        if item is None:
            if "TIMESCALE" in line and "1ps" not in line:
                raise FailureError(f"the delays of nextpnr are not in picoseconds: {line.strip()}")
            continue
        # Names are escaped for Verilog.
        line = line.replace("\\", "")
        if found := _WIRE.search(line):
            wires.append(Arc(found[1], found[2], _greatest(found[3])))
        elif found := _ARC.search(line):
            cell.arcs.append(Arc(found[1] or found[2], found[3], _greatest(found[4])))
        elif found := _CHECK.search(line):
            cell.checks.append(Check(found[1], found[3], found[2], _greatest(found[4])))
        elif found := _TYPE.search(line):
            kind = found[1]
        elif found := _CELL.search(line):
            cell = Cell(kind)
            if found[1]:
                cells[found[1]] = cell
        else:
            raise FailureError(f"nextpnr wrote a delay that is not understood: {line.strip()}")
    return Sdf(cells, wires)
