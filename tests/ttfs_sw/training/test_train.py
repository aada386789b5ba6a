# SPDX-License-Identifier: Apache-2.0
"""Training: it learns, what it writes belongs together, and it fails in one sentence."""

import dataclasses
import json
import math
import tomllib

import numpy as np
import pytest
import torch

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import FailureError, InputError
from ttfs_sw.data import datasets
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.training import config, topology
from ttfs_sw.training.config import Config, NetworkShape, Training
from ttfs_sw.training.models import QuantisedNetwork
from ttfs_sw.training.samples import Data
from ttfs_sw.training.train import train

FILES = {"network.npz", "model.pt", "config.toml", "report.json", "history.json",
         "learning_curve.png"}

#: Two seconds of training, enough to learn something.
QUICK = Config(
    name="quick",
    network=NetworkShape(hidden=(24, 16), weight_bits=(4, 3, 4), ticks=(15, 7)),
    training=Training(
        heldout=200, float_epochs=6, epochs=6, batch=32, average=0.9, learning_rate=0.004
    ),
)


def change(base, **changes):
    """``base`` with other values for keys of its own or of any of its tables."""
    def apply(part):
        mine = {field.name for field in dataclasses.fields(part)} & set(changes)
        return dataclasses.replace(part, **{name: changes[name] for name in mine})

    base = apply(base)
    tables = {name: apply(getattr(base, name)) for name in ("network", "training", "augmentation")}
    return dataclasses.replace(base, **tables)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def quick(tmp_path_factory, digits):
    """A finished quick run: its folder, report and what was called as progress."""
    folder = tmp_path_factory.mktemp("quick") / "run"
    calls = []
    report = train(QUICK, digits, folder, lambda done, total: calls.append((done, total)))
    return folder, report, calls


def test_report(quick, digits):
    folder, report, _ = quick
    assert report.as_dict() == json.loads((folder / "report.json").read_text())
    network = Network.load(folder / "network.npz")
    trace = golden.run(network, digits.x_test)
    assert report.accuracy_network == (trace.winners == digits.y_test).mean()
    assert report.spikes_per_neuron == pytest.approx(trace.spikes_per_neuron)
    assert report.events_input == pytest.approx(np.count_nonzero(trace.input_codes) / 450)
    assert report.events_hidden == pytest.approx(
        [np.count_nonzero(codes) / 450 for codes in trace.codes]
    )
    assert report.bounds == [list(bound) for bound in network.bounds()]
    assert report.sha256 == network.sha256
    assert report.seed == 0
    assert report.seconds > 0
    # Chance is 0.1.
    assert report.accuracy_network > 0.75
    assert report.accuracy_float > 0.75


def test_network_is_what_was_asked_for(quick):
    network = Network.load(quick[0] / "network.npz")
    assert [(layer.inputs, layer.outputs) for layer in network.layers] == [
        (64, 24), (24, 16), (16, 10)
    ]
    assert [layer.weight_bits for layer in network.layers] == [4, 3, 4]
    assert [layer.ticks for layer in network.layers] == [15, 7, 0]
    assert [layer.name for layer in network.layers] == ["hidden1", "hidden2", "output"]
    assert network.input_shape == (8, 8, 1)
    assert (network.dataset, network.preset) == ("digits", "quick")
    # Digits have bytes from 0 to 16.
    assert network.input_codes[16] == network.input_ticks == 15
    assert network.input_codes[8] == 8


def test_every_file_is_there(quick):
    folder, report, _ = quick
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert config.load(folder / "config.toml") == QUICK
    assert tomllib.loads((folder / "config.toml").read_text())["training"]["warmup"] == 0.05
    history = json.loads((folder / "history.json").read_text())
    assert [(entry["stage"], entry["epoch"]) for entry in history] == [
        *(("float", epoch) for epoch in range(1, 7)), *(("network", epoch) for epoch in range(1, 7))
    ]
    best = history[5 + report.epoch]
    assert best["accuracy_heldout"] == report.accuracy_heldout
    # Chosen among the last quarter: epochs 5 and 6 of 6.
    assert best["accuracy_heldout"] == max(entry["accuracy_heldout"] for entry in history[-2:])
    assert report.epoch in (5, 6)
    assert history[-1]["loss"] < history[6]["loss"]


def test_model_is_the_network(quick):
    folder, _, _ = quick
    checkpoint = torch.load(folder / "model.pt", weights_only=True)
    layers = topology.plan(["24", "16"], (8, 8, 1), 10)
    model = QuantisedNetwork(layers, (4, 3, 4), (15, 15, 7))
    model.load_state_dict(checkpoint["quantised"])
    network = Network.load(folder / "network.npz")
    for layer, integers in zip(network.layers, model.integers(), strict=True):
        assert (layer.weight == integers.weight).all()
        assert (layer.bias == integers.bias).all()
        assert set(layer.multiplier) <= set(integers.multiplier)
        assert set(layer.shift) <= set(integers.shift)


def test_heldout_accuracy_is_the_integer_networks(quick, digits):
    folder, report, _ = quick
    _, _, x_heldout, y_heldout = datasets.split_holdout(digits, 200, 0)
    trace = golden.run(Network.load(folder / "network.npz"), x_heldout)
    assert report.accuracy_heldout == (trace.winners == y_heldout).mean()


def test_progress_counts_images(quick):
    calls = quick[2]
    assert calls[-1] == (12 * 1147, 12 * 1147)
    assert all(total == 12 * 1147 for _, total in calls)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_same_seed_same_network(quick, digits, tmp_path):
    assert train(QUICK, digits, tmp_path).sha256 == quick[1].sha256
    other = train(change(QUICK, seed=1), digits, tmp_path)
    assert other.sha256 != quick[1].sha256


def test_no_test_image_steers_training(quick, digits, tmp_path):
    # With all else equal, a run that is shown nonsense as its test images gives the same network.
    nonsense = dataclasses.replace(
        digits, x_test=np.zeros((3, 64), np.uint8), y_test=np.array([0, 1, 2])
    )
    assert train(QUICK, nonsense, tmp_path).sha256 == quick[1].sha256


def test_activity_penalty_makes_silence(quick, digits, tmp_path):
    report = train(change(QUICK, activity_penalty=0.02), digits, tmp_path)
    assert report.spikes_per_neuron < 0.8 * quick[1].spikes_per_neuron


def test_dead_zone_silences_faint_pixels(quick, digits, tmp_path):
    report = train(change(QUICK, dead_zone=4), digits, tmp_path)
    assert report.events_input == (digits.x_test >= 4).sum() / 450
    assert report.events_input < quick[1].events_input


def test_extreme_shapes(digits, tmp_path):
    shape = NetworkShape(
        hidden=(5,), weight_bits=(2, 8), ticks=255, input_ticks=1, accumulator_bits=32
    )
    report = train(change(QUICK, float_epochs=1, epochs=1, batch=2000, network=shape), digits,
                   tmp_path)
    network = Network.load(tmp_path / "network.npz")
    assert network.input_codes.max() == 1
    assert network.layers[0].ticks == 255
    assert [layer.weight_bits for layer in network.layers] == [2, 8]
    assert abs(network.layers[0].weight.astype(int)).max() == 1
    assert report.ticks == [1, 255]


#: Every kind of layer, small enough to learn something in a second or two.
CONVOLUTIONAL = NetworkShape(
    layers=("8c3", "p2", "8c3+1", "d3", "a2", "24"), weight_bits=(4, 4, 4, 3, 4),
    ticks=(15, 15, 7, 15, 15),
)


def test_convolutional_network(digits, tmp_path):
    settings = change(QUICK, network=CONVOLUTIONAL, activity_penalty=(0.001, 0, 0, 0, 0.001))
    report = train(settings, digits, tmp_path)
    assert report.accuracy_network > 0.75
    assert report.layers == ["8c3", "p2", "8c3+1", "d3", "a2", "24"]
    assert report.sizes == [64, 128, 128, 128, 32, 24, 10]
    network = Network.load(tmp_path / "network.npz")
    assert [layer.kind for layer in network.layers] == [
        "conv2d", "conv2d", "depthwise", "depthwise", "dense", "dense"
    ]
    assert [layer.weight_bits for layer in network.layers] == [4, 4, 4, 2, 3, 4]
    assert [layer.ticks for layer in network.layers] == [15, 15, 7, 15, 15, 0]
    assert (network.layers[0].pool, network.layers[0].map_shape) == (2, (4, 4, 8))
    assert network.layers[1].second_source == 0
    trace = golden.run(network, digits.x_test)
    assert report.accuracy_network == (trace.winners == digits.y_test).mean()
    assert report.spikes_per_neuron == pytest.approx(trace.spikes_per_neuron)
    _, _, x_heldout, y_heldout = datasets.split_holdout(digits, 200, 0)
    heldout = golden.run(network, x_heldout)
    assert report.accuracy_heldout == (heldout.winners == y_heldout).mean()
    history = json.loads((tmp_path / "history.json").read_text())
    kept = history[5 + report.epoch]
    assert kept["spikes_per_neuron"] == pytest.approx(heldout.spikes_per_neuron)
    assert config.load(tmp_path / "config.toml") == settings


def test_activity_penalty_of_one_layer(digits, tmp_path):
    silent = [
        np.array(train(change(QUICK, activity_penalty=penalty), digits, tmp_path).events_hidden)
        for penalty in ((0.03, 0.0), (0.0, 0.03))
    ]
    # Each is more silent where spikes cost something than where they are free.
    assert silent[0][0] < 0.8 * silent[1][0]
    assert silent[1][1] < 0.8 * silent[0][1]


def test_layers_that_do_not_fit_the_images(digits, tmp_path):
    shape = NetworkShape(layers=("8c3", "p2", "4c9p0"))
    refused("network.layers do not fit digits: '4c9p0' does not fit the map of 4 x 4 x 8 that it "
            "reads", change(QUICK, network=shape), digits, tmp_path)
    shape = NetworkShape(layers=("8c3", "p2", "8c3", "16c3+1", "9"))
    refused(r"'16c3\+1' makes a map of 4 x 4 x 16 and cannot add that of layer 1, which is "
            "4 x 4 x 8", change(QUICK, network=shape), digits, tmp_path)


def test_interrupt_leaves_earlier_results(quick, digits, tmp_path):
    (tmp_path / "network.npz").write_bytes(b"earlier")

    def interrupt(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(QUICK, digits, tmp_path, interrupt)
    assert {path.name for path in tmp_path.iterdir()} == {"network.npz", "checkpoint.npz"}
    assert (tmp_path / "network.npz").read_bytes() == b"earlier"


def refused(message, configuration, dataset, folder, kind=InputError):
    with pytest.raises(kind, match=message) as caught:
        train(configuration, dataset, folder)
    assert "\n" not in str(caught.value)
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_divergence(digits, tmp_path):
    wild = change(QUICK, learning_rate=10.0, warmup=0.0)
    refused(r"diverged in epoch \d of the network stage: the loss is nan; lower the learning rate",
            wild, digits, tmp_path)


def test_narrow_accumulators(digits, tmp_path):
    refused(
        "layer hidden1 can reach membrane potentials from .* accumulator_bits 8 hold -128 to 127; "
        "give the layer fewer inputs",
        change(QUICK, accumulator_bits=8, float_epochs=1, epochs=1), digits, tmp_path, FailureError,
    )


def test_bad_datasets(digits, tmp_path):
    def refuse(message, **changes):
        refused(message, QUICK, dataclasses.replace(digits, **changes), tmp_path / "run")

    none = np.zeros((0, 64), np.uint8)
    refuse("0 training images and 0 labels", x_train=none, y_train=np.zeros(0, int))
    refuse("0 test images and 450 labels", x_test=none)
    refuse("training labels must be from 0 to 4, not from 0 to 9", classes=5)
    refuse("training images of one class only", y_train=np.zeros(1347, int))
    refuse("every pixel of the training images is 0", x_train=np.zeros((1347, 64), np.uint8))
    refused("dead_zone 17 silences every pixel", change(QUICK, dead_zone=17), digits, tmp_path)
    refused("cannot hold out 1347 of the 1347", change(QUICK, heldout=1347), digits, tmp_path)
    flat = dataclasses.replace(digits, shape=(1, 1, 64))
    bent = change(QUICK, shift=1.0)
    refused("are not images; set everything in .augmentation. to 0", bent, flat, tmp_path)


def test_unwritable_folder(digits, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write to folder .*; choose another with -o"):
        train(QUICK, digits, tmp_path / "file" / "run")


def test_augmentation_moves_what_it_says(digits):
    def bent(**augmentation):
        configuration = change(QUICK, batch=2000, **augmentation)
        data = Data(configuration, dataset, torch.device("cpu"))
        pixels, labels = next(data.batches())
        return pixels.view(-1, 16, 16), labels

    # A single bright dot in the middle of a 16 x 16 image.
    images = np.zeros((1347, 16, 16), np.uint8)
    images[:, 7:9, 7:9] = 200
    dataset = Dataset("dots", (16, 16, 1), 10, images.reshape(-1, 256), digits.y_train,
                      images.reshape(-1, 256), digits.y_train)
    still, _ = bent()
    assert (still == torch.from_numpy(images[0]).float()).all()
    moved, _ = bent(shift=3.0)
    assert moved.min() >= 0
    assert moved.max() < 200.01
    grid = torch.arange(16.0)
    centre = (moved.sum(dim=1) * grid).sum(dim=1) / moved.sum(dim=(1, 2)) - 7.5
    assert 2.8 < centre.abs().max() < 3.05
    assert abs(centre.mean()) < 0.2
    for one in ({"rotation": 45.0}, {"scale": 0.3}, {"shear": 0.5}, {"elastic": 1.0}):
        changed, _ = bent(**one)
        assert (changed != still).any()
        # Nothing but the elastic bends moves the middle of the image.
        middle = (changed.sum(dim=1) * grid).sum(dim=1) / changed.sum(dim=(1, 2)) - 7.5
        assert ("elastic" in one) == bool(middle.abs().max() > 0.1)


def test_colour_images_are_bent_as_one(digits):
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 256, (40, 9, 7, 1), np.uint8)
    colour = np.repeat(grey, 3, axis=3)
    labels = np.arange(40) % 2
    dataset = Dataset("colour", (9, 7, 3), 2, colour.reshape(40, -1), labels,
                      colour.reshape(40, -1), labels)
    configuration = change(QUICK, heldout=1, batch=64, shift=2.0, elastic=1.0)
    pixels, _ = next(Data(configuration, dataset, torch.device("cpu")).batches())
    red, green, blue = pixels.view(-1, 9, 7, 3).unbind(dim=3)
    assert (red == green).all()
    assert (red == blue).all()
    assert len(red) == 39


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_preset(digits, tmp_path, seed):
    report = train(config.load("digits-mlp", {"seed": seed}), digits, tmp_path)
    assert report.accuracy_network >= 0.97
    assert not math.isnan(report.accuracy_heldout)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layers"), [
    ("cifar10-vgg-small", 5), ("cifar10-vgg", 8), ("cifar10-resnet", 13),
])
def test_cifar_preset_on_made_up_images(tmp_path, name, layers):
    """Stripes, upright or flat, in one of five colours: all of the preset but its images."""
    preset = config.load(name)
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 10
    stripes = np.zeros((600, 32, 32, 3))
    stripes[:, ::4] = 1
    stripes[labels >= 5] = stripes[labels >= 5].transpose(0, 2, 1, 3)
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])
    images = 200 * stripes * colours[labels % 5][:, None, None] + 50 * generator.random(
        stripes.shape)
    images = np.clip(images, 0, 255).astype(np.uint8).reshape(600, -1)
    dataset = Dataset("stripes", (32, 32, 3), 10, images[:500], labels[:500], images[500:],
                      labels[500:])
    quick = change(preset, heldout=100, float_epochs=2, epochs=4, batch=20, average=0.8)
    report = train(quick, dataset, tmp_path)
    assert len(report.sizes) == layers + 1
    # Chance is 0.1.
    assert report.accuracy_network > 0.5
    network = Network.load(tmp_path / "network.npz")
    assert network.input_ticks == 15
    assert network.input_shape == (32, 32, 3)


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.parametrize(("name", "epochs", "accuracy", "spikes"), [
    ("mnist-mlp", 4, 0.96, 0.3),
    ("mnist-mlp-3bit", 4, 0.95, 0.35),
    ("mnist-mlp-sparse", 4, 0.95, 0.22),
    # So few neurons cannot afford to be silent as often.
    ("mnist-mlp-tiny", 4, 0.92, 0.55),
    ("mnist-lenet", 2, 0.97, 0.3),
])
def test_mnist_preset(tmp_path, name, epochs, accuracy, spikes):
    preset = config.load(name)
    try:
        mnist = datasets.load(preset.dataset)
    except InputError as error:
        pytest.skip(str(error))
    report = train(change(preset, float_epochs=2, epochs=epochs), mnist, tmp_path)
    # A tenth of the preset's epochs; the preset's own figures are the benchmark's.
    assert report.accuracy_network >= accuracy
    assert report.spikes_per_neuron <= spikes
    assert max(max(-low - 1, high) for low, high in report.bounds) < 1 << 15
