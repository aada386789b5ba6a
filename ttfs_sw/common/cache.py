# SPDX-License-Identifier: Apache-2.0
"""The user's cache: one folder for all projects, in which nothing is ever half-made."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ttfs_sw.common.errors import InputError

__all__ = ["cache_folder", "new_folder", "unwritable"]


def cache_folder(name: str) -> Path:
    """The folder ``name`` of the user's cache, the same for all projects."""
    # Imported here: the command line starts without it.
    import platformdirs

    return platformdirs.user_cache_path("ttfs-fpga", appauthor=False) / name


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``folder`` when the block ends well, else vanishes.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If it cannot be written.
    """
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield temporary
        # Somebody else may have made the same folder meanwhile: what it holds is just as good.
        if not folder.exists():
            temporary.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def unwritable(folder: Path, error: OSError) -> InputError:
    """What to say when a folder of the cache cannot be written."""
    return InputError(
        f"cannot write to the cache folder {folder.parent}: {error.strerror or error}; make room "
        "or permit it there, or set XDG_CACHE_HOME to another folder"
    )
