# SPDX-License-Identifier: Apache-2.0
"""The network and the images that a verb was asked to work on, checked against each other."""

import difflib
import math
from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ttfs_sw.cli.fits import board_or_made, require
from ttfs_sw.cli.options import find_network
from ttfs_sw.common.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from ttfs_fpga.boards.registry import Board
    from ttfs_fpga.hdl.config import CoreConfig
    from ttfs_sw.artifact.network import Network
    from ttfs_sw.data.datasets import Dataset

__all__ = [
    "check_accuracy",
    "config_file",
    "core_config",
    "asked_board",
    "known_name",
    "open_dataset",
    "open_network",
    "open_test_images",
]


def open_network(options: Namespace) -> "Network":
    """The network that ``NETWORK`` names; ``options.network`` becomes the file it was read from."""
    from ttfs_sw.artifact.network import Network

    options.network = find_network(options.network)
    return Network.load(options.network)


def open_test_images(
    options: Namespace, network: "Network"
) -> tuple[str, "np.ndarray", "np.ndarray"]:
    """Name of the dataset, and the pixels and labels of its test images up to ``--limit``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the images are not of the network's input size or have more classes than it.
    """
    if not (options.dataset or network.dataset):
        raise InputError(
            f"{options.network} does not say which dataset it was made for; name one with --dataset"
        )
    dataset = open_dataset(options, network.dataset, options.network, network.input_shape)
    name = dataset.name
    if math.prod(dataset.shape) != network.inputs:
        raise InputError(
            f"the images of {name} are {_size(dataset.shape)}, but {options.network} takes "
            f"{_size(network.input_shape)}; choose other images with --dataset"
        )
    limit = getattr(options, "limit", None)
    pixels, labels = dataset.x_test[:limit], dataset.y_test[:limit]
    if len(labels) and labels.max() >= network.classes:
        raise InputError(
            f"{name} has labels up to {labels.max()}, but {options.network} knows "
            f"{network.classes} classes; choose other images with --dataset"
        )
    return dataset.name, pixels, labels


def open_dataset(
    options: Namespace, default: str, owner: "Path | None" = None,
    expected: tuple[int, int, int] | None = None,
) -> "Dataset":
    """The dataset that ``--dataset`` names, or else ``default``.

    Parameters
    ----------
    owner : path or ``None``
        The file that names ``default``, if a file does: see :mod:`ttfs_sw.data.paths`.
    expected : (:class:`int`, :class:`int`, :class:`int`) or ``None``
        Height, width and channels of the images that a network reads.
    """
    from ttfs_sw.data import datasets
    from ttfs_sw.data import paths as dataset_paths

    name = options.dataset
    if not name:
        name = default if owner is None else dataset_paths.find(default, owner)
    return datasets.load(
        name, data_dir=options.data_dir, download=options.download, layout=options.layout,
        expected=expected,
    )


def config_file(name: str | None) -> "Path | None":
    """The file that ``PRESET|FILE.toml`` names; ``None`` if it is a preset."""
    from pathlib import Path

    from ttfs_sw.training.config import presets

    return None if name is None or name in presets() else Path(name)


def check_accuracy(options: Namespace, accuracy: float) -> str | None:
    """Why ``--accuracy-at-least`` is not met; ``None`` if it is, or was not given."""
    wanted = options.accuracy_at_least
    if wanted is None or accuracy >= wanted:
        return None
    return f"the accuracy is {accuracy:.4f}, below the {wanted:.4f} of --accuracy-at-least"


def known_name(kind: str, name: str, known: Iterable[str]) -> str:
    """``name`` itself, if it is one of ``known``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If it is not; the message has the nearest name and all the others.
    """
    known = list(known)
    if name in known:
        return name
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise InputError(f"unknown {kind} {name!r}; {hint}known: {', '.join(known)}")


def asked_board(options: Namespace) -> "Board":
    """The board that ``--board`` names, with the core that ``--datapath`` asks for."""
    from ttfs_fpga.boards.registry import BOARDS

    board = BOARDS[known_name("board", options.board or options.default_board, BOARDS)]
    datapath = _datapath(options)
    return board.with_datapath(datapath) if datapath else board


def _datapath(options: Namespace) -> str | None:
    from ttfs_fpga.hdl.config import DATAPATHS

    name = getattr(options, "datapath", None)
    return None if name is None else known_name("datapath", name, DATAPATHS)


def core_config(options: Namespace, network: "Network") -> tuple[str, "CoreConfig"]:
    """The core that ``--board`` or ``--lanes`` asks for, or the verb's default; and its name.

    Where the default is a board that does not take the network, it is a core made for it.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If a board was asked for that does not take the network.
    """
    if options.board:
        board = asked_board(options)
        require(network, board)
        return board.name, board.config
    if options.default_board and options.lanes is None:
        return board_or_made(network, asked_board(options))

    from ttfs_fpga.hdl.compiler import DoesNotFit, minimal_config

    asked = {"lanes": options.lanes, "datapath": _datapath(options)}
    try:
        config = minimal_config(
            network, **{name: value for name, value in asked.items() if value is not None})
        return f"made for the network, {config.lanes} lanes", config
    except DoesNotFit:
        raise
    except ValueError as error:
        raise InputError(f"--lanes {options.lanes} makes no core: {error}") from error


def _size(shape: tuple[int, int, int]) -> str:
    return " x ".join(str(size) for size in shape)
