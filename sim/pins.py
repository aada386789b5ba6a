# SPDX-License-Identifier: Apache-2.0
"""A whole board as Verilog whose ports are pins, and the bench around it."""

import functools
from types import SimpleNamespace

from amaranth.hdl import Signal
from amaranth.lib import io

from ttfs_fpga.boards.registry import Board
from ttfs_fpga.boards.top import BoardTop
from ttfs_fpga.boards.uart import baud_divisor
from ttfs_fpga.hdl.emit import plain_verilog
from ttfs_fpga.hdl.shapes import load_shape
from ttfs_fpga.sim.emit import Sources, sizes_header, source, verilator_control

__all__ = ["PinPlatform", "emit_board"]

#: How long the simulated flash chip sleeps on after it was told to wake up: the longest of common
#: chips.
_FLASH_WAKE_SECONDS = 30e-6


class PinPlatform:
    """A platform with the pins of a board, each a plain port, for simulators.

    It has what a board's top asks a platform of :mod:`amaranth.build` for, and an oscillator of the
    right frequency, so that no PLL is needed. Every board's flash clock is an ordinary pin here.

    Parameters
    ----------
    clock_hz : :class:`int`
        Frequency of the oscillator.
    """

    default_clk = "clk"

    def __init__(self, clock_hz: int):
        self.default_clk_frequency = clock_hz
        self._pins: dict[str, Signal] = {}
        self.resources = {
            ("clk", 0): self._input("clk"),
            ("uart", 0): SimpleNamespace(rx=self._input("rx"), tx=self._output("tx")),
            ("spi_flash", 0): SimpleNamespace(
                cs=self._output("flash_cs_n", invert=True),
                clk=self._output("flash_sck"),
                copi=self._output("flash_copi"),
                cipo=self._input("flash_cipo"),
            ),
            ("led_g", 0): self._output("led_g"),
            ("led_r", 0): self._output("led_r"),
        }

    def _input(self, name: str) -> io.SimulationPort:
        port = io.SimulationPort("i", 1, name=name)
        self._pins[name] = port.i
        return port

    def _output(self, name: str, *, invert: bool = False) -> io.SimulationPort:
        port = io.SimulationPort("o", 1, name=name, invert=invert)
        self._pins[name] = port.o
        return port

    def request(
        self, name: str, number: int = 0, *, dir: str = "-"
    ) -> io.SimulationPort | SimpleNamespace:
        """The port, or the ports, of a resource."""
        return self.resources[name, number]

    @property
    def ports(self) -> list[tuple[str, Signal, None]]:
        """Every pin: its name and its signal, as :func:`amaranth.back.verilog.convert` takes it."""
        return [(name, signal, None) for name, signal in self._pins.items()]


@functools.lru_cache(maxsize=4)
def emit_board(board: Board) -> Sources:
    """The design under simulation: the whole of a board's FPGA, a flash chip and a serial line.

    Its pins are all that goes in and out; only the core's load port can be watched besides.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the board makes no sense, as :class:`boards.top.BoardTop` has it.
    :exc:`hdl.emit.NoYosys`
        If there is no Yosys to write Verilog.
    """
    top = BoardTop(board)
    platform = PinPlatform(board.clock_hz)
    load = top.core.load
    watched = {
        "load__payload": load.payload.as_value(),
        "load__valid": load.valid,
        "load__ready": load.ready,
    }
    ports = [*platform.ports, *((name, signal, None) for name, signal in watched.items())]
    sizes = {
        "LOAD_WIDTH": load_shape().size,
        "DIVISOR": baud_divisor(board.clock_hz, board.baud),
        "FLASH_OFFSET": board.flash_offset,
        "WAKE_CYCLES": round(board.clock_hz * _FLASH_WAKE_SECONDS),
    }
    return Sources({
        "board.v": plain_verilog(top, ports, name="board", platform=platform),
        "board.vlt": verilator_control("board.v"),
        "board_harness.v": source("board_harness.v"),
        "flash_chip.v": source("flash_chip.v"),
        "sizes.vh": sizes_header(sizes),
    })
