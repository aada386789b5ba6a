# SPDX-License-Identifier: Apache-2.0
"""Odd models: whatever a user's function gives is converted right or refused in one sentence."""

import dataclasses

import numpy as np
import pytest
import torch

from ttfs_sw.common.errors import FailureError, InputError
from ttfs_sw.convert import convert, read_model
from ttfs_sw.convert.calibrate import relu_network
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.golden.torch_model import one_thread
from ttfs_sw.training.config import Config

#: The user's file. Each function is a model of 4 x 4 images and three classes.
SOURCE = '''\
import collections
import dataclasses
import sys

import torch
from torch import nn

Pair = collections.namedtuple("Pair", ["logits", "hidden"])
Scores = collections.namedtuple("Scores", ["scores", "hidden"])


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


class Wrap(nn.Module):
    """A small network, and what is done with its logits."""

    def __init__(self, answer, before=lambda x: x, **parts):
        super().__init__()
        self.net = small()
        self.answer, self.before = answer, before
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.answer(self.net(self.before(x)))


class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small()


class TwoInputs(Takes):
    def forward(self, x, y):
        return self.net(x + y)


class Keywords(Takes):
    def forward(self, *, pixels):
        return self.net(pixels)


class Anything(Takes):
    def forward(self, *pixels, **more):
        return self.net(pixels[0])


class Optional(Takes):
    def forward(self, pixels, labels=None, scale=1.0):
        logits = self.net(pixels)
        return {"loss": None, "logits": logits * scale}


class Branches(Takes):
    def forward(self, x):
        return self.net(x) if x.sum() > 3 else self.net(2 * x)


class Fails(Takes):
    def forward(self, x):
        if not torch.compiler.is_compiling() and x.abs().max() > 0:
            raise RuntimeError("no such luck\\nmore of it")
        return self.net(x)


class Leaves(Takes):
    def forward(self, x):
        sys.exit(0)


class Lying(Takes):
    """Other logits than those that torch.export sees."""

    def forward(self, x):
        return self.net(x) if torch.compiler.is_compiling() else self.net(x) + x.flatten(1)[:, :3]


class OtherShape(Takes):
    def forward(self, x):
        return self.net(x) if torch.compiler.is_compiling() else self.net(x)[:, :2]


class Mixed(Takes):
    """Normalises in float64 what it reads in float32."""

    def forward(self, x):
        return self.net((x.double() * 2 - 1).float())


def filled(value):
    model = small()
    with torch.no_grad():
        model[1].weight[2, 3] = value
    return model


def negative(norm):
    norm.running_var.fill_(-1.0)
    return norm


def lazy(seen=False):
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    if seen:
        model(torch.zeros(1, 1, 4, 4))
    return model


def trained():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(16, 3))
    return model.train()


def shared():
    layer = nn.Linear(16, 16)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(16, 3))


CONVERTED = {
    "plain": small,
    "dictionary": lambda: Wrap(lambda y: {"logits": y}),
    "dictionary of another name": lambda: Wrap(lambda y: {"scores": y, "n": 3, "loss": None}),
    "dictionary of two": lambda: Wrap(lambda y: {"probabilities": y.softmax(1), "logits": y}),
    "nested": lambda: Wrap(lambda y: {"out": {"logits": y, "tanh": y.tanh()}}),
    "tuple of one": lambda: Wrap(lambda y: (y,)),
    "list of one": lambda: Wrap(lambda y: [y]),
    "tuple with none": lambda: Wrap(lambda y: (None, y, 7)),
    "named tuple": lambda: Wrap(lambda y: Pair(y, y.exp())),
    "dataclass": lambda: Wrap(Answer),
    "twice the same": lambda: Wrap(lambda y: (y, y)),
    "ordered": lambda: Wrap(lambda y: collections.OrderedDict(aux=y * 2, logits=y)),
    "options": Optional,
    "anything": Anything,
    "half": lambda: small().half(),
    "bfloat16": lambda: small().bfloat16(),
    "double": lambda: small().double(),
    "mixed": Mixed,
    "lazy and seen": lambda: lazy(seen=True),
    "in training mode": trained,
    "shared layer": shared,
    "sigmoid": lambda: nn.Sequential(*small(), nn.Sigmoid()),
    "softmax": lambda: nn.Sequential(*small(), nn.Softmax(1)),
    "flat": lambda: small()[1:],
    "frozen": lambda: small().requires_grad_(False),
    "unused complex": lambda: Wrap(lambda y: y, z=nn.Parameter(torch.ones(2) * 1j)),
    "instance": small(),
}

REFUSED = {
    "nothing": lambda: Wrap(lambda y: None),
    "number": lambda: Wrap(lambda y: 3),
    "empty list": lambda: Wrap(lambda y: []),
    "pair": lambda: Wrap(lambda y: (y, y.softmax(1))),
    "two names": lambda: Wrap(lambda y: {"a": y, "b": 2 * y}),
    "unclear names": lambda: Wrap(lambda y: Scores(y, y + 1)),
    "two of one name": lambda: Wrap(lambda y: {"a": {"logits": y}, "b": {"logits": 2 * y}}),
    "class number": lambda: Wrap(lambda y: y.argmax(1)),
    "integers": lambda: Wrap(lambda y: y.long()),
    "rounded image": lambda: Wrap(lambda y: y, before=lambda x: x.byte().float()),
    "wrong softmax": lambda: nn.Sequential(*small(), nn.Softmax(0)),
    "image": nn.Identity,
    "constant": lambda: Wrap(lambda y: torch.ones(2, 3)),
    "text": lambda: Wrap(lambda y: "seven"),
    "two inputs": TwoInputs,
    "keywords only": Keywords,
    "branches": Branches,
    "fails": Fails,
    "leaves": Leaves,
    "lying": Lying,
    "other shape": OtherShape,
    "lazy": lambda: Wrap(lambda y: y, before=lambda x: x.reshape(2, 2, 8)),
    "meta": lambda: small().to("meta"),
    "complex": lambda: small().to(torch.complex64),
    "complex image": lambda: Wrap(lambda y: y, before=lambda x: (x * 1j).imag),
    "no parameters": nn.Flatten,
    "no layers": nn.Sequential,
    "not a number": lambda: filled(float("nan")),
    "negative variance": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), negative(nn.BatchNorm1d(8)), nn.ReLU(), nn.Linear(8, 3)),
    "infinite": lambda: filled(float("inf")),
    "one output": lambda: nn.Sequential(*small()[:-1], nn.Linear(8, 1)),
    "more outputs": lambda: nn.Sequential(*small()[:-1], nn.Linear(8, 5)),
    "squeezed": lambda: nn.Sequential(*small()[:-1], nn.Linear(8, 1), nn.Flatten(0)),
    "scripted": lambda: torch.jit.script(small()),
    "not a module": lambda: [small()],
    "tensor": lambda: torch.ones(3),
    "class": type,
    "asks": lambda size: small(),
    "raises": lambda: 1 / 0,
    "exits": lambda: sys.exit("no"),
    "three axes": lambda: nn.Sequential(nn.Flatten(0, 1), nn.Linear(4, 3)),
    "no batch": lambda: Wrap(lambda y: y[0]),
    "sparse": lambda: Wrap(lambda y: y.to_sparse()),
    "quantised": lambda: Wrap(lambda y: torch.quantize_per_tensor(y, 0.1, 0, torch.qint8)),
    "random": lambda: Wrap(lambda y: y + torch.rand_like(y)),
    "time": lambda: Wrap(lambda y: y, before=lambda x: x.cumsum(-1)),
    "grows": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3)),
}

for _index, (_name, _make) in enumerate({**CONVERTED, **REFUSED}.items()):
    globals()[f"model{_index}"] = _make
'''

NAMES = {"__name__": __name__}
exec(SOURCE, NAMES)
CONVERTED, REFUSED = NAMES["CONVERTED"], NAMES["REFUSED"]
INDEX = {name: index for index, name in enumerate({**CONVERTED, **REFUSED})}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("odd") / "odd.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16), np.uint8)
    labels = np.arange(60) % 3
    return Dataset("random", (4, 4, 1), 3, pixels, labels, pixels, labels)


def run(model, images, out, **options):
    """Convert, with a check of what the layers compute against the module in float64."""
    # What a random network recognises says nothing about its pixels' scale, nor its integers.
    return convert(model, images, out, Config(), scale=255, max_loss=100.0, **options)


def logits(returned):
    """The logits among what a model returns, found here in a way of its own."""
    if isinstance(returned, torch.Tensor):
        return returned
    if hasattr(returned, "_asdict"):
        returned = returned._asdict()
    if dataclasses.is_dataclass(returned):
        returned = vars(returned)
    if isinstance(returned, dict):
        items = [returned["logits"]] if "logits" in returned else list(returned.values())
    else:
        items = list(returned)
    items = [item for item in items if isinstance(item, torch.Tensor | dict)]
    return logits(items[0])


@pytest.mark.parametrize("name", CONVERTED)
@one_thread()
def test_converted(name, file, images, tmp_path):
    torch.manual_seed(1)
    read = read_model(f"{file}:model{INDEX[name]}", images, Config(), scale=255)
    # Of half precision or not, as float64; but two of them are not all floating-point numbers.
    kind = torch.float32 if name in ("mixed", "unused complex") else torch.float64
    module = read.module if kind is torch.float32 else read.module.to(kind)
    x = torch.from_numpy(images.x_test).to(kind) / 255
    try:
        wanted = logits(module(x.view(-1, 1, 4, 4)))
    except RuntimeError:
        wanted = logits(module(x))
    found = relu_network(read.folded).to(kind)(x)
    if name in ("sigmoid", "softmax"):
        found = {"sigmoid": torch.sigmoid, "softmax": lambda y: y.softmax(1)}[name](found)
    # The folded weights are float32.
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
    report = run(f"{file}:model{INDEX[name]}", images, tmp_path)
    assert report.images == 60


@pytest.mark.parametrize("name", REFUSED)
@one_thread()
def test_refused(name, file, images, tmp_path):
    with pytest.raises((InputError, FailureError)) as caught:
        run(f"{file}:model{INDEX[name]}", images, tmp_path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert not (tmp_path / "network.npz").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "returns no tensor; its forward must return the logits"),
        ("pair", "returns 2 tensors (0, 1), and it is not clear which are the logits"),
        ("two names", "returns 2 tensors (a, b)"),
        ("unclear names", "returns 2 tensors (scores, hidden)"),
        ("two of one name", "returns 2 tensors (a.logits, b.logits)"),
        ("wrong softmax", "does not convert"),
        ("meta", "has no weights, only their sizes (torch's device 'meta')"),
        ("fails", "RuntimeError: no such luck"),
        ("not a number", "its numbers are not all finite"),
        ("one output", "has 1 output, but one for each class is needed"),
        ("more outputs", "has 5 outputs, but random has 3 classes, labels 0 to 2; give it a last"),
        ("lying", "do not give its logits"),
        ("other shape", "do not give its logits (they are ["),
    ],
)
@one_thread()
def test_sentences(name, words, file, images, tmp_path):
    with pytest.raises((InputError, FailureError)) as caught:
        run(f"{file}:model{INDEX[name]}", images, tmp_path)
    assert words in str(caught.value)


def test_several_tensors_are_said(file, images):
    read = read_model(f"{file}:model{INDEX['dictionary of two']}", images, Config())
    (note,) = read.folded.notes
    assert note.endswith("logits are the logits; left out: probabilities")


def test_labels_from_one(file, images):
    shifted = dataclasses.replace(images, y_train=images.y_train + 1, classes=4)
    with pytest.raises(InputError, match="are 1 to 3; they must count from 0: subtract 1 from"):
        read_model(f"{file}:model0", shifted, Config())


def test_lazy_layers_have_nowhere_to_put_weights(file, tmp_path, images):
    (tmp_path / "lazy.py").write_text(
        "from torch import nn\ndef net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))\n")
    torch.save(NAMES["small"]().state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"nn\.LazyLinear, so .*w\.pt cannot be put into it"):
        read_model(f"{tmp_path}/lazy.py:net", images, Config(), weights=tmp_path / "w.pt")
