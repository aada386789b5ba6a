"""The verbs that talk to a board: ``flash`` and ``infer``."""

import contextlib
import dataclasses
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs_sw.cli.inputs import asked_board, check_accuracy, open_network, open_test_images
from ttfs_sw.cli.options import (
    add_accuracy,
    add_board,
    add_datapath,
    add_dataset,
    add_limit,
    add_network,
    common,
)
from ttfs_sw.cli.rows import describe
from ttfs_sw.cli.simulate import check_simulator
from ttfs_sw.cli.tables import Outcome
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import output_folder, write_bytes
from ttfs_sw.common.progress import bar

if TYPE_CHECKING:
    from ttfs_fpga.boards.registry import Board
    from ttfs_sw.link.host import Client

__all__ = ["register"]

#: The port of the simulated board.
SIMULATED = "sim"


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
    parser.set_defaults(run=flash)

    parser = verbs.add_parser(
        "infer",
        help="classify on a board",
        description="Send test images to a board over its serial port and compare its answers "
        "with the golden model's. The port sim is the same board, simulated at its pins, with the "
        "network in its simulated flash.",
        parents=[common()],
    )
    add_network(parser)
    parser.add_argument(
        "--board", metavar="NAME", default="icebreaker", help="the board (default: icebreaker)"
    )
    parser.add_argument(
        "--port", required=True, metavar="P",
        help="the board's serial port, like /dev/ttyUSB1 or COM4, or any URL of pyserial; or sim",
    )
    parser.add_argument(
        "--load", action="store_true",
        help="send the network first; the board forgets it when it is switched off",
    )
    add_dataset(parser, "network")
    add_limit(parser)
    add_accuracy(parser)
    parser.add_argument(
        "--sim", default="verilator", metavar="NAME",
        help="what simulates the port sim: verilator or icarus (default: verilator)",
    )
    parser.set_defaults(run=infer)


def flash(options: Namespace) -> Outcome:
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
        done = FlashReport(board=board.name, commands=program.commands(board, **files))
    else:
        done = program.flash(board, **files)
    report = dataclasses.replace(
        done, network_sha256=network.sha256, dry_run=options.dry_run).as_dict()
    return Outcome(
        report, describe("flash", report), title=f"{options.network} for {board.name}"
    )


def infer(options: Namespace) -> Outcome:
    """``ttfs infer``."""
    check_simulator(options)
    network = open_network(options)
    board = asked_board(options)
    dataset, pixels, labels = open_test_images(options, network)

    from ttfs_fpga.boards.build import make_image
    from ttfs_sw.link import inference

    # A real board that has its network already is only asked.
    needed = options.load or options.port == SIMULATED
    image = make_image(network, board) if needed else b""
    with _connected(options, board, image) as client:
        identity = client.identify()
        if identity.fingerprint != board.config.fingerprint:
            raise InputError(
                f"the board at {options.port} has another core than {board.name} of this version: "
                f"it says it is {identity.board}; build and flash its bitstream again, or name the "
                "board with --board"
            )
        if options.load:
            with bar("load", unit="byte", quiet=options.quiet) as progress:
                client.load(image, progress=progress)
        with bar("infer", quiet=options.quiet) as progress:
            found = inference.infer(client, network, pixels, labels, progress=progress)
    report = {
        "network": str(options.network), "network_sha256": network.sha256, "dataset": dataset,
        "board": board.name, "port": options.port, **found.as_dict(),
    }
    failure = None
    if found.mismatched_images:
        failure = (
            f"{found.mismatched_images} of {found.images} images differ from the golden "
            f"model; is {options.network} the network in the board? {found.first_mismatch}"
        )
    return Outcome(
        report, describe("infer", report), title=f"{options.network} on {dataset}, {board.title}",
        failure=failure or check_accuracy(options, found.accuracy),
    )


@contextlib.contextmanager
def _connected(options: Namespace, board: "Board", image: bytes) -> Iterator["Client"]:
    """A client of the board at ``--port``, or of a simulated one that boots ``image``."""
    if options.port != SIMULATED:
        from ttfs_sw.link.host import connect

        with connect(options.port, board.baud) as client:
            yield client
        return

    from ttfs_fpga.sim.device import SimulatedBoard
    from ttfs_sw.link.inference import switched_on

    with switched_on(SimulatedBoard(board, image, simulator=options.sim)) as client:
        yield client
