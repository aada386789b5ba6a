# SPDX-License-Identifier: Apache-2.0
"""The path of a dataset as a network remembers it, found again from any folder.

A network keeps the path as it was given: relative to the folder where ``ttfs`` ran, so that nothing
of that machine is in the file. It is looked for in the folder where ``ttfs`` runs now, then in the
network's own folder and in those above it; a project that is moved or copied as a whole keeps its
datasets.
"""

import difflib
import os
from pathlib import Path

from ttfs_sw.common.errors import InputError
from ttfs_sw.data.datasets import NAMES

__all__ = ["find", "remembered"]


def find(name: str, owner: Path) -> str:
    """Return the dataset ``name`` that the file ``owner``, a network or a configuration, means.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there is none, or there are two; the message says whose it is and what to give.
    """
    if name in NAMES:
        return name
    found = _candidates(name, owner.parent)
    if not found:
        places = "" if Path(name).is_absolute() else (
            " in this folder, beside that file, or in a folder above it")
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(
            f"{owner} says its dataset is {name!r}, but there is none{places}; {hint}name the "
            "dataset with --dataset"
        )
    if len(found) > 1:
        raise InputError(
            f"{owner} says its dataset is {name!r}, which may be {found[0]} or {found[1]}; "
            "say which with --dataset"
        )
    return os.fspath(found[0])


def remembered(name: str, folder: str | os.PathLike) -> str:
    """What a network that is written into ``folder`` calls the dataset ``name``.

    It is ``name`` itself, unless it would not be found from there: then it is the way from
    ``folder``. A path that was given as absolute stays so.
    """
    if name in NAMES or Path(name).is_absolute() or not Path(name).exists():
        return name
    folder = Path(folder)
    above = _above(name, folder)
    if above is not None and above.samefile(name):
        return name
    try:
        return Path(os.path.relpath(os.path.realpath(name), os.path.realpath(folder))).as_posix()
    except ValueError:
        # On another drive there is no way from here to there.
        return os.fspath(Path(name).resolve())


def _candidates(name: str, folder: Path) -> list[Path]:
    """The file here and the one that the folder leads to, if they are two, or the one there is."""
    found: list[Path] = []
    for path in (Path(name), _above(name, folder)):
        if path is not None and path.exists() and not any(path.samefile(one) for one in found):
            found.append(path)
    return found


def _above(name: str, folder: Path) -> Path | None:
    """The nearest file ``name`` in ``folder`` or in one above it."""
    folder = Path(os.path.realpath(folder))
    return next((path for path in (one / name for one in (folder, *folder.parents))
                 if path.exists()), None)
