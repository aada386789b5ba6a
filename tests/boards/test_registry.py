"""The table of boards: what its entries must agree on, and that pin-outs are imported late."""

import subprocess
import sys

import pytest

from boards.registry import BOARDS, find_board
from ttfs_sw.errors import InputError


def test_the_boards_of_the_manual_are_there():
    assert set(BOARDS) == {"icebreaker", "ulx3s-25f"}
    assert all(name == board.name for name, board in BOARDS.items())


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_platform_is_the_board(board):
    platform = board.platform_factory()
    assert board.device.startswith(platform.device)
    assert platform is not board.platform_factory()  # A platform builds only once.
    assert board.clock_hz >= platform.default_clk_frequency


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
    with pytest.raises(InputError, match="unknown board 'arty': choose one of icebreaker, ulx3s"):
        find_board("arty")
    assert find_board("icebreaker") is BOARDS["icebreaker"]


def test_pin_outs_are_imported_late():
    code = "import sys, boards.registry; print([m for m in sys.modules if 'amaranth_boards' in m])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
