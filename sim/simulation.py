# SPDX-License-Identifier: Apache-2.0
"""Simulations: a compiled simulator at work on a stimulus, its records coming through a pipe."""

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cocotb_tools.config
import find_libpython

from ttfs_fpga.sim.runner import TOP, Build
from ttfs_sw.common.errors import FailureError
from ttfs_sw.common.process import child, last_lines

__all__ = ["Simulation", "launch", "simulate"]

_PIPE_BYTES = 1 << 20


class Simulation:
    """A simulation that runs. Made by :func:`simulate`.

    Its :meth:`fileno` can be waited for with :mod:`selectors`.
    """

    def __init__(self, title: str, process: subprocess.Popen, pipe: int, log: Path):
        self._title = title
        self._process = process
        self._pipe = pipe
        self._log = log

    def fileno(self) -> int:
        """The pipe through which records come."""
        return self._pipe

    def read(self) -> bytes:
        """What the harness has handed out, in part or whole; nothing at the end."""
        return os.read(self._pipe, _PIPE_BYTES)

    def failure(self) -> FailureError:
        """Why there were no more records before the end of the simulation."""
        code = self._process.wait()
        return FailureError(
            f"{self._title} ended too early; it said:\n{last_lines(self._log, code)}"
        )


@contextlib.contextmanager
def simulate(
    build: Build, stimulus: Path, *, stall: int = 0, watchdog: int = 1 << 24,
    waves: Path | None = None,
) -> Iterator[Simulation]:
    """Start a simulation, and kill it when the block ends.

    Parameters
    ----------
    build : :class:`sim.runner.Build`
        The simulator.
    stimulus : :class:`pathlib.Path`
        What :class:`sim.stimulus.Stimulus` wrote. Its folder takes the log of the simulation too.
    stall : :class:`int`
        Seed of random pauses on every stream, or 0 for none.
    watchdog : :class:`int`
        Cycles without a transfer after which the simulation gives up.
    waves : :class:`pathlib.Path`, optional
        Where the waveform goes for which the stimulus asks.
    """
    arguments = [
        f"+stimulus={stimulus}", f"+watchdog={watchdog}", f"+stall={stall}",
        *([f"+waves={waves}"] if waves else []),
    ]
    with launch(
        build, "ttfs_fpga.sim.tb_core", arguments, results=stimulus.with_suffix(".xml")
    ) as simulation:
        yield simulation


@contextlib.contextmanager
def launch(
    build: Build, bench: str, arguments: Sequence[str], *, results: Path,
    pass_fds: Sequence[int] = (),
) -> Iterator[Simulation]:
    """Start any compiled simulator with its bench, and kill it when the block ends.

    Parameters
    ----------
    build : :class:`sim.runner.Build`
        The simulator.
    bench : :class:`str`
        Name of the module of the cocotb bench, which writes records to ``TTFS_RECORDS``.
    arguments : sequence of :class:`str`
        Plusargs.
    results : :class:`pathlib.Path`
        Where cocotb writes its results; the log goes beside.
    pass_fds : sequence of :class:`int`
        File descriptors that the simulator keeps.
    """
    if build.simulator.name == "verilator":
        command = [str(build.program), *arguments]
    else:
        library = cocotb_tools.config.lib_entry("vpi", "icarus")
        # -n: a stop ends the simulation, and does not wait for a person at a prompt.
        command = [
            build.simulator.programs["vvp"], "-n", "-m", library, str(build.program), *arguments,
        ]
    log = results.with_suffix(".log")
    read, write = os.pipe()
    ours_open = True
    try:
        environment = {
            **os.environ,
            **bench_environment(bench),
            "TTFS_RECORDS": str(write),
            "COCOTB_RESULTS_FILE": str(results),
        }
        with log.open("wb") as output, child(
            command, folder=results.parent, environment=environment, output=output,
            pass_fds=(write, *pass_fds),
        ) as process:
            # Ours must be closed, or the pipe would never end.
            os.close(write)
            ours_open = False
            yield Simulation(build.simulator.title, process, read, log)
    finally:
        os.close(read)
        if ours_open:
            os.close(write)


@functools.cache
def bench_environment(bench: str = "ttfs_fpga.sim.tb_core") -> dict[str, str]:
    """What cocotb needs to find in the environment, besides where the records go."""
    python = os.environ.get("LIBPYTHON_LOC") or find_libpython.find_libpython()
    return {
        "COCOTB_TEST_MODULES": bench,
        "COCOTB_TOPLEVEL": TOP,
        "TOPLEVEL_LANG": "verilog",
        # The bench's assertions need no rewriting, which would import pytest.
        "COCOTB_REWRITE_ASSERTION_FILES": "",
        "GPI_USERS": f"{python};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
