"""The boards we build for: every fact about a board that is not gateware, in one table."""

import dataclasses
import importlib
from collections.abc import Callable

from amaranth.build import Platform

from hdl.config import CoreConfig
from ttfs_sw.errors import InputError

__all__ = ["BOARDS", "Board", "find_board"]


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
    family : :class:`str`
        ``"ice40"`` or ``"ecp5"``: which tools place, route and pack it.
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
    bitstream_suffix : :class:`str`
        Ending of the file that the programmer takes.
    program_bitstream, program_image : tuple of :class:`str`
        Commands that write the two files to the flash; ``{file}`` and ``{offset}`` are filled in.
    nextpnr_opts : tuple of :class:`str`
        What helps this device to meet its clock, found by trying (``docs/boards.md``).
    synth_opts : tuple of :class:`str`
        The same for Yosys.
    notes : :class:`str`
        What the user should know before buying or plugging in.
    """

    name: str
    title: str
    device: str
    family: str
    platform_factory: Callable[[], Platform]
    config: CoreConfig
    clock_hz: int
    baud: int
    flash_bytes: int
    flash_offset: int
    bitstream_suffix: str
    program_bitstream: tuple[str, ...]
    program_image: tuple[str, ...]
    nextpnr_opts: tuple[str, ...] = ()
    synth_opts: tuple[str, ...] = ()
    notes: str = ""

    @property
    def clock_mhz(self) -> float:
        """Frequency of the core's clock in MHz."""
        return self.clock_hz / 1e6

    @property
    def programmer(self) -> str:
        """Tool that writes the flash."""
        return self.program_bitstream[0]


def _platform(module: str, name: str) -> Callable[[], Platform]:
    """A factory that imports ``amaranth_boards.module`` only when a platform is asked for."""

    def factory():
        return getattr(importlib.import_module(f"amaranth_boards.{module}"), name)()

    return factory


#: 16 lanes of 4 bits, sized for the UP5K: its four SPRAMs are exactly the weight memory.
_UP5K = CoreConfig(
    lanes=16,
    weight_bits=4,
    tick_bits=4,
    accumulator_bits=16,
    weight_memory="spram",
    weight_words=16384,
    membrane_words=256,
    input_words=256,
    map_words=256,
    slopes=256,
    layers=15,
)

_OPENFPGALOADER = ("openFPGALoader", "--board", "ulx3s", "--unprotect-flash", "--write-flash")

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="icebreaker",
            title="1BitSquared iCEBreaker V1.0",
            device="iCE40UP5K-SG48",
            family="ice40",
            platform_factory=_platform("icebreaker", "ICEBreakerPlatform"),
            config=_UP5K,
            clock_hz=36_000_000,
            baud=1_000_000,
            flash_bytes=16 << 20,
            flash_offset=0x100000,
            bitstream_suffix=".bin",
            program_bitstream=("iceprog", "{file}"),
            program_image=("iceprog", "-o", "{offset}", "{file}"),
            notes="The second port of its USB chip is the serial line.",
        ),
        Board(
            name="ulx3s-25f",
            title="Radiona ULX3S 25F",
            device="LFE5U-25F-6BG381",
            family="ecp5",
            platform_factory=_platform("ulx3s", "ULX3S_25F_Platform"),
            # Block RAM for 8192 words of weights is 32 of the device's 56 blocks.
            config=dataclasses.replace(_UP5K, weight_memory="block", weight_words=8192),
            clock_hz=50_000_000,
            baud=1_000_000,
            flash_bytes=16 << 20,
            flash_offset=0x200000,
            bitstream_suffix=".bit",
            program_bitstream=(*_OPENFPGALOADER, "{file}"),
            program_image=(
                *_OPENFPGALOADER, "--offset", "{offset}", "--file-type", "raw", "{file}",
            ),
            notes="Its serial line is the FTDI chip's, on connector US1.",
        ),
    )
}


def find_board(name: str) -> Board:
    """Look up a board by the name that the user typed.

    Raises
    ------
    :exc:`ttfs_sw.errors.InputError`
        If there is no such board; the message lists those there are.
    """
    try:
        return BOARDS[name]
    except KeyError:
        raise InputError(f"unknown board {name!r}: choose one of {', '.join(BOARDS)}") from None
