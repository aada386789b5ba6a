"""The verb ``demo``: the whole chain, then one screen."""

from argparse import Namespace
from pathlib import Path

from ttfs_sw.cli.inputs import asked_board
from ttfs_sw.cli.options import add_simulation, common
from ttfs_sw.cli.rows import describe
from ttfs_sw.cli.simulate import check_simulator, cores
from ttfs_sw.cli.tables import Outcome
from ttfs_sw.common.files import output_folder

__all__ = ["register"]

#: Where the run goes unless ``-o`` says otherwise.
FOLDER = Path("runs") / "demo"


def register(verbs) -> None:
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
    parser.set_defaults(run=demo, hushed=("ttfs_sw.training.train", "ttfs_sw.training.loop"))


def demo(options: Namespace) -> Outcome:
    """``ttfs demo``."""
    check_simulator(options)
    board = asked_board(options)
    # Before anything heavy is imported: a folder that cannot be written is known at once.
    folder = output_folder(options.output or FOLDER)

    from ttfs_sw.cli import demo as chain

    report = chain.run(
        folder, board=board, simulator=options.sim, jobs=options.jobs or cores(),
        overrides={"seed": options.seed}, quiet=options.quiet,
    )
    return Outcome(
        report, describe("demo", report), folder=folder,
        title=f"{report['preset']} ({'-'.join(map(str, report['sizes']))}) on {board.title}",
    )
