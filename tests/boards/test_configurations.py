# SPDX-License-Identifier: Apache-2.0
"""The table of cores: every one is legal, has a board, and its memories are those of the device."""

import math
from pathlib import Path

import numpy as np
import pytest

from ttfs_fpga.boards.configurations import CONFIGURATIONS
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.hdl.compiler import compile_network
from ttfs_sw.artifact.network import Layer, Network, linear_codes

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
    board, = (board for board in BOARDS.values() if board.config == core)
    # Where small memories are made of LUTs, weights may have all blocks.
    share = 1 if board.in_lut_ram else 0.65
    assert columns * -(-core.weight_words // depth) <= share * blocks


def cores_table() -> list[str]:
    """The lines of ``docs/boards.md`` that list the configurations."""
    lines = [
        "| device | lanes x bits of a weight | T | bits of a potential | words of weights "
        "| of potentials | of maps: input, others | datapaths | `--board` |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for configuration in CONFIGURATIONS.values():
        core = configuration.core
        board, = (board for board in BOARDS.values() if board.config == core)
        where = "SPRAM" if core.weight_memory == "spram" else "block RAM"
        lines.append(
            f"| {configuration.device} | {core.lanes} x {core.weight_bits} | {core.max_ticks} "
            f"| {core.accumulator_bits} | {core.weight_words} ({where}) | {core.membrane_words} "
            f"| {core.input_words}, {core.map_words} | {', '.join(configuration.datapaths)} "
            f"| `{board.name}` |")
    return lines


def test_the_manual_lists_them():
    manual = Path(__file__).parents[2] / "docs" / "boards.md"
    text = manual.read_text(encoding="utf-8")
    shown = text.split("<!-- cores: begin -->\n")[1].split("<!-- cores: end -->")[0].splitlines()
    assert shown == cores_table(), "\n".join(cores_table())


def test_configurations_are_told_apart_by_their_images():
    assert len({one.core.fingerprint for one in CONFIGURATIONS.values()}) == len(CONFIGURATIONS)


def test_a_small_vgg_fits_the_ecp5_25f():
    # The layers of the preset cifar10-vgg-small, with weights as large as any.
    rng, layers, shape = np.random.default_rng(0), [], (32, 32, 3)
    for channels, pool in ((16, 1), (16, 2), (32, 2), (64, 0), (10, 0)):
        inputs = shape if pool else (1, 1, math.prod(shape))
        out = (*inputs[:2], channels)
        weights = rng.integers(-7, 8, (3, 3, inputs[2], channels) if pool else
                               (inputs[2], channels))
        spiking = channels != 10
        layers.append(Layer(
            name=f"layer{len(layers) + 1}", kind="conv2d" if pool else "dense",
            source=len(layers) - 1, second_source=None, residual_shift=0, in_shape=inputs,
            out_shape=out, kernel=(3, 3) if pool else (1, 1), stride=(1, 1),
            padding=(1, 1) if pool else (0, 0), pool=max(1, pool), spiking=spiking,
            ticks=15 * spiking, weight_bits=4, weight=weights, bias=np.zeros(channels, int),
            multiplier=np.full(channels * spiking, 1), shift=np.full(channels * spiking, 6),
            weight_scale=1.0, output_scale=1.0))
        shape = layers[-1].map_shape
    network = Network(
        input_shape=(32, 32, 3), input_ticks=15, input_codes=linear_codes(15), input_scale=1.0,
        layers=tuple(layers), dataset="", preset="")
    used = compile_network(network, CONFIGURATIONS["lfe5u-25f-16x4"].core).report()["memories"]
    assert used["weights"]["used"] == 27 + 144 + 288 + 4 * 2048 + 64
    assert all(memory["used"] <= memory["available"] for memory in used.values())
