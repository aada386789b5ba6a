# SPDX-License-Identifier: Apache-2.0
"""The networks of the experiment on depth, and their training: plain, so that gradients show."""

import math

import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.common.modules import Modules
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.research.experiments import Options
from ttfs_sw.research.neighbours.method import parts
from ttfs_sw.research.neighbours.time_losses import mean
from ttfs_sw.training import topology
from ttfs_sw.training.models import ReluNetwork

__all__ = ["ReluNorm", "accuracy", "layers", "train"]

#: Channels of every layer.
CHANNELS = 8


def layers(kind: str, depth: int, dataset: Dataset) -> list[str]:
    """Return ``depth`` convolutions; in a residual network, every second adds what its block read.

    The first has a stride, so that the others have a small map, quickly computed.
    """
    start = "c3s2" if dataset.shape[0] <= 10 else "c5s4"
    found = [f"{CHANNELS}{start}"]
    for number in range(2, depth + 1):
        added = f"+{number - 2}" if kind == "residual" and number % 2 else ""
        found.append(f"{CHANNELS}c3{added}")
    return found


class ReluNorm(nn.Module):
    """The network of the same shape and batch norms with ReLUs instead of spikes, in one step."""

    def __init__(self, plan: topology.Topology, generator: torch.Generator):
        super().__init__()
        self.relu = ReluNetwork(plan, generator)
        self.norms = Modules(nn.BatchNorm2d(each.out_shape[2]) for each in plan.layers[:-1])

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return logits, ``[1, images, classes]``, as those of one time step."""
        return self.relu(
            values, lambda index, received: functional.relu(self.norms[index](received)))[None]


def train(
    model: nn.Module, values: torch.Tensor, labels: torch.Tensor, rate: float, steps: int,
    seed: int, batch: int,
) -> None:
    """Gradient descent with momentum, in place; the rate rises for a tenth of the steps and falls.

    No optimiser that divides each gradient by its size, which is what is to be seen. Where the loss
    is no number any more, training ends.
    """
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(steps):
        share = min(10 * (step + 1) / steps, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate * share
        chosen = torch.randint(len(values), (batch,), generator=generator)
        loss = mean(model(values[chosen]), labels[chosen])
        if not math.isfinite(loss.item()):
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, options: Options) -> float:
    """Share of the test images whose mean logits over all steps are right."""
    dataset = options.dataset
    batches = parts(dataset.x_test, int(dataset.x_train.max()), torch.device(options.device))
    winners = torch.cat([model(values).mean(dim=0).argmax(dim=1) for values in batches])
    return float((winners.cpu().numpy() == dataset.y_test).mean())
