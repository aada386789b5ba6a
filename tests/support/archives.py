# SPDX-License-Identifier: Apache-2.0
"""Models that torch.export has written, as tests of reading them make them."""

import io
import warnings

import torch
from torch import nn
from torch.nn import functional


class Model(nn.Module):
    """A module whose forward pass is a function of the parts and tensors it is given."""

    def __init__(self, forward, *, buffers=None, hidden=None, constants=None, **parts):
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)
        for name, value in (buffers or {}).items():
            self.register_buffer(name, value)
        for name, value in (hidden or {}).items():
            self.register_buffer(name, value, persistent=False)
        for name, value in (constants or {}).items():
            setattr(self, name, value)

    def forward(self, x):
        return self._forward(self, x)


def saved(model, shape=(2, 6)):
    """The archive of a model, as bytes."""
    dtype = next((item.dtype for item in model.parameters()), torch.float32)
    with warnings.catch_warnings(action="ignore"):
        program = torch.export.export(model.eval(), (torch.zeros(shape, dtype=dtype),))
        content = io.BytesIO()
        torch.export.save(program, content)
    return content.getvalue()


def linear(weight, bias=None, **options):
    """A module that reads its weights from wherever ``weight`` and ``bias`` lie."""
    parts = {"weight": nn.Parameter(weight)}
    if bias is not None:
        parts["bias"] = nn.Parameter(bias)
    return Model(lambda self, x: functional.linear(x, self.weight, getattr(self, "bias", None)),
                 **parts, **options)


def every(self, x):
    """Reads all parameters and buffers, so that all of them are in the program."""
    return x.sum() + sum(value.double().sum() for value in (*self.parameters(), *self.buffers()))


def numbers(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def parts():
    return {"first": nn.Linear(6, 5), "last": nn.Linear(5, 3)}
