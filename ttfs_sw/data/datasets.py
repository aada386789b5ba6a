# SPDX-License-Identifier: Apache-2.0
"""Labelled images, by name or from files of one's own, always in the same form.

Named datasets are looked up under one root: ``data_dir``, else ``$TTFS_DATA``, else the user's
cache. Below it they may lie as torchvision puts them (``MNIST/raw``), in a folder of their name
(``mnist``) or flat, gzipped or not. Nothing is fetched unless asked for.
"""

import dataclasses
import difflib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_sw.common.cache import cache_folder
from ttfs_sw.common.errors import InputError
from ttfs_sw.data import download as dataset_download
from ttfs_sw.data.files import read_arrays, read_cifar, read_idx
from ttfs_sw.data.layout import channels_last

__all__ = ["DIGITS_TEST", "NAMES", "Dataset", "load", "split_holdout"]

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100")

#: Test images of ``digits``; the other 1347 are for training. Stratified, seed 0.
DIGITS_TEST = 450

#: Folders below the root in which a named dataset may lie, best first: what a download is called,
#: torchvision's layout, what the archives unpack to, flat.
FOLDERS = {
    "mnist": ("mnist", "MNIST/raw", "mnist/raw", "MNIST", "."),
    "fashion-mnist": (
        "fashion-mnist", "FashionMNIST/raw", "fashion-mnist/raw", "FashionMNIST", ".",
    ),
    "cifar10": ("cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "."),
    "cifar100": ("cifar100", "cifar-100-binary", "cifar100/cifar-100-binary", "."),
}

IDX_FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)
CIFAR_FILES = {
    "cifar10": (*(f"data_batch_{index}.bin" for index in range(1, 6)), "test_batch.bin"),
    "cifar100": ("train.bin", "test.bin"),
}
CIFAR_CLASSES = {"cifar10": 10, "cifar100": 100}

#: SHA-256 of MNIST's test labels, without their header. Fashion-MNIST has files of the same names.
MNIST_LABELS = "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images as bytes, a row each in raster order (row, column, channel), and their labels.

    Parameters
    ----------
    name : :class:`str`
        A name of :data:`NAMES`, or the path it was read from.
    shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width and channels of an image.
    classes : :class:`int`
        Labels are 0 to ``classes - 1``.
    x_train, x_test : :class:`numpy.ndarray`
        uint8 ``[images, height * width * channels]``.
    y_train, y_test : :class:`numpy.ndarray`
        int64 ``[images]``.
    white : :class:`int` or ``None``
        The byte that stands for 1, where the dataset says so; files of the user's do not.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    x_train: np.ndarray = dataclasses.field(repr=False)
    y_train: np.ndarray = dataclasses.field(repr=False)
    x_test: np.ndarray = dataclasses.field(repr=False)
    y_test: np.ndarray = dataclasses.field(repr=False)
    white: int | None = None


def load(
    name_or_path: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    download: bool = False,
    layout: str | None = None,
    expected: tuple[int, int, int] | None = None,
) -> Dataset:
    """Load a dataset.

    Parameters
    ----------
    name_or_path : :class:`str` or path
        A name of :data:`NAMES`; or a folder with the four IDX files; or an ``.npz`` file with
        ``x_train, y_train, x_test, y_test``.
    data_dir : path or ``None``
        Root of the named datasets; by default ``$TTFS_DATA``, else the user's cache.
    download : :class:`bool`
        Fetch a named dataset that is not there, and check its SHA-256.
    layout, expected : :class:`str`, (:class:`int`, :class:`int`, :class:`int`), or ``None``
        As in :func:`ttfs_sw.data.layout.channels_last`, for images of four axes in files of one's
        own.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the dataset is unknown, or its files are missing, damaged or do not fit together.
    :exc:`ttfs_sw.common.errors.FailureError`
        If a download fails.
    """
    name = os.fspath(name_or_path)
    if layout is not None and name in NAMES:
        raise InputError(f"--layout is for files of your own; where the channels of {name} stand "
                         "is known")
    if name == "digits":
        return _load_digits()
    if name in NAMES:
        return _load_named(name, Path(data_dir) if data_dir else _default_root(), download)
    path = Path(name)
    if path.is_dir():
        files = _find(IDX_FILES, [path, path / "raw"], name)
        return _load_idx(name, files, layout=layout, expected=expected)
    if path.is_file():
        return _make(name, *read_arrays(path), where=path, layout=layout, expected=expected)
    close = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known datasets: {', '.join(NAMES)}"
    raise InputError(
        f"dataset {name!r} is neither a known name nor a folder of IDX files or an .npz file; "
        f"{hint}"
    )


def split_holdout(
    dataset: Dataset, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hold ``count`` training images out, on which every choice is made; test images are for none.

    Stratified: each class gives its share, to within one image.

    Returns
    -------
    :class:`tuple` of :class:`numpy.ndarray`
        ``x_train, y_train, x_heldout, y_heldout``, in random order.
    """
    total = len(dataset.y_train)
    if not 0 < count < total:
        raise InputError(
            f"cannot hold out {count} of the {total} training images of {dataset.name}; heldout "
            f"must be from 1 to {total - 1}"
        )
    generator = np.random.default_rng(seed)
    order = generator.permutation(total)
    # Shuffled within each class, every (total / count)-th image.
    by_class = order[np.argsort(dataset.y_train[order], kind="stable")]
    heldout = by_class[np.arange(count) * total // count]
    rest = order[~np.isin(order, heldout)]
    heldout = generator.permutation(heldout)
    x, y = dataset.x_train, dataset.y_train
    return x[rest], y[rest], x[heldout], y[heldout]


def _default_root() -> Path:
    root = os.environ.get("TTFS_DATA")
    if root:
        return Path(root)
    return cache_folder("data")


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = digits.data.astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels, digits.target, test_size=DIGITS_TEST, stratify=digits.target, random_state=0
    )
    images = (x_train.reshape(-1, 8, 8, 1), y_train, x_test.reshape(-1, 8, 8, 1), y_test)
    return _make("digits", *images, where="digits", classes=10, layout="nhwc", white=16)


def _load_named(name: str, root: Path, download: bool) -> Dataset:
    """Find a named dataset below ``root``, fetching it there if allowed."""
    names = CIFAR_FILES.get(name, IDX_FILES)
    folders = [root / folder for folder in FOLDERS[name]]
    try:
        files = _find(names, folders, name)
    except InputError:
        if not download:
            raise
        dataset_download.download(name, folders[0])
        files = _find(names, folders, name)
    if name in CIFAR_FILES:
        return _load_cifar(name, files)
    if name == "fashion-mnist" and _is_mnist(files[3]):
        raise InputError(
            f"{files[0].parent} has MNIST, not Fashion-MNIST, whose files have the same names; put "
            f"Fashion-MNIST into {folders[0]}"
        )
    return _load_idx(name, files, classes=10, white=255)


def _find(names: Iterable[str], folders: list[Path], dataset: str) -> list[Path]:
    """Return the paths of the files ``names`` in the first of ``folders`` that has them all.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If no folder does. The message is about the folder that has most of them.
    """
    best, best_missing = folders[0], list(names)
    for folder in folders:
        variants = {name: _variant(folder, name) for name in names}
        found = {name: path for name, path in variants.items() if path is not None}
        missing = [name for name in variants if name not in found]
        if not missing:
            return list(found.values())
        if len(missing) < len(best_missing):
            best, best_missing = folder, missing
    hint = (
        "fetch it with --download, or name the folder it lies in with --data-dir or TTFS_DATA"
        if dataset in NAMES
        else "put them there, gzipped or not"
    )
    raise InputError(f"{dataset}: {', '.join(best_missing)} not found in {best}; {hint}")


def _variant(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` in ``folder`` as it is spelt there, gzipped or not, if at all."""
    for spelling in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            path = folder / (spelling + suffix)
            if path.is_file():
                return path
    return None


def _is_mnist(labels: Path) -> bool:
    return hashlib.sha256(read_idx(labels).tobytes()).hexdigest() == MNIST_LABELS


def _load_idx(name: str, files: list[Path], **options: Any) -> Dataset:
    arrays = [read_idx(path) for path in files]
    return _make(name, *arrays, where=files[0].parent, **options)


def _load_cifar(name: str, files: list[Path]) -> Dataset:
    label_bytes = 1 if name == "cifar10" else 2
    parts = [read_cifar(path, label_bytes) for path in files]
    images = np.concatenate([images for images, _ in parts[:-1]])
    labels = np.concatenate([labels for _, labels in parts[:-1]])
    return _make(
        name, images, labels, *parts[-1], where=files[0].parent, classes=CIFAR_CLASSES[name],
        layout="nhwc", white=255,
    )


def _make(
    name: str,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    where: Path | str,
    classes: int | None = None,
    layout: str | None = None,
    expected: tuple[int, int, int] | None = None,
    white: int | None = None,
) -> Dataset:
    """Check that images and labels fit together and bring them into the one form.

    Parameters
    ----------
    where : path or :class:`str`
        What messages name.
    classes : :class:`int` or ``None``
        By default, as many as the largest label needs.
    layout, expected : :class:`str`, (:class:`int`, :class:`int`, :class:`int`), or ``None``
        As in :func:`ttfs_sw.data.layout.channels_last`.
    white : :class:`int` or ``None``
        As in :class:`Dataset`.
    """
    for part, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
        if y.ndim != 1 or not 2 <= x.ndim <= 4:
            raise InputError(
                f"{where}: {part} images must be [images, height, width], with channels first "
                "or last or without, or [images, pixels], and labels [images], not "
                f"{list(x.shape)} and {list(y.shape)}"
            )
        if len(x) != len(y):
            raise InputError(
                f"{where} has {len(x)} {part} images, but {len(y)} labels for them; both must come "
                "from the same dataset"
            )
        if not x.size:
            raise InputError(f"{where} has no {part} images")
    if x_train.shape[1:] != x_test.shape[1:]:
        sizes = [" x ".join(map(str, x.shape[1:])) for x in (x_train, x_test)]
        raise InputError(
            f"{where} has training images of {sizes[0]}, but test images of {sizes[1]}; they must "
            "be of one size"
        )
    if classes is None:
        classes = int(y_train.max()) + 1
    for part, y in (("training", y_train), ("test", y_test)):
        if y.min() < 0 or y.max() >= classes:
            raise InputError(
                f"{where}: {part} labels must be from 0 to {classes - 1}, not from {y.min()} to "
                f"{y.max()}"
            )
    if classes < 2:
        raise InputError(f"{where} has labels of one class only; there is nothing to tell apart")
    if x_train.ndim == 4:
        x_train, x_test = (
            channels_last(x, where, layout=layout, expected=expected) for x in (x_train, x_test)
        )
    size = tuple(map(int, x_train.shape[1:]))
    # Pixels in a row, a grey image without an axis for its channel, or all three axes.
    height, width, channels = {1: (1, 1, *size), 2: (*size, 1), 3: size}[len(size)]
    # Copies: what lies in the bytes of a file is read-only, which torch warns of.
    pixels = [np.array(x.reshape(len(x), -1), np.uint8, order="C") for x in (x_train, x_test)]
    return Dataset(
        name, (height, width, channels), classes,
        pixels[0], y_train.astype(np.int64), pixels[1], y_test.astype(np.int64), white,
    )
