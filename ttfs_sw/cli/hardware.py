"""The verbs that make hardware: ``verilog``, ``build`` and ``image``."""

import dataclasses
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfs_sw.cli.fits import require
from ttfs_sw.cli.inputs import asked_board, core_config, open_network
from ttfs_sw.cli.options import (
    add_board,
    add_core,
    add_datapath,
    add_dataset,
    add_network,
    add_simulation,
    common,
    positive,
)
from ttfs_sw.cli.rows import describe
from ttfs_sw.cli.simulate import check_simulator, measure_cycles
from ttfs_sw.cli.tables import Outcome
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import output_folder, write_bytes
from ttfs_sw.common.progress import bar
from ttfs_sw.common.report import Spread

if TYPE_CHECKING:
    from ttfs_fpga.hdl.config import CoreConfig
    from ttfs_sw.artifact.network import Network

__all__ = ["register"]

#: Test images whose cycles stand for all when ``build`` has to measure them itself.
MEASURED_IMAGES = 100


def register(verbs) -> None:
    """Add the verbs to the command line."""
    parser = verbs.add_parser(
        "verilog",
        help="write the core as Verilog",
        description="Write the core as plain Verilog, its ports as JSON, and the memory images of "
        "the network.",
        parents=[common(output="folder of the files (default: verilog beside the network)")],
    )
    add_network(parser)
    add_core(parser, board=None)
    _add_map(parser)
    parser.set_defaults(run=verilog)

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
    parser.set_defaults(run=build)

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
    _add_map(parser)
    parser.set_defaults(run=image)


def _add_map(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--map", action="store_true",
        help="show where each layer lies in the core's memories, and the least and the greatest "
        "membrane potential that any image can give it",
    )


def build(options: Namespace) -> Outcome:
    """``ttfs build``."""
    check_simulator(options)
    network = open_network(options)
    board = asked_board(options)

    from ttfs_fpga.boards.build import MissedTiming
    from ttfs_fpga.boards.build import build as run

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
            found = run(
                network, board, output_dir=folder, cycles=cycles, progress=progress,
                seeds=None if options.seed is None else (options.seed,),
            )
    except MissedTiming as error:
        # A build that misses its timing has a report like any other, and says which path was slow.
        found, failure = error.report, str(error)
    report = found.as_dict()
    return Outcome(
        report, describe("build", report), title=f"{options.network} for {board.name}",
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


def image(options: Namespace) -> Outcome:
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
        **(_memory_map(network, board.config) if options.map else {}),
    ).as_dict()
    return Outcome(
        report, describe("image", report), title=f"{options.network} for {board.name}",
        folder=folder,
    )


def verilog(options: Namespace) -> Outcome:
    """``ttfs verilog``."""
    network = open_network(options)
    _, config = core_config(options, network)

    from ttfs_fpga.boards.verilog import write_verilog

    folder = options.output or options.network.parent / "verilog"
    found = write_verilog(network, config, output_dir=folder)
    if options.map:
        found = dataclasses.replace(found, **_memory_map(network, config))
    report = found.as_dict()
    return Outcome(
        report, describe("verilog", report), title=f"{options.network}: a core of {config.lanes} "
        "lanes", folder=folder,
    )


def _memory_map(network: "Network", config: "CoreConfig") -> dict[str, Any]:
    """What ``--map`` adds to a report: ``memories`` and ``layers``."""
    from ttfs_fpga.hdl.compiler import compile_network

    compiled = compile_network(network, config).report()
    return {key: compiled[key] for key in ("memories", "layers")}
