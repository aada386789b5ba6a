# SPDX-License-Identifier: Apache-2.0
"""Compiled simulators: made once, found again, and never half-made."""

import dataclasses
import os
import threading
import time

import pytest

from ttfs_fpga.sim import runner
from ttfs_fpga.sim.emit import Sources, emit
from ttfs_fpga.sim.runner import build
from ttfs_fpga.sim.simulators import Simulator
from ttfs_sw.common.errors import FailureError, InputError, ToolError


@pytest.fixture
def tool(tmp_path):
    """A stand-in for Icarus: ``tool(script)`` gives a simulator whose compiler runs the script.

    The script's ``$out`` is the file that the compiler should make.
    """

    def make(script: str) -> Simulator:
        path = tmp_path / "iverilog"
        path.write_text(f"#!/bin/sh\nout=$3\n{script}\n")
        path.chmod(0o755)
        return Simulator("icarus", "11.0", {"iverilog": str(path), "vvp": "vvp"})

    return make


@pytest.fixture
def cache(tmp_path):
    """A cache of our own."""
    return tmp_path / "cache"


def left(cache):
    """What is in the cache besides locks, hidden files included."""
    return sorted(path.name for path in cache.iterdir() if path.name != "locks")


SOURCES = Sources({"core.v": "module core; endmodule", "harness.v": ""})


def test_a_design_is_compiled_once(tool, cache):
    simulator = tool("echo made >> $out; cp core.v $out")
    first = build(SOURCES, simulator, cache=cache)
    again = build(SOURCES, simulator, cache=cache)
    assert not first.cached and again.cached
    assert first.program == again.program and first.seconds == again.seconds
    assert first.program.read_text() == SOURCES.files["core.v"]
    assert left(cache) == [first.program.parent.name]


def test_whatever_the_result_depends_on_is_in_its_name(tool, cache, monkeypatch):
    simulator = tool("touch $out")
    programs = [build(SOURCES, simulator, cache=cache).program]
    other = Sources({**SOURCES.files, "harness.v": "// changed"})
    programs.append(build(other, simulator, cache=cache).program)
    newer = Simulator("icarus", "12.0", simulator.programs)
    programs.append(build(SOURCES, newer, cache=cache).program)
    monkeypatch.setattr(runner.importlib.metadata, "version", lambda name: "another cocotb")
    programs.append(build(SOURCES, simulator, cache=cache).program)
    # Icarus can always trace: a second build would be a waste.
    assert build(SOURCES, simulator, traced=True, cache=cache).program == programs[-1]
    assert len(set(programs)) == len(programs)


def test_a_compiler_that_fails_is_quoted(tool, cache):
    simulator = tool("echo core.v:7: syntax error; echo I give up. >&2; touch $out; exit 3")
    with pytest.raises(FailureError) as caught:
        build(SOURCES, simulator, cache=cache)
    assert str(caught.value) == (
        "iverilog (icarus 11.0) failed; it said:\ncore.v:7: syntax error\nI give up."
    )
    assert left(cache) == []
    # And nothing of the failure is remembered.
    assert not build(SOURCES, tool("touch $out"), cache=cache).cached


def test_a_compiler_that_is_silent(tool, cache):
    with pytest.raises(FailureError, match=r"\(nothing; exit code 9\)"):
        build(SOURCES, tool("exit 9"), cache=cache)


def test_a_compiler_that_is_gone(cache, tmp_path):
    simulator = Simulator("icarus", "11.0", {"iverilog": str(tmp_path / "gone"), "vvp": "vvp"})
    with pytest.raises(ToolError, match=r"gone does not start \(No such file.*install it again"):
        build(SOURCES, simulator, cache=cache)
    assert left(cache) == []


def test_a_cache_that_cannot_be_written(tool, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(InputError, match=r"cannot write to the cache folder .*XDG_CACHE_HOME"):
        build(SOURCES, tool("touch $out"), cache=tmp_path / "cache")


def test_two_builds_at_once_make_one(tool, cache, tmp_path):
    count = tmp_path / "count"
    simulator = tool(f"echo x >> {count}; sleep 0.5; touch $out")
    builds = []
    threads = [
        threading.Thread(target=lambda: builds.append(build(SOURCES, simulator, cache=cache)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.read_text() == "x\n"
    assert sorted(each.cached for each in builds) == [False, True, True]


def test_the_cache_does_not_grow_for_ever(tool, cache, monkeypatch):
    monkeypatch.setattr(runner, "_KEPT", 2)
    simulator = tool("touch $out")
    programs = []
    for number in range(4):
        sources = Sources({**SOURCES.files, "sizes.vh": str(number)})
        programs.append(build(sources, simulator, cache=cache).program)
        # Ages that the coarsest file system tells apart.
        os.utime(programs[-1].parent, (time.time(), time.time() - 1000 + number))
    assert [program.exists() for program in programs] == [False, False, True, True]


@pytest.mark.slow
@pytest.mark.verilator
def test_verilator_s_own_library_is_compiled_once(config, cache, verilator, tmp_path):
    compiled = tmp_path / "compiled"
    spy = tmp_path / "g++"
    spy.write_text(f'#!/bin/sh\necho "$*" >> {compiled}\nexec {verilator.programs["g++"]} "$@"\n')
    spy.chmod(0o755)
    spied = dataclasses.replace(verilator, programs={**verilator.programs, "g++": str(spy)})
    files = emit(config).files
    first = build(Sources(files), spied, cache=cache)
    assert "verilated.cpp" in compiled.read_text() and "Vtop__ALL.cpp" in compiled.read_text()
    compiled.unlink()
    changed = {**files, "core.v": files["core.v"] + "// changed\n"}
    second = build(Sources(changed), spied, cache=cache)
    assert "verilated.cpp" not in compiled.read_text() and "Vtop__ALL.cpp" in compiled.read_text()
    assert first.program != second.program
    assert len(list(cache.glob("library-*"))) == 1


def test_a_complaint_of_the_real_one_is_shown(config, cache, simulator):
    broken = Sources({**emit(config).files, "core.v": "module core(input clk;\nendmodule\n"})
    said = rf"{simulator.title}.* failed; it said:\n(.*\n)*.*core\.v:"
    with pytest.raises(FailureError, match=said):
        build(broken, simulator, cache=cache)
    assert left(cache) == []
