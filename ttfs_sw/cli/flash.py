# SPDX-License-Identifier: Apache-2.0
"""The verb ``flash``: bitstream and image into a board's flash."""

import dataclasses
import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs_sw.cli.inputs import asked_board, open_network
from ttfs_sw.cli.options import add_board, add_datapath, add_network, common
from ttfs_sw.cli.tables import Outcome, Rows
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import output_folder, write_bytes

if TYPE_CHECKING:
    from ttfs_fpga.boards.reports import FlashReport
    from ttfs_sw.cli.options import Verbs

__all__ = ["register", "rows"]


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "flash",
        help="program a board",
        description="Write the bitstream that build made, and the image of the network, to the "
        "board's flash.",
        parents=[common()],
    )
    add_network(parser)
    add_board(parser)
    add_datapath(parser)
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
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs flash``."""
    network = open_network(options)
    board = asked_board(options)

    from ttfs_fpga.boards import program
    from ttfs_fpga.boards.build import make_image
    from ttfs_fpga.boards.reports import FlashReport

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
    if options.dry_run:
        report = FlashReport(board=board.name, commands=program.commands(board, **files))
    else:
        report = program.flash(board, **files)
    report = dataclasses.replace(
        report, network_sha256=network.sha256, dry_run=options.dry_run)
    return Outcome(report, rows(report), title=f"{options.network} for {board.name}")


def rows(report: "FlashReport") -> Rows:
    """The table."""
    label = "would run" if report.dry_run else "done"
    return [(label, shlex.join(command)) for command in report.commands]
