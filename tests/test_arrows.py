# SPDX-License-Identifier: Apache-2.0
"""Dependencies between the four packages point one way, and the light ones stay light."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.house import (
    ARROWS,
    INSTALLED,
    PACKAGES,
    ROOT,
    circles,
    dotted,
    drawn,
    floors,
    imported,
    modules,
    room,
)
from benchmarks.house import imports as read_imports

MODULES = modules()

#: Inside ``hdl``. Its ground is the modules that stand in no folder; what a core and a network
#: become outside stands above both.
HDL_ARROWS: dict[str, set[str]] = {
    "ground": set(),
    "hdl.datapaths": {"ground"},
    "hdl.core": {"ground", "hdl.datapaths"},
    "hdl.compiler": {"ground", "hdl.datapaths"},
    "hdl.emit": {"ground", "hdl.core", "hdl.compiler"},
    "hdl": {"ground", "hdl.datapaths", "hdl.core", "hdl.compiler", "hdl.emit"},
}


def imports(source: str) -> list[str]:
    """Every import in ``source`` of something of ours, by the name that is installed."""
    for name in imported(source):
        top = name.partition(".")[0]
        assert top == "ttfs_sw" or top not in PACKAGES, f"{name}: installed as {INSTALLED}.{name}"
    return read_imports(source)


def forbidden(name: str, source: str) -> list[str]:
    """The imports in ``source``, the module ``name``, that the arrows of its room do not allow."""
    own = room(name)

    def allowed(other: str) -> bool:
        return room(other) == own or any(
            other == item or other.startswith(item + ".") for item in ARROWS[own])

    return [other for other in imports(source) if not allowed(other)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    assert forbidden(dotted(path), path.read_text()) == []


def test_arrow_check_finds_what_it_looks_for():
    assert forbidden("hdl.core", "import ttfs_sw.golden") == ["ttfs_sw.golden"]
    assert forbidden("boards.top", "from ttfs_sw import golden") == ["ttfs_sw.golden"]
    assert forbidden("boards.top", "from ttfs_sw.artifact.network import Network") == []
    assert forbidden("boards.top", "from ttfs_sw.link.host import connect") == ["ttfs_sw.link.host"]
    source = "def f():\n    from ttfs_sw.training.train import train"
    assert forbidden("sim.cosim", source) == ["ttfs_sw.training.train"]
    assert forbidden("ttfs_sw.cli.train", source) == []
    assert forbidden("ttfs_sw.golden.run", "import ttfs_fpga.hdl.core") == ["hdl.core"]
    assert forbidden("boards.top", "if TYPE_CHECKING:\n    import ttfs_fpga.sim") == ["sim"]
    with pytest.raises(AssertionError, match="installed as"):
        imports("import sim.cosim")


def hdl_room(name: str) -> str:
    """The room of a module of ``hdl``."""
    if name in HDL_ARROWS:
        return name
    parent = name.rpartition(".")[0]
    return "ground" if parent == "hdl" else parent


@pytest.mark.parametrize("path", [path for path in MODULES if path.is_relative_to(ROOT / "hdl")],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_of_the_hardware(path):
    own = hdl_room(dotted(path))
    others = {hdl_room(name) for name in imports(path.read_text())}
    assert others <= HDL_ARROWS[own] | {own}


def test_no_arrow_of_the_hardware_leads_up():
    above: set[str] = set()
    for name, others in HDL_ARROWS.items():
        assert others <= above, name
        above.add(name)
    assert hdl_room("hdl.core.core") == "hdl.core" and hdl_room("hdl.ports") == "ground"


def test_every_room_has_its_arrows():
    assert {room(dotted(path)) for path in MODULES} == set(ARROWS)


def test_no_arrow_leads_up():
    # The table is in order: whoever may be imported stands above.
    above: set[str] = set()
    for name, others in ARROWS.items():
        assert {room(other) for other in others} <= above, name
        above.add(name)


def test_the_house_stays_small():
    rooms = [name for name in ARROWS if name.startswith("ttfs_sw.")]
    assert len(rooms) <= 12
    assert len([pair for pair in drawn() if set(pair) <= set(rooms)]) <= 35
    assert circles(drawn()) == set()


def test_the_picture_shows_the_arrows():
    drawing = (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8")
    shown = set(re.findall(r'id="([\w.]+)-to-([\w.]+)"', drawing))
    allowed = {(name, room(other)) for name, others in ARROWS.items() for other in others}
    allowed = {pair for pair in allowed if "ttfs_sw" not in pair}
    assert shown <= allowed
    # What is not drawn is a way down of several arrows.
    ways = set(shown)
    while more := {(a, d) for a, b in ways for c, d in shown if b == c} - ways:
        ways |= more
    assert allowed <= ways
    for name in set(ARROWS) - {"ttfs_sw"}:
        assert f">{name.replace('.', '/')}</text>" in drawing


def test_the_table_for_people_is_this_one():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = {
        name.replace("/", "."): set(filter(None, re.sub(r" \(.*?\)", "", others).split(", ")))
        for name, others in re.findall(r"^\| `([\w/]+)` \| .+? \| (.*?) ?\|$", page, re.MULTILINE)
        if name.replace("/", ".") in ARROWS
    }
    everything = {name.removeprefix("ttfs_sw.") for name in ARROWS} - {"ttfs_sw", "cli"}
    assert shown == {
        name: {"all of them"} if short == everything else short
        for name, others in ARROWS.items() if name != "ttfs_sw"
        for short in [{room(other).removeprefix("ttfs_sw.") for other in others}]
    }
    # Of the link only what both ends agree on.
    agreed = {other for other in ARROWS["boards"] if other.startswith("ttfs_sw.link")}
    assert agreed <= {"ttfs_sw.link.framing", "ttfs_sw.link.protocol", "ttfs_sw.link.requests"}


def test_circles_and_floors_are_found():
    arrows = [("roof", "hall"), ("hall", "cellar"), ("roof", "cellar"), ("shed", "ground")]
    assert (circles(arrows), floors(arrows)) == (set(), 3)
    assert circles([*arrows, ("cellar", "hall")]) == {"hall", "cellar"}
    assert floors([*arrows, ("cellar", "hall")]) == 2


def test_no_modules_import_each_other():
    # A package's own file gathers what its modules define; those name their neighbours themselves.
    assert circles(
        (dotted(path), other)
        for path in MODULES
        for other in imports(path.read_text())
        if other not in (dotted(path), dotted(path).rpartition(".")[0])
    ) == set()


def submodules(package: str) -> list[str]:
    """Every module of ``package`` by the name under which it is imported."""
    return [
        installed(dotted(path))
        for path in MODULES
        if path.is_relative_to(ROOT / package)
    ]


def installed(name: str) -> str:
    """How a module of ours is imported, of which the repository says ``name``."""
    return name if name.startswith("ttfs_sw") else f"{INSTALLED}.{name}"


def python(code: str) -> str:
    """Run ``code`` in a fresh interpreter outside the repository and give its output."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(sys.prefix)
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_hardware_and_artifact_import_without_torch():
    light = [*submodules("hdl"), *submodules("boards"), installed("sim")]
    light += ["ttfs_sw.artifact.network", "ttfs_sw.golden", "ttfs_sw.data.datasets"]
    # cocotb's benches import inside a simulator only: the rest of sim is imported here.
    light += [name for name in submodules("sim") if "sim.tb_" not in name]
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    python(code)


def test_command_line_imports_nothing_heavy():
    heavy = {"torch", "numpy", "sklearn", "matplotlib", "amaranth", "cocotb", "rich", "tqdm"}
    loaded = python("import sys, ttfs_sw.cli; print(*{n.partition('.')[0] for n in sys.modules})")
    assert heavy.isdisjoint(loaded.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_this_repository(package):
    # Another distribution's package of the same name in site-packages would shadow ours.
    name = installed(package)
    file = Path(python(f"import {name}; print({name}.__file__)"))
    assert file.is_relative_to(ROOT)
