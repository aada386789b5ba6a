# SPDX-License-Identifier: Apache-2.0
"""Tables of results: each figure measured by the very command that stands beside it.

    python benchmarks/table.py                      the chain: measure everything, print the table
    python benchmarks/table.py --write              put it into its page too, here README.md
    python benchmarks/table.py core --write         the core on every device: docs/performance.md
    python benchmarks/table.py training --write     three seeds of each preset: docs/training.md
    python benchmarks/table.py core --only cosim    only the commands whose name begins so
    python benchmarks/table.py --keep               measure only what has no report yet

Reports, and the table as JSON and Markdown, stay in ``runs/bench``. It needs the MNIST files
(``TTFS_DATA``).
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import TABLES, Report, Table

from ttfs_sw.cli import main as ttfs
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import output_folder, write_json, write_text

__all__ = ["main", "markdown", "put_table", "rows"]

BEGIN = "<!-- table of benchmarks/{}: begin -->"
END = "<!-- table of benchmarks/{}: end -->"


def rows(table: Table, reports: Mapping[str, Report], folder: Path) -> list[dict[str, Any]]:
    """The figures as plain data; ``measured`` and ``met`` are None where there is no report."""
    found = []
    for figure in table.figures:
        report = reports.get(figure.command)
        known = report is not None
        found.append({
            "what": figure.what,
            "wanted": figure.wanted,
            "measured": figure.measured(report) if known else None,
            "met": figure.met(report) if known and figure.met else None,
            "command": command(table, figure.command, folder),
        })
    return found


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table in Markdown."""
    lines = ["| what | wanted | measured | | command |", "|---|---|---|---|---|"]
    for row in found:
        verdict = {True: "met", False: "**missed**", None: ""}[row["met"]]
        lines.append(f"| {row['what']} | {row['wanted']} | {row['measured'] or 'PENDING'} | "
                     f"{verdict} | `{row['command']}` |")
    return "\n".join(lines) + "\n"


def put_table(page: Path, text: str, script: str = "table.py") -> None:
    """Replace what stands between the two marks of ``script`` in the file ``page``."""
    marks = BEGIN.format(script), END.format(script)
    before, begin, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise InputError(f"{page} has no place for the table: a line {marks[0]} and a line "
                         f"{marks[1]}")
    write_text(page, f"{before}{begin}\n{text}{end}{after}")


def command(table: Table, key: str, folder: Path) -> str:
    """A command of the table, as one would type it."""
    return table.commands[key].format(reports=folder)


def measure(line: str, file: Path) -> int:
    """Run a command; its report goes to ``file``."""
    print(f"$ {line}", flush=True)
    program, *arguments = shlex.split(line)
    if program == "ttfs":
        return ttfs([*arguments, "--json", str(file)])
    return subprocess.run([sys.executable, *arguments, "--json", str(file)], check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 0 if every command did what was asked of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", choices=TABLES, default="chain")
    parser.add_argument("--keep", action="store_true", help="do not measure again what is there")
    parser.add_argument("--only", default="", metavar="NAME", help="commands whose name begins so")
    parser.add_argument("--limit", metavar="N", help="only the first N images in co-simulations")
    parser.add_argument("--write", action="store_true", help="put the table into its page too")
    parser.add_argument(
        "--reports", type=Path, default=Path("runs/bench"), metavar="DIR",
        help="folder of the reports (default: runs/bench)",
    )
    options = parser.parse_args(argv)
    chosen = TABLES[options.table]
    folder = output_folder(options.reports)
    failed = []
    reports = {}
    for key in chosen.commands:
        file = folder / f"{key}.json"
        line = command(chosen, key, folder)
        if key.startswith(options.only) and not (options.keep and file.is_file()):
            file.unlink(missing_ok=True)
            if options.limit and key.startswith("cosim"):
                line += f" --limit {options.limit}"
            if measure(line, file):
                failed.append(line)
        if file.is_file():
            reports[key] = json.loads(file.read_text(encoding="utf-8"))
    found = rows(chosen, reports, folder)
    text = markdown(found)
    print(text, end="")
    write_json(folder / f"{options.table}-table.json", found)
    write_text(folder / f"{options.table}-table.md", text)
    if options.write:
        put_table(Path(chosen.page), text)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
