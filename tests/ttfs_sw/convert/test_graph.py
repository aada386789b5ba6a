# SPDX-License-Identifier: Apache-2.0
"""Reading a model: the layers found give its logits to rounding, and what cannot be is named."""

import json
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import archive, graph, source, state
from ttfs_sw.convert.calibrate import relu_network
from ttfs_sw.convert.texts import texts
from ttfs_sw.training import topology
from ttfs_sw.training.models import ReluNetwork

#: Height, width and channels of the images here: no two sizes are alike.
SHAPE = (8, 6, 3)


class Model(nn.Module):
    """A module whose forward pass is a function of the parts it is given."""

    def __init__(self, forward, **parts):
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self._forward(self, x)


def settled(model):
    """The model in float64 with batch-norms that do something, some of it negative."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            if module.affine:
                nn.init.normal_(module.weight, 0, 1, generator=generator)
                nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return model.double().eval()


def conv(inputs, outputs, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


def head(inputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 4))


def residual(self, x):
    x = functional.relu(self.first(x))
    x = functional.relu(self.norm(self.second(x)) + x)
    return self.head(functional.max_pool2d(x, 2))


def preactivation(self, x):
    x = torch.relu(self.first(x))
    x = self.second(torch.relu(self.norm(x)))
    return self.head(nn.functional.relu(x).mean((2, 3)))


def functions(self, x):
    x = (x - 0.3) / self.deviation
    x = x.view(x.size(0), -1)
    x = self.drop(self.first(x).relu_())
    return functional.log_softmax(2 * self.last(x) + 1, dim=1)


def added_maps(self, x):
    x = torch.relu(self.first(x))
    y = torch.relu(self.second(x))
    return self.head(functional.max_pool2d(x + y, 2))


def pooled_copy(self, x):
    # The map is read unpooled too: a layer of its own pools it.
    x = torch.relu(self.first(x))
    y = torch.relu(self.second(x) + x)
    return self.head(torch.relu(self.third(functional.max_pool2d(y, 2))))


GOOD = {
    "dense": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(144, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 7, bias=False),
        nn.ReLU(), nn.Linear(7, 4)),
    "flat images": lambda: nn.Sequential(nn.Linear(144, 9), nn.ReLU(), nn.Linear(9, 4)),
    "batch-norm before": lambda: nn.Sequential(
        conv(3, 5, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(60, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4), nn.BatchNorm1d(4)),
    "batch-norm after": lambda: nn.Sequential(
        conv(3, 5), nn.ReLU(), nn.BatchNorm2d(5), nn.AvgPool2d(2), nn.Conv2d(5, 6, 2), nn.ReLU(),
        nn.BatchNorm2d(6), nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 9), nn.ReLU(),
        nn.BatchNorm1d(9), nn.Linear(9, 4)),
    "border": lambda: nn.Sequential(
        conv(3, 5), nn.ReLU(), nn.BatchNorm2d(5), conv(5, 6), nn.ReLU(), head(288)),
    "strides": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), conv(4, 4, 5, groups=4), nn.ReLU(),
        nn.Conv2d(4, 6, 2, padding="valid"), nn.ReLU(), nn.AvgPool2d(1), head(36)),
    "global average": lambda: nn.Sequential(
        nn.Conv2d(3, 5, 3, padding="same"), nn.ReLU(), nn.AdaptiveAvgPool2d(1), head(5)),
    "pool before the ReLU": lambda: nn.Sequential(
        conv(3, 5), nn.MaxPool2d(2), nn.BatchNorm2d(5, affine=False), nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=False), head(10)),
    "pooled image": lambda: nn.Sequential(
        nn.MaxPool2d(2), conv(3, 5, padding_mode="zeros"), nn.ReLU(), head(60)),
    "residual": lambda: Model(
        residual, first=conv(3, 5), second=conv(5, 5), norm=nn.BatchNorm2d(5), head=head(60)),
    "pre-activation": lambda: Model(
        preactivation, first=nn.Conv2d(3, 5, (3, 3), padding=(1, 1)), norm=nn.BatchNorm2d(5),
        second=nn.Conv2d(5, 6, 3, padding=(1, 1)), head=nn.Linear(6, 4)),
    "functions": lambda: Model(
        functions, first=nn.Linear(144, 9), drop=nn.Dropout(), last=nn.Linear(9, 4),
        deviation=nn.Parameter(torch.tensor([0.5, 0.7, 0.9]).view(1, 3, 1, 1))),
    "added maps": lambda: Model(
        added_maps, first=conv(3, 5), second=conv(5, 5), head=head(60)),
    "pooled copy": lambda: Model(
        pooled_copy, first=conv(3, 5), second=conv(5, 5), third=conv(5, 2), head=head(24)),
}
#: Models for which the images must be square.
SQUARE = {"global average", "pre-activation"}


@pytest.mark.parametrize("name", GOOD)
def test_layers_give_the_models_logits(name):
    torch.manual_seed(2)
    model = settled(GOOD[name]())
    shape = (6, 6, 3) if name in SQUARE else SHAPE
    folded = graph.fold(source.program_of(model, shape, name), shape)
    images = torch.rand(7, *shape, dtype=torch.float64)
    maps = images.permute(0, 3, 1, 2).contiguous()
    wanted = model(maps.flatten(1) if name == "flat images" else maps)
    found = relu_network(folded, torch.float64)(images.flatten(1))
    if name == "functions":
        found = found.log_softmax(1)
        assert ["log_softmax" in note for note in folded.notes] == [True]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    # The texts make the same layers.
    assert topology.plan(texts(folded.topology), shape, 4) == folded.topology


@pytest.mark.parametrize("first", ["dense", "padded"])
def test_normalised_images(first):
    torch.manual_seed(3)
    mean, std = np.array([0.2, 0.4, 0.6]), np.array([0.5, 0.25, 2.0])
    layers = [nn.Flatten(), nn.Linear(144, 9)] if first == "dense" else [conv(3, 5), nn.Flatten()]
    model = settled(nn.Sequential(*layers, nn.ReLU(), nn.Linear(9 if first == "dense" else 240, 4)))
    folded = graph.fold(source.program_of(model, SHAPE, "model"), SHAPE, mean, std)
    images = torch.rand(5, *SHAPE, dtype=torch.float64)
    wanted = model(((images - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2))
    found = relu_network(folded, torch.float64)(images.flatten(1))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert folded.constants == ([] if first == "dense" else [0])


def two_sources(self, x):
    x = torch.relu(self.first(x))
    return self.head(torch.relu(self.second(x) + self.third(x)))


def branches(self, x):
    x = torch.relu(self.first(x))
    y = torch.relu(self.second(x))
    z = torch.relu(self.third(x))
    return self.head(y + z)


def scaled_shortcut(self, x):
    x = self.norm(torch.relu(self.first(x)))
    return self.head(torch.relu(self.second(x) + x))


class Squashed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = conv(3, 5), head(240)

    def forward(self, x):
        x = self.first(x)
        return self.head(torch.sigmoid(x))


def maps(forward):
    return lambda: Model(forward, first=conv(3, 5), second=nn.Conv2d(5, 5, 1),
                         third=nn.Conv2d(5, 5, 1), norm=nn.BatchNorm2d(5), head=head(240))


def tail(*layers, inputs=240):
    return lambda: nn.Sequential(conv(3, 5), nn.ReLU(), *layers, head(inputs))


BAD = {
    "sigmoid": (Squashed, r"test_graph.py, line \d+ \(`return self.head\("
                r"torch.sigmoid\(x\)\)`\): sigmoid does not convert: .* use nn.ReLU"),
    "module": (tail(nn.GELU()), r"module 2 \(GELU\) does not convert: use nn.ReLU"),
    "norm": (tail(nn.GroupNorm(1, 5)), r"module 2 \(GroupNorm\) .* use nn.BatchNorm2d"),
    "no ReLU": (tail(conv(5, 5), conv(5, 5), nn.ReLU()), r"module 3 \(Conv2d\) .* reads the sums "
                "of 2 before any ReLU.*put an nn.ReLU"),
    "overlap": (tail(nn.MaxPool2d(3, stride=2), inputs=30), "windows of 3 have a stride of 2"),
    "ceil": (tail(nn.AvgPool2d(4, ceil_mode=True), inputs=20), "ceil_mode makes windows of less"),
    "kernel": (tail(nn.Conv2d(5, 5, (3, 1)), nn.ReLU(), inputs=180), "kernel_size is 3 x 1, but mus"
               "t be the same along both axes"),
    "groups": (lambda: nn.Sequential(nn.Conv2d(3, 6, 1, groups=3), nn.ReLU(), head(288)),
               "groups=3 is neither 1 nor the number of channels"),
    "dilation": (tail(nn.Conv2d(5, 5, 3, dilation=2), nn.ReLU(), inputs=40),
                 r"its dilation is \[2, 2\]"),
    "two sources": (maps(two_sources), "both second and third have weights.*identity shortcut"),
    "branches": (maps(branches), r"reads the map of layer 1 \(first\) although layer 2 \(second\)"),
    "scaled shortcut": (maps(scaled_shortcut), "adds a map that a batch-norm has scaled"),
    "last axis": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), head(120)),
                  "reads a map along its last axis; put an nn.Flatten"),
    "last ReLU": (lambda: nn.Sequential(head(144), nn.ReLU()), "must end with an nn.Linear"),
    "shallow": (lambda: head(144), "no hidden layer with a ReLU"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_convert_is_named(name):
    build, message = BAD[name]
    with pytest.raises(InputError, match=message) as caught:
        graph.fold(source.program_of(settled(build()), SHAPE, "model"), SHAPE)
    assert "\n" not in str(caught.value)


def test_images_of_another_size():
    model = nn.Sequential(nn.Flatten(), nn.Linear(100, 4))
    with pytest.raises(InputError, match="takes no images of 3 x 8 x 6"):
        source.program_of(model, SHAPE, "model")
    program = source.program_of(nn.Sequential(head(64)), (8, 8, 1), "model")
    with pytest.raises(InputError, match="model reads 1 x 8 x 8 for an image"):
        graph.fold(program, SHAPE)


def test_forward_that_depends_on_the_image():
    def fickle(self, x):
        return self.head(x) if x.sum() > 0 else self.head(-x)

    with pytest.raises(InputError, match=r"torch\.export cannot follow model"):
        source.program_of(Model(fickle, head=head(144)), SHAPE, "model")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A program on disk, for any number of images, and its model."""
    torch.manual_seed(4)
    model = settled(nn.Sequential(conv(3, 5), nn.BatchNorm2d(5), nn.ReLU(), head(240)))
    images = torch.zeros(2, 3, 8, 6, dtype=torch.float64)
    program = torch.export.export(
        model, (images,), dynamic_shapes=({0: torch.export.Dim("images")},))
    path = tmp_path_factory.mktemp("programs") / "model.pt2"
    torch.export.save(program, path)
    return path, model


def test_exported_program(exported):
    path, model = exported
    folded = graph.fold(archive.read(path, "model.pt2"), SHAPE)
    images = torch.rand(5, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(
        relu_network(folded, torch.float64)(images.flatten(1)), model(images.permute(0, 3, 1, 2)))


def rewritten(path, target, change):
    """A copy of an archive in which ``change(name, content)`` gives each member's content."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_damaged_programs(exported, tmp_path):
    path, _ = exported

    def edited(suffix, edit):
        def change(name, content):
            if not name.endswith(suffix):
                return content
            value = json.loads(content)
            edit(value)
            return json.dumps(value).encode()
        return rewritten(path, tmp_path / "edited.pt2", change)

    def pickled(value):
        value["config"]["0.weight"]["use_pickle"] = True

    def larger(value):
        value["config"]["0.weight"]["tensor_meta"]["sizes"][0]["as_int"] = 10**6

    with pytest.raises(InputError, match=r"holds 0\.weight as a pickle"):
        archive.read(edited("weights_config.json", pickled), "model.pt2")
    with pytest.raises(InputError, match="is not a program"):
        archive.read(edited("weights_config.json", larger), "model.pt2")
    with pytest.raises(InputError, match="has version 99 of the format"):
        archive.read(edited("model.json", lambda value: value["schema_version"].update(major=99)),
                     "model.pt2")
    (tmp_path / "noise.pt2").write_bytes(b"PK\x03\x04" + bytes(200))
    for content in (tmp_path / "noise.pt2", path.read_bytes()[:-300]):
        with pytest.raises(InputError, match=r"is not a program that torch\.export"):
            archive.read(content, "model.pt2")
    with pytest.raises(InputError, match=r"cannot read nothing\.pt2"):
        archive.read(tmp_path / "nothing.pt2", "nothing.pt2")


def test_state_dict_of_a_configuration():
    torch.manual_seed(5)
    model = settled(nn.Sequential(
        conv(3, 5), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), conv(5, 5), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(10, 7), nn.ReLU(), nn.Linear(7, 4)))
    layers = topology.plan(["5c3", "p2", "5c3", "a2", "7"], SHAPE, 4)
    program = state.program_of(model.state_dict(), layers, "weights")
    folded = graph.fold(program, SHAPE)
    assert folded.topology == layers
    images = torch.rand(5, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(
        relu_network(folded, torch.float64)(images.flatten(1)), model(images.permute(0, 3, 1, 2)))


def test_weights_of_our_own_training():
    layers = topology.plan(["5c3", "p2", "5c3+1", "7", "7+3"], SHAPE, 4)
    network = ReluNetwork(layers, torch.Generator().manual_seed(0)).double()
    tensors = {f"relu.{name}": value for name, value in network.state_dict().items()}
    folded = graph.fold(state.program_of(tensors, layers, "model.pt"), SHAPE)
    assert folded.topology == layers
    images = torch.rand(5, 144, dtype=torch.float64)
    torch.testing.assert_close(relu_network(folded, torch.float64)(images), network(images))


def test_state_dict_of_another_architecture():
    layers = topology.plan(["9"], SHAPE, 4)
    for model, message in (
        (nn.Sequential(nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 4)),
         "its 0.weight is 8 x 144, but layer 1 of the configuration needs 9 x 144"),
        (nn.Linear(144, 4), "has weights for 1 layers, but the configuration has 2"),
        (nn.Sequential(nn.PReLU(3)), "0 with weight, which is neither"),
    ):
        with pytest.raises(InputError, match=message):
            state.program_of(model.state_dict(), layers, "weights")
