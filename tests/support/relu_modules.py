# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules of what :mod:`tests.support.relu_models` describes, and images for them."""

import functools
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.support.relu_models import Description, Operation
from ttfs_sw.data import datasets

__all__ = ["Model", "build", "real_images"]

#: Operations of the wild models, as PyTorch writes them.
_WILD = {
    "sigmoid": torch.sigmoid,
    "whole": lambda x: x.to(torch.int32).to(x.dtype),
    "transpose": lambda x: x.transpose(-1, -2).reshape(x.shape),
    "floor": lambda x: torch.div(x, 0.1, rounding_mode="floor"),
    "product": lambda x: x * (x + 1),
    "difference": lambda x: x - 0.5 * x,
    "pad": lambda x: functional.pad(x, (1, 0))[..., 1:],
    "overlap": lambda x: functional.max_pool2d(x, 3, 1, 1) if x.ndim == 4 else x.square(),
    "oblong": lambda x: functional.avg_pool2d(x, (1, 3), 1, (0, 1)) if x.ndim == 4 else x.abs(),
    "dilated": lambda x: functional.conv2d(
        x, x.new_ones(x.shape[1], 1, 3, 3), dilation=2, padding=2,
        groups=x.shape[1]) if x.ndim == 4 else x.cos(),
    "groups": lambda x: functional.channel_shuffle(x, x.shape[1]) if x.ndim == 4 else x,
    "rows": lambda x: x.flip(-1),
    # The value before is changed too.
    "stale": lambda x: x.flatten(1).add_(1).reshape(x.shape) + x,
    "softmax": lambda x: x.softmax(0),
    "square": torch.square,
    "halves": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "sum": lambda x: x - x.mean(),
}


def build(description: Description) -> nn.Module:
    """The model: an ``nn.Sequential`` where it is one, else a module with a forward pass."""
    model = Model(description).eval()
    return model.as_sequential() or model


@functools.cache
def _digits() -> torch.Tensor:
    data = datasets.load("digits")
    return torch.from_numpy(data.x_train.reshape(-1, 8, 8))


def real_images(shape: tuple[int, int, int], count: int, first: int = 0) -> np.ndarray:
    """Handwritten digits of that shape as bytes up to 255, ``[images, inputs]`` in raster order.

    They are cut, or set in the middle of a dark image; each channel has a digit of its own.
    """
    height, width, channels = shape
    scans = _digits()[torch.arange(first, first + count + channels) % len(_digits())]
    top, left = max(8 - height, 0) // 2, max(8 - width, 0) // 2
    scans = scans[:, top : top + height, left : left + width]
    scans = functional.pad(scans, (0, width - scans.shape[2], 0, height - scans.shape[1]))
    maps = torch.stack([scans[index : index + count] for index in range(channels)], dim=-1)
    return (maps.reshape(count, -1).numpy().astype(int) * 255 // 16).astype(np.uint8)


class Model(nn.Module):
    """A module that does what a description says.

    Parameters
    ----------
    description : :class:`tests.support.relu_models.Description`
        Its operations.
    """

    def __init__(self, description: Description):
        super().__init__()
        self._operations = description.operations
        self._generator = torch.Generator().manual_seed(description.seed)
        self.parts = nn.ModuleDict()
        for index, item in enumerate(self._operations):
            part = getattr(self, f"_make_{item.name}", lambda item: None)(item)
            if isinstance(part, nn.Module):
                self.parts[str(index)] = part
            elif isinstance(part, torch.Tensor):
                self.register_buffer(f"constant{index}", part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values, parts = [x], dict(self.parts.items())
        for index, item in enumerate(self._operations):
            source = values[item.source]
            if item.name in _WILD:
                values.append(_WILD[item.name](source))
            elif item.name == "residual":
                values.append(_added(source, values[item.other], item.form))
            elif item.name == "constant":
                constant = getattr(self, f"constant{index}", None)
                if constant is not None and source.ndim > constant.ndim == 1 and source.ndim == 4:
                    constant = constant.view(-1, 1, 1)
                values.append(_with_constant(source, constant, item))
            elif str(index) in parts and item.form == 0:
                values.append(parts[str(index)](source))
            else:
                part = dict(self.parts.items()).get(str(index))
                values.append(getattr(self, f"_{item.name}")(source, item, part))
        return values[-1]

    def as_sequential(self) -> nn.Sequential | None:
        """The same as an ``nn.Sequential``, if it is a chain of modules."""
        chain = all(item.source == index and item.form == 0 and str(index) in self.parts
                    for index, item in enumerate(self._operations))
        return nn.Sequential(*self.parts.values()).eval() if chain else None

    # Random numbers.

    def _normal(self, *shape: int, size: float = 1.0) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator) * size

    def _chance(self, share: float) -> bool:
        return torch.rand(1, generator=self._generator).item() < share

    @torch.no_grad()
    def _fill(self, layer: nn.Module) -> nn.Module:
        """Random weights; now and then a channel that reads nothing, or an input nobody reads."""
        weight = layer.weight
        weight.copy_(self._normal(*weight.shape, size=math.sqrt(2 / weight[0].numel())))
        if layer.bias is not None:
            layer.bias.copy_(self._normal(len(weight), size=0.3))
        if self._chance(0.2) and len(weight) > 1:
            weight[-1] = 0
        if self._chance(0.2) and weight.shape[1] > 1:
            weight[:, 0] = 0
        return layer

    # Modules.

    def _make_conv(self, item: Operation) -> nn.Module:
        options = item.options
        return self._fill(nn.Conv2d(
            options["inputs"], options["outputs"], options["kernel"], options["stride"],
            options["padding"], groups=options["groups"], bias=options["bias"]))

    def _make_linear(self, item: Operation) -> nn.Module:
        return self._fill(nn.Linear(
            item.options["inputs"], item.options["outputs"], bias=item.options["bias"]))

    @torch.no_grad()
    def _make_norm(self, item: Operation) -> nn.Module:
        options = item.options
        made = (nn.BatchNorm1d if options["flat"] else nn.BatchNorm2d)(
            options["count"], affine=options["affine"] or options["mixed"])
        made.running_mean.copy_(self._normal(options["count"], size=0.3))
        made.running_var.uniform_(0.3, 2, generator=self._generator)
        if "steep" in options["flavour"]:
            # An input that hardly ever changed in training: scaled by 316.
            made.running_var[-1] = 1e-12
        if made.affine:
            made.weight.copy_(self._normal(options["count"]).abs() + 0.1)
            made.bias.copy_(self._normal(options["count"], size=0.3))
            if "zero" in options["flavour"] and len(made.weight) > 1:
                made.weight[-1] = 0
            if options["mixed"]:
                made.weight[0] = -0.7
        return made

    def _make_constant(self, item: Operation) -> torch.Tensor | None:
        options = item.options
        if not options["each"]:
            return None
        values = self._normal(options["count"]).abs() + 0.2
        if options["mixed"]:
            values[0] *= -1
        # Half of them get their shape in the forward pass.
        return values if options["flat"] or item.form > 2 else values.view(1, -1, 1, 1)

    def _make_relu(self, item: Operation) -> nn.Module:
        return nn.ReLU(inplace=item.form == 6)

    def _make_maxpool(self, item: Operation) -> nn.Module:
        return nn.MaxPool2d(item.options["size"], ceil_mode=item.options["ceil"])

    def _make_average(self, item: Operation) -> nn.Module | None:
        size, kind = item.options["size"], item.options["kind"]
        if kind == "window":
            return nn.AvgPool2d(size)
        return None

    def _make_flatten(self, item: Operation) -> nn.Module:
        return nn.Flatten()

    def _make_unflatten(self, item: Operation) -> nn.Module:
        height, width, channels = item.options["shape"]
        return nn.Unflatten(1, (channels, height, width))

    def _make_dropout(self, item: Operation) -> nn.Module:
        return nn.Dropout(0.3)

    def _make_identity(self, item: Operation) -> nn.Module:
        return nn.Identity()

    def _make_last(self, item: Operation) -> nn.Module:
        return nn.Softmax(dim=1)

    # The same as functions and methods.

    def _conv(self, x, item, part):
        return functional.conv2d(
            x, part.weight, part.bias, part.stride, part.padding, groups=part.groups)

    def _linear(self, x, item, part):
        return functional.linear(x, part.weight, part.bias)

    def _norm(self, x, item, part):
        return functional.batch_norm(
            x, part.running_mean, part.running_var, part.weight, part.bias, eps=part.eps)

    def _relu(self, x, item, part):
        forms = [part, functional.relu, torch.relu, lambda x: x.relu(), lambda x: x.relu_(),
                 lambda x: functional.relu(x, inplace=True), part]
        return forms[item.form](x)

    def _maxpool(self, x, item, part):
        size, ceil = item.options["size"], item.options["ceil"]
        if item.form == 1:
            return functional.max_pool2d(x, (size, size), stride=size, ceil_mode=ceil)
        return torch.max_pool2d(x, size, size)

    def _average(self, x, item, part):
        size, kind = item.options["size"], item.options["kind"]
        if "mean" in kind:
            axes = (2, 3) if item.form else (-1, -2)
            return x.mean(axes, keepdim="kept" in kind)
        if kind == "adaptive":
            sides = x.shape[2] // size
            return (functional.adaptive_avg_pool2d(x, sides) if item.form
                    else nn.AdaptiveAvgPool2d((sides, sides))(x))
        return functional.avg_pool2d(x, size, size)

    def _flatten(self, x, item, part):
        forms = [part, lambda x: torch.flatten(x, 1), lambda x: x.view(x.size(0), -1),
                 lambda x: x.reshape(len(x), -1), lambda x: x.flatten(start_dim=1, end_dim=-1)]
        return forms[item.form](x)

    def _unflatten(self, x, item, part):
        height, width, channels = item.options["shape"]
        return x.view(-1, channels, height, width)

    def _dropout(self, x, item, part):
        if item.form == 1:
            return functional.dropout(x, 0.2, self.training)
        return functional.dropout2d(x, 0.2, self.training) if x.ndim == 4 else part(x)

    def _identity(self, x, item, part):
        return [part, torch.clone, lambda x: x.contiguous(), lambda x: x.view(x.shape)][
            item.form](x)

    def _last(self, x, item, part):
        return functional.log_softmax(x, -1) if item.form == 1 else x.softmax(1)


def _added(x: torch.Tensor, y: torch.Tensor, form: int) -> torch.Tensor:
    return [lambda: x + y, lambda: y + x, lambda: torch.add(x, y), lambda: x.add(y)][form]()


def _with_constant(x: torch.Tensor, each: torch.Tensor | None, item: Operation) -> torch.Tensor:
    """``x`` and a constant, which stands first or last where that is the same."""
    kind = item.options["kind"]
    number = each if each is not None else -0.8 if item.options["mixed"] else 0.7
    if kind == "neg":
        return -x
    if kind == "add":
        return number + x if item.form % 2 else torch.add(x, number, alpha=item.form + 1)
    if kind == "sub":
        return x - number if item.form % 2 else torch.sub(x, number)
    if kind == "rsub":
        return number - x if item.form % 2 else torch.rsub(x, number)
    if kind == "mul":
        return x * number if item.form % 2 else number * x
    return x / number if item.form % 2 else torch.div(x, number)
