# SPDX-License-Identifier: Apache-2.0
"""Several processes that train together: shares of a batch, and a run under ``torchrun``."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.patience import PATIENCE
from ttfs_sw.artifact.network import Network
from ttfs_sw.data import datasets
from ttfs_sw.training import distributed
from ttfs_sw.training.config import Augmentation, Config, NetworkShape, Training
from ttfs_sw.training.distributed import Processes
from ttfs_sw.training.train import train


@given(size=st.integers(1, 50), count=st.integers(1, 7), seed=st.integers(0, 99))
def test_shares_make_up_the_batch(size, count, seed):
    values = np.random.default_rng(seed).random(size)
    team = [Processes(rank, count) for rank in range(count)]
    shares = [values[one.share(size)] for one in team]
    assert all(len(share) for share in shares)
    # The mean of processes, each of which has the weighted mean of its share, is the batch's.
    means = [one.weight(size) * share.mean() for one, share in zip(team, shares, strict=True)]
    assert np.mean(means) == pytest.approx(values.mean())
    if size >= count:
        assert sorted(np.concatenate(shares)) == sorted(values)


def test_who_leads(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    assert distributed.leading()
    # A cluster's own variable does not make a group.
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert distributed.leading()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        assert distributed.leading() == (rank == 0)


def test_torchrun(tmp_path):
    """Two processes see the images of one, in its batches, and only one of them writes."""
    # Batches of 191 images leave one at the end, of which both processes take all.
    settings = Config(
        network=NetworkShape(layers=("4c3", "p2", "4c3+1", "12")),
        training=Training(heldout=200, float_epochs=2, epochs=2, batch=191, average=0.5,
                          learning_rate=0.01, activity_penalty=0.001),
        augmentation=Augmentation(shift=0.5, elastic=0.3),
    )
    (tmp_path / "settings.toml").write_text(settings.toml())
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "ttfs_sw", "train", tmp_path / "settings.toml", "-o", tmp_path / "two"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("accuracy, network.npz") == 1
    assert len(re.findall(r"^\w+ epoch \d of 2: loss", ended.stderr, re.MULTILINE)) == 4
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        "network.npz", "model.pt", "config.toml", "report.json", "history.json",
        "learning_curve.png", "train.json",
    }

    alone = train(settings, datasets.load("digits"), tmp_path / "one")
    one, two = (
        json.loads((tmp_path / name / "history.json").read_text()) for name in ("one", "two")
    )
    # Floats are added in another order, which rounding to integers makes more of.
    for ours, theirs in zip(one, two, strict=True):
        close = 1e-5 if ours["stage"] == "float" else 0.02
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=close)
        assert ours["loss_heldout"] == pytest.approx(theirs["loss_heldout"], rel=close)
    report = json.loads((tmp_path / "two" / "report.json").read_text())
    assert report["accuracy_network"] == pytest.approx(alone.accuracy_network, abs=0.03)
    assert Network.load(tmp_path / "two" / "network.npz").sha256 == report["sha256"]
