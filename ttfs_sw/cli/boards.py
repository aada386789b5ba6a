# SPDX-License-Identifier: Apache-2.0
"""The verb ``boards``: what can be built for."""

import dataclasses
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ttfs_sw.cli.options import common
from ttfs_sw.cli.tables import Outcome, Rows, count
from ttfs_sw.common.report import Report

if TYPE_CHECKING:
    from ttfs_sw.cli.options import Verbs

__all__ = ["register", "rows"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoardEntry(Report):
    """A board as a :class:`boards.registry.Board` has it, and how much its core holds.

    Parameters
    ----------
    weights, inputs : :class:`int`
        Words of the weight memory by lanes, and codes of the input map.
    """

    name: str
    title: str
    device: str
    clock_mhz: float
    baud: int
    core: dict[str, Any]
    weights: int
    inputs: int
    notes: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boards(Report):
    """All of them."""

    boards: list[BoardEntry]


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "boards", help="list the boards", description="List the boards that can be built for.",
        parents=[common()],
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs boards``."""
    from ttfs_fpga.boards.registry import BOARDS

    report = Boards(boards=[
        BoardEntry(
            name=board.name,
            title=board.title,
            device=board.device,
            clock_mhz=board.clock_mhz,
            baud=board.baud,
            core=board.config.as_dict(),
            weights=board.config.weight_words * board.config.lanes,
            inputs=board.config.input_words * board.config.codes_per_word,
            notes=board.notes,
        )
        for board in BOARDS.values()
    ])
    return Outcome(
        report, rows(report),
        header=("board", "device", "clock", "lanes", "inputs", "weights", "name"),
    )


def rows(report: Boards) -> Rows:
    """The table."""
    return [
        (
            board.name,
            board.device,
            f"{board.clock_mhz:g} MHz",
            f"{board.core['lanes']} x {board.core['weight_bits']} bits",
            count(board.inputs),
            count(board.weights),
            board.title,
        )
        for board in report.boards
    ]
