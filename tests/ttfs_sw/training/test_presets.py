# SPDX-License-Identifier: Apache-2.0
"""Presets for sets that are not here: on a few images, made up, in the files of those sets."""

import json

import numpy as np
import pytest

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.cli import main

TRAINING, TEST = 30, 10


def write_fashion(folder, generator):
    """The four IDX files; 28 x 28 bytes an image."""
    for part, count in (("train", TRAINING), ("t10k", TEST)):
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        sizes = np.array([count, 28, 28], ">u4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            b"\0\0\x08\x03" + sizes + images.tobytes())
        labels = np.arange(count) % 10
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            b"\0\0\x08\x01" + sizes[:4] + labels.astype(np.uint8).tobytes())


def write_cifar(folder, generator):
    """The six binary files; a label, then 32 x 32 bytes of red, of green and of blue."""
    for name, count in (
        *((f"data_batch_{index}.bin", TRAINING // 5) for index in range(1, 6)),
        ("test_batch.bin", TEST),
    ):
        records = generator.integers(0, 256, (count, 1 + 3 * 32 * 32), np.uint8)
        records[:, 0] = np.arange(count) % 10
        (folder / name).write_bytes(records.tobytes())


@pytest.mark.parametrize(("preset", "write", "folder", "neurons"), [
    ("fashion-mlp", write_fashion, "fashion-mnist", [784, 256, 10]),
    ("fashion-lenet", write_fashion, "fashion-mnist", [784, 14 * 14 * 8, 7 * 7 * 32, 96, 10]),
    ("cifar10-vgg", write_cifar, "cifar10", [
        3072, 32 * 32 * 16, 16 * 16 * 16, 16 * 16 * 32, 8 * 8 * 32, 8 * 8 * 64, 4 * 4 * 64, 64, 10,
    ]),
    ("cifar10-resnet", write_cifar, "cifar10", [
        3072, *[16 * 16 * 16] * 5, *[8 * 8 * 32] * 3, *[4 * 4 * 64] * 3, 64, 10,
    ]),
])
def test_preset_of_an_absent_set(preset, write, folder, neurons, tmp_path, capsys):
    data = tmp_path / folder
    data.mkdir()
    write(data, np.random.default_rng(0))
    # The untrained networks of these few images may leave any narrower accumulator.
    few = ["heldout=10", "epochs=1", "float_epochs=1", "batch=10", "accumulator_bits=32"]
    words = [word for setting in few for word in ("--set", setting)]
    run = tmp_path / "run"
    assert main(["-q", "train", preset, "--data-dir", str(tmp_path), "-o", str(run), *words]) == 0
    assert "accuracy, network.npz" in capsys.readouterr().out
    report = json.loads((run / "report.json").read_text())
    assert report["sizes"] == neurons
    assert report["dataset"] == folder
    network = Network.load(run / "network.npz")
    assert network.preset == preset
    # Every layer of it fires at all: nothing has died on the way.
    pixels = np.random.default_rng(1).integers(0, 256, (2, neurons[0]), np.uint8)
    assert all(codes.any() for codes in golden.run(network, pixels).codes)
    if preset == "cifar10-resnet":
        assert [layer.second_source for layer in network.layers[:-1]] == [
            None, None, 0, None, 2, None, None, 5, None, None, 8, None,
        ]
