# SPDX-License-Identifier: Apache-2.0
"""The shape of the code, read from the code: rooms and arrows, loose ports, lines, types.

    python benchmarks/structure.py                           of this tree
    python benchmarks/structure.py 6746e56 HEAD              of two commits, side by side
    python benchmarks/structure.py --json structure.json     the same as data
    python benchmarks/structure.py --without-types           without the type checker's minute

What is counted:

* **Rooms** of ``ttfs_sw`` are what lies in it, folders and modules; an **arrow** is drawn from one
  that imports to one that is imported, in whatever function. Arrows **up** go against the table
  ``ARROWS`` of ``benchmarks/house.py``.
* **Loose ports** are members of a component that are a value and no interface; a structure counts
  as one. They are counted on the components that the cores of all datapaths are made of, with the
  largest count of any of them; a component that no core has is made with the default sizes.
* **Connections** are the calls of ``.eq`` in the file of the core.
* **Elaboration** is the method ``elaborate``, and beside it the longest method of a component,
  because a long one may have been cut into others.
* **Names of one that exists**: how many files of the four packages name a datapath (``ramp``), a
  layer kind (``depthwise``), a device family (``ecp5``), a command of the link (``counters``), in
  code that is no comment or docstring. Whoever adds another has to look at them.
* **Files of a recipe** are those that ``CONTRIBUTING.md`` lists for adding one.
"""

import argparse
import ast
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from house import ARROWS, ROOT, circles, dotted, drawn, floors, modules, room

from ttfs_sw.common.errors import InputError, answered
from ttfs_sw.common.files import write_json

__all__ = ["main", "measure", "rows"]

#: What is measured, as a table says it, and by which figure of :func:`measure`.
ROWS = {
    "rooms of `ttfs_sw`": "rooms",
    "arrows between them": "arrows",
    "arrows up": "arrows_up",
    "rooms in circles": "rooms_in_circles",
    "floors": "floors",
    "components in `hdl`": "components",
    "loose ports a component, mean": "loose_ports_mean",
    "loose ports of a component, most": "loose_ports_most",
    "`.eq(` in the core's file": "connections",
    "lines of `elaborate`, median": "elaborate_median",
    "lines of `elaborate`, most": "elaborate_most",
    "lines of a component's method, most": "method_most",
    "errors of the type checker": "type_errors",
    "files that name a datapath": "names_datapath",
    "files that name a layer kind": "names_kind",
    "files that name a device family": "names_family",
    "files that name a command of the link": "names_command",
    "files of the recipe for a datapath": "recipe_datapath",
    "files of the recipe for a layer kind": "recipe_kind",
    "files of the recipe for a device family": "recipe_family",
    "files of the recipe for a command of the link": "recipe_command",
}

#: Titles of recipes in ``CONTRIBUTING.md``.
RECIPES = {
    "datapath": "A datapath",
    "kind": "A layer kind",
    "family": "A device family",
    "command": "A command of the link",
}

#: One of each thing that there are several of, and how code names it.
NAMES = {
    "datapath": r"\bramp\b|Ramp|_ramp|ramp_",
    "kind": r"(?i)depthwise",
    "family": r"(?i)ecp5",
    "command": r"(?i)counters",
}


def measure(root: Path, *, types: bool = True) -> dict[str, Any]:
    """The figures of the tree at ``root``; where one cannot be had, it is None."""
    arrows = {
        pair for pair in drawn(root)
        if all(name.startswith("ttfs_sw.") for name in pair)
    }
    rooms = {name for path in modules(root) if (name := room(dotted(path, root), root))
             .startswith("ttfs_sw.")}
    order = list(ARROWS)
    ports = loose_ports(root)
    lines = elaborations(root)
    methods = component_methods(root)
    core = next(path for path in (root / "hdl/core/core.py", root / "hdl/core.py")
                if path.exists())
    longest = max(ports.items(), key=lambda item: len(item[1]))
    return {
        "rooms": len(rooms),
        "arrows": len(arrows),
        "arrows_up": sum(order.index(one) < order.index(other) for one, other in arrows)
        if rooms <= set(order) else None,
        "rooms_in_circles": len(circles(arrows)),
        "floors": floors(arrows),
        "components": len(ports),
        "loose_ports_mean": round(statistics.mean(len(names) for names in ports.values()), 2),
        "loose_ports_most": {"of": longest[0], "count": len(longest[1])},
        "loose_ports": {name: sorted(found) for name, found in sorted(ports.items())},
        "connections": len(_calls_of_eq(core)),
        "elaborate_median": statistics.median(lines.values()),
        "elaborate_most": _most(lines),
        "method_most": _most(methods),
        "type_errors": type_errors(root) if types else None,
        **{f"names_{what}": len(naming(root, pattern)) for what, pattern in NAMES.items()},
        **{f"recipe_{what}": recipe_files(root, title) for what, title in RECIPES.items()},
    }


def _most(lines: dict[str, int]) -> dict[str, Any]:
    name = max(lines, key=lambda one: lines[one])
    return {"of": name, "count": lines[name]}


def _calls_of_eq(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute) and node.func.attr == "eq"]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _components(root: Path) -> Iterator[tuple[str, ast.ClassDef]]:
    """Classes of ``hdl`` that have a method ``elaborate``, by file and name."""
    for path in sorted((root / "hdl").rglob("*.py")):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef) and any(
                    isinstance(item, ast.FunctionDef) and item.name == "elaborate"
                    for item in node.body):
                yield f"{path.relative_to(root)}:{node.name}", node


def component_methods(root: Path) -> dict[str, int]:
    """Lines of each method of each component in ``hdl``, docstrings of classes aside."""
    return {
        f"{name}.{item.name}": (item.end_lineno or item.lineno) - item.lineno + 1
        for name, node in _components(root)
        for item in node.body if isinstance(item, ast.FunctionDef)
    }


def elaborations(root: Path) -> dict[str, int]:
    """Lines of each ``elaborate`` in ``hdl``."""
    return {name: lines for name, lines in component_methods(root).items()
            if name.endswith(".elaborate")}


#: Run in a process of its own, in which the packages of the measured tree are imported. It makes
#: the core of every datapath, with everything in it, and notes each component that is made.
_COUNT = '''
import importlib, json, pathlib, sys
from amaranth.hdl import Fragment
from amaranth.lib import wiring

prefix, folder = sys.argv[1], pathlib.Path(sys.argv[2])
found = {}
made = wiring.Component.__init__

def note(self, *arguments, **more):
    made(self, *arguments, **more)
    kind = type(self)
    if kind.__module__.startswith(prefix + "."):
        loose = [name for name, member in self.signature.members.items() if member.is_port]
        name = f"{kind.__module__.removeprefix('ttfs_fpga.')}.{kind.__qualname__}"
        if len(loose) >= len(found.get(name, ())):
            found[name] = loose

wiring.Component.__init__ = note

files = sorted(folder.rglob("*.py"))
names = [".".join((prefix, *path.relative_to(folder).with_suffix("").parts)) for path in files]
loaded = [importlib.import_module(name.removesuffix(".__init__")) for name in names]
config = importlib.import_module(prefix + ".config").CoreConfig
core = importlib.import_module(prefix + ".core").Core

for sizes in ({}, {"samples": 2}, {"datapath": "serial"}, {"datapath": "ramp"}):
    Fragment.get(core(config(**sizes)), None)

classes = {
    kind for module in loaded for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, wiring.Component)
    and kind.__module__ == module.__name__
}
# What only some boards have in the place of another component: it takes the sizes alone.
for kind in sorted(classes, key=lambda kind: kind.__qualname__):
    name = f"{kind.__module__.removeprefix('ttfs_fpga.')}.{kind.__qualname__}"
    if name not in found and "elaborate" in vars(kind):
        kind(config())
print(json.dumps(found))
'''


def loose_ports(root: Path) -> dict[str, list[str]]:
    """Names of the loose ports of each component in ``hdl``."""
    with _names(root) as (environment, prefix):
        done = subprocess.run(
            [sys.executable, "-P", "-c", _COUNT, f"{prefix}hdl", root / "hdl"],
            env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"components of {root} cannot be made:\n{done.stderr}")
    return json.loads(done.stdout)


def type_errors(root: Path) -> int:
    """How many errors the type checker finds in the four packages, with the rules of this tree."""
    with _names(root) as (environment, prefix), tempfile.TemporaryDirectory() as folder:
        environment["MYPYPATH"] = environment["PYTHONPATH"]
        packages = [f"{prefix}hdl", f"{prefix}sim", f"{prefix}boards", "ttfs_sw"]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml",
             "--cache-dir", folder, *(word for name in packages for word in ("-p", name))],
            cwd=root, env=environment, capture_output=True, text=True)
    if "Success: no issues found" in done.stdout:
        return 0
    total = re.search(r"^Found (\d+) errors? in ", done.stdout, re.MULTILINE)
    if total is None:
        raise RuntimeError(f"the type checker says no number:\n{done.stdout}{done.stderr}")
    return int(total[1])


@contextlib.contextmanager
def _names(root: Path) -> Iterator[tuple[dict[str, str], str]]:
    """An environment in which the packages of ``root`` are imported, and what precedes their names.

    Before version 0.2 they were installed by the names of their folders.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["setuptools"].get("packages")
    below = isinstance(listed, list) and "ttfs_fpga.hdl" in listed
    with tempfile.TemporaryDirectory() as folder:
        if below:
            (Path(folder) / "ttfs_fpga").mkdir()
            for name in ("hdl", "sim", "boards"):
                (Path(folder) / "ttfs_fpga" / name).symlink_to(root / name)
            # Not the tree itself: there the same folders would have second names.
            (Path(folder) / "ttfs_sw").symlink_to(root / "ttfs_sw")
        path = folder if below else str(root)
        yield os.environ | {"PYTHONPATH": path}, "ttfs_fpga." if below else ""


def naming(root: Path, pattern: str) -> list[str]:
    """The files of the four packages whose code names what ``pattern`` looks for."""
    return [
        str(path.relative_to(root)) for path in modules(root)
        if any(re.search(pattern, word) for word in _words(_tree(path)))
    ]


def _words(tree: ast.Module) -> Iterator[str]:
    """Names and short strings of a module: what is code in it, and no text for people."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word):
                yield word
            case ast.Constant(value=str(word)) if " " not in word:
                yield word
            case ast.keyword(arg=str(word)) | ast.alias(name=word):
                yield word
            case ast.ClassDef(name=word) | ast.FunctionDef(name=word):
                yield word
            case _:
                pass


def recipe_files(root: Path, title: str) -> int | None:
    """How many files the recipe of this title lists: each begins an item. None without recipes."""
    page = root / "CONTRIBUTING.md"
    if not page.exists():
        return None
    _, _, rest = page.read_text(encoding="utf-8").partition(f"### {title}\n")
    recipe = re.split(r"^##", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return len(re.findall(r"^\d+\. `[\w./-]+`", recipe, re.MULTILINE)) or None


@contextlib.contextmanager
def tree_of(commit: str | None) -> Iterator[Path]:
    """The folder with the files of a commit; None is this tree as it is."""
    if commit is None:
        yield ROOT
        return
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise InputError(f"no commit {commit}: {archive.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def rows(measured: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The figures as lines of a table: what, and then a column for each tree."""

    def say(value: Any) -> str:
        match value:
            case None:
                return "-"
            case {"of": name, "count": number}:
                return f"{number} ({name})"
            case _:
                return f"{value:g}"

    return [[what, *(say(figures[key]) for figures in measured.values())]
            for what, key in ROWS.items()]


@answered
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure some trees and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="*", help="commits to measure; this tree if none is named")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--without-types", action="store_true", help="leave the type checker out")
    chosen = parser.parse_args(arguments)
    measured = {}
    for commit in chosen.commits or [None]:
        with tree_of(commit) as root:
            measured[commit or "this tree"] = measure(root, types=not chosen.without_types)
    print("| what |", " | ".join(measured), "|")
    print("|---|" + "---|" * len(measured))
    for line in rows(measured):
        print("|", " | ".join(line), "|")
    if chosen.json:
        write_json(chosen.json, measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
