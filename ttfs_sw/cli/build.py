# SPDX-License-Identifier: Apache-2.0
"""The verb ``build``: a bitstream and a flash image."""

import dataclasses
import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs_sw.cli.cosim import check_simulator, measure_cycles
from ttfs_sw.cli.fits import require
from ttfs_sw.cli.inputs import asked_board, open_network
from ttfs_sw.cli.options import (
    add_board,
    add_datapath,
    add_dataset,
    add_network,
    add_simulation,
    common,
    positive,
)
from ttfs_sw.cli.tables import Outcome, Rows, count, files, seconds
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import output_folder
from ttfs_sw.common.progress import bar
from ttfs_sw.common.report import Spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfs_fpga.boards.reports import BuildReport, Clock, Latency, LatencyParts, Utilization
    from ttfs_sw.artifact.network import Network
    from ttfs_sw.cli.options import Verbs

__all__ = ["register", "resources", "rows", "timing"]

#: Test images whose cycles stand for all when they have to be measured first.
MEASURED_IMAGES = 100

#: nextpnr's names of what a device has, as people call them.
CELLS = {
    "ICESTORM_LC": "logic cells",
    "ICESTORM_RAM": "block RAMs",
    "ICESTORM_SPRAM": "SPRAMs",
    "ICESTORM_DSP": "multipliers",
    "TRELLIS_COMB": "LUTs",
    "TRELLIS_FF": "flip-flops",
    "DP16KD": "block RAMs",
    "MULT18X18D": "multipliers",
}


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "build",
        help="make a bitstream and a flash image",
        description="Synthesise, place and route the board's top, and make the network's flash "
        "image. The latency comes from measured cycles: of a report of cosim, or of a short "
        "co-simulation that is run first.",
        parents=[common(output="folder of the files (default: the board's name beside the "
                               "network)")],
    )
    add_network(parser)
    add_board(parser)
    add_datapath(parser)
    add_dataset(parser, "network")
    add_simulation(parser)
    group = parser.add_argument_group("latency")
    group.add_argument(
        "--cycles", metavar="REPORT.json", type=Path,
        help="take the cycles of an image from this report of cosim instead of measuring them",
    )
    group.add_argument(
        "--limit", type=positive, metavar="N", default=MEASURED_IMAGES,
        help=f"measure them on the first N test images (default: {MEASURED_IMAGES})",
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs build``."""
    check_simulator(options)
    network = open_network(options)
    board = asked_board(options)

    from ttfs_fpga.boards.build import MissedTiming, build

    # What does not fit is refused before anything is simulated or synthesised.
    require(network, board)
    folder = output_folder(options.output or options.network.parent / board.name)
    cycles = read_cycles(options.cycles, network) if options.cycles else measure_cycles(
        options, network, board.config
    )
    # If a tool fails, the report of an earlier build must not be taken for this one's.
    (folder / "build.json").unlink(missing_ok=True)
    failure = None
    try:
        with bar("build", unit="step", quiet=options.quiet) as progress:
            report = build(
                network, board, output_dir=folder, cycles=cycles, progress=progress,
                seeds=None if options.seed is None else (options.seed,),
            )
    except MissedTiming as error:
        # A build that misses its timing has a report like any other, and says which path was slow.
        report, failure = error.report, str(error)
    return Outcome(
        report, rows(report), title=f"{options.network} for {board.name}",
        failure=failure, folder=folder,
    )


def read_cycles(path: Path, network: "Network") -> Spread:
    """The cycles an image of ``network`` in a report of ``cosim``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the file is no such report, or is of another network.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        cycles = Spread(**{
            field.name: float(report["cycles"][field.name]) for field in dataclasses.fields(Spread)
        })
        made_of = report.get("network_sha256", network.sha256)
    except OSError as error:
        raise InputError(f"cannot read --cycles {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"--cycles {path} is not a report of cosim; make one with: ttfs cosim --json"
        ) from error
    if made_of != network.sha256:
        raise InputError(f"--cycles {path} is of another network; run cosim on this one")
    return cycles


def rows(report: "BuildReport") -> Rows:
    """The table."""
    return [
        *resources(report.utilization),
        *timing(report.fmax_mhz, report.clock_mhz, report.latency_us),
        *_beside(getattr(report, "latency_parts_us", None)),
        *files(getattr(report, "files", None)),
        ("time", seconds(report.seconds)),
    ]


def resources(utilization: "Mapping[str, Utilization]") -> Rows:
    """What a build uses of its device, cells of a kind that it does not use left out."""
    return [
        (CELLS[kind], f"{count(cells.used)} of {count(cells.available)}"
         f" ({100 * cells.used / cells.available:.0f} %)")
        for kind, cells in utilization.items()
        if cells.used and kind in CELLS
    ]


def timing(
    fmax_mhz: "Mapping[str, Clock]", clock_mhz: float, latency: "Latency | None"
) -> Rows:
    """Clocks and latency of a build."""
    rows: Rows = [
        (f"clock {name}", f"{clock.achieved:.1f} MHz reached, {clock.constraint:.1f} MHz "
         f"demanded{_both(clock)}")
        for name, clock in fmax_mhz.items()
    ]
    if latency:
        rows.append((
            "latency", f"median {latency.median:.1f} µs, at most {latency.max:.1f} µs at "
            f"{clock_mhz:g} MHz",
        ))
    return rows


def _beside(parts: "LatencyParts | None") -> Rows:
    """What an image waits for besides; reports of older versions do not say."""
    if not parts:
        return []
    return [(
        "beside it", f"{parts.image_load:.1f} µs to take an image, {parts.link:.0f} µs "
        "on the serial line",
    )]


def _both(clock: "Clock") -> str:
    """The two figures of a clock; reports of releases that knew nextpnr's alone have one."""
    all_paths = getattr(clock, "all_paths", None)
    if all_paths is None:
        return "; of all paths nothing is known"
    alone = clock.nextpnr
    return (f"; {all_paths:.1f} MHz with all paths, "
            f"{'none' if alone is None else f'{alone:.1f} MHz'} by those that nextpnr times")
