# SPDX-License-Identifier: Apache-2.0
"""Keys that fit a network to its hardware reach it, alone and all together."""

import dataclasses

import numpy as np
import pytest

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.data import datasets
from ttfs_sw.training import config
from ttfs_sw.training.config import Config, NetworkShape, Training
from ttfs_sw.training.train import train

#: Half a second of training.
QUICK = Config(
    network=NetworkShape(layers=("6c3", "p2", "24"), weight_bits=(4, 3, 5), ticks=(7, 3)),
    training=Training(
        heldout=200, float_epochs=2, epochs=2, batch=32, average=0.9, learning_rate=0.004
    ),
)


def run(folder, **changes):
    """Train ``QUICK`` with other values of keys; its report and its network."""
    tables = {}
    for name in ("network", "training"):
        table = getattr(QUICK, name)
        mine = {key: value for key, value in changes.items() if hasattr(table, key)}
        tables[name] = dataclasses.replace(table, **mine)
    settings = dataclasses.replace(QUICK, **tables)
    report = train(settings, datasets.load("digits"), folder)
    # What is written beside the network trains it again.
    assert config.load(folder / "config.toml") == settings
    return report, Network.load(folder / "network.npz")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "changes", [{"jitter": 1.0}, {"window": 0.3}, {"per_channel": True}], ids=str
)
def test_each_key_alone(plain, tmp_path, changes):
    report, network = run(tmp_path, **changes)
    assert report.sha256 != plain[0].sha256
    # Chance is 0.1.
    assert report.accuracy_network > 0.4
    slopes = [len(set(zip(layer.multiplier, layer.shift, strict=True)))
              for layer in network.layers]
    assert slopes == ([6, 24, 0] if "per_channel" in changes else [1, 1, 0])


def test_all_keys_together(tmp_path):
    report, network = run(
        tmp_path, per_channel=True, jitter=0.5, window=0.7, activity_penalty=(0.0005, 0.002)
    )
    assert [layer.weight_bits for layer in network.layers] == [4, 3, 5]
    assert [layer.ticks for layer in network.layers] == [7, 3, 0]
    digits = datasets.load("digits")
    _, _, x_heldout, y_heldout = datasets.split_holdout(digits, 200, 0)
    # Choices are made on the network as it is, without jitter.
    winners = golden.run(network, x_heldout).winners
    assert report.accuracy_heldout == np.mean(winners == y_heldout) > 0.4
