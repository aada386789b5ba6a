# SPDX-License-Identifier: Apache-2.0
"""Conversion from end to end: a trained float network in, the artifact and its report out."""

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.cli import main
from ttfs_sw.convert import convert
from ttfs_sw.data import datasets
from ttfs_sw.golden.torch_model import one_thread
from ttfs_sw.training import config
from ttfs_sw.training.config import Config, NetworkShape

#: The user's file: a convolutional network whose batch-norms stand before and after a ReLU.
SOURCE = '''\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.same = nn.Conv2d(8, 8, 3, padding=1)
        self.after = nn.BatchNorm2d(8)
        self.pool = nn.AvgPool2d(2)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        x = torch.relu(self.same(x) + x)
        x = self.pool(self.after(x))
        return self.fc(self.drop(torch.flatten(x, 1)))


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


def wrong():
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 48),
        nn.Sigmoid(),
        nn.Linear(48, 10),
    )
'''

#: The finest network there is.
FINE = Config(name="fine", network=NetworkShape(
    weight_bits=8, ticks=255, input_ticks=255, accumulator_bits=32))


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
@one_thread()
def trained(tmp_path_factory, digits):
    """The user's folder: their file, and the weights of both models after some training."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "nets.py").write_text(SOURCE)
    names = {}
    exec(SOURCE, names)
    x = torch.from_numpy(digits.x_train).float().view(-1, 1, 8, 8) / 16
    y = torch.from_numpy(digits.y_train)
    for name in ("Net", "mlp"):
        torch.manual_seed(0)
        model = names[name]()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for part in torch.arange(len(x)).repeat(8).split(192):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
        torch.save(model.state_dict(), folder / f"{name}.pt")
    return folder


@pytest.fixture(scope="module", params=["Net", "mlp"])
def converted(request, trained, tmp_path_factory):
    """What the command line makes of a model: its folder and its report."""
    out = tmp_path_factory.mktemp("out")
    assert main([
        "convert", f"{trained}/nets.py:{request.param}", "--weights",
        f"{trained}/{request.param}.pt", "--dataset", "digits", "-o", str(out), "-q",
        "--set", "weight_bits=8", "--set", "ticks=255", "--set", "input_ticks=255",
    ]) == 0
    return request.param, out, json.loads((out / "convert.json").read_text())


def test_agrees_with_the_float_network(converted, digits):
    _, out, report = converted
    assert report["agreement"] >= 0.99
    assert abs(report["accuracy_network"] - report["accuracy_float"]) <= 0.005
    assert report["accuracy_float"] > 0.9
    trace = golden.run(Network.load(out / "network.npz"), digits.x_test)
    assert report["accuracy_network"] == (trace.winners == digits.y_test).mean()
    assert report["spikes_per_neuron"] == pytest.approx(trace.spikes_per_neuron)


def test_report_has_every_layer(converted):
    name, out, report = converted
    network = Network.load(out / "network.npz")
    kinds = [(layer["module"], layer["kind"]) for layer in report["layers"]]
    assert kinds == {
        "Net": [("conv", "conv2d"), ("same", "conv2d"), ("pool", "average"), ("fc", "dense")],
        "mlp": [("1", "dense"), ("3", "dense")],
    }[name]
    for layer, row in zip(network.layers, report["layers"], strict=True):
        assert (row["name"], row["ticks"]) == (layer.name, layer.ticks)
        assert row["scale"] == layer.output_scale
        assert 0 < row["error"] < 0.03
        if layer.spiking:
            assert 0 <= row["clipped"] < 0.01
            assert 0 < row["spikes_per_neuron"] < 1
    bits = report["accumulator_bits"]
    assert all(-(1 << (bits - 1)) <= low and high < 1 << (bits - 1)
               for low, high in network.bounds())
    assert not all(-(1 << (bits - 2)) <= low and high < 1 << (bits - 2)
                   for low, high in network.bounds())


def test_files_belong_together(converted, digits):
    name, out, report = converted
    assert {path.name for path in out.iterdir()} == {
        "network.npz", "model.pt", "config.toml", "convert.json"}
    settings = config.load(out / "config.toml")
    assert settings.network.layers == {"Net": ("8c3", "p2", "8c3+1", "a2"), "mlp": ("48",)}[name]
    # The result is itself a file of weights: of the layers that the configuration names.
    again = convert(out / "model.pt", digits, out / "again", settings)
    assert again.sha256 == report["sha256"]


def test_narrow_weights_and_few_ticks(trained, digits, tmp_path):
    shape = NetworkShape(weight_bits=4, ticks=15, input_ticks=15)
    model = f"{trained}/nets.py:mlp"
    report = convert(model, digits, tmp_path, Config(network=shape), weights=trained / "mlp.pt",
                     max_loss=100)
    fine = convert(model, digits, tmp_path, FINE, weights=trained / "mlp.pt")
    assert report.agreement > 0.93
    assert report.layers[0].error > 3 * fine.layers[0].error
    # A module of the caller's own gives the same.
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    module.load_state_dict(torch.load(trained / "mlp.pt", weights_only=True))
    assert convert(module, digits, tmp_path, FINE).sha256 == fine.sha256


def test_fine_tuning(trained, digits, tmp_path, capsys):
    words = ["convert", f"{trained}/nets.py:mlp", "--weights", f"{trained}/mlp.pt", "--dataset",
             "digits", "--set", "weight_bits=2", "--set", "ticks=3", "--max-loss", "100", "-q"]
    reports = []
    for name, more in (("before", []), ("after", ["--finetune", "5", "--set", "batch=64"])):
        assert main([*words, *more, "-o", str(tmp_path / name)]) == 0
        reports.append(json.loads((tmp_path / name / "convert.json").read_text()))
    before, after = reports
    tuned = after["finetune"]
    assert tuned["epochs"] == 5
    assert tuned["accuracy_heldout"] > tuned["accuracy_heldout_before"]
    assert after["accuracy_network"] > before["accuracy_network"]
    assert after["accuracy_float"] == before["accuracy_float"]
    assert f"after epoch {tuned['epoch']}" in capsys.readouterr().out
    assert "finetune" not in before


def test_scales_of_channels_and_shorter_windows(trained, digits, tmp_path):
    reports = {}
    for name, more in (
        ("layer", {}), ("channel", {"per_channel": True}), ("short", {"window": 0.5})
    ):
        shape = NetworkShape(
            weight_bits=3, ticks=255, input_ticks=255, accumulator_bits=32, **more)
        reports[name] = convert(f"{trained}/nets.py:Net", digits, tmp_path / name,
                                Config(network=shape), weights=trained / "Net.pt", max_loss=100)
    first = {name: report.layers[0] for name, report in reports.items()}
    # A scale for each channel is nearer to that channel's weights.
    assert first["channel"].error < first["layer"].error
    network = Network.load(tmp_path / "channel" / "network.npz")
    slopes = network.layers[0].multiplier / 2.0 ** network.layers[0].shift
    assert len(set(slopes)) == 8
    assert first["short"].scale == pytest.approx(0.5 * first["layer"].scale)
    assert first["short"].clipped > first["layer"].clipped


def test_no_test_image_calibrates(trained, digits, tmp_path):
    import dataclasses

    model, weights = f"{trained}/nets.py:mlp", trained / "mlp.pt"
    nonsense = dataclasses.replace(
        digits, x_test=np.zeros((3, 64), np.uint8), y_test=np.array([0, 1, 2]))
    reports = [convert(model, images, tmp_path, FINE, weights=weights, max_loss=100)
               for images in (digits, nonsense)]
    assert reports[0].sha256 == reports[1].sha256


@pytest.mark.parametrize("network", ["mlp", "lenet", "input-norm", "norm-after", "shifted"])
def test_benchmark(tmp_path, capsys, network):
    path = Path(__file__).parents[3] / "benchmarks" / "convert.py"
    spec = importlib.util.spec_from_file_location("convert_benchmark", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.NETWORKS = ((8, 255, True),)
    assert benchmark.main(["--epochs", "10", "--seeds", "3", "--network", network,
                           "--json", str(tmp_path / "a")]) == 0
    (figures,) = json.loads((tmp_path / "a").read_text())["networks"]
    assert (figures["seed"], figures["images"]) == (3, 450)
    assert figures["accuracy_float"] > 0.8
    assert figures["agreement"] >= 0.99
    assert capsys.readouterr().out.startswith("seed 3, 8 bits a channel, T = 255: float ")


class Evil:
    """Its pickle would leave a file behind if it were opened."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return open, (str(self._path), "w")


@pytest.fixture
def refused(capsys, tmp_path):
    """Run ``ttfs convert`` on what it must refuse, with earlier results in the way; its line."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "network.npz").write_bytes(b"earlier")

    def run(*words, dataset="digits", code=2):
        words = [str(word) for word in words] + (["--dataset", dataset] if dataset else [])
        assert main(["convert", *words, "-o", str(out)]) == code
        shown = capsys.readouterr()
        assert shown.out == ""
        (line,) = shown.err.splitlines()
        assert [path.read_bytes() for path in out.iterdir()] == [b"earlier"]
        return line.removeprefix("ttfs convert: ")

    return run


def test_refused_operation_has_its_line(trained, refused):
    number = SOURCE.splitlines().index("        nn.Sigmoid(),") + 1
    assert refused(f"{trained}/nets.py:wrong") == (
        f"nets.py, line {number} (`nn.Sigmoid(),`): module 2 (Sigmoid) does not convert: use "
        "nn.ReLU, whose values a spike's time can tell, and train on for a few epochs"
    )


def test_pickles_are_never_opened(trained, refused, tmp_path):
    bait = tmp_path / "bait"
    for name in ("evil.pt", "evil.npz", "evil.pt2"):
        (tmp_path / name).write_bytes(pickle.dumps({"0.weight": Evil(bait)}))
    torch.save(Evil(bait), tmp_path / "whole.pt")
    model = f"{trained}/nets.py:mlp"
    for name in ("evil.pt", "whole.pt"):
        line = refused(model, "--weights", tmp_path / name)
        assert "would run code when opened; save only the weights" in line
    assert "is no file of weights" in refused(model, "--weights", tmp_path / "evil.npz")
    assert "torch.export.save" in refused(tmp_path / "evil.pt2")
    assert "would run code" in refused(tmp_path / "whole.pt", "--config", "digits-mlp")
    assert not bait.exists()


def test_weights_that_do_not_fit(trained, refused, tmp_path):
    model = f"{trained}/nets.py:mlp"
    line = refused(model, "--weights", trained / "Net.pt")
    assert "Net.pt is of another architecture: it has no 1.weight, and " in line
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(64, 47), nn.ReLU(), nn.Linear(47, 10))
               .state_dict(), tmp_path / "narrow.pt")
    line = refused(model, "--weights", tmp_path / "narrow.pt")
    assert "its 1.weight is 47 x 64, but the model's 48 x 64, and 2 more such" in line
    line = refused(trained / "mlp.pt", "--config", "digits-mlp")
    assert "its 1.weight is 48 x 64, but layer 1 of the configuration needs 64 x 64" in line
    line = refused(trained / "mlp.pt")
    assert "does not say what is done with them: name the layers with --config" in line
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    assert "holds no state dict" in refused(model, "--weights", tmp_path / "none.pt")


def test_bad_options(trained, refused, tmp_path):
    model = f"{trained}/nets.py:mlp"
    weights = "--weights", trained / "mlp.pt"
    assert "did you mean network.weight_bits?" in refused(model, "--set", "weight_bit=4")
    assert "weight_bits has 3 entries, but the model has 2 layers with weights" in refused(
        model, *weights, "--set", "weight_bits=[4, 4, 8]")
    assert "--mean has 3 numbers, but an image has 1 channels" in refused(
        model, "--mean", "0.1,0.2,0.3")
    assert "--std must be finite, and above 0" in refused(model, "--std", "0")
    assert "name the images" in refused(model, dataset=None)
    assert "nets.py has no function or class mpl; did you mean mlp?" in refused(
        f"{trained}/nets.py:mpl")
    assert "say which function" in refused(trained / "nets.py")
    assert "there is no file nothing.pt2" in refused("nothing.pt2")
    assert "there is no file nothing.py" in refused("nothing.py:net")
    (tmp_path / "broken.py").write_text("import torch\n\nx = torch.zeros(3) @ torch.zeros(4)\n")
    line = refused(f"{tmp_path}/broken.py:net")
    assert "failed in broken.py, line 3 (`x = torch.zeros(3) @ torch.zeros(4)`): Runtime" in line
    (tmp_path / "typo.py").write_text("def net(:\n")
    assert "failed in typo.py, line 1: SyntaxError" in refused(f"{tmp_path}/typo.py:net")
    (tmp_path / "number.py").write_text("def net():\n    return 3\n")
    assert "gave int, but must give a torch.nn.Module" in refused(f"{tmp_path}/number.py:net")
    line = refused(model, *weights, "--set", "accumulator_bits=12", code=1)
    assert "layer hidden1 can reach membrane potentials from" in line
