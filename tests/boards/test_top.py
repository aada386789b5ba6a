# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The top: every board's pins, a network in the bitstream, and how little the link takes."""

import dataclasses
import json
import subprocess

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Fragment, Module, Signal, Value
from amaranth.lib import wiring

from ttfs_fpga.boards.families import ICE40
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.boards.toolchain import find_toolchain
from ttfs_fpga.boards.top import BoardTop, board_identity
from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.sim.pins import PinPlatform
from ttfs_sw.common.errors import InputError, ToolError
from ttfs_sw.link.protocol import Identity

ICEBREAKER = BOARDS["icebreaker"]
ULX3S = BOARDS["ulx3s-25f"]

#: What everything but the core may take of the UP5K's 5280 logic cells and 30 block RAMs.
MOST_LUTS, MOST_BLOCK_RAMS = 950, 1


def files(board, program=None) -> dict[str, str]:
    """What a build of the board's top hands to the tools."""
    plan = board.platform_factory().build(
        BoardTop(board, program), do_build=False, emit_src=False)
    return plan.files


def test_pins_of_the_icebreaker():
    pins = files(ICEBREAKER)["top.pcf"]
    for pin in ("clk12_0__io 35", "uart_0__rx__io 6", "uart_0__tx__io 9",
                "spi_flash_1x_0__cs__io 16", "spi_flash_1x_0__clk__io 15",
                "spi_flash_1x_0__copi__io 14", "spi_flash_1x_0__cipo__io 17",
                "led_g_0__io 37", "led_r_0__io 11"):
        assert f"set_io {pin}\n" in pins


def test_pins_of_the_hx8k():
    pins = files(BOARDS["hx8k-evn"])["top.pcf"]
    for pin in ("clk12_0__io J3", "uart_0__rx__io B10", "uart_0__tx__io B12",
                "spi_flash_1x_0__cs__io R12", "spi_flash_1x_0__clk__io R11",
                "spi_flash_1x_0__copi__io P12", "spi_flash_1x_0__cipo__io P11",
                "led_0__io C3", "led_1__io B3"):
        assert f"set_io {pin}\n" in pins


def test_pins_of_the_ulx3s():
    made = files(ULX3S)
    for pin, site in {"clk25_0__io": "G2", "uart_0__rx__io": "M1", "uart_0__tx__io": "L4",
                      "spi_flash_0__cs__io": "R2", "spi_flash_0__copi__io": "W2",
                      "spi_flash_0__cipo__io": "V2", "led_0__io": "B2", "led_1__io": "C2"}.items():
        assert f'LOCATE COMP "{pin}" SITE "{site}";' in made["top.lpf"]
    # The clock of the ECP5's flash is not an ordinary pin.
    assert "cell \\USRMCLK" in made["top.il"]


def test_network_in_the_bitstream(make_network):
    program = compile_network(make_network((12, 9, 5), ticks=15), ULX3S.config)
    made = files(ULX3S, program)
    # The flash is left alone.
    assert "spi_flash" not in made["top.lpf"]
    assert "USRMCLK" not in made["top.il"]
    assert "uart_0__rx__io" in made["top.lpf"]


def test_unreachable_settings_are_refused():
    for field, value, reason in (
        ("baud", 20_000_000, "cannot give 20000000 baud"),
        ("flash_offset", (16 << 20) - 4096, "leaves no room for a network image"),
    ):
        board = dataclasses.replace(ICEBREAKER, **{field: value})
        with pytest.raises(InputError, match=reason):
            BoardTop(board)


def test_identity_of_every_board():
    for board in BOARDS.values():
        identity = board_identity(board)
        assert Identity.unpack(identity.pack()) == identity
        config = board.config.as_dict()
        same = {name: getattr(identity, name) for name in config if hasattr(identity, name)}
        assert same == {name: config[name] for name in same}
        assert len(same) >= 11
        assert identity.fingerprint == board.config.fingerprint


class Outside(wiring.Component):
    """The ports of a core and no core: what drives them is outside."""

    def __init__(self, config, program=None):
        super().__init__(dict(Core(config, program).signature.members))

    def elaborate(self, platform):
        return Module()


@pytest.mark.slow
@pytest.mark.synthesis
def test_everything_but_the_core_is_small(monkeypatch, tmp_path):
    try:
        toolchain = find_toolchain(ICE40)
    except ToolError as error:
        pytest.skip(str(error))
    monkeypatch.setattr("ttfs_fpga.boards.top.Core", Outside)
    top = BoardTop(ICEBREAKER)
    platform = PinPlatform(ICEBREAKER.clock_hz)
    values = [Value.cast(value) for _, _, value in top.core.signature.flatten(top.core)]
    ports = [port for _, port, _ in platform.ports]
    ports += [value for value in values if isinstance(value, Signal)]
    text = rtlil.convert(Fragment.get(top, platform), ports=ports, name="top", emit_src=False)
    (tmp_path / "top.il").write_text(text)
    (tmp_path / "top.ys").write_text("""
        read_rtlil top.il
        setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2
        synth_ice40 -top top
        tee -q -o stat.json stat -json
    """)
    subprocess.run([toolchain.path("yosys"), "-q", "top.ys"], cwd=tmp_path, check=True,
                   stdin=subprocess.DEVNULL)
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    assert cells["SB_LUT4"] <= MOST_LUTS
    assert cells["SB_RAM40_4K"] <= MOST_BLOCK_RAMS
