# SPDX-License-Identifier: Apache-2.0
"""A board that is simulated, for whoever would talk to a real one over its serial port.

::

    with SimulatedBoard(find_board("icebreaker"), image) as device:
        print(Client(device).classify(pixels).winner)

:class:`SimulatedBoard` is a :class:`ttfs_sw.link.transport.Transport`.
"""

import contextlib
import dataclasses
import os
import tempfile
from pathlib import Path

from ttfs_fpga.boards.registry import Board
from ttfs_fpga.hdl.shapes import Memory, load_shape
from ttfs_fpga.sim.exchange import MOST_BYTES, Kind, send, wait
from ttfs_fpga.sim.pins import emit_board
from ttfs_fpga.sim.records import RECORD_BYTES, Records
from ttfs_fpga.sim.runner import Build, build
from ttfs_fpga.sim.simulation import launch
from ttfs_fpga.sim.simulators import find_simulator

__all__ = ["SimulatedBoard"]

#: Bytes of one command: fewer than a pipe takes at once, so that handing it over never blocks.
_PIECE = 4096


class SimulatedBoard:
    """A whole board, from its pins inwards, behind the interface of a serial port.

    Use it as a context manager: entering it switches the board on, leaving it ends the simulation.

    The board's time passes only inside :meth:`write`, :meth:`read` and :meth:`run`, and depends on
    nothing but these calls: the same calls give the same answers, at the same cycles, however fast
    or busy the host is. A timeout counts the board's time, not the host's.

    Parameters
    ----------
    board : :class:`boards.registry.Board`
        The board. Its clock has the real board's frequency; its serial line is as fast as
        ``baud_divisor`` says.
    flash_image : :class:`bytes` or None
        What is stored in the flash from the board's ``flash_offset`` on; all the rest is erased.
        None: the whole chip is erased.
    baud_divisor : :class:`int`
        Clock cycles a bit. The fewer, the less there is to simulate.
    simulator : :class:`str`
        ``"verilator"``, or ``"icarus"``, which is some 50 times slower but needs no compiler.
    patience : :class:`int`
        Most cycles that one :meth:`read` lets pass, whatever its timeout: the second that a host
        gives a real board takes minutes to simulate. A board that has something to say takes less.
    waves : :class:`pathlib.Path`, optional
        Where a waveform (VCD) of everything goes.
    cache : :class:`pathlib.Path`, optional
        Where compiled simulators are kept; by default the user's cache.

    Attributes
    ----------
    board : :class:`boards.registry.Board`
        The board as it is simulated: with the speed of its serial line.
    build : :class:`sim.runner.Build`
        The compiled simulator, once the board is on.
    writes : list of (:class:`hdl.shapes.Memory`, :class:`int`, :class:`int`)
        Every write to the core's load port since the board was switched on: memory, address, data.
    flash_commands : list of (:class:`int`, :class:`int`)
        Every command that the flash chip heard, and its address.
    leds : :class:`int`
        The LEDs, the first one the lowest bit.
    framing_errors : :class:`int`
        Bytes from the board that had no stop bit.
    cycles : :class:`int`
        Clock cycles since the board was switched on.
    """

    def __init__(
        self, board: Board, flash_image: bytes | None, *, baud_divisor: int = 6,
        simulator: str = "verilator", patience: int = 1 << 18, waves: Path | None = None,
        cache: Path | None = None,
    ):
        self.board = dataclasses.replace(board, baud=round(board.clock_hz / baud_divisor))
        self._divisor = baud_divisor
        self._flash_image = flash_image
        self._simulator = simulator
        self._patience = patience
        self._waves = waves
        self._cache = cache
        self._layout = {name: (field.offset, field.width) for name, field in load_shape()}
        self._running = contextlib.ExitStack()
        self._received = bytearray()
        self._partial = b""
        self.build: Build | None = None
        self.writes: list[tuple[Memory, int, int]] = []
        self.flash_commands: list[tuple[int, int]] = []
        self.leds = 0
        self.framing_errors = 0
        self.cycles = 0

    def __enter__(self) -> "SimulatedBoard":
        self.build = built = build(
            emit_board(self.board), find_simulator(self._simulator),
            traced=self._waves is not None, cache=self._cache,
        )
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ttfs-board-")))
            theirs, ours = os.pipe()
            self._commands = stack.enter_context(os.fdopen(ours, "wb", buffering=0))
            with os.fdopen(theirs, "rb"):
                arguments = [f"+commands=/dev/fd/{theirs}"]
                if self._flash_image is not None:
                    (folder / "flash.bin").write_bytes(self._flash_image)
                    arguments.append(f"+flash={folder / 'flash.bin'}")
                if self._waves is not None:
                    arguments.append(f"+waves={Path(self._waves).absolute()}")
                self._simulation = stack.enter_context(launch(
                    built, "ttfs_fpga.sim.tb_board", arguments, results=folder / "board.xml",
                    pass_fds=(theirs,),
                ))
            self._running = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()

    def write(self, data: bytes, *, divisor: int | None = None) -> int:
        """Send bytes to the board; return their number once the last stop bit is over.

        Parameters
        ----------
        data : :class:`bytes`
            What to send.
        divisor : :class:`int`, optional
            Clock cycles a bit, if not those of the board: a host at another speed.
        """
        for start in range(0, len(data), _PIECE):
            self._carry_out(send(bytes(data[start:start + _PIECE]), divisor or self._divisor))
        return len(data)

    def read(self, count: int, timeout: float) -> bytes:
        """Give the next ``count`` bytes from the board; fewer, or none, if they do not come.

        Parameters
        ----------
        count : :class:`int`
            How many bytes.
        timeout : :class:`float`
            Seconds of the board's time to wait for the last of them, limited by ``patience``.
        """
        missing = count - len(self._received)
        if missing > 0:
            cycles = round(timeout * self.board.clock_hz)
            self._carry_out(wait(missing, min(cycles, self._patience)))
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def run(self, cycles: int) -> None:
        """Let time pass."""
        self._carry_out(wait(MOST_BYTES, cycles))

    def _carry_out(self, command: bytes) -> None:
        """Give a command to the harness and take all records up to its end."""
        # A simulation that is gone says why in its log: the pipe breaking says nothing more.
        with contextlib.suppress(BrokenPipeError):
            self._commands.write(command)
        done = False
        while not done:
            content = self._simulation.read()
            if not content:
                raise self._simulation.failure()
            content = self._partial + content
            whole = len(content) - len(content) % RECORD_BYTES
            self._partial = content[whole:]
            records = Records.from_bytes(content[:whole])
            self._take(records)
            done = whole > 0 and records.kind[-1] == Kind.DONE

    def _take(self, records: Records) -> None:
        """Note what was seen."""

        def field(kind: Kind, offset: int, width: int) -> list[int]:
            return records.field(records.kind == kind, offset, width, False).tolist()

        self._received += bytes(field(Kind.BYTE, 0, 8))
        self.framing_errors += len(field(Kind.BAD_BYTE, 0, 8))
        memory, address, data = (
            field(Kind.LOAD, *self._layout[name]) for name in ("memory", "address", "data")
        )
        self.writes += zip(map(Memory, memory), address, data, strict=True)
        self.flash_commands += zip(
            field(Kind.FLASH, 24, 8), field(Kind.FLASH, 0, 24), strict=True
        )
        self.leds = (field(Kind.LEDS, 0, 2) or [self.leds])[-1]
        if len(records.cycle):
            self.cycles = int(records.cycle[-1])
