# SPDX-License-Identifier: Apache-2.0
"""The verb ``demo``: the whole chain, then one screen."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs_sw.cli.build import resources, timing
from ttfs_sw.cli.cosim import check_simulator, cores
from ttfs_sw.cli.inputs import asked_board
from ttfs_sw.cli.options import add_simulation, common
from ttfs_sw.cli.tables import Outcome, Rows, count, events, listed, percent, seconds, spread
from ttfs_sw.common.files import output_folder

if TYPE_CHECKING:
    from ttfs_sw.cli.chain import Demonstration
    from ttfs_sw.cli.options import Verbs

__all__ = ["register", "rows"]

#: Where the run goes unless ``-o`` says otherwise.
FOLDER = Path("runs") / "demo"


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "demo",
        help="the whole chain on handwritten digits, and one screen of results",
        description="Train a network on scikit-learn's handwritten digits, co-simulate it on all "
        "450 test images, build it for a board, and show what came out.",
        parents=[common(output=f"folder of the run (default: {FOLDER})")],
    )
    parser.add_argument(
        "--board", metavar="NAME", default="icebreaker", help="the board (default: icebreaker)"
    )
    add_simulation(parser)
    # One line a step, not one an epoch.
    parser.set_defaults(run=run, hushed=("ttfs_sw.training.train", "ttfs_sw.training.loop"))


def run(options: Namespace) -> Outcome:
    """``ttfs demo``."""
    check_simulator(options)
    board = asked_board(options)
    # Before anything heavy is imported: a folder that cannot be written is known at once.
    folder = output_folder(options.output or FOLDER)

    from ttfs_sw.cli import chain

    report = chain.run(
        folder, board=board, simulator=options.sim, jobs=options.jobs or cores(),
        overrides={"seed": options.seed}, quiet=options.quiet,
    )
    return Outcome(
        report, rows(report), folder=folder,
        title=f"{report.preset} ({'-'.join(map(str, report.sizes))}) on {board.title}",
    )


def rows(report: "Demonstration") -> Rows:
    """The table."""
    accuracy = report.accuracy
    steps = ", ".join(f"{name} {taken:.0f} s" for name, taken in report.steps.items())
    return [
        ("accuracy, float network", percent(accuracy["float"])),
        ("accuracy, integers", percent(accuracy["network"])),
        ("accuracy, RTL", percent(accuracy["rtl"])),
        ("images compared", f"{count(report.images)}, every spike and every logit"),
        ("mismatches", f"{count(report.mismatched_events)} events in "
         f"{count(report.mismatched_images)} images"),
        ("board at its pins", f"booted from flash, {count(report.board_images)} images, "
         f"{count(report.board_mismatched_images)} mismatches"),
        ("spikes per hidden neuron", f"{report.spikes_per_neuron:.3f}"),
        ("spikes an image", events(report)),
        ("cycles an image", spread(report.cycles)),
        ("roofline", spread(report.roofline_cycles)),
        *resources(report.utilization),
        *timing(report.fmax_mhz, report.clock_mhz, report.latency_us),
        *listed("pictures", report.pictures),
        *listed("files", [report.files[key] for key in ("network", "bitstream", "image")]),
        ("time", f"{seconds(report.seconds)}: {steps}"),
    ]
