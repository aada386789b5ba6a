# SPDX-License-Identifier: Apache-2.0
"""What the project says of itself is true: README, CONTRIBUTING, presets, versions, Makefile."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from ttfs_sw.cli import make_parser

ROOT = Path(__file__).parents[1]


def load(path):
    """A module that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


TABLES = load(ROOT / "benchmarks" / "figures.py").TABLES
bench = load(ROOT / "benchmarks" / "table.py")
REPORTS = Path("runs/bench")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("hdl", "ttfs_sw", "sim", "boards")
ROOT_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*ROOT_PAGES, *sorted((ROOT / "docs").glob("*.md"))]
#: Made by ``ttfs experiment``; an index of their own.
EXPERIMENT_PAGES = sorted((ROOT / "docs" / "experiments").rglob("*.md"))

#: The verbs that there are.
VERBS = {
    "demo", "train", "convert", "evaluate", "cosim", "verilog", "build", "image", "flash", "infer",
    "boards", "doctor", "report", "experiment",
}


def verbs():
    """Each verb's parser by name."""
    parser = make_parser()
    (action,) = (a for a in parser._actions if getattr(a, "dest", None) == "verb")
    return action.choices


def code_lines(text):
    """Every line of ``text``'s indented and fenced code blocks, without comments."""
    lines = re.findall(r"^    (.*)$", text, re.MULTILINE)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines += block.splitlines()
    return [line.partition("#")[0].strip() for line in lines]


def test_verbs_are_those_promised():
    assert set(verbs()) == VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_readme_names_every_verb(verb):
    assert re.search(rf"`(ttfs )?{verb}\b", README)


def ttfs_lines():
    lines = {
        line
        for page in PAGES + EXPERIMENT_PAGES
        for line in code_lines(page.read_text(encoding="utf-8"))
        if line.startswith("ttfs ")
    }
    for table in TABLES.values():
        lines |= {bench.command(table, key, REPORTS) for key in table.commands}
    return sorted(line for line in lines if line.startswith("ttfs "))


@pytest.mark.parametrize("line", ttfs_lines())
def test_documented_commands_parse(line):
    words = [word for word in shlex.split(line)[1:] if word != "..."]
    if words != ["--version"]:
        assert make_parser().parse_args(words).verb in VERBS


def test_readme_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    pages = README + CONTRIBUTING
    named = set(re.findall(r"`make ([a-z]+)`", pages))
    named |= {line.split()[1] for line in code_lines(pages) if line.startswith("make ")}
    assert {"demo", "test", "lint", "types", "coverage"} <= named <= targets


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_benchmark(name):
    table = TABLES[name]
    page = (ROOT / table.page).read_text(encoding="utf-8")
    begin, end = bench.BEGIN.format("table.py"), bench.END.format("table.py")
    rows = page.partition(begin)[2].partition(end)[0].strip().splitlines()
    ours = bench.markdown(bench.rows(table, {}, REPORTS)).strip().splitlines()
    assert len(rows) == len(ours)

    def without_measured(line):
        what, wanted, _, _, command = line.strip("|").split("|")
        return what, wanted, command

    for row, mine in zip(rows, ours, strict=True):
        assert without_measured(row) == without_measured(mine)


@pytest.mark.parametrize(
    "page", PAGES + EXPERIMENT_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in link or (page.parent / link).exists(), link
    # Files are named from the top of the repository.
    folders = "docs|hdl|ttfs_sw|sim|boards|tests|benchmarks|examples"
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
        # Of a recipe's new file there is the folder.
        assert (ROOT / name).exists() or (
            "NAME" in name and page.name == "CONTRIBUTING.md" and (ROOT / name).parent.is_dir()
        ), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_documented_scripts_exist(page):
    text = page.read_text(encoding="utf-8")
    run = re.findall(r"\b(?:python|pytest) [^`\n]*?((?:tests|benchmarks|examples)/[\w./]+)", text)
    assert [name for name in run if not (ROOT / name).exists()] == []


def test_index_has_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in PAGES if page not in ROOT_PAGES} - {"index.md"}
    assert pages <= set(re.findall(r"\((\S+)\)", index))


def test_every_experiment_has_its_page():
    from ttfs_sw.research.experiments import EXPERIMENTS

    folder = ROOT / "docs" / "experiments"
    index = (folder / "index.md").read_text(encoding="utf-8")
    for name in EXPERIMENTS:
        assert f"({name}.md)" in index
        # Small enough to be read, and to stay in the history.
        assert (folder / f"{name}.png").stat().st_size <= 100_000
        report = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        assert report["dataset"] == "digits"
        assert all(entry["met"] is not False for entry in report["claims"])


def test_readme_python_names_what_exists():
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    tree = ast.parse(block)
    names = {}
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), "README.md", "exec"), names)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    ours = 0
    for call in calls:
        target = names.get(ast.unparse(call.func).split(".")[0])
        if target is None:
            continue
        for part in ast.unparse(call.func).split(".")[1:]:
            target = getattr(target, part)
        # Positions and keywords are those of the function.
        keywords = {keyword.arg: None for keyword in call.keywords}
        inspect.signature(target).bind(*call.args, **keywords)
        ours += 1
    assert ours >= 6


#: The recipes: titles, and for each item the file and what is said of it.
RECIPES = {
    title: re.findall(r"^\d+\. `([\w./-]+)`: ((?:.|\n(?!\n|\d))+)", text, re.MULTILINE)
    for title, text in re.findall(
        r"^### (.+)\n\n((?:.|\n(?!##))+)", CONTRIBUTING.partition("## Recipes")[2], re.MULTILINE)
}


def test_recipes_are_found():
    assert {"A board", "A device family", "A layer kind", "A datapath", "A command of the link",
            "A verb", "A neighbour", "An experiment"} == set(RECIPES)
    assert min(map(len, RECIPES.values())) >= 3


@pytest.mark.parametrize(
    ("file", "says"), [item for items in RECIPES.values() for item in items])
def test_recipes_name_what_exists(file, says):
    path = ROOT / file
    if "NAME" in file:
        # What a new file has to have, its neighbours in the folder have.
        assert path.parent.is_dir() and not path.exists()
        text = "".join(other.read_text("utf-8") for other in path.parent.rglob("*.py"))
    else:
        text = path.read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+)`", says):
        assert re.search(rf"\b{name}\b", text), name


def test_markers_are_explained():
    markers = PROJECT["tool"]["pytest"]["ini_options"]["markers"]
    declared = {line.partition(":")[0] for line in markers}
    rows = re.findall(r"^\| (`.+?`) \|", CONTRIBUTING.partition("## Gates")[2], re.MULTILINE)
    assert declared == {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_preset_loads():
    from ttfs_sw.training import config

    names = sorted(path.stem for path in (ROOT / "ttfs_sw" / "training" / "presets").glob("*.toml"))
    assert {"digits-mlp", "mnist-mlp", "mnist-mlp-256"} <= set(names)
    for name in names:
        assert config.load(name)
        assert f"`{name}`" in README


def test_version_agrees():
    assert metadata.version("ttfs-fpga") == PROJECT["project"]["version"]


def test_change_log_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert found[0] == ("Unreleased", "")
    versions = [tuple(map(int, name.split("."))) for name, _ in found[1:]]
    assert found[1][0] == PROJECT["project"]["version"]
    assert all(date for _, date in found[1:])
    assert versions == sorted(versions, reverse=True)
    # Those of Keep a Changelog.
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_citation_agrees():
    # The whole of YAML is a dependency more: this file has keys, folded text and flat lists.
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r'^([a-z-]+):(?: "?(.*?)"?)?$', text, re.MULTILINE))
    # What version 1.2.0 of the format demands.
    assert {"cff-version", "message", "title", "authors"} <= fields.keys()
    assert fields["cff-version"] == "1.2.0" and fields["type"] == "software"
    assert re.search(r'^authors:\n  - name: ".+"$', text, re.MULTILINE)
    project = PROJECT["project"]
    assert (fields["title"], fields["version"]) == (project["name"], project["version"])
    assert fields["license"] == project["license"]
    assert set(re.sub(r'^([a-z-]+:|  -|  ).*$', "", text, flags=re.MULTILINE)) == {"\n"}


def test_what_is_written_for_users_is_theirs():
    words = "use them under any terms, without naming us"
    verilog = (ROOT / "docs" / "verilog.md").read_text(encoding="utf-8")
    assert words in " ".join(README.split())
    assert words.replace("them", "it") in " ".join(verilog.split())
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_constraints_pin_every_dependency():
    pinned = {
        re.split(r"[=<>!~ ]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if re.match(r"[A-Za-z0-9._-]+==\S+$", line)
    }
    wanted = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted += extra
    names = {re.split(r"[\[=<>!~ ]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names <= pinned


def test_package_data_covers_every_file():
    covered = set()
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        folder = ROOT.joinpath(*package.removeprefix("ttfs_fpga.").split("."))
        for pattern in patterns:
            covered |= set(folder.glob(pattern))
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    data = {ROOT / name for name in tracked if not name.endswith(".py")}
    assert data <= covered


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_files_are_short(package):
    # A page of tests may be a little longer: it is read one test at a time.
    most = 550 if package == "tests" else 450
    long = [path.name for path in (ROOT / package).rglob("*.py")
            if len(path.read_text(encoding="utf-8").splitlines()) > most]
    assert long == []


def test_no_test_measures_time():
    # A busy machine is no fault. Benchmarks measure; guards against a hang are PATIENCE.
    measures = r"\bdeadline\b|(\btimeout=|\bwait\(|seconds\"\] *<=? *)\d\d"
    found = [f"{path.relative_to(ROOT)}: {line.strip()}"
             for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)
             for line in path.read_text(encoding="utf-8").splitlines() if re.search(measures, line)]
    # The profile of every property-based test.
    assert len(found) == 1 and found[0].startswith("tests/conftest.py: ") and "=None" in found[0]


def test_ci_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "- run: .ci/run\n" in workflow and "ubuntu-latest" in workflow
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f'python-version: "{oldest}"' in workflow


def test_every_source_says_its_licence():
    tracked = subprocess.run(
        ["git", "ls-files", "*.py", "*.v", "*.sh", ".ci/run"], cwd=ROOT, capture_output=True,
        text=True,
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    # On the first line, or behind one that must be the first.
    tag = re.compile(r"\A(#(!| amaranth:).*\n)?(#|//) SPDX-License-Identifier: Apache-2\.0\n")
    sources = {name: (ROOT / name).read_text(encoding="utf-8") for name in tracked}
    assert [name for name, text in sources.items() if text and not tag.match(text)] == []
