"""The verbs that talk to a board: ``flash`` and ``infer``."""

from argparse import Namespace
from pathlib import Path

from ttfs_sw.cli.inputs import find_board, open_network
from ttfs_sw.cli.options import (
    add_board,
    add_network,
    common,
)
from ttfs_sw.cli.rows import describe
from ttfs_sw.cli.tables import Outcome
from ttfs_sw.errors import InputError
from ttfs_sw.files import output_folder, write_bytes

__all__ = ["register"]


def register(verbs) -> None:
    """Add the verbs to the command line."""
    parser = verbs.add_parser(
        "flash",
        help="program a board",
        description="Write the bitstream that build made, and the image of the network, to the "
        "board's flash.",
        parents=[common()],
    )
    add_network(parser)
    add_board(parser)
    parser.add_argument(
        "--build", metavar="DIR", type=Path,
        help="folder that build wrote (default: the board's name beside the network)",
    )
    parser.add_argument(
        "--image-only", action="store_true",
        help="only the network: the board has its bitstream already",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the commands and run nothing"
    )
    parser.set_defaults(run=flash)


def flash(options: Namespace) -> Outcome:
    """``ttfs flash``."""
    network = open_network(options)
    board = find_board(options)

    from boards import program
    from boards.build import make_image

    image = make_image(network, board)
    folder = options.build or options.network.parent / board.name
    files = {"image": output_folder(folder) / "network.img"}
    if not options.image_only:
        files["bitstream"] = folder / f"{board.name}{board.bitstream_suffix}"
        if not files["bitstream"].is_file():
            raise InputError(
                f"there is no bitstream {files['bitstream']}; make it with: "
                f"ttfs build {options.network} --board {board.name}"
            )
    # What is programmed is this network, whatever was built in the folder before.
    write_bytes(files["image"], image)
    report = {
        "board": board.name,
        "network_sha256": network.sha256,
        "dry_run": options.dry_run,
        "commands": program.commands(board, **files),
    }
    if not options.dry_run:
        report.update(program.flash(board, **files))
    return Outcome(
        report, describe("flash", report), title=f"{options.network} for {board.name}"
    )
