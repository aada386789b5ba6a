# SPDX-License-Identifier: Apache-2.0
"""Converts a network that was trained in PyTorch, without spikes in mind, to integers that fire.

    python examples/convert_torch.py

It shows ``ttfs convert`` in Python: an ordinary module with ReLUs and a max-pool goes in, and out
come ``network.npz`` and a report of what each layer lost. A quarter of a minute.
"""

from pathlib import Path

import torch
from torch import nn

from ttfs_sw.convert import convert
from ttfs_sw.data import datasets
from ttfs_sw.training import config

FOLDER = Path("runs") / "examples" / "converted"


def trained(digits: datasets.Dataset) -> nn.Module:
    """A small convolutional network, trained in the usual way on pixels from 0 to 1."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 4 * 4, 10))
    images = torch.from_numpy(digits.x_train).view(-1, 1, 8, 8) / digits.white
    labels = torch.from_numpy(digits.y_train).long()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(20):
        for part in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[part]), labels[part]).backward()
            optimizer.step()
    return module


def main() -> None:
    digits = datasets.load("digits")
    module = trained(digits)
    # Weights of 4 bits and 15 ticks; docs/convert.md has the other keys.
    found = convert(module, digits, FOLDER, config.load("digits-mlp"))
    print(f"{found.accuracy_float:.1%} in real numbers, {found.accuracy_network:.1%} in integers "
          f"of {found.images} test images")
    for layer in found.layers:
        print(f"  {layer.name:8} {layer.kind:8} {layer.outputs:4} outputs, off by "
              f"{layer.error:.1%} of its mean activation")
    print(f"{FOLDER / 'network.npz'}: for ttfs cosim, build, verilog, ...")


if __name__ == "__main__":
    main()
