# SPDX-License-Identifier: Apache-2.0
"""``ttfs train`` on bad input: one sentence, exit code 2, and earlier results as they were."""

import numpy as np
import pytest

from ttfs_sw.cli import main

SETTINGS = """
[network]
hidden = [24, 16]
[training]
heldout = 200
float_epochs = 1
epochs = 6
batch = 32
"""


@pytest.fixture
def refused(tmp_path, capsys):
    """Train into a folder that holds a network; give the one sentence of the refusal."""

    def run(*words, settings=SETTINGS):
        (tmp_path / "mine.toml").write_text(settings)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "network.npz").write_bytes(b"earlier")
        code = main(["train", str(tmp_path / "mine.toml"), "-o", str(folder), "-q",
                     *map(str, words)])
        shown = capsys.readouterr()
        assert (code, shown.out) == (2, ""), shown.err
        (line,) = shown.err.splitlines()
        assert line.startswith("ttfs train: ")
        assert "internal error" not in line
        assert [path.name for path in folder.iterdir()] == ["network.npz"]
        assert (folder / "network.npz").read_bytes() == b"earlier"
        return line

    return run


@pytest.fixture
def archive(tmp_path):
    """Write 40 images of 4 x 4 as an ``.npz``, some of its arrays replaced; give its path."""

    def write(**arrays):
        path = tmp_path / "images.npz"
        images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8)
        labels = np.arange(40) % 4
        everything = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
        np.savez(path, **(everything | arrays))
        return path

    return write


NONE = np.zeros((0, 4, 4), np.uint8)


@pytest.mark.parametrize(("arrays", "expected"), [
    ({"x_train": NONE, "y_train": np.zeros(0, int)}, "has no training images"),
    ({"x_test": NONE, "y_test": np.zeros(0, int)}, "has no test images"),
    ({"y_train": np.zeros(40, int), "y_test": np.zeros(40, int)}, "labels of one class only"),
    ({"y_train": np.full(40, 3)}, "training images of one class only"),
    ({"y_test": np.arange(40) % 6}, "test labels must be from 0 to 3, not from 0 to 5"),
    ({"y_train": np.arange(40) % 4 - 1}, "training labels must be from 0 to 2, not from -1 to 2"),
    ({"y_train": np.arange(40)[:7]}, "has 40 training images, but 7 labels"),
    ({"x_train": np.array([{}], object)}, "not an .npz archive of plain numbers"),
])
def test_bad_images(refused, archive, arrays, expected):
    path = archive(**arrays)
    line = refused("--dataset", path, "--set", "heldout=8")
    assert expected in line
    assert str(path) in line


def test_loss_that_is_not_a_number(refused):
    line = refused("--set", "learning_rate=10", "--set", "warmup=0")
    assert "diverged in epoch" in line
    assert "lower the learning rate, now 10.0" in line


@pytest.mark.parametrize(("old", "new", "nearest"), [
    ("epochs = 6", "epoch = 6", "did you mean training.epochs?"),
    ("[training]", "[trainig]", "did you mean training?"),
    ("heldout = 200", "wieght_bits = 3", "did you mean network.weight_bits?"),
])
def test_mistyped_key(refused, old, new, nearest):
    assert nearest in refused(settings=SETTINGS.replace(old, new))
