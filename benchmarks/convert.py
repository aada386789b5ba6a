# SPDX-License-Identifier: Apache-2.0
"""What conversion costs: a float network trained in plain PyTorch, and the integers made of it.

    python benchmarks/convert.py --dataset mnist --seeds 0 1 2 --json convert.json
    python benchmarks/convert.py --dataset mnist --network lenet
    python benchmarks/convert.py --dataset mnist --network input-norm

The network is a perceptron with one hidden layer of 128, a LeNet with batch-norm, or one of those
that are hard to convert: a perceptron with a batch-norm before or after its neurons, or padded
convolutions of normalised pixels. Nothing is trained after the conversion.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttfs_sw.common.errors import answered
from ttfs_sw.common.files import write_json
from ttfs_sw.convert import convert
from ttfs_sw.data import datasets
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.golden.torch_model import one_thread
from ttfs_sw.training.config import Config, NetworkShape

__all__ = ["main", "measure", "trained"]

#: Weight bits, T of pixels and neurons, and whether each channel has a weight scale of its own.
NETWORKS = ((8, 255, True), (8, 255, False), (8, 15, True), (4, 15, True), (4, 15, False),
            (3, 7, True), (3, 7, False))

BATCH, RATE = 256, 0.004


def mlp(dataset: Dataset) -> nn.Module:
    """A perceptron with one hidden layer of 128."""
    inputs = dataset.x_train.shape[1]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, dataset.classes)
    )


def lenet(dataset: Dataset) -> nn.Module:
    """8c5-p2-16c5-p2-64, with a batch-norm before each ReLU of a convolution."""
    height, width, channels = dataset.shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * (height // 4) * (width // 4), 64), nn.ReLU(),
        nn.Linear(64, dataset.classes),
    )


def input_norm(dataset: Dataset) -> nn.Module:
    """A perceptron behind a batch-norm of the pixels, some of which are never lit."""
    inputs = dataset.x_train.shape[1]
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(inputs), *list(mlp(dataset))[1:])


def norm_after(dataset: Dataset) -> nn.Module:
    """A perceptron with batch-norms behind its ReLUs, some of which hardly ever fire."""
    inputs = dataset.x_train.shape[1]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.BatchNorm1d(128),
        nn.Linear(128, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Linear(64, dataset.classes),
    )


def shifted(dataset: Dataset) -> nn.Module:
    """Padded convolutions that read pixels which were normalised."""
    height, width, channels = dataset.shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * (height // 4) * (width // 4), dataset.classes),
    )


MODELS = {"mlp": mlp, "lenet": lenet, "input-norm": input_norm, "norm-after": norm_after,
          "shifted": shifted}

#: Mean and standard deviation of the pixels that a model reads, where it is not 0 and 1.
NORMALISED = {"shifted": (0.1307, 0.3081)}


def trained(dataset: Dataset, epochs: int, seed: int, network: str = "mlp") -> nn.Module:
    """A float network, trained as anybody would."""
    torch.manual_seed(seed)
    model = MODELS[network](dataset)
    height, width, channels = dataset.shape
    x = torch.from_numpy(dataset.x_train).view(-1, height, width, channels).permute(0, 3, 1, 2)
    y, top = torch.from_numpy(dataset.y_train), int(dataset.x_train.max())
    mean, std = NORMALISED.get(network, (0.0, 1.0))
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=epochs * -(-len(x) // BATCH)
    )
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            images = (x[part].float() / top - mean) / std
            nn.functional.cross_entropy(model(images), y[part]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def measure(
    model: nn.Module, dataset: Dataset, bits: int, ticks: int, per_channel: bool,
    network: str = "mlp",
) -> dict[str, Any]:
    """Convert ``model``, one of :data:`MODELS`, and return its figures."""
    norms = {name: [value] for name, value in
             zip(("mean", "std"), NORMALISED.get(network, ()), strict=False)}
    shape = NetworkShape(
        weight_bits=bits, ticks=ticks, input_ticks=ticks, per_channel=per_channel,
        accumulator_bits=32,
    )
    with tempfile.TemporaryDirectory() as folder:
        # What few bits cost is measured here, not judged.
        report = convert(
            model, dataset, folder, Config(name="benchmark", network=shape), max_loss=100, **norms)
    keys = ("images", "accuracy_float", "accuracy_network", "agreement", "spikes_per_neuron",
            "accumulator_bits", "seconds")
    given = {"weight_bits": bits, "ticks": ticks, "per_channel": per_channel}
    return {**given, **{key: getattr(report, key) for key in keys}}


@answered
@one_thread()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits", help="default: digits")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--network", choices=MODELS, default="mlp", help="default: mlp")
    parser.add_argument("--epochs", type=int, default=10, help="of the float network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    dataset = datasets.load(options.dataset, data_dir=options.data_dir)
    found = []
    for seed in options.seeds:
        model = trained(dataset, options.epochs, seed, options.network)
        for bits, ticks, per_channel in NETWORKS:
            figures = {
                "seed": seed,
                **measure(model, dataset, bits, ticks, per_channel, options.network),
            }
            found.append(figures)
            print(f"seed {seed}, {bits} bits a {'channel' if per_channel else 'layer'}, "
                  f"T = {ticks}: float "
                  f"{100 * figures['accuracy_float']:.2f} %, integers "
                  f"{100 * figures['accuracy_network']:.2f} %, same winner "
                  f"{100 * figures['agreement']:.2f} %", flush=True)
    if options.json:
        write_json(options.json, {"networks": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
