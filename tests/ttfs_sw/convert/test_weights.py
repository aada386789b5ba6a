# SPDX-License-Identifier: Apache-2.0
"""Files of weights that are not what they should be: none is an internal error, none half read."""

import numpy as np
import pytest
import torch
from torch import nn

from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import read_model
from ttfs_sw.convert.calibrate import relu_network
from ttfs_sw.data import datasets
from ttfs_sw.training import config
from ttfs_sw.training.config import Config

SOURCE = """\
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
"""


def module():
    names = {}
    exec(SOURCE, names)
    torch.manual_seed(0)
    return names["net"]().eval()


def weights():
    return {name: value.detach() for name, value in module().state_dict().items()}


def changed(change):
    found = weights()
    found["1.weight"] = change(found["1.weight"])
    return found


def ours(**more):
    found = weights()
    relu = {"layers.0.weight": found["1.weight"], "layers.0.bias": found["1.bias"],
            "layers.1.weight": found["3.weight"], "layers.1.bias": found["3.bias"]}
    return {"relu": relu, **more}


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture
def read(tmp_path, digits):
    """Read a file of weights in both ways."""
    (tmp_path / "net.py").write_text(SOURCE)
    settings = {"file": config.load("digits-mlp"), "module": Config()}

    def run(way, path):
        if way == "file":
            return read_model(path, digits, settings[way])
        return read_model(f"{tmp_path}/net.py:net", digits, settings[way], weights=path)

    return run


REFUSED = {
    "complex": (lambda: changed(lambda tensor: tensor * 1j), "1.weight is complex; save it as an"),
    "sparse": (lambda: changed(lambda tensor: tensor.to_sparse()), "1.weight is sparse"),
    "meta": (lambda: changed(lambda tensor: tensor.to("meta")), "1.weight has no values, only a"),
    "not finite": (lambda: changed(lambda tensor: tensor / 0), "its numbers are not all finite"),
    "keys": (lambda: {1: torch.ones(2)}, "holds no state dict"),
    "bias": (lambda: weights() | {"1.bias": torch.ones(3)}, "is of another architecture: "),
    "more axes": (lambda: changed(lambda tensor: tensor[None]), "its 1.weight is 1 x 64 x 64, but"),
    "nothing": (dict, "holds no state dict"),
}


@pytest.mark.parametrize("way", ["file", "module"])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, way, read, tmp_path):
    make, words = REFUSED[name]
    torch.save(make(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=words):
        read(way, tmp_path / "w.pt")


@pytest.mark.parametrize("way", ["file", "module"])
@pytest.mark.parametrize("name", [
    "plain", "half", "double", "data parallel", "compiled", "nested", "big-endian", "columns first",
])
def test_read(name, way, read, tmp_path, digits):
    path, found = tmp_path / "w.pt", weights()
    if name in ("half", "double"):
        kind = torch.float16 if name == "half" else torch.float64
        found = {key: value.to(kind) for key, value in found.items()}
    prefix = {"data parallel": "module.", "compiled": "_orig_mod."}.get(name, "")
    found = {prefix + key: value for key, value in found.items()}
    if name in ("big-endian", "columns first"):
        path = tmp_path / "w.npz"
        change = np.asfortranarray if name == "columns first" else lambda x: x.astype(">f4")
        np.savez(path, **{key: change(value.numpy()) for key, value in found.items()})
    else:
        torch.save({"epoch": 3, "state_dict": found} if name == "nested" else found, path)
    relu = relu_network(read(way, path).folded)
    x = torch.from_numpy(digits.x_test).float() / 16
    wanted = module()(x)
    assert (relu(x) - wanted).abs().max() < (1e-2 if name == "half" else 1e-5)


@pytest.mark.parametrize(("more", "scale"), [
    ({"pixel_scale": 12}, 12), ({"pixel_scale": 255.0}, 255), ({}, 16), ({"pixel_scale": -3}, 16),
    ({"pixel_scale": float("nan")}, 16), ({"pixel_scale": "x"}, 16),
])
def test_what_our_checkpoints_say_of_pixels(more, scale, read, tmp_path):
    torch.save(ours(**more), tmp_path / "w.pt")
    pixels = read("file", tmp_path / "w.pt").pixels
    assert (pixels.scale, pixels.origin) == (scale, "weights")


def test_a_batch_norm_of_another_size(read, tmp_path):
    found = {}
    for key, value in weights().items():
        found[key] = value
        if key == "1.bias":
            norm = nn.BatchNorm1d(32).state_dict()
            found |= {f"2.{name}": value for name, value in norm.items()}
    torch.save(found, tmp_path / "w.pt")
    with pytest.raises(InputError, match="1 has a running_mean of 32, but 64 outputs"):
        read("file", tmp_path / "w.pt")
