# SPDX-License-Identifier: Apache-2.0
"""The verb ``infer``: a board's answers beside the golden model's."""

import contextlib
import dataclasses
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ttfs_sw.cli.cosim import check_simulator
from ttfs_sw.cli.inputs import asked_board, check_accuracy, open_network, open_test_images
from ttfs_sw.cli.options import add_accuracy, add_dataset, add_limit, add_network, common
from ttfs_sw.cli.tables import Outcome, Rows, count, percent, seconds, spread
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.progress import bar
from ttfs_sw.common.report import FLAT, Report

if TYPE_CHECKING:
    from ttfs_fpga.boards.registry import Board
    from ttfs_sw.cli.options import Verbs
    from ttfs_sw.link.host import Client
    from ttfs_sw.link.inference import Inference

__all__ = ["register", "rows"]

#: The port of the simulated board.
SIMULATED = "sim"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inferred(Report):
    """What a board answered, with its name and port, the network's file and the images' name."""

    network: str
    network_sha256: str
    dataset: str
    board: str
    port: str
    found: "Inference" = dataclasses.field(metadata=FLAT)


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
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
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
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
    report = Inferred(
        network=str(options.network), network_sha256=network.sha256, dataset=dataset,
        board=board.name, port=options.port, found=found,
    )
    failure = None
    if found.mismatched_images:
        failure = (
            f"{found.mismatched_images} of {found.images} images differ from the golden "
            f"model; is {options.network} the network in the board? {found.first_mismatch}"
        )
    return Outcome(
        report, rows(found), title=f"{options.network} on {dataset}, {board.title}",
        failure=failure or check_accuracy(options, found.accuracy),
    )


def rows(report: "Inference") -> Rows:
    """The table."""
    return [
        ("images", count(report.images)),
        ("images that differ", count(report.mismatched_images)),
        ("accuracy of the board", percent(report.accuracy)),
        ("cycles an image", spread(report.cycles)),
        ("images a second", f"{report.images_per_second:.1f}, with the serial line"),
        ("time", seconds(report.seconds)),
    ]


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
