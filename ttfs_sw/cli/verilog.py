# SPDX-License-Identifier: Apache-2.0
"""The verb ``verilog``: the core as plain Verilog."""

import dataclasses
from argparse import Namespace
from typing import TYPE_CHECKING

from ttfs_sw.cli.inputs import core_config, open_network
from ttfs_sw.cli.memory_map import add_map, map_rows, memory_map
from ttfs_sw.cli.options import add_core, add_network, common
from ttfs_sw.cli.tables import Outcome, Rows, count, files

if TYPE_CHECKING:
    from ttfs_fpga.boards.reports import VerilogReport
    from ttfs_sw.cli.options import Verbs

__all__ = ["register", "rows"]


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "verilog",
        help="write the core as Verilog",
        description="Write the core as plain Verilog, its ports as JSON, and the memory images of "
        "the network.",
        parents=[common(output="folder of the files (default: verilog beside the network)")],
    )
    add_network(parser)
    add_core(parser, board=None)
    add_map(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs verilog``."""
    network = open_network(options)
    _, config = core_config(options, network)

    from ttfs_fpga.boards.verilog import write_verilog

    folder = options.output or options.network.parent / "verilog"
    report = write_verilog(network, config, output_dir=folder)
    if options.map:
        report = dataclasses.replace(report, **memory_map(network, config))
    return Outcome(
        report, rows(report), title=f"{options.network}: a core of {config.lanes} "
        "lanes", folder=folder,
    )


def rows(report: "VerilogReport") -> Rows:
    """The table."""
    widths = ", ".join(f"{name} {width}" for name, width in report.widths.items())
    return [
        ("lanes", count(report.lanes)),
        ("bits", widths),
        *files(report.files),
        *map_rows(getattr(report, "memories", None), getattr(report, "layers", None)),
    ]
