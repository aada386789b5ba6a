# SPDX-License-Identifier: Apache-2.0
"""What is installed bears names of ours alone: a user's own ``sim`` stays the user's."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = ("hdl", "ttfs_sw", "sim", "boards")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of a wheel made from this repository, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = folder / "build"
    # Made of a copy: setuptools leaves folders beside its sources.
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *FOLDERS, "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT, capture_output=True, text=True,
    ).stdout.split("\0")
    if not any(tracked):
        pytest.skip("not a git checkout")
    for name in filter(None, tracked):
        if (ROOT / name).exists():
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            (build / name).write_bytes((ROOT / name).read_bytes())
    code = f"import setuptools.build_meta as b; print(b.build_wheel({str(folder)!r}))"
    made = subprocess.run([sys.executable, "-c", code], cwd=build, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    with zipfile.ZipFile(folder / made.stdout.split()[-1]) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_packages_are_those_of_the_repository():
    folders = {path.parent for name in FOLDERS for path in (ROOT / name).rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    listed = [name.removeprefix("ttfs_fpga.") for name in PROJECT["tool"]["setuptools"]["packages"]]
    assert sorted(listed) == sorted(names)


def test_two_names_are_installed(wheel):
    names = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"ttfs_fpga", "ttfs_sw"}


def test_every_file_is_installed(wheel):
    there = {
        path.relative_to(wheel).as_posix().removeprefix("ttfs_fpga/")
        for path in wheel.rglob("*") if path.is_file()
    }
    ours = {
        path.relative_to(ROOT).as_posix()
        for name in FOLDERS for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours <= there


def test_types_are_there_for_users(wheel):
    for folder in (*(wheel / "ttfs_fpga" / name for name in ("hdl", "sim", "boards")),
                   wheel / "ttfs_sw"):
        assert (folder / "py.typed").is_file()


def test_a_project_with_folders_of_these_names(wheel, tmp_path):
    for name in ("hdl", "sim", "boards"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    script = tmp_path / "mine.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(1, {str(wheel)!r})\n"
        "import boards, hdl, sim\n"
        "assert boards.MINE and hdl.MINE and sim.MINE\n"
        "import ttfs_fpga.boards.top, ttfs_fpga.hdl.core, ttfs_fpga.sim.cosim\n"
        "import ttfs_sw.cli\n"
        "print(ttfs_fpga.boards.top.__file__)\n"
        "print(ttfs_fpga.sim.cosim.__file__)\n"
        "print(ttfs_sw.cli.__file__)\n"
        "sys.exit(ttfs_sw.cli.main(['boards']))\n"
    )
    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    shown = ran.stdout.splitlines()
    assert all(Path(line).is_relative_to(wheel) for line in shown[:3])
    assert any("icebreaker" in line for line in shown[3:])
