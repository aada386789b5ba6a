"""The table of cores: every one is legal, has a board, and its memories are those of the device."""

import pytest

from boards.configurations import CONFIGURATIONS
from boards.registry import BOARDS

#: Block RAMs and bits of a block, and the widest port of a block, of each device.
BLOCKS = {
    "iCE40UP5K": (30, 4096, 16), "iCE40HX8K": (32, 4096, 16),
    "LFE5U-25F": (56, 18432, 36), "LFE5U-85F": (208, 18432, 36),
}


def test_the_table():
    assert set(CONFIGURATIONS) == {
        "up5k-16x4", "up5k-8x8", "hx8k-8x4", "lfe5u-25f-16x4", "lfe5u-25f-32x4", "lfe5u-25f-64x4",
        "lfe5u-85f-64x4", "lfe5u-85f-32x8",
    }


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_every_configuration_is_built_for_a_board_with_its_device(configuration):
    core = configuration.core
    assert configuration.name.endswith(f"-{core.lanes}x{core.weight_bits}")
    assert configuration.weights == core.weight_words * core.lanes
    boards = [board for board in BOARDS.values() if board.config == core]
    assert len(boards) == 1
    assert boards[0].device.startswith(configuration.device)
    assert boards[0].platform_factory().device == configuration.device


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_weights_leave_blocks_for_the_rest(configuration):
    core = configuration.core
    blocks, bits, width = BLOCKS[configuration.device]
    if core.weight_memory == "spram":
        assert configuration.weights * core.weight_bits == 4 * 16384 * 16
        return
    depth = bits // width
    columns = -(-core.weight_width // width)
    assert columns * -(-core.weight_words // depth) <= 0.65 * blocks


def test_configurations_are_told_apart_by_their_images():
    assert len({one.core.fingerprint for one in CONFIGURATIONS.values()}) == len(CONFIGURATIONS)
