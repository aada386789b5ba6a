# SPDX-License-Identifier: Apache-2.0
"""The verb ``image``: a network's flash image, without synthesis."""

import dataclasses
from argparse import Namespace
from typing import TYPE_CHECKING

from ttfs_sw.cli.fits import require
from ttfs_sw.cli.inputs import asked_board, open_network
from ttfs_sw.cli.memory_map import add_map, map_rows, memory_map
from ttfs_sw.cli.options import add_board, add_datapath, add_network, common
from ttfs_sw.cli.tables import Outcome, Rows, count, files
from ttfs_sw.common.files import output_folder, write_bytes

if TYPE_CHECKING:
    from ttfs_fpga.boards.reports import ImageReport
    from ttfs_sw.cli.options import Verbs

__all__ = ["register", "rows"]


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "image",
        help="make only the flash image",
        description="Make the flash image of a network, for a board that has its bitstream: no "
        "synthesis, done in a second.",
        parents=[common(output="folder of the image (default: the board's name beside the "
                               "network)")],
    )
    add_network(parser)
    add_board(parser)
    add_datapath(parser)
    add_map(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs image``."""
    network = open_network(options)
    board = asked_board(options)

    import hashlib

    from ttfs_fpga.boards.build import make_image
    from ttfs_fpga.boards.reports import ImageReport

    require(network, board)
    content = make_image(network, board)
    folder = output_folder(options.output or options.network.parent / board.name)
    write_bytes(folder / "network.img", content)
    report = ImageReport(
        board=board.name,
        network_sha256=network.sha256,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        flash_offset=board.flash_offset,
        files={"image": str(folder / "network.img")},
    )
    if options.map:
        report = dataclasses.replace(report, **memory_map(network, board.config))
    return Outcome(
        report, rows(report), title=f"{options.network} for {board.name}",
        folder=folder,
    )


def rows(report: "ImageReport") -> Rows:
    """The table."""
    return [
        ("bytes", count(report.bytes)),
        ("goes to", f"{report.flash_offset:#x} of the flash of {report.board}"),
        ("sha256", report.sha256),
        *files(report.files),
        *map_rows(getattr(report, "memories", None), getattr(report, "layers", None)),
    ]
