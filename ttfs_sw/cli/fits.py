# SPDX-License-Identifier: Apache-2.0
"""Which cores take a network: those of the boards, or one that is made for it."""

import logging
from typing import TYPE_CHECKING

from ttfs_sw.common.errors import InputError

if TYPE_CHECKING:
    from ttfs_fpga.boards.registry import Board
    from ttfs_fpga.hdl.config import CoreConfig
    from ttfs_sw.artifact.network import Network

__all__ = ["board_or_made", "refusals", "require", "taken_by"]

log = logging.getLogger(__name__)


def refusals(network: "Network") -> dict[str, str | None]:
    """Why each board does not take ``network``; ``None`` for one that does."""
    from ttfs_fpga.boards.registry import BOARDS

    return {name: _refusal(network, board) for name, board in BOARDS.items()}


def taken_by(network: "Network") -> list[str]:
    """The boards that take ``network``."""
    return [name for name, refusal in refusals(network).items() if refusal is None]


def require(network: "Network", board: "Board") -> None:
    """Refuse a network that ``board`` does not take, and say which boards do.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        Otherwise; the message has the reason.
    """
    refusal = _refusal(network, board)
    if refusal is not None:
        others = ", ".join(taken_by(network))
        raise InputError(
            f"{refusal}; " + (f"boards that take it: {others}" if others else "no board takes it"))


def board_or_made(network: "Network", board: "Board") -> tuple[str, "CoreConfig"]:
    """The core of ``board`` if it takes ``network``, else one made for it; and what it is called.

    Raises
    ------
    :exc:`hdl.compiler.DoesNotFit`
        If no core can.
    """
    from ttfs_fpga.hdl.compiler import minimal_config

    refusal = _refusal(network, board)
    if refusal is None:
        return board.name, board.config
    config = minimal_config(network, lanes=board.config.lanes, datapath=board.config.datapath)
    log.info("%s does not take this network, so a core is made for it: %s", board.name, refusal)
    return f"made for the network, {config.lanes} lanes", config


def _refusal(network: "Network", board: "Board") -> str | None:
    from ttfs_fpga.boards.build import make_image
    from ttfs_fpga.hdl.compiler import DoesNotFit

    try:
        make_image(network, board)
    except DoesNotFit as error:
        return str(error)
    return None
