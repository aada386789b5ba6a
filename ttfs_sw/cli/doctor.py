# SPDX-License-Identifier: Apache-2.0
"""The verb ``doctor``: what is installed, and what installs the rest."""

from argparse import Namespace
from typing import TYPE_CHECKING

from ttfs_sw.cli.options import common
from ttfs_sw.cli.tables import Outcome, Rows

if TYPE_CHECKING:
    from ttfs_sw.cli.options import Verbs
    from ttfs_sw.cli.tools import Findings

__all__ = ["register", "rows"]


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "doctor",
        help="say what is installed and how to install what is missing",
        description="Look for every tool of the chain: what was found, its version, and the "
        "command that installs what is missing.",
        parents=[common()],
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs doctor``. What is missing is its result, not its failure."""
    from ttfs_sw.cli.tools import examine

    report = examine()
    return Outcome(
        report, rows(report), header=("tool", "version", "needed for", "install it with"),
        title=f"Python {report.python} on {report.platform}",
    )


def rows(report: "Findings") -> Rows:
    """The table."""
    return [
        (
            tool.tool,
            (tool.version or "found") if tool.found else "missing",
            tool.needed_for,
            "" if tool.found else tool.install,
        )
        for tool in report.tools
    ]
