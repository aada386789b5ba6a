"""The README's table of results: each figure measured by the very command that stands beside it.

    python benchmarks/table.py                      measure everything, print the table
    python benchmarks/table.py --write README.md    put it into the README too
    python benchmarks/table.py --keep               measure only what has no report yet

The reports stay in ``runs/bench``. It needs the MNIST files (``TTFS_DATA``).
"""

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttfs_sw.cli import main as ttfs
from ttfs_sw.cli.tables import count, percent, seconds, spread
from ttfs_sw.errors import InputError
from ttfs_sw.files import output_folder, write_text

__all__ = ["COMMANDS", "FIGURES", "Figure", "main", "table"]

BEGIN = "<!-- table of benchmarks/table.py: begin -->"
END = "<!-- table of benchmarks/table.py: end -->"

#: What is run, in this order: later commands use what earlier ones made.
COMMANDS = {
    "demo": "ttfs demo",
    "train": "ttfs train mnist-mlp",
    "train-256": "ttfs train mnist-mlp-256",
    "evaluate": "ttfs evaluate runs/mnist-mlp",
    "cosim": "ttfs cosim runs/mnist-mlp",
    "build": "ttfs build runs/mnist-mlp --board icebreaker",
    "infer": "ttfs infer runs/demo --port sim --limit 100",
}

Report = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One row of the table.

    Parameters
    ----------
    what : :class:`str`
        What is measured.
    wanted : :class:`str`
        What we hold ourselves to.
    command : :class:`str`
        A key of :data:`COMMANDS`.
    measured : callable
        The figure, from the command's report.
    """

    what: str
    wanted: str
    command: str
    measured: Callable[[Report], str]


def _trained(report: Report) -> str:
    return (
        f"{percent(report['accuracy_network'])}, {report['spikes_per_neuron']:.3f} spikes, "
        f"{seconds(report['seconds'])}"
    )


def _built(report: Report) -> str:
    clocks = ", ".join(f"{clock['achieved']:.1f} MHz" for clock in report["fmax_mhz"].values())
    return f"{clocks}, {seconds(report['seconds'])}"


def _cells(report: Report) -> str:
    return ", ".join(
        f"{kind} {count(used['used'])} of {count(used['available'])}"
        for kind, used in report["utilization"].items()
        if kind in ("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_SPRAM", "ICESTORM_DSP")
    )


FIGURES = (
    Figure(
        "digits, the whole chain, once installed", "at most 3 min", "demo",
        lambda report: seconds(report["seconds"]),
    ),
    Figure(
        "digits, accuracy of the RTL on all 450 test images", "at least 97 %", "demo",
        lambda report: percent(report["accuracy"]["rtl"]),
    ),
    Figure(
        "digits, events that differ between RTL and integers", "0", "demo",
        lambda report: f"{count(report['mismatched_events'])} "
        f"({count(report['images'])} images)",
    ),
    Figure(
        "digits, the board simulated at its pins, images that differ", "0 of 100", "infer",
        lambda report: f"{count(report['mismatched_images'])} of {count(report['images'])}",
    ),
    Figure(
        "MNIST 784-128-10, 4-bit weights, as `network.npz`",
        "at least 98.5 %, at most 0.20 spikes a hidden neuron, 5 min", "train", _trained,
    ),
    Figure("MNIST 784-256-10", "at least 98.7 %", "train-256", _trained),
    Figure(
        "golden model, MNIST images a second", "at least 50 000", "evaluate",
        lambda report: count(round(report["images_per_second"])),
    ),
    Figure(
        "MNIST, events that differ, all 10 000 images", "0, at most 3 min", "cosim",
        lambda report: f"{count(report['mismatched_events'])} ({count(report['images'])} images), "
        f"{seconds(report['seconds'])}",
    ),
    Figure(
        "MNIST, cycles an image, 16 lanes", "median at most 1 300", "cosim",
        lambda report: spread(report["cycles"]),
    ),
    Figure(
        "MNIST, roofline of these cycles", "", "cosim",
        lambda report: spread(report["roofline_cycles"]),
    ),
    Figure(
        "iCEBreaker, full board top, clock", "at least 36 MHz, at most 3 min", "build", _built
    ),
    Figure("iCEBreaker, resources", "fits", "build", _cells),
    Figure(
        "iCEBreaker, latency of an MNIST image", "", "build",
        lambda report: f"median {report['latency_us']['median']:.1f} µs, "
        f"at most {report['latency_us']['max']:.1f} µs",
    ),
)


def table(reports: Mapping[str, Report]) -> str:
    """The table in Markdown; a figure whose command has no report is ``PENDING``."""
    lines = ["| what | wanted | measured | command |", "|---|---|---|---|"]
    for figure in FIGURES:
        report = reports.get(figure.command)
        measured = "PENDING" if report is None else figure.measured(report)
        lines.append(
            f"| {figure.what} | {figure.wanted} | {measured} | `{COMMANDS[figure.command]}` |"
        )
    return "\n".join(lines) + "\n"


def put_table(page: Path, text: str) -> None:
    """Replace what stands between the two marks in the file ``page``."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"{page} has no place for the table: a line {BEGIN} and a line {END}")
    write_text(page, f"{before}{BEGIN}\n{text}{END}{after}")


def _measure(key: str, file: Path) -> int:
    """Run one command of :data:`COMMANDS`; its report goes to ``file``."""
    print(f"$ {COMMANDS[key]}", flush=True)
    return ttfs([*shlex.split(COMMANDS[key])[1:], "--json", str(file)])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 0 if every command did what was asked of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="do not measure again what is there")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into FILE too")
    options = parser.parse_args(argv)
    folder = output_folder("runs/bench")
    failed = []
    reports = {}
    for key in COMMANDS:
        file = folder / f"{key}.json"
        if not (options.keep and file.is_file()):
            file.unlink(missing_ok=True)
            if _measure(key, file):
                failed.append(COMMANDS[key])
        if file.is_file():
            reports[key] = json.loads(file.read_text(encoding="utf-8"))
    text = table(reports)
    print(text, end="")
    write_text(folder / "table.md", text)
    if options.write:
        put_table(options.write, text)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
