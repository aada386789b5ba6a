"""What of each cell nextpnr does not time, or not long enough: the table, by family of device.

docs/timing.md shows it with the experiments behind it. The numbers are in picoseconds and of the
slow corner: those of the iCE40 from IceStorm's ``icefuzz/timings_up5k.txt`` and ``_hx8k.txt``
(YosysHQ/icestorm 3cdcf4b, the third value of each triple), those of the ECP5 from Project Trellis'
database (YosysHQ/prjtrellis-db 4dda149, ``ECP5/timing/speed_6/cells.json``, the greatest value).
"""

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from ttfs_fpga.boards.mac16 import mac16
from ttfs_fpga.boards.sdf import Arc, Cell
from ttfs_sw.common.errors import FailureError

__all__ = ["Device", "device_timing", "dsp_parameters"]

#: Setup of ports that nextpnr 0.11 gives 100 ps on an iCE40, by type of cell; a port is named
#: without its number. What the table has at 100 ps or less is left to nextpnr.
_SETUP_UP5K = {
    "ICESTORM_LC": {"SR": 530},
    "ICESTORM_RAM": {"MASK": 517, "RADDR": 385, "RCLKE": 504, "RE": 186, "WADDR": 424,
                     "WCLKE": 504, "WDATA": 305, "WE": 252},
    # STANDBY, SLEEP and POWEROFF are for constants: what wakes up needs microseconds.
    "ICESTORM_SPRAM": {"ADDRESS": 268, "CHIPSELECT": 404, "DATAIN": 144, "MASKWREN": 144,
                       "WREN": 289, "STANDBY": 1716, "SLEEP": 41506},
}
_SETUP_HX8K = {
    "ICESTORM_LC": {"SR": 204},
    "ICESTORM_RAM": {"MASK": 274, "RADDR": 204, "RCLKE": 267, "RE": 99, "WADDR": 225,
                     "WCLKE": 267, "WDATA": 162, "WE": 134},
}

#: Ports that are clocks, of every type of cell whose delays are known: nextpnr's, or ours.
_CLOCKS_ICE40 = {
    "ICESTORM_LC": ("CLK",), "ICESTORM_RAM": ("RCLK", "WCLK"), "ICESTORM_SPRAM": ("CLOCK",),
    "ICESTORM_DSP": ("CLK",), "SB_IO": ("INPUT_CLK", "OUTPUT_CLK"), "SB_GB": (),
    "ICESTORM_PLL": (), "ICESTORM_HFOSC": (), "ICESTORM_LFOSC": (), "SB_WARMBOOT": (),
    "SB_RGBA_DRV": (), "SB_RGB_DRV": (), "SB_LED_DRV_CUR": (),
}
_CLOCKS_ECP5 = {
    "TRELLIS_COMB": ("WCK",), "TRELLIS_FF": ("CLK",), "TRELLIS_RAMW": (), "TRELLIS_IO": (),
    "DP16KD": ("CLKA", "CLKB"), "MULT18X18D": ("CLK0", "CLK1", "CLK2", "CLK3"), "DCCA": (),
    "EHXPLLL": (), "OSCG": (), "GSR": (), "USRMCLK": (),
}

#: From the write clock of RAM in LUTs to its output, which nextpnr takes for a plain LUT's.
_LUT_RAM_WRITTEN = 929
#: From the signs of a multiplier without registers to the product, for which nextpnr has no arc.
_MULTIPLIER_SIGN = 3728


@dataclasses.dataclass(frozen=True)
class Device:
    """A device's table: ports that are clocks, and setups that nextpnr has too short."""

    #: Outputs that may change at the other edge than the cell's others, or at either.
    second_edge = frozenset({"D_IN_1"})

    clocks: Mapping[str, tuple[str, ...]]
    setup: Mapping[str, Mapping[str, float]]

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
                "boards/cell_timing.py has: no clock can be promised; take another cell, or add "
                "its delays there"
            ) from None

    def complete(
        self, name: str, cell: Cell, ports: Collection[str],
        dsp: Mapping[str, Mapping[str, int]],
    ) -> Cell:
        """The cell with all that nextpnr leaves out; ``ports`` are those that are connected.

        Parameters
        ----------
        dsp : mapping
            What :func:`dsp_parameters` found.
        """
        if cell.type == "ICESTORM_DSP":
            # nextpnr's packer appends to the name.
            origin = name.removesuffix("_DSP")
            if origin not in dsp:
                raise FailureError(
                    f"the DSP block {name} of the routed design is not in the netlist that was "
                    "routed: its configuration is not known, so its delays are not"
                )
            return mac16(dsp[origin], ports)
        least = self.setup.get(cell.type, {})
        checks = [
            dataclasses.replace(
                check, ps=max(check.ps, least.get(check.port.rstrip("0123456789").rstrip("_"), 0)))
            for check in cell.checks
        ]
        arcs = list(cell.arcs)
        if cell.type == "TRELLIS_COMB" and "WCK" in ports:
            arcs += [Arc("WCK", port, _LUT_RAM_WRITTEN)
                     for port in sorted({arc.end for arc in cell.arcs} | ({"F"} & set(ports)))]
        if cell.type == "MULT18X18D" and not checks:
            products = sorted({arc.end for arc in cell.arcs})
            arcs += [Arc(sign, product, _MULTIPLIER_SIGN)
                     for sign in ("SIGNEDA", "SIGNEDB") if sign in ports for product in products]
        return Cell(cell.type, arcs, checks)


_DEVICES = {
    "iCE40UP5K": Device(_CLOCKS_ICE40, _SETUP_UP5K),
    "iCE40HX8K": Device(_CLOCKS_ICE40, _SETUP_HX8K),
    "LFE5U-25F-6": Device(_CLOCKS_ECP5, {}),
    "LFE5U-85F-6": Device(_CLOCKS_ECP5, {}),
}


def device_timing(device: str) -> Device:
    """The table of a device, by the name that :attr:`boards.registry.Board.device` has.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If there is none.
    """
    for name, table in _DEVICES.items():
        if device.startswith(name):
            return table
    raise FailureError(
        f"the delays of a {device} are in no table, so that no clock can be promised: add them to "
        f"boards/cell_timing.py, which has {', '.join(_DEVICES)}"
    )


def dsp_parameters(netlist: Path) -> dict[str, dict[str, int]]:
    """How every SB_MAC16 of Yosys' netlist (JSON) is configured, by its name."""
    modules = json.loads(netlist.read_text())["modules"]
    return {
        name: {key: int(value, 2) if isinstance(value, str) else value
               for key, value in cell["parameters"].items()}
        for module in modules.values() if "top" in module["attributes"]
        for name, cell in module["cells"].items() if cell["type"] == "SB_MAC16"
    }
