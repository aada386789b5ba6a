# SPDX-License-Identifier: Apache-2.0
"""The Markdown page of an experiment, and the index of a folder of them."""

import json
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttfs_sw.common.files import write_text
from ttfs_sw.research.experiments import EXPERIMENTS, Claim, ExperimentReport

__all__ = ["claim_rows", "number", "table", "verdict", "write_index", "write_page"]

#: What an index starts with; what stands below is made anew.
INDEX_HEAD = """\
# Experiments

Each page reruns a published claim with one command, and has its figure, its numbers and the limits
that they are held to. `make experiments` makes all of them anew; `--dataset mnist` runs
one on MNIST.

"""


def number(value: float) -> str:
    """A measured figure for a table: four digits that count, whole numbers in full."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.4g}"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def claim_rows(claims: Sequence[Claim]) -> list[tuple[str, str, str, str]]:
    """Claim, measured figure, limit and verdict of each claim, as a reader sees them."""
    rows = []
    for entry in claims:
        limit = ""
        if entry.at_most is not None:
            limit = f"at most {number(entry.at_most)}"
        elif entry.at_least is not None:
            limit = f"at least {number(entry.at_least)}"
        met = {None: "", True: "yes", False: "**no**"}[entry.met]
        rows.append((entry.claim, number(entry.measured), limit, met))
    return rows


def verdict(claims: Sequence[Claim]) -> str:
    """``all 5 hold`` or ``2 of 5 claims do not hold``; figures without a limit do not count."""
    held = [entry.met for entry in claims if entry.met is not None]
    missed = held.count(False)
    return f"{missed} of {len(held)} claims do not hold" if missed else f"all {len(held)} hold"


def write_page(path: str | os.PathLike, report: ExperimentReport[Any], text: str) -> None:
    """Write the page of ``report`` around ``text``, whose paragraphs may have lines of any width.
    """
    name, title = report.experiment, report.title
    write_text(path, "\n".join([
        f"# {title[0].upper()}{title[1:]}\n",
        _filled(text) + "\n",
        f"![{title}]({name}.png)\n",
        table(("claim", "measured", "limit", "met"), claim_rows(report.found.claims)),
        f"    {report.command}\n",
        f"{report.seconds:.0f} s, {report.cpu_seconds:.0f} s of them of a processor "
        f"({report.device}, torch {report.torch}).\nAll figures are in "
        f"[{name}.json]({name}.json).\n",
    ]))


def _filled(text: str) -> str:
    """Return Markdown whose paragraphs, not its tables and lists, are lines of one width again."""
    blocks = text.strip().split("\n\n")
    return "\n\n".join(
        block if block.lstrip().startswith(("|", "* ")) else textwrap.fill(
            " ".join(block.split()), 100, break_long_words=False, break_on_hyphens=False)
        for block in blocks
    )


def write_index(folder: Path) -> None:
    """Make the ``index.md`` of ``folder`` anew from the reports in it, if there is one."""
    path = folder / "index.md"
    if not path.is_file():
        return
    rows = []
    for name in EXPERIMENTS:
        if not (folder / f"{name}.json").is_file():
            continue
        report = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        claims = [Claim(**entry) for entry in report["claims"]]
        took = f"{report['seconds']:.0f} ({report['cpu_seconds']:.0f})"
        rows.append((
            f"[{name}]({name}.md)", report["title"], verdict(claims),
            f"`{report['command']}`", report["seed"], took,
        ))
    header = ("experiment", "shows that", "claims", "command", "seed", "seconds (of a processor)")
    write_text(path, INDEX_HEAD + table(header, rows))
