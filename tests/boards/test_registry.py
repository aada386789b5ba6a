# SPDX-License-Identifier: Apache-2.0
"""The table of boards: what its entries must agree on, and that pin-outs are imported late."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil

from ttfs_fpga.boards.registry import BOARDS, find_board
from ttfs_fpga.hdl.config import DATAPATHS
from ttfs_fpga.hdl.core import Core
from ttfs_sw.common.errors import InputError


def test_the_boards_of_the_manual_are_there():
    assert set(BOARDS) == {
        "icebreaker", "icebreaker-8x8", "hx8k-evn", "ulx3s-25f", "ulx3s-25f-32x4",
        "ulx3s-25f-64x4", "ulx3s-85f", "ulx3s-85f-32x8",
    }
    assert all(name == board.name for name, board in BOARDS.items())


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_platform_is_the_board(board):
    platform = board.platform_factory()
    assert board.device.startswith(platform.device)
    assert platform is not board.platform_factory()  # A platform builds only once.
    assert board.clock_hz >= platform.default_clk_frequency


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_memories_that_are_named_are_in_the_core(board):
    # Yosys would set an attribute of nothing without a word.
    modules = dict(re.findall(
        r"^module \\(\S+)\n(.*?)^end$", rtlil.convert(Core(board.config), name="core", ports=[]),
        re.MULTILINE | re.DOTALL))
    names = [(f"core.{part}", memory) for part, memory in board.in_registers]
    names += [(part, memory) for part, memory in board.in_lut_ram if part.startswith("core.")]
    for part, memory in names:
        wanted = memory.replace("*", ".*")
        assert re.search(rf"^  memory .*\\{wanted}$", modules[part], re.MULTILINE), (part, memory)
    for part in board.in_luts:
        assert "cell $mul" in modules[f"core.{part}"]


def test_boards_are_told_apart():
    # What is made of a board is kept under it.
    assert len(set(BOARDS.values())) == len(BOARDS)


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_board_with_another_datapath(datapath):
    board = BOARDS["icebreaker"]
    other = board.with_datapath(datapath)
    assert other.config.datapath == datapath
    assert (other is board) == (datapath == board.config.datapath)
    if datapath == "ramp":
        # The ordering queue has a place for every code of the largest map.
        assert other.config.map_places == 1024 < board.config.map_places
        assert other.clock_hz == 36_000_000 <= board.clock_hz
    else:
        assert dataclasses.replace(other.config, datapath="mac") == board.config


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_flash_has_room_for_bitstream_and_image(board):
    weights = board.config.weight_words * board.config.weight_width // 8
    assert 0 < board.flash_offset < board.flash_offset + 2 * weights < board.flash_bytes
    # Flash chips erase 64 KiB at a time: writing the image must not wipe the bitstream's end.
    assert board.flash_offset % (64 << 10) == 0


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_baud_rate_divides_the_clock_closely(board):
    divisor = round(board.clock_hz / board.baud)
    assert abs(board.clock_hz / divisor / board.baud - 1) < 0.02


def test_unknown_board_is_refused_with_the_list():
    with pytest.raises(InputError, match="unknown board 'arty': choose one of icebreaker, ice"):
        find_board("arty")
    assert find_board("icebreaker") is BOARDS["icebreaker"]


def row(board) -> str:
    """The line of ``docs/boards.md`` that describes a board."""
    core = board.config
    where = "SPRAM" if core.weight_memory == "spram" else "block RAM"
    weights = f"{core.weight_words * core.lanes:,}".replace(",", " ")
    device = board.device.split("-6")[0].replace("iCE40", "iCE40 ").replace("LFE5U", "ECP5 LFE5U")
    return (
        f"| `{board.name}` | {board.title} | {device} | {core.lanes} lanes of {core.weight_bits} "
        f"bits, {weights} weights in {where}, potentials of {core.accumulator_bits} bits "
        f"| {board.clock_mhz:g} MHz |"
    )


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_the_manual_says_what_the_table_says(board):
    manual = (Path(__file__).parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    assert row(board) in manual.splitlines(), row(board)


def test_pin_outs_are_imported_late():
    code = (
        "import sys, ttfs_fpga.boards.registry\n"
        "print([name for name in sys.modules if 'amaranth_boards' in name])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
