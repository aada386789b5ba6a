# SPDX-License-Identifier: Apache-2.0
"""What comes into a conversion and what it is called: pixels, layouts, datasets, folders."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ttfs_sw.artifact.network import Network
from ttfs_sw.cli import main
from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import convert
from ttfs_sw.convert.pixels import Pixels, settle
from ttfs_sw.data import datasets
from ttfs_sw.data import paths as dataset_paths
from ttfs_sw.training import config
from ttfs_sw.training.config import Config, NetworkShape

#: The user's file: tells dark, grey and bright images apart, whose bytes were divided by DIVISOR.
SOURCE = '''\
import torch
from torch import nn

DIVISOR = {divisor}


def tell():
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 2), nn.ReLU(), nn.Linear(2, 3))
    with torch.no_grad():
        model[1].weight[:] = DIVISOR / 255 / 30
        model[1].bias[:] = torch.tensor([-75 / 255, -145 / 255])
        model[3].weight[:] = torch.tensor([[-1.0, 0], [1, -4], [0, 2]])
        model[3].bias[:] = torch.tensor([0.02, 0, -0.01])
    return model


def other():
    return tell()
'''


def write_source(folder, divisor=255, name="net.py"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(SOURCE.format(divisor=divisor))


def write_images(path, *, levels=(40, 110, 180), noise=20, order="nhw", **more):
    """Images of 6 x 5 pixels, as bright as their class; sorted by class, as files often are."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 40)
    x = np.array(levels)[y][:, None, None] + random.integers(-noise, noise + 1, (120, 6, 5))
    x = x.astype(np.uint8)
    x = {"nhw": x, "nhwc": x[..., None], "nchw": x[:, None]}[order]
    arrays = {"x_train": x, "y_train": y, "x_test": x[::2], "y_test": y[::2]}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays | more)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The user's folder, where ``ttfs`` runs."""
    monkeypatch.chdir(tmp_path)
    write_source(tmp_path)
    write_images(tmp_path / "d.npz")
    return tmp_path


def run(capsys, *words, code=0):
    """Run a verb; its report, or its complaint."""
    assert main([*map(str, words), "-q", "--json", "report.json"]) == code
    shown = capsys.readouterr()
    if code:
        (line,) = shown.err.splitlines()
        return line
    return json.loads(Path("report.json").read_text()) | {"table": shown.out}


# Pixels.


def test_bytes_are_divided_by_255(here, capsys):
    report = run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", "o")
    assert (report["pixel_scale"], report["pixel_scale_from"]) == (255, "assumed")
    assert report["brightest_pixel"] == 200
    assert report["accuracy_float"] == report["accuracy_network"] == 1
    assert "divided by 255 (assumed; if not, give --scale); brightest in training: 200" in (
        report["table"])
    # One byte of 255 among the images makes no difference.
    bright = datasets.load("d.npz").x_train.reshape(-1, 6, 5)
    bright[0, 0, 0] = 255
    write_images(here / "bright.npz", x_train=bright)
    same = run(capsys, "convert", "net.py:tell", "--dataset", "bright.npz", "-o", "o2")
    assert same["accuracy_float"] == 1
    codes = [Network.load(f"{folder}/network.npz").input_codes for folder in ("o", "o2")]
    assert (codes[0] == codes[1]).all()


@pytest.mark.parametrize("divisor", [1, 200, 100.5])
def test_scale(here, capsys, divisor):
    """Whatever the pixels were divided by, the same network comes out, and the same logits."""
    write_source(here / "more", divisor)
    words = "--dataset", "d.npz", "-o", "o"
    plain = run(capsys, "convert", "net.py:tell", *words)
    report = run(capsys, "convert", "more/net.py:tell", "--scale", divisor, *words)
    assert (report["pixel_scale"], report["pixel_scale_from"]) == (divisor, "option")
    assert report["accuracy_network"] == report["accuracy_float"] == plain["accuracy_float"] == 1
    assert run(capsys, "evaluate", "o", "--dataset", "d.npz")["accuracy"] == 1


@pytest.mark.parametrize(
    ("divisor", "found"), [(1, "by 255, as assumed, but 100.0% if by 1;"),
                           (200, "by 255, as assumed, but 100.0% if by 200;")])
def test_assumptions_that_images_contradict(here, capsys, divisor, found):
    # Near the borders of the model's classes, so that the factor 255 / 200 counts.
    write_images(here / "d.npz", levels=(40, 90, 180))
    write_source(here, divisor)
    line = run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", "o", code=2)
    assert "of 120 training images the model recognises " in line
    assert found in line
    assert f"--scale {divisor} or --scale 255, and --mean and --std if its images were" in line
    assert not (here / "o" / "network.npz").exists()
    # What the user says is not questioned.
    report = run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", "o", "--scale", 255,
                 "--max-loss", 100)
    assert report["accuracy_float"] < 0.9


def test_scales_go_with_normalisation(here, capsys):
    """(x - mean) / std of pixels x, in a network that pads, where shifts cost a layer."""
    (here / "pads.py").write_text('''\
import torch
from torch import nn

def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(90, 3))
''')
    report = run(capsys, "convert", "pads.py:net", "--dataset", "d.npz", "-o", "o", "--scale", 90,
                 "--mean", 0.7, "--std", 1.3, "--set", "weight_bits=8", "--max-loss", 100)
    assert report["agreement"] >= 0.95
    names = {}
    exec((here / "pads.py").read_text(), names)
    images = datasets.load("d.npz")
    x = torch.from_numpy(images.x_test).float().view(-1, 1, 6, 5)
    winners = names["net"]()((x / 90 - 0.7) / 1.3).argmax(1).numpy()
    assert report["accuracy_float"] == (winners == images.y_test).mean()


@pytest.mark.parametrize(
    ("scale", "brightest", "maximum"),
    [(255, 255, 255), (255, 218, 255), (255, 128, 255), (255, 127, 127), (255, 16, 16),
     (16, 16, 16), (1, 1, 1), (1, 255, 255), (16, 17, 17), (127.5, 100, 100), (255, 0, 1)],
)
def test_codes_cost_less_than_a_bit(scale, brightest, maximum):
    pixels = Pixels(float(scale), "option", brightest)
    assert pixels.maximum == maximum
    assert pixels.worth == maximum / scale


def test_who_says_what_pixels_are_divided_by(here, capsys):
    mine, digits = datasets.load("d.npz"), datasets.load("digits")
    assert [item.white for item in (mine, digits)] == [None, 16]
    assert (settle(None, mine).scale, settle(None, mine).origin) == (255, "assumed")
    assert (settle(None, digits).scale, settle(None, digits).origin) == (16, "dataset")
    assert (settle(None, mine, 200).scale, settle(None, mine, 200).origin) == (200, "weights")
    assert (settle(3.5, digits, 200).scale, settle(3.5, digits, 200).origin) == (3.5, "option")
    for bad in ("0", "-1", "nan", "inf", "x"):
        assert "--scale: must be a number above 0" in run_usage(
            capsys, "convert", "net.py:tell", "--dataset", "d.npz", "--scale", bad)
    with pytest.raises(InputError, match="--scale must be above 0, not -1: pixels are divided by"):
        settle(-1.0, mine)


def run_usage(capsys, *words):
    assert main([*words]) == 2
    return capsys.readouterr().err


def test_checkpoints_say_what_their_pixels_were_divided_by(here, capsys):
    """Training divides by the brightest pixel; its weights are converted so, and so are ours."""
    small = ["hidden=[6]", "heldout=20", "float_epochs=2", "epochs=1", "batch=30"]
    settings = [word for item in small for word in ("--set", item)]
    trained = run(capsys, "train", "digits-mlp", "--dataset", "d.npz", *settings, "-o", "t")
    report = run(capsys, "convert", "t/model.pt", "--config", "t/config.toml", "-o", "o", "--set",
                 "accumulator_bits=32", "--max-loss", 100)
    assert (report["pixel_scale"], report["pixel_scale_from"]) == (200, "weights")
    assert report["accuracy_float"] == trained["accuracy_float"]
    # A network of another scale, converted and converted again, is the same.
    write_source(here, 255)
    first = run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", "a")
    again = run(capsys, "convert", "a/model.pt", "--config", "a/config.toml", "-o", "b")
    assert (again["pixel_scale"], again["pixel_scale_from"]) == (255, "weights")
    assert again["accuracy_float"] == first["accuracy_float"] == 1
    assert torch.load("a/model.pt", weights_only=True)["pixel_scale"] == 255


# The order of the axes.


def test_layouts_give_one_network(here, capsys):
    reports = {}
    for order in ("nhw", "nhwc", "nchw"):
        write_images(here / "d.npz", order=order)
        asked = [] if order == "nhw" else ["--layout", order]
        if asked:
            line = run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", "x", code=2)
            assert "say which with --layout nchw or --layout nhwc" in line
        reports[order] = run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", order,
                             *asked)
        # The network knows what it reads: nothing need be said again.
        assert run(capsys, "evaluate", order, "--limit", 30)["images"] == 30
    assert len({report["sha256"] for report in reports.values()}) == 1
    # Not even if the images lie in another order now than when it was made.
    assert run(capsys, "evaluate", "nhw")["accuracy"] == 1
    line = run(capsys, "evaluate", "nhw", "--layout", "chw", code=2)
    assert "invalid choice: 'chw'" in line


# Datasets from any folder.


def test_networks_find_their_dataset_from_any_folder(here, capsys, monkeypatch):
    write_images(here / "data" / "e.npz")
    run(capsys, "convert", "net.py:tell", "--dataset", "data/e.npz")
    network = here / "runs" / "net-tell" / "network.npz"
    assert Network.load(network).dataset == "data/e.npz"
    for folder in (network.parent, here / "data", here.parent):
        monkeypatch.chdir(folder)
        assert run(capsys, "evaluate", network)["accuracy"] == 1
        assert run(capsys, "evaluate", os.path.relpath(network))["accuracy"] == 1
    # The project as a whole may move.
    moved = here.rename(here.parent / "moved")
    assert run(capsys, "evaluate", moved / "runs" / "net-tell")["accuracy"] == 1


def test_a_network_elsewhere_remembers_the_way(here, capsys, monkeypatch, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", away / "net")
    assert Network.load(away / "net" / "network.npz").dataset == (
        f"../../{here.name}/d.npz")
    assert config.load(away / "net" / "config.toml").dataset == f"../../{here.name}/d.npz"
    monkeypatch.chdir(away)
    assert run(capsys, "evaluate", "net")["accuracy"] == 1
    # The configuration beside it finds it as well.
    small = ["heldout=20", "float_epochs=1", "epochs=1", "accumulator_bits=32"]
    run(capsys, "train", "net/config.toml", "-o", "t",
        *[word for item in small for word in ("--set", item)])


def test_a_dataset_that_is_gone(here, capsys):
    run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", "o")
    (here / "d.npz").rename(here / "e.npz")
    for verb in ("evaluate", "cosim"):
        assert run(capsys, verb, "o", code=2) == (
            f"ttfs {verb}: o/network.npz says its dataset is 'd.npz', but there is none in this "
            "folder, beside that file, or in a folder above it; name the dataset with --dataset")
    assert run(capsys, "evaluate", "o", "--dataset", "e.npz")["accuracy"] == 1
    (here / "c.toml").write_text('dataset = "minst"\n')
    assert run(capsys, "train", "c.toml", code=2).endswith(
        "or in a folder above it; did you mean mnist? name the dataset with --dataset")


def test_two_datasets_of_one_name(here, capsys, monkeypatch):
    run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", "-o", "o")
    write_images(here / "sub" / "d.npz", levels=(180, 110, 40))
    monkeypatch.chdir(here / "sub")
    line = run(capsys, "evaluate", "../o", code=2)
    assert line == (
        f"ttfs evaluate: ../o/network.npz says its dataset is 'd.npz', which may be d.npz or "
        f"{here / 'd.npz'}; say which with --dataset")
    assert run(capsys, "evaluate", "../o", "--dataset", "../d.npz")["accuracy"] == 1


def test_remembered_paths(here, tmp_path_factory):
    write_images(here / "data" / "e.npz")
    away = tmp_path_factory.mktemp("far")
    for name, folder, wanted in (
        ("digits", away, "digits"),
        ("d.npz", here / "runs" / "x", "d.npz"),
        ("data/e.npz", here / "runs" / "x", "data/e.npz"),
        ("data/e.npz", here, "data/e.npz"),
        ("data/e.npz", away, f"../{here.name}/data/e.npz"),
        ("../" + here.name + "/d.npz", away, f"../{here.name}/d.npz"),
        (str(here / "d.npz"), away, str(here / "d.npz")),
        ("nothing.npz", away, "nothing.npz"),
    ):
        found = dataset_paths.remembered(name, folder)
        assert found == wanted
        if name != "nothing.npz":
            folder.mkdir(parents=True, exist_ok=True)
            owner = folder / "network.npz"
            assert name == "digits" or (
                Path(dataset_paths.find(found, owner)).samefile(name))


# Names of runs.


def test_names_come_from_file_and_function(here, capsys):
    write_source(here / "a", name="first.py")
    for model, name in (("net.py:tell", "net-tell"), ("net.py:other", "net-other"),
                        ("a/first.py:tell", "first-tell"), ("./net.py:tell", "net-tell")):
        report = run(capsys, "convert", model, "--dataset", "d.npz")
        assert report["files"] == [f"runs/{name}/network.npz"]
        assert Network.load(report["files"][0]).preset == name
        assert json.loads((here / "runs" / name / "convert.json").read_text())["model"] == model


def test_networks_of_other_models_are_not_written_over(here, capsys):
    write_source(here / "a")
    run(capsys, "convert", "net.py:tell", "--dataset", "d.npz")
    network = here / "runs" / "net-tell" / "network.npz"
    before = network.read_bytes()
    line = run(capsys, "convert", "a/net.py:tell", "--dataset", "d.npz", code=2)
    assert line == (
        "ttfs convert: runs/net-tell holds the network of net.py:tell, which would be lost; say "
        "where this one goes with -o (-o runs/net-tell to write over it)")
    names = {}
    exec((here / "net.py").read_text(), names)
    torch.save(names["tell"]().state_dict(), "w.pt")
    line = run(capsys, "convert", "net.py:tell", "--weights", "w.pt", "--dataset", "d.npz", code=2)
    assert "holds the network of net.py:tell, which would be lost" in line
    assert network.read_bytes() == before
    run(capsys, "convert", "net.py:tell", "--weights", "w.pt", "--dataset", "d.npz", "-o",
        "runs/net-tell")
    line = run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", code=2)
    assert "holds the network of net.py:tell with w.pt, which would be lost" in line
    for content in ("", "[]", "{}", '{"model": "net.py:tell"}'):
        (network.parent / "convert.json").write_text(content)
        line = run(capsys, "convert", "net.py:tell", "--dataset", "d.npz", code=2)
        assert "runs/net-tell holds the network of something else, which would be lost" in line


def test_paths_in_python(here):
    """The same holds for the function, where a folder is always given."""
    data = datasets.load("d.npz")
    shape = NetworkShape(weight_bits=8, ticks=255, input_ticks=255, accumulator_bits=32)
    report = convert("net.py:tell", data, "x/y", Config(network=shape), scale=255)
    assert Network.load("x/y/network.npz").dataset == "d.npz"
    assert report.weights is None
