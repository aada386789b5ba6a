# SPDX-License-Identifier: Apache-2.0
"""The shape of the code: ``benchmarks/structure.py`` counts right, and what it counts is small."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def structure():
    """The module ``benchmarks/structure.py``, as it is when it runs."""
    folder = ROOT / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location("structure", folder / "structure.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def figures(structure):
    """The figures of this tree."""
    return structure.measure(ROOT, types=False)


CORE = '''
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from {prefix}hdl.config import CoreConfig


class Part(wiring.Component):
    def __init__(self):
        super().__init__({"i": In(stream.Signature(1)), "one": In(1), "two": Out(2)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.two.eq(self.one)
        return m


class Core(wiring.Component):
    def __init__(self, config):
        self.config = config
        super().__init__({"o": Out(1)})

    def elaborate(self, platform):
        """The ``.eq(`` of a docstring is none."""
        m = Module()
        m.submodules.part = part = Part()
        return self.connect(m, part)

    def connect(self, m, part):
        m.d.comb += [
            part.one.eq(self.config.datapath == "ramp"),
            self.o.eq(part.two),
        ]
        return m
'''


@pytest.fixture(params=["hdl", "ttfs_fpga.hdl"])
def tree(request, tmp_path):
    """A small project whose figures are known, installed by either name."""
    files = {
        "pyproject.toml": f"[tool.setuptools]\npackages = ['{request.param}']\n",
        "hdl/__init__.py": "",
        "hdl/config.py": "import dataclasses\n@dataclasses.dataclass\nclass CoreConfig:\n"
                         "    samples: int = 1\n    datapath: str = 'mac'\n",
        "hdl/core.py": CORE.replace("{prefix}", request.param.removesuffix("hdl")),
        "ttfs_sw/__init__.py": "from ttfs_sw.golden import run\n",
        "ttfs_sw/errors.py": "'''Speaks of ramp and ECP5.'''\n",
        "ttfs_sw/network.py": "from ttfs_sw import errors, rules\nFAMILY = 'ecp5'\n",
        "ttfs_sw/rules.py": "def check():\n    from ttfs_sw.network import FAMILY\n",
        "ttfs_sw/golden/__init__.py": "import ttfs_sw.golden.run\n",
        "ttfs_sw/golden/run.py": "from ttfs_sw.network import FAMILY\nimport json\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_figures_of_a_known_tree(structure, tree):
    found = structure.measure(tree, types=False)
    assert found["loose_ports"] == {"hdl.core.Core": ["o"], "hdl.core.Part": ["one", "two"]}
    assert found["loose_ports_mean"] == 1.5
    assert found["loose_ports_most"] == {"of": "hdl.core.Part", "count": 2}
    assert (found["components"], found["connections"]) == (2, 3)
    assert found["elaborate_median"] == 4.5
    assert found["elaborate_most"] == {"of": "hdl/core.py:Core.elaborate", "count": 5}
    assert found["method_most"] == {"of": "hdl/core.py:Core.connect", "count": 6}
    # errors; network and rules, which import each other; golden above them.
    assert (found["rooms"], found["arrows"], found["rooms_in_circles"]) == (4, 4, 2)
    # The table of arrows does not know these rooms.
    assert found["arrows_up"] is None
    assert (found["names_datapath"], found["names_family"], found["names_kind"]) == (1, 1, 0)
    assert found["recipe_datapath"] is None
    (tree / "CONTRIBUTING.md").write_text(
        "### A datapath\n\n1. `hdl/core.py`: all.\n2. `docs/core.md`: it.\n\n### Another\n1. `x`\n")
    assert structure.recipe_files(tree, "A datapath") == 2


def test_types_are_checked_by_the_rules_of_this_project(structure, tree):
    (tree / "sim").mkdir()
    (tree / "boards").mkdir()
    # Bodies without annotations are looked at too; but in sim nothing may be without.
    for name, head in (("sim", "def f() -> int"), ("boards", "def f()")):
        (tree / name / "__init__.py").write_text(f"{head}: return 1 + 'a'\n")
    assert structure.type_errors(tree) == 2


def test_table_and_json_say_the_same(structure, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(structure, "loose_ports", lambda root: {"hdl.core.Core": ["busy"]})
    assert structure.main(["--without-types", "--json", str(tmp_path / "figures.json")]) == 0
    report = json.loads((tmp_path / "figures.json").read_text())["this tree"]
    shown = capsys.readouterr().out
    assert f"| arrows between them | {report['arrows']} |" in shown
    assert "| errors of the type checker | - |" in shown
    longest = report["method_most"]
    assert f"| {longest['count']} ({longest['of']}) |" in shown
    assert set(structure.ROWS.values()) <= set(report)


def test_a_commit_is_measured_from_the_history(structure, capsys):
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("not a git checkout")
    with structure.tree_of("HEAD") as root:
        assert (root / "hdl" / "core").is_dir()
        assert root != ROOT
    assert not root.exists()
    assert structure.main(["no-such-commit"]) == 2
    assert "no commit no-such-commit" in capsys.readouterr().err


def test_recipes_are_short(figures):
    assert figures["recipe_datapath"] <= 4
    assert figures["recipe_command"] <= 3
    assert figures["recipe_family"] <= 3
    assert figures["recipe_kind"] <= 8


def test_rooms_and_arrows(figures):
    assert figures["rooms"] <= 12
    assert figures["arrows"] <= 35
    assert (figures["arrows_up"], figures["rooms_in_circles"]) == (0, 0)


def test_components_are_wired_with_bundles(figures):
    assert figures["loose_ports_mean"] <= 3.5
    assert figures["connections"] <= 50
    # Every component was looked at: those of all datapaths, and the lanes of a DSP block.
    measured = {name.rpartition(".")[2] for name in figures["loose_ports"]}
    assert {"Core", "Sequencer", "RampSequencer", "Pulses", "MacPair"} <= measured


def test_what_a_component_does_is_read_at_a_glance(figures):
    assert figures["elaborate_median"] <= 45
    assert figures["elaborate_most"]["count"] <= 130
    # A long one that was cut into long methods is no shorter.
    assert figures["method_most"]["count"] <= 130
