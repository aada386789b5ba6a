# SPDX-License-Identifier: Apache-2.0
"""Writing files so that nothing is ever half-written: to a temporary name, then renamed."""

import contextlib
import contextvars
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ttfs_sw.common.errors import InputError

__all__ = [
    "atomic_write", "empty_folders_removed", "output_folder", "write_bytes", "write_json",
    "write_text",
]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    On any exception, Ctrl-C included, the temporary file is removed and ``path`` is untouched.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=f".part{path.suffix}", dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; a result has the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {path}: {reason}; choose another folder with -o") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


#: The folders that were made inside a block of :func:`empty_folders_removed`, the outermost first.
_made: contextvars.ContextVar[list[Path] | None] = contextvars.ContextVar("made", default=None)


@contextlib.contextmanager
def empty_folders_removed() -> Iterator[None]:
    """Remove what :func:`output_folder` has made in the block and is empty, if the block fails.

    Ctrl-C is no failure: whoever stops a run may want to go on with it.
    """
    made: list[Path] = []
    token = _made.set(made)
    try:
        yield
    except Exception:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    finally:
        _made.reset(token)


def output_folder(path: str | os.PathLike, option: str = "-o") -> Path:
    """Create the folder ``path`` if needed and check that it can be written.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If it cannot; the message has the ``option`` that names another one.
    """
    path = Path(path)
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        made = _made.get()
        if made is not None:
            made.extend(reversed(missing))
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot write to folder {path}: {reason}; choose another with {option}"
        ) from error
    return path


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, content: str) -> None:
    """Write ``content`` to ``path`` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write ``content`` to ``path`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=False) + "\n")
