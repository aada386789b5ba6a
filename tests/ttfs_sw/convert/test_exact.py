# SPDX-License-Identifier: Apache-2.0
"""Forms that were once read wrongly, or refused without need: each is exact or refused now."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from ttfs_sw.common.errors import FailureError, InputError
from ttfs_sw.convert import archive, graph, proof, source
from ttfs_sw.convert.layers import Map

#: Height, width and channels.
SHAPE = (4, 4, 2)


class Model(nn.Module):
    """A module whose forward pass is a function of itself and the images."""

    def __init__(self, forward, **parts):
        super().__init__()
        self._forward = forward
        torch.manual_seed(1)
        self.conv, self.again = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32, 4))
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self._forward(self, x)


def norm(kind, count, *, even=False):
    """A batch-norm in use, with one scale and shift for all of its channels if ``even``."""
    made = kind(count).eval()
    generator = torch.Generator().manual_seed(count)
    with torch.no_grad():
        for values in (made.running_mean, made.weight, made.bias):
            values.copy_(torch.randn(1 if even else count, generator=generator))
    return made


def read(model):
    return source.program_of(model, SHAPE, "model")


def prove_each_step(model):
    """What is read from ``model`` after all steps, each of which is right."""
    program, images = read(model), proof.random_images(SHAPE)
    for node, apart in proof.steps(program, SHAPE, images):
        assert apart <= proof.TOLERANCE, node.where
    folded = graph.fold(program, SHAPE)
    proof.prove(folded, model, images)
    return folded


def changed_output(self, x):
    x = self.head(torch.relu(self.conv(x)))
    x.mul_(2)
    return x


def changed_map(self, x):
    x = torch.relu(self.conv(x))
    y = x.add_(0.5)
    return self.head(torch.relu(self.again(y)))


def changed_before_it_is_added(self, x):
    x = torch.relu(self.conv(x))
    y = self.again(x.sub_(0.5))
    return self.head(torch.relu(y + x))


def two_signs(self, x):
    x = torch.relu(self.conv(x))
    return self.head(torch.relu(1 - x) + torch.relu(-self.again(x)))


def read_twice(self, x):
    x = torch.relu(self.conv(x))
    x = x + x
    return self.head(torch.relu(self.again(x) + x))


def two_forms(self, x):
    x = torch.relu(self.conv(x))
    return self.head(torch.relu(x + self.norm(x)))


def from_a_row(self, x):
    x = functional.relu(self.first(x.flatten(1)).view(-1, 2, 1, 1))
    return self.last(torch.relu(self.small(x)).flatten(1))


def flat_sums(self, x):
    x = self.conv(x).flatten(1)
    return self.head(torch.relu(0.5 * x + x.new_full((1,), 0.25).item()))


def flat_and_back(self, x):
    x = self.norm(torch.relu(self.conv(x)).flatten(1)).unflatten(1, (2, 4, 4))
    return self.head(torch.relu(self.again(x)))


def flat_sums_added(self, x):
    x = torch.relu(self.conv(x))
    y = self.again(x).flatten(1)
    return self.head(torch.relu(y + (x + 0.3).flatten(1)))


TAKEN = {
    "output changed in place": lambda: Model(changed_output),
    "map changed in place": lambda: Model(changed_map),
    "changed before it is added": lambda: Model(changed_before_it_is_added),
    "sum read twice": lambda: Model(read_twice),
    "two forms of a map": lambda: Model(two_forms, norm=norm(nn.BatchNorm2d, 2)),
    "a row becomes a map": lambda: Model(
        from_a_row, first=nn.Linear(32, 2), small=nn.Conv2d(2, 3, 1), last=nn.Linear(3, 4)),
    "depthwise over a shifted map": lambda: nn.Sequential(
        nn.Conv2d(2, 2, 1), nn.ReLU(), norm(nn.BatchNorm2d, 2),
        nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)),
    "constant of another shape": lambda: Model(
        lambda self, x: self.head(torch.relu(self.conv(x) * self.gain.view(-1, 1, 1))),
        gain=nn.Parameter(torch.tensor([0.5, -2.0]))),
    "constant minus map": lambda: Model(
        lambda self, x: self.head(torch.relu(self.conv(1 - x) - (-0.25)))),
    "batch-norm of a row, turned back": lambda: Model(
        flat_and_back, norm=norm(nn.BatchNorm1d, 32, even=True)),
    "flattened sums with a shifted map": lambda: Model(flat_sums_added),
    "flattened, then ReLU": lambda: nn.Sequential(
        nn.Conv2d(2, 2, 3), nn.ReLU(), norm(nn.BatchNorm2d, 2), nn.Flatten(), nn.ReLU(),
        nn.Linear(8, 4)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken_and_exact(name):
    prove_each_step(TAKEN[name]())


def stale(self, x):
    x = torch.relu(self.conv(x))
    y = x.flatten(1)
    y.add_(1)
    return self.head(x)


def one_an_image(self, x):
    return self.head(torch.relu(self.conv(x)) * self.factor)


def with_nan(self, x):
    return self.head(torch.relu(self.conv(x * float("nan"))))


def pruned():
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 4))
    prune.l1_unstructured(model[1], "weight", 0.5)
    return model


REFUSED = {
    "a view changed in place": (lambda: Model(stale), r"reads a tensor that .*add_.* changed in pl"
                                "ace since; use that operation without"),
    "whole numbers": (lambda: Model(
        lambda self, x: self.head(torch.relu(self.conv((x * 3).int().float())))),
        "to does not convert: it makes whole numbers of values that have fractions"),
    "rounding": (lambda: Model(lambda self, x: self.head(
        torch.relu(torch.div(self.conv(x), 0.1, rounding_mode="floor")))), "it rounds what it"),
    "divided by zero": (lambda: Model(
        lambda self, x: self.head(torch.relu(self.conv(x)) / 0)), "it divides by zero"),
    "not a number": (lambda: Model(with_nan), "its numbers are not all finite"),
    "softmax over the images": (lambda: Model(
        lambda self, x: self.head(torch.relu(self.conv(x))).softmax(0)), "give it dim=1"),
    "a number an image": (lambda: Model(
        one_an_image, factor=nn.Parameter(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))),
        "2 x 1 x 1 x 1 is not one number a channel"),
    "batch-norm behind nn.Flatten": (lambda: nn.Sequential(
        nn.Conv2d(2, 2, 3), nn.Flatten(), norm(nn.BatchNorm1d, 8), nn.ReLU(), nn.Linear(8, 4)),
        "needs one number a channel of 2 x 2 positions, but a batch-norm .* put that before"),
    "batch-norm of a row, turned back": (lambda: Model(
        flat_and_back, norm=norm(nn.BatchNorm1d, 32)), "needs one number a channel of 4 x 4"),
    "variance below zero": (lambda: nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(32, eps=0.0), nn.Linear(32, 4)), "divides by zero"),
    "pruned by a mask": (
        pruned, r"computes weights or constants \(mul\) each time .* prune.remove"),
    "its own sums": (lambda: Model(
        lambda self, x: self.head(torch.relu(self.conv(x) + self.conv(x)))),
        "it adds two sums of conv, which has weights, and a layer has one source"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_a_sentence(name):
    build, message = REFUSED[name]
    model = build()
    if name == "variance below zero":
        model[1].running_var.zero_()
    with pytest.raises(InputError, match=message) as caught:
        graph.fold(read(model), SHAPE)
    assert "\n" not in str(caught.value)


def test_module_that_is_not_its_program():
    # The example that torch.export follows has two images.
    model = Model(lambda self, x: self.head(torch.relu(self.conv(x))) * x.shape[0])
    folded = graph.fold(read(model), SHAPE)
    with pytest.raises(FailureError, match=r"operations read from model do not give its logits"
                       r".* how many images there are"):
        proof.prove(folded, model, proof.random_images(SHAPE))


def test_module_for_two_images_only():
    model = Model(lambda self, x: self.head(torch.relu(self.conv(x)).view(2, -1)))
    folded = graph.fold(read(model), SHAPE)
    with pytest.raises(FailureError, match=r"model takes 2 images at once, but it fails on 34: "):
        proof.prove(folded, model, proof.random_images(SHAPE)[:0])


def test_wrong_layers_are_found_with_their_operation(monkeypatch):
    model = nn.Sequential(
        nn.Conv2d(2, 2, 1), nn.ReLU(), norm(nn.BatchNorm2d, 2), nn.Flatten(), nn.Linear(32, 4))
    affine = Map.affine
    monkeypatch.setattr(Map, "affine", lambda self, scale, offset: affine(self, scale, 0 * offset))
    folded = graph.fold(read(model), SHAPE)
    with pytest.raises(FailureError, match=r"layers made of model do not give its logits .* from "
                       r"module 2 \(BatchNorm2d\) on: this is a fault of ttfs convert"):
        # No module is needed: the program is its own reference.
        proof.prove(folded, None, proof.random_images(SHAPE))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_modules_of_other_types(kind):
    model = Model(lambda self, x: self.head(torch.relu(self.conv(x)))).to(kind)
    proof.prove(graph.fold(read(model), SHAPE), model, proof.random_images(SHAPE))

    def mixed(self, x):
        # It says itself what it computes with, so that it cannot run in float64.
        return self.head(torch.relu(self.conv(x.to(kind))))

    model = Model(mixed).to(kind)
    proof.prove(graph.fold(read(model), SHAPE), model, proof.random_images(SHAPE))


def test_programs_without_a_module(tmp_path):
    model = Model(changed_map).double().eval()
    exported = torch.export.export(
        model, (torch.zeros(2, 2, 4, 4, dtype=torch.float64),),
        dynamic_shapes=({0: torch.export.Dim("images")},))
    torch.export.save(exported, tmp_path / "model.pt2")
    program = archive.read(tmp_path / "model.pt2", "model.pt2")
    folded = graph.fold(program, SHAPE, np.array([0.5]), np.array([0.25]))
    images = proof.random_images(SHAPE)
    proof.prove(folded, None, images, [0.5], [0.25])
    with pytest.raises(FailureError, match=r"layers made of model\.pt2"):
        proof.prove(folded, None, images, [0.5], [0.3])
