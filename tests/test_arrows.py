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

#: What hardware and software agree on: the artifact, the serial line's words, errors, files.
_SHARED = {"ttfs_sw.artifact", "ttfs_sw.common", "ttfs_sw.link.framing", "ttfs_sw.link.protocol"}

#: What a package may import of ours, besides itself: whole packages or modules of ``ttfs_sw``.
ALLOWED = {
    "hdl": set(),
    "ttfs_sw": set(),
    "boards": {"hdl", *_SHARED},
    "sim": {"hdl", "boards", *_SHARED, "ttfs_sw.golden", "ttfs_sw.data"},
}

#: The command line ties the packages together: inside its functions it may import any of them.
LAZY = ("ttfs_sw/cli/", "ttfs_sw/cli/demo.py")

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(source: str) -> list[tuple[str, bool]]:
    """Every absolute import in ``source``: the name, and whether it stands inside a function."""
    found = []

    def add(name: str, inside: bool) -> None:
        top = name.partition(".")[0]
        assert top == "ttfs_sw" or top not in PACKAGES, f"{name}: installed as {INSTALLED}.{name}"
        found.append((name.removeprefix(INSTALLED + "."), inside))

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name, inside)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            # "from ttfs_sw import golden" imports ttfs_sw.golden.
            if node.module.removeprefix(INSTALLED + ".") in (*PACKAGES, INSTALLED):
                for alias in node.names:
                    add(f"{node.module}.{alias.name}", inside)
            else:
                add(node.module, inside)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        # What only a type checker reads is not imported at all.
        inside = inside or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return found


def forbidden(package: str, source: str, *, lazy: bool) -> list[str]:
    """The imports in ``source``, a module of ``package``, that its arrows do not allow."""

    def allowed(name: str, inside: bool) -> bool:
        top = name.partition(".")[0]
        if top not in PACKAGES or top == package:
            return True
        if any(name == item or name.startswith(item + ".") for item in ALLOWED[package]):
            return True
        return lazy and inside

    return [name for name, inside in imports(source) if not allowed(name, inside)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    name = path.relative_to(ROOT).as_posix()
    lazy = name.startswith(LAZY)
    assert forbidden(name.partition("/")[0], path.read_text(), lazy=lazy) == []


def test_arrow_check_finds_what_it_looks_for():
    assert forbidden("hdl", "import ttfs_sw.golden", lazy=False) == ["ttfs_sw.golden"]
    assert forbidden("boards", "from ttfs_sw import golden", lazy=False) == ["ttfs_sw.golden"]
    assert forbidden("boards", "from ttfs_sw.artifact.network import Network", lazy=False) == []
    source = "def f():\n    from ttfs_sw.training.train import train"
    assert forbidden("sim", source, lazy=False) == [
        "ttfs_sw.training.train"
    ]
    assert forbidden("ttfs_sw", "import ttfs_fpga.hdl", lazy=True) == ["hdl"]
    assert forbidden("ttfs_sw", "def f():\n    import ttfs_fpga.hdl.core", lazy=True) == []
    assert forbidden("ttfs_sw", "def f():\n    import ttfs_fpga.hdl", lazy=False) == ["hdl"]
    assert forbidden("ttfs_sw", "if TYPE_CHECKING:\n    import ttfs_fpga.hdl", lazy=True) == []
    assert forbidden("boards", "if TYPE_CHECKING:\n    import ttfs_fpga.sim", lazy=False) == ["sim"]


def submodules(package: str) -> list[str]:
    """Every module of ``package`` by the name under which it is imported."""
    return [
        installed(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
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
