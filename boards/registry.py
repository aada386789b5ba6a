# SPDX-License-Identifier: Apache-2.0
"""The boards we build for: every fact about a board that is not gateware, in one table."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from amaranth.build import Platform

from ttfs_fpga.boards.configurations import CONFIGURATIONS
from ttfs_fpga.boards.families import ECP5, ICE40, Family
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_named
from ttfs_sw.common.errors import InputError

__all__ = ["BOARDS", "Board", "Programmer", "find_board"]


@dataclasses.dataclass(frozen=True)
class Programmer:
    """One way to write a board's flash: a tool, and its command line for each of the two files.

    Parameters
    ----------
    tool : :class:`str`
        Name of the program.
    bitstream, image : tuple of :class:`str`
        Arguments that write the bitstream at 0, and the network image at its offset. ``{file}`` and
        ``{offset}`` stand for what is written and where.
    """

    tool: str
    bitstream: tuple[str, ...]
    image: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Board:
    """One board: its device, the core it carries, its clock, its serial line and its flash.

    Everything that a board and its network image agree on is here: the gateware, the flash image,
    the programmer and the host read the same numbers.

    Parameters
    ----------
    name : :class:`str`
        What the user types after ``--board``.
    title : :class:`str`
        Name and maker's part, for people.
    device : :class:`str`
        The FPGA, as in reports.
    family : :class:`boards.families.Family`
        What it has in common with others: tools, bitstream, PLL.
    platform_factory : callable
        Makes a fresh :class:`amaranth.build.Platform`. A platform builds once, so one a build; the
        board's pin-out is imported only when it is called.
    config : :class:`hdl.config.CoreConfig`
        The core of the board's bitstream. Its fingerprint ties a flash image to the bitstream.
    clock_hz : :class:`int`
        Frequency of the core's clock domain, ``sync``. A build that misses it fails.
    baud : :class:`int`
        Speed of the serial line, 8 data bits, no parity, one stop bit.
    flash_bytes : :class:`int`
        Size of the SPI flash.
    flash_offset : :class:`int`
        Where the network image starts in it; the bitstream, at 0, must end before.
    programmers : tuple of :class:`Programmer`
        Tools that can write the flash, the best first; any one of them will do.
    nextpnr_opts : tuple of :class:`str`
        What helps this device to meet its clock, found by trying (``docs/boards.md``).
    synth_opts : tuple of :class:`str`
        The same for Yosys.
    seeds : tuple of :class:`int`
        Seeds of place and route that are known to meet the clock, to be tried first.
    in_registers : tuple of pairs of :class:`str`
        Memories of the core that are made of registers, because the device has too few blocks of
        memory: the part of the core, and the memory's name in it.
    in_lut_ram : tuple of pairs of :class:`str`
        Memories that are made of LUTs used as RAM, for the same reason: the part of the design that
        they are in, and their name in it.
    in_luts : tuple of :class:`str`
        Parts of the core whose multipliers are made of LUTs, for the same reason.
    notes : :class:`str`
        What the user should know before buying or plugging in.
    """

    name: str
    title: str
    device: str
    family: Family
    platform_factory: Callable[[], Platform]
    config: CoreConfig
    clock_hz: int
    baud: int
    flash_bytes: int
    flash_offset: int
    programmers: tuple[Programmer, ...]
    nextpnr_opts: tuple[str, ...] = ()
    synth_opts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    in_registers: tuple[tuple[str, str], ...] = ()
    in_lut_ram: tuple[tuple[str, str], ...] = ()
    in_luts: tuple[str, ...] = ()
    notes: str = ""

    @property
    def clock_mhz(self) -> float:
        """Frequency of the core's clock in MHz."""
        return self.clock_hz / 1e6

    @property
    def bitstream_suffix(self) -> str:
        """Ending of the file that the programmer takes."""
        return self.family.bitstream_suffix

    def with_datapath(self, datapath: str) -> "Board":
        """The same board whose core has another datapath, and with it another bitstream."""
        if datapath == self.config.datapath:
            return self
        other = datapath_named(datapath)
        needs = other.needs(self.device)
        changes: dict[str, Any] = {"datapath": datapath, **other.sizes(self.config)}
        return dataclasses.replace(
            self,
            name=f"{self.name}-{datapath}",
            seeds=(),
            config=dataclasses.replace(self.config, **changes),
            clock_hz=min(self.clock_hz, needs.most_hz or self.clock_hz),
            in_registers=(*self.in_registers, *needs.in_registers),
        )


def _platform(module: str, name: str) -> Callable[[], Platform]:
    """A factory that imports ``amaranth_boards.module`` only when a platform is asked for."""

    def factory():
        return getattr(importlib.import_module(f"amaranth_boards.{module}"), name)()

    return factory


def _openfpgaloader(board: str, *options: str) -> Programmer:
    """openFPGALoader for one of the boards it knows; it reads back what it wrote."""
    common = ("--board", board, *options, "--write-flash", "--verify")
    return Programmer(
        tool="openFPGALoader",
        bitstream=(*common, "{file}"),
        image=(*common, "--offset", "{offset}", "--file-type", "raw", "{file}"),
    )


_ICEBREAKER = Board(
    name="icebreaker",
    title="1BitSquared iCEBreaker V1.0",
    device="iCE40UP5K-SG48",
    family=ICE40,
    platform_factory=_platform("icebreaker", "ICEBreakerPlatform"),
    config=CONFIGURATIONS["up5k-16x4"].core,
    clock_hz=40_500_000,
    baud=1_000_000,
    flash_bytes=16 << 20,
    flash_offset=0x100000,
    programmers=(
        Programmer("iceprog", bitstream=("{file}",), image=("-o", "{offset}", "{file}")),
        _openfpgaloader("ice40_generic"),
    ),
    # The requantiser's multiplier in one DSP block saves 600 of 3550 LUTs. ABC maps for the delays
    # of the device asked for; for those of an HX the clock is 3 MHz slower. The placer's usual
    # weight of timing is 10.
    nextpnr_opts=("--placer-heap-timingweight", "20"),
    synth_opts=("-dsp", "-device u"),
    seeds=(2,),
    notes="The second port of its USB chip is the serial line.",
)

_HX8K_EVN = Board(
    name="hx8k-evn",
    title="Lattice iCE40-HX8K breakout board (ICE40HX8K-B-EVN)",
    device="iCE40HX8K-CT256",
    family=ICE40,
    platform_factory=_platform("ice40_hx8k_b_evn", "ICE40HX8KBEVNPlatform"),
    config=CONFIGURATIONS["hx8k-8x4"].core,
    clock_hz=81_000_000,
    baud=1_000_000,
    flash_bytes=4 << 20,
    # The bitstream of an HX8K has 135 100 bytes, whatever is in it.
    flash_offset=0x40000,
    programmers=(
        Programmer("iceprog", bitstream=("{file}",), image=("-o", "{offset}", "{file}")),
        _openfpgaloader("ice40_generic"),
    ),
    nextpnr_opts=("--placer-heap-timingweight", "20"),
    in_registers=(
        ("map.memory", "memory"), ("membrane", "lanes6"), ("requantiser", "places"),
    ),
    notes="Its jumpers must be set for programming the flash, as its manual shows; the second port "
    "of its USB chip is the serial line.",
)

_ULX3S_25F = Board(
    name="ulx3s-25f",
    title="Radiona ULX3S 25F",
    device="LFE5U-25F-6BG381",
    family=ECP5,
    platform_factory=_platform("ulx3s", "ULX3S_25F_Platform"),
    config=CONFIGURATIONS["lfe5u-25f-16x4"].core,
    # The weights and the potentials leave few blocks.
    in_lut_ram=(
        ("core.requantiser", "places"), ("core.requantiser", "slopes"), ("core.encoder", "table"),
        ("core.controller.table", "memory"), ("recorder", "storage"),
    ),
    clock_hz=50_000_000,
    baud=1_000_000,
    flash_bytes=16 << 20,
    flash_offset=0x200000,
    programmers=(_openfpgaloader("ulx3s", "--unprotect-flash"),),
    notes="Its serial line is the FTDI chip's, on connector US1.",
)

_ULX3S_85F = dataclasses.replace(
    _ULX3S_25F,
    name="ulx3s-85f",
    title="Radiona ULX3S 85F",
    device="LFE5U-85F-6BG381",
    platform_factory=_platform("ulx3s", "ULX3S_85F_Platform"),
    config=CONFIGURATIONS["lfe5u-85f-64x4"].core,
    # With 64 multipliers in blocks, Yosys 0.66 ends in a failed assertion of its ABC9 pass.
    in_luts=("lanes",),
)


def _variant(board: Board, configuration: str, **changes) -> Board:
    """The same board with another core, named like ``icebreaker-8x8``: 8 lanes of 8 bits."""
    core = CONFIGURATIONS[configuration].core
    return dataclasses.replace(
        board, name=f"{board.name}-{core.lanes}x{core.weight_bits}", config=core, **changes)


#: The UP5K has 8 multipliers and the ECP5-25F has 28, and Yosys would take one a lane.
_LANES_IN_LUTS = {"in_luts": ("lanes",)}

#: All memories but that of weights, which takes all block RAMs of the ECP5-25F.
_SMALL_MEMORIES = (
    ("core.controller.table", "memory"), ("core.encoder", "table"), ("core.encoder.map", "memory"),
    ("core.map.memory", "memory"), ("core.membrane", "*"), ("core.requantiser", "slopes"),
    ("recorder", "storage"),
)

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        _ICEBREAKER,
        _variant(_ICEBREAKER, "up5k-8x8", clock_hz=33_000_000, **_LANES_IN_LUTS),
        _HX8K_EVN,
        _ULX3S_25F,
        _variant(_ULX3S_25F, "lfe5u-25f-32x4", **_LANES_IN_LUTS),
        _variant(_ULX3S_25F, "lfe5u-25f-64x4", clock_hz=80_000_000, **_LANES_IN_LUTS,
                 in_lut_ram=_SMALL_MEMORIES),
        _ULX3S_85F,
        _variant(_ULX3S_85F, "lfe5u-85f-32x8"),
    )
}


def find_board(name: str) -> Board:
    """Look up a board by the name that the user typed.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there is no such board; the message lists those there are.
    """
    try:
        return BOARDS[name]
    except KeyError:
        raise InputError(f"unknown board {name!r}: choose one of {', '.join(BOARDS)}") from None
