# SPDX-License-Identifier: Apache-2.0
"""Readers of dataset files: IDX, the binary CIFAR files and NumPy archives.

Each reader checks what it reads and raises :exc:`ttfs_sw.common.errors.InputError` with one
sentence that names the file. Nothing in a file is ever executed: pickles are not read.
"""

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ttfs_sw.common.errors import InputError

__all__ = ["read_arrays", "read_bytes", "read_cifar", "read_idx"]

#: An IDX file starts with two zero bytes, the type of its values, and its number of dimensions.
IDX_BYTES = b"\x00\x00\x08"

#: One image of a binary CIFAR file: a 32 x 32 plane each of red, green and blue.
CIFAR_SHAPE = (3, 32, 32)

#: Names of the arrays in a ``.npz`` dataset.
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read_bytes(path: Path) -> bytes:
    """Return the content of ``path``, unpacked if it is gzipped, whatever its name says."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is damaged or cut short; fetch it again") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_idx(path: Path) -> np.ndarray:
    """Return the bytes in the IDX file ``path``, as uint8 in the shape that its header states."""
    content = read_bytes(path)
    if content[:3] != IDX_BYTES or len(content) < 4 or not content[3]:
        found = content[:4].hex(" ") or "nothing"
        raise InputError(
            f"{path} is not an IDX file of bytes: it starts with {found} instead of 00 00 08; "
            "fetch it again"
        )
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise InputError(f"{path} ends within its header; fetch it again")
    shape = [int(size) for size in np.frombuffer(content, ">u4", content[3], 4)]
    expected = header + math.prod(shape)
    if len(content) != expected:
        size = " x ".join(map(str, shape))
        raise InputError(
            f"{path} has {len(content)} bytes, but its header promises {expected} ({size}); "
            "fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_cifar(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images ``[n, 32, 32, 3]`` and labels ``[n]`` of a binary CIFAR file.

    Parameters
    ----------
    path : :class:`pathlib.Path`
        For example ``data_batch_1.bin``.
    label_bytes : :class:`int`
        Labels before each image: 1 in CIFAR-10, 2 in CIFAR-100, of which the last (the fine one)
        is used.
    """
    content = read_bytes(path)
    record = label_bytes + math.prod(CIFAR_SHAPE)
    if not content or len(content) % record:
        raise InputError(
            f"{path} has {len(content)} bytes, which is not a whole number of CIFAR images of "
            f"{record} bytes; fetch it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    images = records[:, label_bytes:].reshape(-1, *CIFAR_SHAPE).transpose(0, 2, 3, 1)
    return images, records[:, label_bytes - 1]


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ``x_train, y_train, x_test, y_test`` of the ``.npz`` file ``path``."""
    try:
        # Opened here, because numpy leaves a file open when it cannot make sense of it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in ARRAYS if name not in archive.files]
            if missing:
                raise InputError(
                    f"{path} lacks the array{'s' * (len(missing) > 1)} {', '.join(missing)}; it "
                    f"must have {', '.join(ARRAYS)}"
                )
            arrays = [archive[name] for name in ARRAYS]
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        # A lone array (numpy's .npy) is no context manager, hence the TypeError. numpy says
        # ValueError for a pickle and for a damaged header alike.
        raise InputError(
            f"{path} is not an .npz archive of plain numbers, or it is damaged; it must have "
            f"{', '.join(ARRAYS)}"
        ) from error
    for name, array in zip(ARRAYS, arrays, strict=True):
        if name.startswith("x") and array.dtype != np.uint8:
            raise InputError(
                f"{path}: {name} must hold bytes (uint8, 0 to 255), not {array.dtype}; scale and "
                "convert it first"
            )
        if name.startswith("y") and array.dtype.kind not in "iu":
            raise InputError(f"{path}: {name} must hold integers, not {array.dtype}")
    return tuple(arrays)
