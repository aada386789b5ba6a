# SPDX-License-Identifier: Apache-2.0
"""Datasets: every layout is found, every bad file refused by name, nothing is fetched unasked."""

import errno
import gzip
import hashlib
import io
import math
import os
import pickle
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_sw.common.errors import FailureError, InputError
from ttfs_sw.data import datasets
from ttfs_sw.data import download as dataset_download
from ttfs_sw.data.files import read_idx

IDX_FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)


def idx(array):
    array = np.asarray(array, np.uint8)
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def images(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def put_idx(folder, *, pack=False, classes=3, shape=(5, 4)):
    """Write a small IDX dataset and return its four arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = (
        images(12, *shape), np.arange(12) % classes,
        images(6, *shape, seed=1), np.arange(6) % classes,
    )
    for name, array in zip(IDX_FILES, arrays, strict=True):
        content = idx(array)
        if pack:
            (folder / (name + ".gz")).write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


def check_same(dataset, arrays, shape=(5, 4, 1)):
    x_train, y_train, x_test, y_test = arrays
    assert dataset.shape == shape
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.uint8
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64
    assert (dataset.x_train == x_train.reshape(len(x_train), -1)).all()
    assert (dataset.x_test == x_test.reshape(len(x_test), -1)).all()
    assert (dataset.y_train == y_train).all()
    assert (dataset.y_test == y_test).all()


def refused(message, *arguments, **keywords):
    """Check that loading raises one sentence that matches ``message``."""
    with pytest.raises(InputError, match=message) as caught:
        datasets.load(*arguments, **keywords)
    assert "\n" not in str(caught.value)


def test_digits():
    digits = datasets.load("digits")
    assert digits.shape == (8, 8, 1)
    assert digits.classes == 10
    assert digits.x_train.shape == (1347, 64)
    assert digits.x_test.shape == (450, 64)
    assert digits.x_train.max() == digits.x_test.max() == 16
    # Stratified: every class has its share of the test images.
    share = np.bincount(np.concatenate([digits.y_train, digits.y_test])) * 450 / 1797
    assert (abs(np.bincount(digits.y_test) - share) <= 1).all()
    again = datasets.load("digits")
    assert (again.x_test == digits.x_test).all()
    # No image is in both parts.
    assert not {row.tobytes() for row in digits.x_train} & {row.tobytes() for row in digits.x_test}


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "mnist/raw", "MNIST", "."])
def test_every_layout(tmp_path, folder, pack):
    arrays = put_idx(tmp_path / folder, pack=pack)
    dataset = datasets.load("mnist", data_dir=tmp_path)
    assert dataset.name == "mnist"
    assert dataset.classes == 10
    check_same(dataset, arrays)


def test_root_from_environment(tmp_path, monkeypatch):
    arrays = put_idx(tmp_path / "FashionMNIST/raw")
    monkeypatch.setenv("TTFS_DATA", str(tmp_path))
    check_same(datasets.load("fashion-mnist"), arrays)
    # What is named outright wins.
    refused("not found in .*elsewhere", "fashion-mnist", data_dir=tmp_path / "elsewhere")


def test_root_is_the_cache_otherwise(tmp_path, monkeypatch):
    import platformdirs

    monkeypatch.delenv("TTFS_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path)
    arrays = put_idx(tmp_path / "data/mnist")
    check_same(datasets.load("mnist"), arrays)


def test_spelling_with_a_dot(tmp_path):
    arrays = put_idx(tmp_path)
    for name in IDX_FILES:
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    check_same(datasets.load(tmp_path), arrays)


def test_folder_of_idx_files(tmp_path):
    arrays = put_idx(tmp_path / "mine", classes=4)
    dataset = datasets.load(tmp_path / "mine")
    assert dataset.classes == 4
    assert dataset.name == str(tmp_path / "mine")
    check_same(dataset, arrays)


def test_colour_images(tmp_path):
    arrays = put_idx(tmp_path, shape=(5, 4, 3))
    check_same(datasets.load(tmp_path), arrays, (5, 4, 3))


@pytest.mark.parametrize(
    ("stored", "shape"), [((5, 4), (5, 4, 1)), ((5, 4, 3), (5, 4, 3)), ((7,), (1, 1, 7))]
)
def test_npz(tmp_path, stored, shape):
    arrays = images(6, *stored), np.arange(6) % 2, images(4, *stored), np.arange(4) % 2
    names = ("x_train", "y_train", "x_test", "y_test")
    path = tmp_path / "mine.npz"
    np.savez(path, **dict(zip(names, arrays, strict=True)))
    dataset = datasets.load(path)
    assert dataset.classes == 2
    check_same(dataset, arrays, shape)


@pytest.mark.parametrize(
    ("name", "names", "label_bytes"),
    [
        ("cifar10", [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"], 1),
        ("cifar100", ["train.bin", "test.bin"], 2),
    ],
)
def test_cifar(tmp_path, name, names, label_bytes):
    folder = tmp_path / ("cifar-10-batches-bin" if label_bytes == 1 else "cifar-100-binary")
    folder.mkdir()
    pixels = images(2 * len(names), 3, 32, 32)
    for index, file in enumerate(names):
        records = [
            bytes([99] * (label_bytes - 1) + [image % 10]) + pixels[image].tobytes()
            for image in (2 * index, 2 * index + 1)
        ]
        (folder / file).write_bytes(b"".join(records))
    dataset = datasets.load(name, data_dir=tmp_path)
    assert dataset.shape == (32, 32, 3)
    assert dataset.classes == (10 if label_bytes == 1 else 100)
    # Channels come last: a row holds red, green and blue of each pixel in turn.
    expected = pixels.transpose(0, 2, 3, 1).reshape(len(pixels), -1)
    assert (dataset.x_train == expected[:-2]).all()
    assert (dataset.x_test == expected[-2:]).all()
    assert list(dataset.y_train) == [image % 10 for image in range(2 * len(names) - 2)]


@pytest.mark.mnist
@pytest.mark.skipif(not os.environ.get("TTFS_DATA"), reason="TTFS_DATA is not set")
def test_real_mnist():
    try:
        mnist = datasets.load("mnist")
    except InputError as error:
        pytest.skip(str(error))
    assert mnist.x_train.shape == (60000, 784)
    assert mnist.x_test.shape == (10000, 784)
    # The first images of both parts are known to everyone: a five and a seven.
    assert list(mnist.y_train[:5]) == [5, 0, 4, 1, 9]
    assert list(mnist.y_test[:5]) == [7, 2, 1, 0, 4]
    digest = hashlib.sha256(mnist.y_test.astype(np.uint8).tobytes()).hexdigest()
    assert digest == datasets.MNIST_LABELS


def test_mnist_is_not_fashion(tmp_path, monkeypatch):
    arrays = put_idx(tmp_path)
    labels = arrays[3].astype(np.uint8).tobytes()
    monkeypatch.setattr(datasets, "MNIST_LABELS", hashlib.sha256(labels).hexdigest())
    datasets.load("mnist", data_dir=tmp_path)
    refused("has MNIST, not Fashion-MNIST", "fashion-mnist", data_dir=tmp_path)


def test_unknown_name(tmp_path):
    refused("did you mean fashion-mnist", "fashion_mnist")
    refused("known datasets: digits, mnist", "imagenet")
    refused("neither a known name nor a folder", tmp_path / "nothing")


def test_missing_files_are_named(tmp_path):
    refused(
        r"train-images-idx3-ubyte, .* not found in .*mnist; fetch it with --download",
        "mnist", data_dir=tmp_path,
    )
    put_idx(tmp_path / "MNIST/raw")
    (tmp_path / "MNIST/raw" / IDX_FILES[2]).unlink()
    # The folder that has the others is the one to complete.
    refused(f"mnist: {IDX_FILES[2]} not found in .*raw;", "mnist", data_dir=tmp_path)
    refused(f"{IDX_FILES[2]} not found .* put them there", tmp_path / "MNIST/raw")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"PK\x03\x04 something", "starts with 50 4b 03 04"),
        (b"\x00\x00\x0d\x03" + bytes(12), "starts with 00 00 0d 03"),
        (b"\x00\x00\x08", "starts with 00 00 08"),
        (b"\x00\x00\x08\x03" + bytes(4), "ends within its header"),
        (idx(np.zeros((12, 5, 4)))[:-1], "has 255 bytes, but its header promises 256"),
        (idx(np.zeros((12, 5, 4))) + b"x", "has 257 bytes, but its header promises 256"),
        (gzip.compress(idx(np.zeros((12, 5, 4))), mtime=0)[:-9], "damaged or cut short"),
        (b"\x1f\x8bnot gzip", "damaged or cut short"),
        (idx(np.zeros((11, 5, 4))), "11 training images, but 12 labels"),
        (idx(np.zeros((12, 5, 5))), "training images of 5 x 5, but test images of 5 x 4"),
        (idx(np.zeros((0, 5, 4))), "0 training images, but 12 labels"),
        (idx(np.zeros(12)), r"must be \[images, height, width"),
    ],
)
def test_bad_idx_images(tmp_path, content, message):
    put_idx(tmp_path)
    (tmp_path / IDX_FILES[0]).write_bytes(content)
    refused(message, tmp_path)


def test_bad_labels(tmp_path):
    put_idx(tmp_path / "mnist", classes=11)
    refused("training labels must be from 0 to 9, not from 0 to 10", "mnist", data_dir=tmp_path)
    put_idx(tmp_path / "one", classes=1)
    refused("one class only", tmp_path / "one")
    put_idx(tmp_path / "more")
    (tmp_path / "more" / IDX_FILES[3]).write_bytes(idx([0, 1, 2, 3, 4, 5]))
    refused("test labels must be from 0 to 2, not from 0 to 5", tmp_path / "more")


def test_empty_dataset(tmp_path):
    put_idx(tmp_path)
    (tmp_path / IDX_FILES[0]).write_bytes(idx(np.zeros((0, 5, 4))))
    (tmp_path / IDX_FILES[1]).write_bytes(idx(np.zeros(0)))
    refused("no training images", tmp_path)


def test_unreadable_file(tmp_path, monkeypatch):
    put_idx(tmp_path)

    def forbidden(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    refused(f"cannot read .*{IDX_FILES[0]}: Permission denied", tmp_path)


class Unsafe:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_npz_never_unpickles(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, x_train=np.array([Unsafe()], object), y_train=[0], x_test=[0], y_test=[0])
    refused("is not an .npz archive of plain numbers", path)
    path.write_bytes(pickle.dumps(Unsafe()))
    refused("is not an .npz archive of plain numbers", path)


def test_bad_npz(tmp_path):
    good = {
        "x_train": images(4, 2, 2), "y_train": np.arange(4) % 2,
        "x_test": images(2, 2, 2), "y_test": np.arange(2),
    }
    path = tmp_path / "bad.npz"

    def refuse(message, **changes):
        arrays = {name: value for name, value in (good | changes).items() if value is not None}
        np.savez(path, **arrays)
        refused(message, path)

    refuse("lacks the arrays x_test, y_test", x_test=None, y_test=None)
    refuse("x_train must hold bytes .* not float64", x_train=np.zeros((4, 2, 2)))
    refuse("y_test must hold integers, not float64", y_test=np.zeros(2))
    refuse("labels must be from 0 to 1, not from -1 to 1", y_test=np.array([-1, 1]))
    refuse(r"not \[4, 2, 2\] and \[4, 1\]", y_train=np.zeros((4, 1), int))
    np.savez(path, **good)
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    refused("damaged", path)
    alone = tmp_path / "alone.npz"
    with alone.open("wb") as file:
        np.save(file, np.zeros(3))
    refused("is not an .npz archive of plain numbers", alone)


def test_cut_cifar(tmp_path):
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(bytes(3074))
    (tmp_path / "test.bin").write_bytes(bytes(3073))
    refused("test.bin has 3073 bytes, which is not a whole number", "cifar100", data_dir=tmp_path)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(
        lambda shape: st.binary(min_size=math.prod(shape), max_size=math.prod(shape)).map(
            lambda content: np.frombuffer(content, np.uint8).reshape(shape)
        )
    ),
    st.booleans(),
)
def test_idx_round_trip(tmp_path_factory, array, pack):
    path = tmp_path_factory.getbasetemp() / "array"
    path.write_bytes(gzip.compress(idx(array)) if pack else idx(array))
    assert read_idx(path).shape == array.shape
    assert (read_idx(path) == array).all()


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=60), st.data(), st.integers(0, 2**32 - 1)
)
def test_holdout_is_a_stratified_partition(labels, data, seed):
    labels = np.array(labels)
    total = len(labels)
    count = data.draw(st.integers(1, total - 1))
    pixels = np.arange(total, dtype=np.uint8).reshape(-1, 1)
    dataset = datasets.Dataset("x", (1, 1, 1), 4, pixels, labels, pixels, labels)
    x_train, y_train, x_heldout, y_heldout = datasets.split_holdout(dataset, count, seed)
    assert sorted([*x_train[:, 0], *x_heldout[:, 0]]) == list(range(total))
    assert len(x_heldout) == count
    assert (labels[x_train[:, 0]] == y_train).all()
    assert (labels[x_heldout[:, 0]] == y_heldout).all()
    share = np.bincount(labels, minlength=4) * count / total
    assert (abs(np.bincount(y_heldout, minlength=4) - share) < 1).all()


def test_holdout_follows_the_seed():
    digits = datasets.load("digits")
    first = datasets.split_holdout(digits, 200, 0)
    assert all((a == b).all() for a, b in zip(first, datasets.split_holdout(digits, 200, 0),
                                              strict=True))
    assert (first[2] != datasets.split_holdout(digits, 200, 1)[2]).any()


@pytest.mark.parametrize("count", [0, 1347, -1])
def test_holdout_leaves_both_parts_something(count):
    with pytest.raises(InputError, match="heldout must be from 1 to 1346"):
        datasets.split_holdout(datasets.load("digits"), count, 0)


class Server:
    """Stands in for :func:`urllib.request.urlopen`: serves what it is given, and counts."""

    def __init__(self, files, monkeypatch):
        self.files = files
        self.requests = 0
        monkeypatch.setattr(urllib.request, "urlopen", self)
        monkeypatch.setattr(
            dataset_download, "ARCHIVES",
            {
                name: {
                    address: hashlib.sha256(files[address.rpartition("/")[2]]).hexdigest()
                    for address in archive if address.rpartition("/")[2] in files
                }
                for name, archive in dataset_download.ARCHIVES.items()
            },
        )

    def __call__(self, address, timeout):
        self.requests += 1
        return io.BytesIO(self.files[address.rpartition("/")[2]])


@pytest.fixture
def server(tmp_path, monkeypatch):
    put_idx(tmp_path / "remote", pack=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "remote").iterdir()}
    record = bytes([1, 7]) + bytes(range(256)) * 12
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("cifar-100-binary/train.bin", "../../test.bin", "cifar-100-binary/notes.txt"):
            member = tarfile.TarInfo(name)
            member.size = len(record)
            archive.addfile(member, io.BytesIO(record))
    return Server(files | {"cifar-100-binary.tar.gz": packed.getvalue()}, monkeypatch)


def test_download_only_when_asked(tmp_path, server):
    refused("fetch it with --download", "mnist", data_dir=tmp_path / "data")
    assert server.requests == 0
    assert not (tmp_path / "data").exists()
    dataset = datasets.load("mnist", data_dir=tmp_path / "data", download=True)
    assert dataset.shape == (5, 4, 1)
    assert server.requests == 4
    # What is there is not fetched again.
    datasets.load("mnist", data_dir=tmp_path / "data", download=True)
    assert server.requests == 4


def test_download_of_an_archive_stays_in_its_folder(tmp_path, server):
    dataset = datasets.load("cifar100", data_dir=tmp_path / "data", download=True)
    assert dataset.y_train == 7
    found = {path.relative_to(tmp_path / "data").as_posix()
             for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert found == {"cifar100/train.bin", "cifar100/test.bin"}
    assert not (tmp_path / "test.bin").exists()


def test_download_with_another_checksum_is_not_kept(tmp_path, server):
    server.files["t10k-images-idx3-ubyte.gz"] += b"x"
    with pytest.raises(FailureError, match=r"has the SHA-256 .* it was not kept"):
        datasets.load("mnist", data_dir=tmp_path / "data", download=True)
    assert not list((tmp_path / "data").rglob("t10k-images*"))


def test_download_without_a_network(tmp_path, monkeypatch):
    def unreachable(address, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(FailureError, match=r"cannot fetch https://.*: no route to host; fetch"):
        datasets.load("mnist", data_dir=tmp_path, download=True)


def test_every_download_is_checked_by_sha256():
    assert set(dataset_download.ARCHIVES) == set(datasets.NAMES) - {"digits"}
    for archive in dataset_download.ARCHIVES.values():
        for address, digest in archive.items():
            assert address.startswith("https://")
            assert len(bytes.fromhex(digest)) == 32
