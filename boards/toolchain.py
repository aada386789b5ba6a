# SPDX-License-Identifier: Apache-2.0
"""The tools that turn a design into a bitstream: found once, here, by one rule.

There are two kinds. ``yowasp`` is Yosys, nextpnr and the packers compiled to WebAssembly, which pip
installs like any Python package: the default, because it is the same on every machine. ``system``
is whatever native tools are on ``PATH`` under their own names, which are faster. The environment
variable ``TTFS_TOOLCHAIN`` names the kinds to try, in order, separated by commas.
"""

import contextlib
import dataclasses
import importlib.metadata
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from ttfs_fpga.boards.families import FAMILIES, Family
from ttfs_sw.common.errors import InputError, ToolError

__all__ = ["HANGS_SECONDS", "INSTALL_SYSTEM", "KINDS", "Tool", "Toolchain",
           "find_program", "find_tool", "find_toolchain", "install_command", "program_version",
           "wanted_kinds"]

KINDS = ("yowasp", "system")

#: A program that has not told its version by then hangs. What is WebAssembly is compiled when it
#: runs first, which takes minutes on a busy machine.
HANGS_SECONDS = 900

INSTALL_SYSTEM = "install OSS CAD Suite (github.com/YosysHQ/oss-cad-suite-build) and put it on PATH"


@dataclasses.dataclass(frozen=True)
class Tool:
    """One tool of a toolchain: what it is called, where it was found and which version it is."""

    name: str
    path: str
    version: str


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """A complete set of tools for one device family, all of one kind."""

    kind: str
    tools: tuple[Tool, ...]

    def path(self, name: str) -> str:
        """Absolute path of the tool ``name``."""
        return next(tool.path for tool in self.tools if tool.name == name)

    @property
    def identity(self) -> str:
        """What the products depend on besides the design: kind, tools and versions, not paths."""
        versions = ", ".join(f"{tool.name} {tool.version}" for tool in self.tools)
        return f"{self.kind}: {versions}"


def _variable(name: str) -> str:
    """Environment variable that forces the path of a tool; the rule is Amaranth's."""
    return name.upper().replace("-", "_").replace("+", "X")


def find_program(*names: str) -> str | None:
    """Find an executable under any of ``names``: absolute path, or None.

    The first name's own environment variable (``ICEPROG`` for iceprog) is obeyed first. Then come
    the scripts that pip installed beside this Python, whether or not its virtual environment is
    activated, then ``PATH``.
    """
    forced = os.environ.get(_variable(names[0]))
    if forced:
        return shutil.which(forced)
    for name in names:
        for folder in (sysconfig.get_path("scripts"), None):
            path = shutil.which(name, path=folder)
            if path:
                return str(Path(path).absolute())
    return None


def program_version(path: str, option: str = "--version") -> str | None:
    """Version that a program prints of itself; None when it does not start or says nothing."""
    try:
        shown = subprocess.run(
            [path, option], capture_output=True, text=True, timeout=HANGS_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Some print their version and exit with 1. These codes are of a program that did not start, and
    # what was printed then is the loader's complaint of a library with a number in its name.
    if shown.returncode in (126, 127) or shown.returncode < 0:
        return None
    found = re.search(r"\d+(\.\d+)+[-+.\w]*", shown.stdout + shown.stderr)
    return found.group() if found else None


def _package(name: str) -> str:
    """Python package that has a tool in WebAssembly."""
    return next(family.tools[name] for family in FAMILIES.values() if name in family.tools)


def find_tool(kind: str, name: str) -> Tool | None:
    """Find the tool ``name`` of one kind of toolchain."""
    path = find_program(f"yowasp-{name}" if kind == "yowasp" else name)
    if path is None:
        return None
    version = None
    if kind == "yowasp":
        # The script may belong to another Python's packages: then it has to say its version itself.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(_package(name))
    version = version or program_version(path, "-V" if name == "yosys" else "--version")
    # icepack cannot tell its version; its size changes whenever what it does changes.
    return Tool(name, path, version or f"of {Path(path).stat().st_size} bytes")


def install_command(kind: str, names: Iterable[str]) -> str:
    """What installs tools of one kind, as an instruction."""
    if kind == "system":
        return INSTALL_SYSTEM
    packages = dict.fromkeys(map(_package, names))
    return f"run `pip install {' '.join(packages)}`"


def wanted_kinds(kinds: str | None = None) -> tuple[str, ...]:
    """Kinds of toolchain to try, in order: ``kinds``, else ``$TTFS_TOOLCHAIN``, else ``yowasp``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If a kind is unknown.
    """
    if kinds is None:
        kinds = os.environ.get("TTFS_TOOLCHAIN") or "yowasp"
    wanted = tuple(kind.strip() for kind in kinds.split(","))
    for kind in wanted:
        if kind not in KINDS:
            raise InputError(
                f"TTFS_TOOLCHAIN names the unknown toolchain {kind!r}: "
                f"use {' or '.join(KINDS)}, or both, separated by a comma"
            )
    return wanted


def find_toolchain(family: Family, kinds: str | None = None) -> Toolchain:
    """Find the first complete toolchain for a device family.

    Parameters
    ----------
    family : :class:`boards.families.Family`
        What the tools are for.
    kinds : :class:`str`, optional
        Kinds to try, in order, separated by commas. By default ``$TTFS_TOOLCHAIN``, else
        ``yowasp``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If a kind is unknown.
    :exc:`ttfs_sw.common.errors.ToolError`
        If none of the kinds is complete; the message has the command that installs what is missing.
    """
    missing = []
    for kind in wanted_kinds(kinds):
        tools = {name: find_tool(kind, name) for name in family.tools}
        found = tuple(tool for tool in tools.values() if tool is not None)
        absent = [name for name, tool in tools.items() if tool is None]
        if not absent:
            return Toolchain(kind, found)
        install = install_command(kind, absent)
        missing.append(f"the {kind} toolchain lacks {' and '.join(absent)}: {install}")
    raise ToolError("; or ".join(missing))
