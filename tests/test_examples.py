# SPDX-License-Identifier: Apache-2.0
"""Every example does what its docstring says, in a folder of its own, as a newcomer runs it."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

#: What each writes, below ``runs/examples``, and what it prints.
RESULTS = {
    "arrays_to_verilog": (
        ["templates/network.npz", "templates/verilog/core.v", "templates/verilog/load.hex"],
        "cross: hidden neurons tick 5, tick 10; logits [10, -10]"),
    "convert_torch": (["converted/network.npz", "converted/config.toml"], "in integers of 450"),
    "core_in_the_simulator": ([], "the integer model says the same"),
    "draw_spikes": (["drawn/spikes.png", "drawn/membranes.png"], "hidden neurons fire"),
    "train_and_cosimulate": (["digits/network.npz"], "RTL: 450 images, 0 events differ"),
}

MARKS = {
    "convert_torch": [pytest.mark.slow],
    "draw_spikes": [pytest.mark.slow],
    "train_and_cosimulate": [
        pytest.mark.slow, pytest.mark.verilator,
        pytest.mark.skipif(which("g++") is None, reason="Verilator needs a C++ compiler")],
}


def test_every_example_is_tested_and_listed():
    assert {path.stem for path in EXAMPLES} == set(RESULTS)
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert all(f"(../examples/{path.name})" in index for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_docstring_says_how_to_run_it(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    first, command, *rest = text.split("\n\n")
    assert first.endswith(".") and command == f"    python examples/{path.name}" and rest


@pytest.mark.parametrize(
    "name", [pytest.param(path.stem, marks=MARKS.get(path.stem, ())) for path in EXAMPLES])
def test_example(name, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py"], cwd=tmp_path, capture_output=True,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    files, printed = RESULTS[name]
    assert printed in done.stdout
    for file in files:
        assert (tmp_path / "runs" / "examples" / file).stat().st_size > 0, file
    # Where it was started, and nowhere else.
    assert {path.name for path in tmp_path.iterdir()} <= {"runs"}
