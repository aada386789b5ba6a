# SPDX-License-Identifier: Apache-2.0
"""What docstrings, comments and pages refer to exists, and what they import can be imported."""

import ast
import builtins
import functools
import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from benchmarks.house import INSTALLED, ROOT

SOURCES = sorted(
    path for folder in ("hdl", "sim", "boards", "ttfs_sw", "tests", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py") if path != Path(__file__))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

#: A reference in a docstring or a comment.
ROLE = re.compile(r":(?:class|func|mod|meth|attr|exc|data|obj|const):`([^`]+)`")
#: A name with dots of one of the packages, in one or two backticks.
DOTTED = re.compile(r"`((?:hdl|sim|boards|ttfs_sw|ttfs_fpga)(?:\.\w+)+)(?:\(\))?`")
#: The end of a file's name is no module's name.
ENDINGS = (".md", ".py", ".v", ".toml", ".json", ".npz")


@functools.cache
def exists(name: str) -> bool:
    """Whether ``name`` is a module, or what a module or a class has."""
    words = name.split(".")
    if words[0] in ("hdl", "sim", "boards"):
        words = [INSTALLED, *words]
    for length in range(len(words), 0, -1):
        module = ".".join(words[:length])
        if any(word.startswith("tb_") for word in words[:length]):
            # Benches are imported in a simulator only.
            return ROOT.joinpath(*words[1:length]).with_suffix(".py").exists()
        try:
            with warnings.catch_warnings(action="ignore"):
                found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            # Of what is not there, and not of what it imports.
            if error.name is None or not (module + ".").startswith(error.name + "."):
                raise
            continue
        return has(found, words[length:])
    return bool(words) and has(builtins, words)


def has(found: object, words: list[str]) -> bool:
    """Whether ``words``, one after another, are attributes of ``found``, or fields of a class."""
    for index, word in enumerate(words):
        if not hasattr(found, word):
            fields = {name for kind in getattr(found, "__mro__", ())
                      for name in vars(kind).get("__annotations__", {})}
            return index == len(words) - 1 and (word in fields or word in assigned(found))
        found = getattr(found, word)
    return True


def assigned(kind: object) -> set[str]:
    """What the methods of a class assign to ``self``."""
    module = sys.modules.get(getattr(kind, "__module__", ""))
    if not isinstance(kind, type) or module is None or not module.__file__:
        return set()
    source = Path(module.__file__).read_text(encoding="utf-8")
    return {
        node.attr for outer in ast.walk(ast.parse(source))
        if isinstance(outer, ast.ClassDef) and outer.name == kind.__name__
        for node in ast.walk(outer)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def said_in(source: str) -> set[str]:
    """Every name that a module gives to something, at whatever place."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found |= {name.rpartition(".")[2], other}
            case _:
                pass
    return found


def unresolved(text: str, source: str | None = None) -> list[str]:
    """References in ``text`` that lead nowhere; those to names of ``source`` itself lead there."""
    own = said_in(source) if source is not None else set()
    roles = {target.lstrip("~!") for target in ROLE.findall(text)}
    plain = {name for name in DOTTED.findall(text) if not name.endswith(ENDINGS)}
    return sorted(
        name for name in roles | plain
        if not (name.partition(".")[0] in own - {"hdl", "sim", "boards"} or exists(name)))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_references_of_the_source_lead_somewhere(path):
    source = path.read_text(encoding="utf-8")
    assert unresolved(source, source) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_references_of_the_pages_lead_somewhere(path):
    # A change log says what was, as well.
    text = path.read_text(encoding="utf-8")
    if path.name != "CHANGELOG.md":
        assert unresolved(text) == []


def test_a_dead_reference_is_found():
    source = "def here(): pass\n"
    text = ("a :class:`hdl.Core`, :meth:`~hdl.core.Core.elaborate`, :func:`here`, :class:`int`, "
            "``hdl.config.CoreConfig``, `ttfs_sw/cli`, :mod:`sim.tb_core`")
    assert unresolved(text, source) == []
    dead = [":class:`hdl.Kernel`", ":func:`there`", ":mod:`sim.tb_nothing`", "`boards.table`",
            ":attr:`hdl.CoreConfig.lames`", ":class:`numpy.no_array`"]
    for reference in dead:
        assert len(unresolved(f"see {reference}", source)) == 1, reference


def test_imports_of_the_change_log():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^  \| (`.+?) \| (`.+?) \|$", text, re.MULTILINE)
    names = [[re.findall(r"`([\w.]+)`", cell) for cell in row] for row in rows]
    assert len([row for row in names if row[1]]) >= 12
    for was, now in names:
        assert len(was) <= len(now) <= len(was) + 1 if was else not now
        for name in now:
            assert exists(name), name
        # Nothing is left at the old names, but what has the same name still.
        for name in set(was) - set(now):
            assert not exists(name) or name.partition(".")[0] in ("hdl", "sim", "boards"), name


def imports_of(page: Path) -> list[str]:
    """What the code of a page imports, whether it is fenced or indented."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^    ((?:from [\w.]+ )?import [\w., ]+)(?: *#.*)?$", text, re.MULTILINE)
    return [ast.unparse(node) for block in blocks for node in ast.walk(ast.parse(block))
            if isinstance(node, ast.Import | ast.ImportFrom)]


def test_pages_with_code_are_found():
    found = {page.name for page in PAGES if imports_of(page)}
    assert {"README.md", "neighbours.md", "link.md"} <= found


@pytest.mark.parametrize(
    "page", [page for page in PAGES if imports_of(page)],
    ids=lambda page: page.relative_to(ROOT).as_posix())
def test_imports_of_the_pages_work(page, tmp_path):
    lines = imports_of(page)
    # In a process of its own, as a reader would, outside of the repository.
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
