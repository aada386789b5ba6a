# SPDX-License-Identifier: Apache-2.0
"""The verb ``report``: one HTML page of a run."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs_sw.cli.options import common
from ttfs_sw.cli.tables import Outcome, Rows, files
from ttfs_sw.common.files import output_folder

if TYPE_CHECKING:
    from ttfs_sw.cli.options import Verbs
    from ttfs_sw.cli.report_page import Page

__all__ = ["register", "rows"]


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "report",
        help="one HTML page of a run",
        description="Gather the reports and the pictures in a folder into one HTML page that "
        "needs no other file.",
        parents=[common(output="folder of the page (default: the run's)")],
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of a run")
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs report``."""
    from ttfs_sw.cli.report_page import write_page

    folder = output_folder(options.output) if options.output else options.folder
    page = write_page(options.folder, folder / "report.html", options.describe)
    return Outcome(page, rows(page))


def rows(report: "Page") -> Rows:
    """The table."""
    return [
        ("reports", ", ".join(report.reports)),
        ("pictures", ", ".join(report.pictures) or "none"),
        *files(report.files),
    ]
