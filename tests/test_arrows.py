"""Dependencies between the four packages point one way, and the light ones stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def room(name: str) -> str:
    """The room of a module: a folder of ``ttfs_sw``, or one of the other packages."""
    package, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    if package != "ttfs_sw":
        return package
    return f"ttfs_sw.{first}" if (ROOT / "ttfs_sw" / first).is_dir() and first else "ttfs_sw"


def imports(source: str) -> list[str]:
    """Every import in ``source`` of something of ours, wherever it stands."""
    found = []

    def add(name: str) -> None:
        top = name.partition(".")[0]
        assert top == "ttfs_sw" or top not in PACKAGES, f"{name}: installed as {INSTALLED}.{name}"
        if top in ("ttfs_sw", INSTALLED):
            found.append(name.removeprefix(INSTALLED + "."))

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                # "from ttfs_sw import golden" imports ttfs_sw.golden.
                whole = f"{node.module}.{alias.name}"
                add(whole if node.module in ("ttfs_sw", INSTALLED) or is_module(whole)
                    else node.module)
    return found


def is_module(name: str) -> bool:
    """Whether a module or package of ours has this name."""
    path = ROOT.joinpath(*name.removeprefix(INSTALLED + ".").split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def forbidden(name: str, source: str) -> list[str]:
    """The imports in ``source``, the module ``name``, that the arrows of its room do not allow."""
    own = room(name)

    def allowed(other: str) -> bool:
        return room(other) == own or any(
            other == item or other.startswith(item + ".") for item in ARROWS[own])

    return [other for other in imports(source) if not allowed(other)]


def dotted(path: Path) -> str:
    """The name of the module at ``path``, as the repository says it."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


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
    assert forbidden("ttfs_sw.cli.learn", source) == []
    assert forbidden("ttfs_sw.golden.run", "import ttfs_fpga.hdl.core") == ["hdl.core"]
    assert forbidden("boards.top", "if TYPE_CHECKING:\n    import ttfs_fpga.sim") == ["sim"]
    with pytest.raises(AssertionError, match="installed as"):
        imports("import sim.cosim")


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
    drawn = {
        (room(dotted(path)), room(other))
        for path in MODULES for other in imports(path.read_text())
    }
    drawn = {(a, b) for a, b in drawn if a != b and a in rooms and b in rooms}
    assert len(rooms) <= 12
    assert len(drawn) <= 35


def test_no_modules_import_each_other():
    graph = {
        dotted(path): {name for name in imports(path.read_text()) if name != dotted(path)}
        for path in MODULES if room(dotted(path)) != "hdl"
    }
    # A package's own file gathers what its modules define; those name their neighbours themselves.
    graph = {name: others - {name.rpartition(".")[0]} for name, others in graph.items()}
    while free := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in free}
    assert graph == {}


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
