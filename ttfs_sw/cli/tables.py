# SPDX-License-Identifier: Apache-2.0
"""What a verb found, and how it is printed.

A verb returns an :class:`Outcome`: the report as data, the same report as a few rows for a person,
and the sentence that says why it failed, if it did. Printing never decides anything.
"""

import dataclasses
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ttfs_sw.common.errors import InputError
from ttfs_sw.common.report import Report

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "Outcome", "Rows", "count", "events", "files", "listed", "percent", "print_text", "render",
    "seconds", "spread", "write_rows",
]

#: What is printed of a report: labels and values, or as many cells as there are column titles.
Rows = list[tuple[str, ...]]


class Figures(Protocol):
    """Least, median, mean and most of something."""

    @property
    def min(self) -> float: ...

    @property
    def median(self) -> float: ...

    @property
    def mean(self) -> float: ...

    @property
    def max(self) -> float: ...


class Events(Protocol):
    """Whatever says how many spikes an image has, map by map."""

    @property
    def events_input(self) -> float: ...

    @property
    def events_hidden(self) -> list[float]: ...


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one verb.

    Parameters
    ----------
    report : :class:`ttfs_sw.common.report.Report`
        What the documentation promises; ``--json`` writes it as plain data.
    rows : sequence of tuples
        What is printed: label and value, or as many cells as :attr:`header` has.
    header : sequence of :class:`str`
        Column titles, if the rows are more than labels and values.
    title : :class:`str`
        One line above the rows.
    failure : :class:`str` or ``None``
        Why the command failed although it has a report: exit code 1. ``None``: it did not.
    folder : path or ``None``
        Where the verb put its files; the report goes there too, as ``VERB.json``.
    """

    report: Report
    rows: Sequence[tuple[str, ...]]
    header: Sequence[str] = ()
    title: str = ""
    failure: str | None = None
    folder: Path | None = None


def percent(fraction: float) -> str:
    """0.98751 as ``98.75 %``."""
    return f"{100 * fraction:.2f} %"


def count(number: float) -> str:
    """12345 as ``12 345``; a mean keeps one digit behind the point."""
    text = f"{number:,.1f}" if isinstance(number, float) and number % 1 else f"{number:,.0f}"
    return text.replace(",", " ")


def seconds(duration: float) -> str:
    """A duration as a person says it: ``0.8 s``, ``2 min 05 s``."""
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest:02d} s"


def spread(figures: Figures) -> str:
    """Statistics as ``median 1 208, mean 1 215.3 (903 to 1 604)``."""
    return (
        f"median {count(figures.median)}, mean {count(float(round(figures.mean, 1)))} "
        f"({count(figures.min)} to {count(figures.max)})"
    )


def events(report: Events) -> str:
    """Mean spikes in one image, map by map: input, then hidden layers."""
    hidden = report.events_hidden
    # Reports of older versions have one number.
    if not isinstance(hidden, Sequence):
        hidden = [hidden]
    return " + ".join(f"{mean:.1f}" for mean in (report.events_input, *hidden))


def files(found: Mapping[str, str] | Iterable[str] | None) -> Rows:
    """The files that a verb wrote, one a row."""
    return listed("files", found.values() if isinstance(found, Mapping) else found or ())


def listed(label: str, items: Iterable[object]) -> Rows:
    """One row an item, the first of them with the label."""
    return [("" if index else label, str(item)) for index, item in enumerate(items)]


def render(outcome: Outcome, *, colours: bool, width: int | None) -> str:
    """The table of ``outcome`` as text, without trailing spaces.

    Parameters
    ----------
    colours : :class:`bool`
        Whether the text may contain terminal codes.
    width : :class:`int` or ``None``
        Columns to fit into; ``None`` never breaks a line, so that a path can be copied whole.
    """
    from rich.console import Console
    from rich.text import Text

    text = io.StringIO()
    console = Console(
        file=text, width=width or 10_000, force_terminal=colours,
        no_color=None if colours else True, highlight=False,
    )
    if outcome.title:
        console.print(Text(outcome.title, style="bold"))
    for rows in [outcome.rows] if outcome.header else _parts(outcome.rows):
        console.print(_table(rows, outcome.header, width))
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def _parts(rows: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """Rows, parted where they have more columns, or fewer, from an empty row on."""
    parts: list[list[Sequence[str]]] = [[]]
    for row in rows:
        wider = max(map(len, parts[-1]), default=0)
        if parts[-1] and not any(parts[-1][-1]) and len(row) != wider:
            parts.append([])
        parts[-1].append(row)
    return parts


def _table(rows: Sequence[Sequence[str]], header: Sequence[str], width: int | None) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(header),
        header_style="bold",
    )
    for index in range(len(header) or max(map(len, rows), default=0)):
        table.add_column(
            header[index] if header else "",
            style="cyan" if index == 0 else None,
            no_wrap=width is None or index == 0,
        )
    for row in rows:
        # Text and not str: a path or a message with square brackets is not markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    return table


def write_rows(outcome: Outcome) -> None:
    """Print ``outcome`` on stdout, as wide as the terminal and in colour if it is one."""
    terminal = sys.stdout.isatty()
    width = None
    if terminal:
        width = max(60, os.get_terminal_size(sys.stdout.fileno()).columns)
    print_text([render(outcome, colours=terminal and "NO_COLOR" not in os.environ, width=width)])


def print_text(parts: Iterable[str]) -> None:
    """Write to stdout and flush.

    A reader that went away (``ttfs boards | head -1``) ends the output and nothing else: the exit
    code stays that of the work.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If stdout cannot be written for another reason, a full disk above all.
    """
    try:
        for part in parts:
            sys.stdout.write(part)
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered would fail again, with a traceback, when Python exits.
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, sys.stdout.fileno())
        os.close(silence)
        if not isinstance(error, BrokenPipeError):
            raise InputError(
                f"cannot write standard output: {error.strerror}; redirect it elsewhere"
            ) from error
