# SPDX-License-Identifier: Apache-2.0
"""The rooms of the project and the arrows between them, read from the imports of every module.

``tests/test_arrows.py`` holds the code to :data:`ARROWS`; ``benchmarks/structure.py`` counts.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ["ARROWS", "INSTALLED", "PACKAGES", "ROOT", "circles", "dotted", "drawn", "floors",
           "imported", "imports", "modules", "room"]

ROOT = Path(__file__).parents[1]
PACKAGES = ("hdl", "ttfs_sw", "sim", "boards")

#: The name under which three of them are installed: a folder ``sim`` is what many a user has.
INSTALLED = "ttfs_fpga"

#: What each room may import of the others: one way down, whatever stands in a function too. The
#: rooms of ``ttfs_sw`` are its folders; where ``link`` is named with a module, that module alone.
_AGREED = {"ttfs_sw.artifact", "ttfs_sw.common", "ttfs_sw.link.framing", "ttfs_sw.link.protocol",
           "ttfs_sw.link.requests"}
_TRAINED = {f"ttfs_sw.{room}" for room in ("artifact", "common", "data", "golden", "training")}
ARROWS: dict[str, set[str]] = {
    "ttfs_sw.common": set(),
    "ttfs_sw.artifact": {"ttfs_sw.common"},
    "ttfs_sw.data": {"ttfs_sw.common"},
    "ttfs_sw.golden": {"ttfs_sw.artifact", "ttfs_sw.common"},
    "ttfs_sw.link": {"ttfs_sw.artifact", "ttfs_sw.common", "ttfs_sw.golden"},
    "ttfs_sw.training": _TRAINED - {"ttfs_sw.training"},
    "ttfs_sw.convert": _TRAINED,
    "ttfs_sw.research": _TRAINED,
    "hdl": set(),
    "boards": {"hdl", *_AGREED},
    "sim": {"hdl", "boards", *_AGREED, "ttfs_sw.data", "ttfs_sw.golden"},
    "ttfs_sw.cli": {
        *_TRAINED, "ttfs_sw.convert", "ttfs_sw.link", "ttfs_sw.research", "hdl", "boards", "sim",
    },
    "ttfs_sw": {"ttfs_sw.cli"},
}


def modules(root: Path = ROOT) -> list[Path]:
    """Every module of the four packages below ``root``."""
    return sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))


def dotted(path: Path, root: Path = ROOT) -> str:
    """The name of the module at ``path``, as the repository says it."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def room(name: str, root: Path = ROOT) -> str:
    """The room of a module: what of ``ttfs_sw`` it lies in, or one of the other packages.

    A module beside the rooms of ``ttfs_sw`` is a room of its own; but those with which Python
    begins, ``__init__`` and ``__main__``, are ``ttfs_sw`` itself.
    """
    package, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    if package != "ttfs_sw":
        return package
    there = is_module(f"ttfs_sw.{first}", root) and first not in ("", "__main__")
    return f"ttfs_sw.{first}" if there else "ttfs_sw"


def is_module(name: str, root: Path = ROOT) -> bool:
    """Whether a module or package of ours has this name."""
    path = root.joinpath(*name.removeprefix(INSTALLED + ".").split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def imported(source: str, root: Path = ROOT) -> Iterator[str]:
    """What every import in ``source`` names, wherever it stands.

    Raises
    ------
    :exc:`ValueError`
        At a relative import: there are none here.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"line {node.lineno}: relative import")
            for alias in node.names:
                # "from ttfs_sw import golden" imports ttfs_sw.golden.
                whole = f"{node.module}.{alias.name}"
                yield whole if node.module == INSTALLED or is_module(whole, root) else node.module


def imports(source: str, root: Path = ROOT) -> list[str]:
    """What ``source`` imports of ours, by the names that the repository says."""
    ours = (name.removeprefix(INSTALLED + ".") for name in imported(source, root))
    return [name for name in ours if name.partition(".")[0] in PACKAGES]


def drawn(root: Path = ROOT) -> set[tuple[str, str]]:
    """The arrows that there are: who imports, and of whom, of any two rooms."""
    found = {
        (room(dotted(path, root), root), room(other, root))
        for path in modules(root) for other in imports(path.read_text(encoding="utf-8"), root)
    }
    return {(one, other) for one, other in found if one != other}


def circles(arrows: Iterable[tuple[str, str]]) -> set[str]:
    """Whoever, by these arrows, comes back to itself."""
    targets: dict[str, set[str]] = {}
    for one, other in arrows:
        targets.setdefault(one, set()).add(other)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = targets.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        return seen

    return {name for name in targets if name in reached(name)}


def floors(arrows: Iterable[tuple[str, str]]) -> int:
    """How many rooms lie above each other in the longest way down, circles left out."""
    arrows = list(arrows)
    round_and_round = circles(arrows)
    targets: Mapping[str, set[str]] = {
        name: {other for one, other in arrows if one == name}
        for pair in arrows for name in pair}
    height: dict[str, int] = {}

    def measure(name: str) -> int:
        if name not in height:
            height[name] = 1 + max(
                (measure(other) for other in targets[name] - round_and_round), default=0)
        return height[name]

    return max((measure(name) for name in targets if name not in round_and_round), default=0)
