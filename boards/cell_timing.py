# SPDX-License-Identifier: Apache-2.0
"""What of each cell nextpnr does not time, or not long enough: what such a table is.

The tables are those of the device families (:mod:`boards.families`); docs/timing.md shows them with
the experiments behind them. The numbers are in picoseconds.
"""

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ttfs_fpga.boards.sdf import Cell
from ttfs_sw.common.errors import FailureError

__all__ = ["CellTable", "Completion", "cell_parameters"]

#: Completes a cell: its name, what nextpnr says of it, the ports that are connected, and what
#: :func:`cell_parameters` found.
Completion = Callable[[str, Cell, Collection[str], Mapping[str, Mapping[str, int]]], Cell]


@dataclasses.dataclass(frozen=True, eq=False)
class CellTable:
    """A device's table.

    Parameters
    ----------
    clocks : mapping
        Ports that are clocks, of every type of cell whose delays are known: nextpnr's, or ours.
    setup : mapping
        Setups that nextpnr has too short, by type of cell and port; a port is named without its
        number.
    complete : mapping
        By type of cell, what adds all else that nextpnr leaves out.
    configured : mapping
        Types of cells whose delays depend on parameters, and what they are in Yosys' netlist.
    second_edge : frozenset of :class:`str`
        Outputs that may change at the other edge than the cell's others, or at either.
    """

    clocks: Mapping[str, tuple[str, ...]]
    setup: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    complete: Mapping[str, Completion] = dataclasses.field(default_factory=dict)
    configured: Mapping[str, str] = dataclasses.field(default_factory=dict)
    second_edge: frozenset[str] = frozenset()

    def clock_ports(self, name: str, cell: Cell) -> tuple[str, ...]:
        """The clocks of a cell.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.FailureError`
            If nobody has its delays.
        """
        try:
            return self.clocks[cell.type]
        except KeyError:
            raise FailureError(
                f"the cell {name} is a {cell.type}, whose delays neither nextpnr nor "
                "boards/families has: no clock can be promised; take another cell, or add "
                "its delays there"
            ) from None

    def completed(
        self, name: str, cell: Cell, ports: Collection[str],
        parameters: Mapping[str, Mapping[str, int]],
    ) -> Cell:
        """The cell with all that nextpnr leaves out; ``ports`` are those that are connected.

        Parameters
        ----------
        parameters : mapping
            What :func:`cell_parameters` found.
        """
        least = self.setup.get(cell.type, {})
        checks = [
            dataclasses.replace(
                check, ps=max(check.ps, least.get(check.port.rstrip("0123456789").rstrip("_"), 0)))
            for check in cell.checks
        ]
        cell = Cell(cell.type, list(cell.arcs), checks)
        complete = self.complete.get(cell.type)
        return cell if complete is None else complete(name, cell, ports, parameters)


def cell_parameters(netlist: Path, types: Collection[str]) -> dict[str, dict[str, int]]:
    """How every cell of some types in Yosys' netlist (JSON) is configured, by its name."""
    modules = json.loads(netlist.read_text())["modules"]
    return {
        name: {key: int(value, 2) if isinstance(value, str) else value
               for key, value in cell["parameters"].items()}
        for module in modules.values() if "top" in module["attributes"]
        for name, cell in module["cells"].items() if cell["type"] in types
    }
