# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a resumed run ends as one that was never interrupted; a bad file is refused."""

import dataclasses
import io
import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.patience import until
from ttfs_sw.cli import main, make_parser
from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets
from ttfs_sw.training import config
from ttfs_sw.training.checkpoint import NAME, Checkpoint
from ttfs_sw.training.config import Augmentation, Config, NetworkShape, Training
from ttfs_sw.training.loop import Run
from ttfs_sw.training.train import train

#: A second of training with all that has a state: distortions, jitter, running mean, residual.
QUICK = Config(
    name="quick",
    network=NetworkShape(layers=("4c3", "p2", "4c3+1", "12")),
    training=Training(
        heldout=200, float_epochs=2, epochs=4, batch=400, average=0.9, learning_rate=0.01,
        jitter=0.5,
    ),
    augmentation=Augmentation(shift=0.5, elastic=0.3),
)
IMAGES = 1147


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits):
    """The folder of a run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train(QUICK, digits, folder)
    return folder


def interrupted(folder, digits, images, configuration=QUICK):
    """Train until so many images are done."""

    def progress(done, total):
        if done > images:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(configuration, digits, folder, progress)
    assert {path.name for path in folder.iterdir()} == {NAME}


def without_times(folder):
    history = json.loads((folder / "history.json").read_text())
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in history]


def check_same(folder, whole):
    """The two runs gave the same, bit for bit."""
    assert (folder / "network.npz").read_bytes() == (whole / "network.npz").read_bytes()
    assert without_times(folder) == without_times(whole)
    ours, theirs = (
        torch.load(path / "model.pt", weights_only=True) for path in (folder, whole)
    )
    assert list(ours) == list(theirs)
    assert ours.pop("pixel_scale") == theirs.pop("pixel_scale")
    for name in theirs:
        assert list(ours[name]) == list(theirs[name])
        for key, value in theirs[name].items():
            assert torch.equal(ours[name][key], value), (name, key)
    assert not (folder / NAME).exists()


# In the second epoch of the ReLU network, between the stages, in the network's second epoch, and
# after one of those of which the best is kept.
@pytest.mark.parametrize("epochs", [1.5, 2.2, 3.5, 5.5])
def test_resumed_run_is_the_uninterrupted_one(epochs, whole, digits, tmp_path):
    interrupted(tmp_path, digits, int(epochs * IMAGES))
    calls = []
    report = train(
        QUICK, digits, tmp_path, lambda done, total: calls.append((done, total)), resume=True
    )
    check_same(tmp_path, whole)
    # The epochs that were done are not done again.
    assert calls[0][0] > int(epochs) * IMAGES
    assert calls[-1] == (6 * IMAGES, 6 * IMAGES)
    assert report.seconds > 0


def test_interrupted_twice_and_after_the_last_epoch(whole, digits, tmp_path, monkeypatch):
    interrupted(tmp_path, digits, int(1.5 * IMAGES))

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ttfs_sw.training.train._report", stop)
        with pytest.raises(KeyboardInterrupt):
            train(QUICK, digits, tmp_path, resume=True)
    train(QUICK, digits, tmp_path, resume=True)
    check_same(tmp_path, whole)


def test_killed_process(digits, tmp_path, capfd):
    """By the command line, and by a signal that leaves no time to clean up."""
    path = tmp_path / "settings.toml"
    path.write_text(dataclasses.replace(
        QUICK, name="killed", training=dataclasses.replace(QUICK.training, float_epochs=10)
    ).toml())
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-m", "ttfs_sw", "-q", "train", path, "-o", folder],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            until(lambda: (folder / NAME).exists() or process.poll() is not None, "a checkpoint")
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert (folder / NAME).exists()
    assert not (folder / "network.npz").exists()
    assert main(["-q", "train", str(path), "-o", str(folder), "--resume"]) == 0
    train(config.load(path), digits, tmp_path / "whole")
    check_same(folder, tmp_path / "whole")
    # Nothing of what the process may have been writing is left.
    assert not list(folder.glob(".*"))


def test_run_without_resume_begins_anew(whole, digits, tmp_path, caplog):
    interrupted(tmp_path, digits, int(3.5 * IMAGES))
    with caplog.at_level("INFO", "ttfs_sw"):
        train(QUICK, digits, tmp_path)
    assert f"{tmp_path / NAME} of an unfinished run will be replaced" in caplog.text
    check_same(tmp_path, whole)


def test_log_says_how_to_go_on(digits, tmp_path, caplog):
    with caplog.at_level("INFO", "ttfs_sw"):
        interrupted(tmp_path, digits, int(3.5 * IMAGES))
    lines = caplog.messages
    assert lines[0].startswith("float epoch 1 of 2: loss ")
    assert lines[2].startswith("network epoch 1 of 4: loss ")
    assert ", held-out accuracy 0." in lines[2]
    assert ", spikes per neuron 0." in lines[2]
    assert lines[2].endswith(" left")
    assert lines[-1] == f"--resume goes on from the last whole epoch: {tmp_path / NAME}"


def test_demo_does_not_log_epochs():
    hushed = make_parser().parse_args(["demo"]).hushed
    assert {train.__module__, Run.__module__} == set(hushed)
    assert all(hasattr(sys.modules[name], "logger") for name in hushed)


@pytest.fixture(scope="module")
def content(tmp_path_factory, digits):
    """The bytes of a checkpoint in the middle of training."""
    folder = tmp_path_factory.mktemp("stopped")
    interrupted(folder, digits, int(3.5 * IMAGES))
    return (folder / NAME).read_bytes()


@pytest.fixture
def refused(tmp_path, capsys):
    """Run ``ttfs train --resume`` on given bytes; give the sentence that it refuses them with."""

    def run(content, *words, configuration=QUICK):
        (tmp_path / "settings.toml").write_text(configuration.toml())
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        before = {"network.npz": b"earlier"} | ({NAME: content} if content else {})
        for name, data in before.items():
            (folder / name).write_bytes(data)
        code = main([
            "train", str(tmp_path / "settings.toml"), "-o", str(folder), "--resume", *words
        ])
        shown = capsys.readouterr()
        assert (code, shown.out) == (2, "")
        (line,) = shown.err.splitlines()
        assert line.startswith("ttfs train: ")
        assert "internal error" not in line
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        return line

    return run


class Harmful:
    """What a pickle can do to whoever opens it."""

    def __reduce__(self):
        return os._exit, (7,)


def test_pickled_file_is_not_opened(refused, tmp_path):
    for harmful in (pickle.dumps(Harmful()), pickle.dumps({"config": 1})):
        assert "is not a checkpoint of ttfs" in refused(harmful)
    # What torch.save writes, and numpy's own way of putting a pickle into an archive.
    stream = io.BytesIO()
    torch.save({"harmful": Harmful()}, stream)
    assert "is not a checkpoint of ttfs" in refused(stream.getvalue())
    stream = io.BytesIO()
    np.savez(stream, header=np.array([Harmful()], object))
    assert "nothing in it was executed" in refused(stream.getvalue())


def test_damaged_checkpoints(refused, content):
    assert "is not a checkpoint" in refused(content[:-300])
    assert "is not a checkpoint" in refused(b"PK")
    middle = len(content) // 2
    assert "is not a checkpoint" in refused(content[:middle] + bytes(40) + content[middle + 40:])
    assert "leave --resume out" in refused(None)


def changed(content, **changes):
    """A checkpoint with other values in its header."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "header.npy":
                header = json.loads(str(np.load(io.BytesIO(data))))
                stream = io.BytesIO()
                np.save(stream, np.array(json.dumps({**header, **changes})))
                data = stream.getvalue()
            new.writestr(name, data)
    return result.getvalue()


def test_checkpoint_of_another_run(refused, content):
    wider = dataclasses.replace(QUICK, network=NetworkShape(layers=("4c3", "p2", "4c3+1", "16")))
    line = refused(content, configuration=wider)
    assert (
        "is of another configuration: network.layers was ['4c3', 'p2', '4c3+1', '12'] and is "
        "['4c3', 'p2', '4c3+1', '16']; give the same one, or train without --resume"
    ) in line
    line = refused(content, "--seed", "3", "--set", "epochs=9", "--set", "batch=10", "--set",
                   "average=0.1")
    assert "seed was 0 and is 3, training.epochs was 4 and is 9" in line
    assert ", and 1 more; give" in line
    line = refused(content, "--set", "hidden=[8]")
    assert "network.hidden was not given and is [8]" in line
    assert "was trained on other images" in refused(changed(content, images="0" * 64))
    assert "format version 2, and this ttfs reads version 1" in refused(changed(content, version=2))
    assert "is not a checkpoint of ttfs" in refused(changed(content, format="other"))
    assert "on the device 'cuda'" in refused(changed(content, device="cuda"))


def test_checkpoint_that_only_claims_to_be_of_this_run(refused, content):
    other = "is not the checkpoint of this run, or it is damaged"
    assert other in refused(changed(content, state={}))
    assert other in refused(changed(content, state=[]))
    assert other in refused(changed(content, config="["))
    header = json.loads(str(np.load(io.BytesIO(content))["header"]))
    state = header["state"]
    # The bias of a layer in the place of its weights, and a moment for no parameter.
    parts = json.loads(json.dumps(state["parts"]))
    parts["relu"]["layers.0.weight"] = parts["relu"]["layers.0.bias"]
    assert other in refused(changed(content, state={**state, "parts": parts}))
    assert other in refused(changed(content, state={**state, "random": {"array": "nothing"}}))


def test_other_torch_is_mentioned(digits, content, tmp_path, caplog):
    made_by = {"torch": "1.0", "processes": 2}
    (tmp_path / NAME).write_bytes(changed(content, made_by=made_by))
    train(QUICK, digits, tmp_path, resume=True)
    assert "'torch': '1.0', 'processes': 2" in caplog.text
    assert "will differ a little" in caplog.text


def test_failed_run_keeps_the_checkpoint_of_an_earlier_one(digits, content, tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(content)
    monkeypatch.setattr(Run, "_entropy", lambda self, logits, labels: logits.sum() * math.nan)
    with pytest.raises(InputError, match="diverged in epoch 1 of the float stage: the loss is nan"):
        train(QUICK, digits, tmp_path)
    assert (tmp_path / NAME).read_bytes() == content
    # But where training can only fail again, nothing is left to resume from.
    with pytest.raises(InputError, match="diverged in epoch 2 of the network stage"):
        train(QUICK, digits, tmp_path, resume=True)
    assert list(tmp_path.iterdir()) == []


@given(state=st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers())
    | st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8]),
    lambda values: st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
))
@settings(max_examples=40)
def test_state_comes_back_as_it_was(state, digits, tmp_path_factory):
    def tensors(value):
        if isinstance(value, torch.dtype):
            return torch.arange(6).reshape(2, 3).to(value)
        if isinstance(value, dict):
            return {key: tensors(item) for key, item in value.items()}
        return value

    def same(one, two):
        if isinstance(one, torch.Tensor):
            return one.dtype == two.dtype and torch.equal(one, two)
        if isinstance(one, dict):
            return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
        return one == two

    folder = tmp_path_factory.mktemp("state")
    checkpoint = Checkpoint(folder, QUICK, digits, torch.device("cpu"))
    state = {"all": tensors(state)}
    checkpoint.save(state)
    assert same(state, checkpoint.load())
    checkpoint.discard()
    assert list(folder.iterdir()) == []
