# SPDX-License-Identifier: Apache-2.0
"""When a conversion is none: exit code 1, the layer that cost it and what to change."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from ttfs_sw.cli import main
from ttfs_sw.common.errors import FailureError
from ttfs_sw.convert import convert
from ttfs_sw.convert.verdict import RejectedError
from ttfs_sw.data import datasets
from ttfs_sw.golden.torch_model import one_thread
from ttfs_sw.training.config import Config, NetworkShape

SOURCE = '''\
from torch import nn


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(48, 10))


def after():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(48, 10))


def normed():
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 32), nn.ReLU(),
                         nn.Linear(32, 10))
'''

MODELS = {}
exec(SOURCE, MODELS)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
@one_thread()
def nets(tmp_path_factory, digits):
    """The user's folder: a file of models and the weights of each, as it was trained."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / "nets.py").write_text(SOURCE)
    x = torch.from_numpy(digits.x_train).float().view(-1, 1, 8, 8) / 16
    y = torch.from_numpy(digits.y_train)
    for name, model, images in (
        ("shifted", "cnn", (x - 0.5) / 0.5), ("bytes", "cnn", x * 16), ("after", "after", x),
        ("normed", "normed", x), ("cnn", "cnn", x),
    ):
        torch.manual_seed(0)
        module = MODELS[model]()
        _train(module, images, y, 10)
        torch.save(module.state_dict(), folder / f"{name}.pt")
    # Channels that are pruned: zero weights, and a bias of their own.
    module = MODELS["cnn"]()
    module.load_state_dict(torch.load(folder / "cnn.pt", weights_only=True))
    masks = []
    for layer in (module[0], module[3]):
        weak = layer.weight.flatten(1).norm(dim=1).argsort()[:4]
        masks.append((layer.weight, weak))
    _train(module, x, y, 6, masks)
    torch.save(module.state_dict(), folder / "pruned.pt")
    return folder


def _train(module, images, labels, epochs, masks=()):
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.005)
    for part in torch.arange(len(images)).repeat(epochs).split(64):
        with torch.no_grad():
            for weight, rows in masks:
                weight[rows] = 0
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(images[part]), labels[part]).backward()
        optimizer.step()
    with torch.no_grad():
        for weight, rows in masks:
            weight[rows] = 0
    module.eval()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("per_channel", ["true", "false"])
@pytest.mark.parametrize(("weights", "model", "more"), [
    ("shifted", "cnn", ("--mean", "0.5", "--std", "0.5")), ("after", "after", ()),
    ("pruned", "cnn", ()), ("normed", "normed", ()),
])
def test_what_lost_nearly_everything(nets, tmp_path, weights, model, more, per_channel, bits):
    # Normalised pixels and a batch-norm after a ReLU before a padded convolution; pruned channels;
    # a batch-norm over pixels that are never lit.
    ticks = 255 if bits == 8 else 15
    assert main([
        "convert", f"{nets}/nets.py:{model}", "--weights", f"{nets}/{weights}.pt", "--dataset",
        "digits", "-o", str(tmp_path), "-q", *more, "--max-loss", "100",
        *(word for key, value in (
            ("weight_bits", bits), ("ticks", ticks), ("input_ticks", ticks),
            ("per_channel", per_channel)) for word in ("--set", f"{key}={value}")),
    ]) == 0
    report = json.loads((tmp_path / "convert.json").read_text())
    lost = report["training"]["accuracy_float"] - report["training"]["accuracy_network"]
    assert lost <= (0.004 if bits == 8 else 0.03)
    assert report["accuracy_float"] - report["accuracy_network"] <= (0.005 if bits == 8 else 0.03)
    assert report["accumulator_bits"] <= (22 if bits == 8 else 14)


@pytest.fixture
def rejected(nets, tmp_path, capsys):
    """Run ``ttfs convert`` on what it must reject, over an earlier result; line and report."""

    def run(model, *words):
        (tmp_path / "network.npz").write_bytes(b"earlier")
        assert main(["convert", f"{nets}/nets.py:{model}", "--dataset", "digits", "-q", "-o",
                     str(tmp_path), *map(str, words)]) == 1
        shown = capsys.readouterr()
        (line,) = shown.err.splitlines()
        assert shown.out.count("accuracy") == 2
        # The earlier network is not lost, and not taken for this one's.
        assert sorted(path.name for path in tmp_path.iterdir()) == ["convert.json", "network.npz"]
        assert (tmp_path / "network.npz").read_bytes() == b"earlier"
        assert line.endswith(f"{tmp_path / 'network.npz'} is still that of an earlier conversion")
        report = json.loads((tmp_path / "convert.json").read_text())
        assert line == f"ttfs convert: {report['failure']}"
        assert "boards" not in report
        return line, report

    return run


def test_what_is_read_is_not_written_over(nets, tmp_path, capsys):
    (tmp_path / "model.pt").write_bytes((nets / "normed.pt").read_bytes())
    (tmp_path / "config.toml").write_text('[network]\nlayers = ["32"]\n')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for model, config in ((tmp_path / "model.pt", "digits-mlp"),
                          (nets / "normed.pt", tmp_path / "config.toml")):
        assert main(["convert", str(model), "--config", str(config), "--dataset", "digits", "-q",
                     "-o", str(tmp_path)]) == 2
        assert "would be written over by what is made of it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_weights(rejected):
    line, report = rejected("cnn")
    assert "hardly more than a guess (10.00 %)" in line
    assert "give trained ones with --weights" in line
    assert report["training"]["recall_float"] < 0.19


def test_trained_on_other_numbers(rejected, nets):
    line, _ = rejected("cnn", "--weights", nets / "shifted.pt", "--mean", "30")
    assert "hardly more than a guess" in line or "fires on any of" in line
    assert "--scale, --mean, --std" in line


def test_dead_layer_is_named(rejected, nets, tmp_path_factory):
    weights = torch.load(nets / "cnn.pt", weights_only=True)
    weights["3.bias"] -= 1e4
    path = tmp_path_factory.mktemp("dead") / "dead.pt"
    torch.save(weights, path)
    line, _ = rejected("cnn", "--weights", path)
    assert "no neuron of layer 3 fires on any of 1000 training images" in line


def test_layer_that_cost_it(rejected, nets):
    # One layer has two bits, the others eight.
    for index, module in ((0, "0"), (1, "3"), (2, "7")):
        bits = [8, 8, 8]
        bits[index] = 2
        line, report = rejected(
            "cnn", "--weights", nets / "cnn.pt", "--set", f"weight_bits={bits}", "--max-loss", "0")
        assert "points are lost, more than the 0 of --max-loss" in line
        assert f"most is lost by the weights of layer {module}, 2 bits" in line
        assert "--set weight_bits=8" in line and "--finetune 5" in line
        assert "--set per_channel=true" in line or index == 2
        worst = report["costs"][0]
        assert (worst["module"], worst["what"], worst["layer"]) == (module, "weights", index)


def test_ticks_that_cost_it(rejected, nets):
    for key, where, module in (("input_ticks", "the image", "image"), ("ticks", "layer", None)):
        line, report = rejected(
            "cnn", "--weights", nets / "cnn.pt", "--set", f"{key}=1", "--set", "weight_bits=8",
            "--set", "per_channel=true")
        assert f"most is lost by the codes of {where}" in line
        assert f"--set {key}=15" in line
        assert report["costs"][0]["what"] == "ticks"
        assert module in (None, report["costs"][0]["module"])


def test_any_loss_is_taken_if_asked_for(nets, digits, tmp_path):
    words = [f"{nets}/nets.py:cnn", digits, tmp_path, Config(network=NetworkShape(weight_bits=2,
             ticks=1, input_ticks=1))]
    with pytest.raises(FailureError, match="--finetune") as caught:
        convert(*words, weights=nets / "cnn.pt")
    assert isinstance(caught.value, RejectedError)
    assert caught.value.report.accuracy_network < caught.value.report.accuracy_float - 0.005
    assert list(tmp_path.iterdir()) == []
    report = convert(*words, weights=nets / "cnn.pt", max_loss=100)
    assert (tmp_path / "network.npz").is_file()
    assert report.max_loss == 100 and report.sha256
    convert(*words, weights=nets / "cnn.pt", max_loss=90)


def test_max_loss_that_is_given_is_counted_as_it_is(nets, digits, tmp_path):
    # The default allows for chance: a few images of 450 are no evidence of anything.
    config = Config(network=NetworkShape())
    weights = nets / "cnn.pt"
    report = convert(f"{nets}/nets.py:cnn", digits, tmp_path, config, weights=weights, max_loss=100)
    losses = [100 * (found.lost - found.gained) / found.images
              for found in (report, report.training)]
    for found in (report, report.training):
        assert found.accuracy_float - found.accuracy_network == pytest.approx(
            (found.lost - found.gained) / found.images)
    largest = max(*losses, 0.01)
    convert(f"{nets}/nets.py:cnn", digits, tmp_path, config, weights=weights,
            max_loss=largest + 0.01)
    if max(losses) > 0:
        with pytest.raises(RejectedError, match="points are lost"):
            convert(f"{nets}/nets.py:cnn", digits, tmp_path, config, weights=weights,
                    max_loss=largest - 0.01)


def test_a_network_that_always_says_the_same_knows_nothing(nets, digits, tmp_path):
    # Of these images nine of ten are of one class, so that accuracy alone would not tell.
    part = np.concatenate([np.flatnonzero(digits.y_train == 0),
                           np.flatnonzero(digits.y_train > 0)[:15]])
    lopsided = dataclasses.replace(digits, x_train=digits.x_train[part],
                                   y_train=digits.y_train[part])
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    with torch.no_grad():
        module[3].weight.zero_()
        module[3].bias.copy_(torch.eye(10)[0])
    config = Config(network=NetworkShape())
    with pytest.raises(RejectedError, match="hardly more than a guess"):
        convert(module, lopsided, tmp_path, config)


def test_bad_max_loss(nets, capsys):
    for text in ("-1", "101", "much"):
        assert main(["convert", f"{nets}/nets.py:cnn", "--dataset", "digits", "--max-loss",
                     text]) == 2
        assert "must be a number of points from 0 to 100" in capsys.readouterr().err
