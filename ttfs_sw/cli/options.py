# SPDX-License-Identifier: Apache-2.0
"""The options that verbs share, and the parser that says what is wrong with them in one line."""

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from ttfs_sw.common.errors import InputError
from ttfs_sw.data.layout import LAYOUTS

__all__ = [
    "Parser",
    "add_accuracy",
    "add_board",
    "add_core",
    "add_dataset",
    "add_limit",
    "add_network",
    "add_simulation",
    "common",
    "find_network",
    "fraction",
    "positive",
    "setting",
]

#: Name of the artifact inside a run folder.
NETWORK_FILE = "network.npz"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line: what is wrong and where to read on."""

    def __init__(self, **arguments: Any):
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **arguments
        )

    def error(self, message: str) -> NoReturn:
        """Print ``message`` on stderr and exit with code 2."""
        self.exit(InputError.exit_code, f"{self.prog}: {message}; see {self.prog} --help\n")


if TYPE_CHECKING:
    #: Where verbs are added. To Python it is no generic class.
    Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"


def positive(text: str) -> int:
    """An integer of at least 1, as an option's value."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, not {text!r}")
    return value


def fraction(text: str) -> float:
    """A share from 0 to 1, or a percentage with its sign: ``0.97`` and ``97%`` are the same."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, or a percentage, not {text!r}")
    return value


def setting(text: str) -> tuple[str, Any]:
    """A key and its value, written as in TOML: ``epochs=20``, ``hidden=[64, 32]``."""
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {text!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        # A bare word is text: nobody wants to quote quotes in a shell.
        return key.strip(), value.strip()


def common(*, output: str | None = None) -> Parser:
    """The options of every verb, as a parent parser.

    Parameters
    ----------
    output : :class:`str` or ``None``
        What ``-o`` is for, if the verb makes files.
    """
    parser = Parser(add_help=False)
    group = parser.add_argument_group("common options")
    group.add_argument(
        "--json", metavar="FILE", type=Path, help="write the report to FILE as JSON as well"
    )
    if output:
        group.add_argument("-o", "--output", metavar="DIR", type=Path, help=output)
    group.add_argument(
        "--seed", type=int, metavar="N", help="start of every random choice (default: fixed)"
    )
    # Suppressed defaults: what was given before the verb stays when nothing is given after it.
    group.add_argument(
        "-v", "--verbose", action="count", default=argparse.SUPPRESS,
        help="log more, and show the traceback of an error",
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", default=argparse.SUPPRESS,
        help="no log and no progress bar: only the result and errors",
    )
    return parser


def add_network(parser: argparse.ArgumentParser) -> None:
    """The network that a verb is about."""
    parser.add_argument(
        "network", metavar="NETWORK", type=Path,
        help=f"a network file, or the run folder that holds {NETWORK_FILE}",
    )


def add_dataset(parser: argparse.ArgumentParser, owner: str) -> None:
    """Where images come from; ``owner`` says whose dataset is the default."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--dataset", metavar="NAME|PATH",
        help="digits, mnist, fashion-mnist, cifar10, cifar100, a folder of IDX files, or an .npz "
        f"with x_train, y_train, x_test, y_test (default: the {owner}'s own)",
    )
    group.add_argument(
        "--data-dir", metavar="DIR", type=Path,
        help="where named datasets lie (default: $TTFS_DATA, else the user's cache)",
    )
    group.add_argument(
        "--download", action="store_true", help="fetch a named dataset that is not there"
    )
    group.add_argument(
        "--layout", metavar="ORDER", choices=LAYOUTS,
        help="where the channels of images in your own .npz files stand: nchw (PyTorch) or nhwc "
        "(default: what the network reads, else what the shape tells)",
    )


def add_board(parser: argparse.ArgumentParser) -> None:
    """The board that a verb is for."""
    parser.add_argument(
        "--board", metavar="NAME", required=True, help='the board; "ttfs boards" lists them'
    )


def add_core(parser: argparse.ArgumentParser, *, board: str | None) -> None:
    """Which core: that of a board, or the smallest that holds the network.

    Parameters
    ----------
    board : :class:`str` or ``None``
        The default; ``None`` means the smallest core.
    """
    core = parser.add_argument_group("core")
    group = core.add_mutually_exclusive_group()
    group.add_argument(
        "--board", metavar="NAME",
        help="the core of this board (default: "
        + (f"{board}, or if that does not take the network " if board else "")
        + "the smallest that holds the network)",
    )
    group.add_argument(
        "--lanes", type=positive, metavar="N",
        help="the smallest core of N lanes that holds the network",
    )
    add_datapath(core)
    parser.set_defaults(default_board=board)


def add_datapath(parser: "argparse._ActionsContainer") -> None:
    """How events reach the potentials."""
    option = parser.add_argument("--datapath", metavar="NAME")
    vars(option)["datapaths"] = _Datapaths()
    option.help = "%(datapaths)s (default: the board's own, mac)"


class _Datapaths:
    """All datapaths and what they do, in words, asked for when help is shown.

    The hardware takes longer to import than a command line takes to be read.
    """

    def __str__(self) -> str:
        from ttfs_fpga.hdl.config import DATAPATHS
        from ttfs_fpga.hdl.datapaths import datapath_named

        *others, last = (f"{name} ({datapath_named(name).summary})" for name in DATAPATHS)
        return f"{', '.join(others)}, or {last}"


def add_simulation(parser: argparse.ArgumentParser) -> None:
    """How a core is simulated."""
    group = parser.add_argument_group("simulation")
    group.add_argument(
        "--sim", default="verilator", metavar="NAME",
        help="verilator (fast, needs a C++ compiler) or icarus (default: verilator)",
    )
    group.add_argument(
        "--jobs", type=positive, metavar="N", help="simulators side by side (default: all cores)"
    )


def add_limit(parser: argparse.ArgumentParser) -> None:
    """How many images a verb takes."""
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="only the first N test images (default: all)"
    )


def add_accuracy(parser: argparse.ArgumentParser) -> None:
    """The accuracy below which a verb fails."""
    parser.add_argument(
        "--accuracy-at-least", type=fraction, metavar="X",
        help="exit with 1 if the test accuracy is below X (0.97 or 97%%)",
    )


def find_network(path: Path) -> Path:
    """The artifact that ``path`` means: itself, or the one in the folder ``path``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there is none; where ``path`` is the name of a preset the message says how to train it.
    """
    if path.is_dir():
        if not (path / NETWORK_FILE).is_file():
            raise InputError(f"{path} holds no {NETWORK_FILE}: is it the folder of a training run?")
        return path / NETWORK_FILE
    return path

