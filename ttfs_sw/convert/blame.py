# SPDX-License-Identifier: Apache-2.0
"""Which of its integers cost a network most: each kind alone, in an otherwise real network."""

import dataclasses
from collections.abc import Callable, Sequence

import torch

from ttfs_sw.convert.calibrate import Calibration
from ttfs_sw.convert.report import CostReport
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork

__all__ = ["Cost", "advice", "costs"]

#: Epochs of fine-tuning that are worth trying first.
EPOCHS = 5

#: Bits of a weight at most, and ticks of a layer on any board.
MOST_BITS, BOARD_TICKS = 8, 15


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one kind of integers of one layer costs alone.

    Parameters
    ----------
    layer : :class:`int`
        Index of the layer; -1 is the image.
    what : :class:`str`
        ``"weights"`` (and biases), or ``"ticks"``: the codes that it sends.
    lost : :class:`float`
        Share of the images that are no longer recognised, less those that now are.
    error : :class:`float`
        Root of the mean squared change of the logits, as a share of their size.
    """

    layer: int
    what: str
    lost: float
    error: float

    def report(self, names: Sequence[str]) -> CostReport:
        """The same with the layer's name."""
        return CostReport(module=_name(self.layer, names), **dataclasses.asdict(self))


@torch.no_grad()
def costs(
    quantised: QuantisedNetwork, relu: ReluNetwork, calibration: "Calibration"
) -> list[Cost]:
    """What the integers of each layer cost on training images, the dearest first."""
    images, labels = calibration.images, torch.from_numpy(calibration.labels)
    wanted = relu(images)
    right = (wanted.argmax(dim=1) == labels).double().mean()
    size = wanted.double().square().mean().sqrt().clamp(min=1e-12)
    found = []

    def note(layer: int, what: str, logits: torch.Tensor) -> None:
        lost = right - (logits.argmax(dim=1) == labels).double().mean()
        error = (logits - wanted).double().square().mean().sqrt() / size
        found.append(Cost(layer, what, lost.item(), error.item()))

    note(-1, "ticks", relu(calibration.codes * quantised.input_scale))
    scales = [quantised.input_scale]
    for index, (layer, real) in enumerate(zip(quantised.layers, relu.layers, strict=True)):
        second = layer.plan.second_source
        source = scales[index], None if second is None else scales[second + 1]
        if layer.plan.learned:
            weight, bias = layer.integers(*source)
            step = layer.weight_scale(*source)
            if step.ndim:
                step = step.view(-1, *[1] * (weight.ndim - 1))
            kept = real.weight.clone(), real.bias.clone()
            real.weight.copy_(weight * step)
            real.bias.copy_(bias * layer.unit(*source))
            note(index, "weights", relu(images))
            real.weight.copy_(kept[0])
            real.bias.copy_(kept[1])
        if index < len(quantised.fires):
            scales.append(quantised.fires[index].log_scale.exp())
            note(index, "ticks", relu(images, _firing(index, quantised, scales[-1])))
    return sorted(found, key=lambda cost: (-cost.lost, -cost.error))


def advice(
    found: Sequence[Cost], quantised: QuantisedNetwork, names: Sequence[str], epochs: int = 0
) -> str:
    """Say which layer costs most, and what to change so that it costs less.

    ``epochs`` of fine-tuning have been tried already.
    """
    worst = found[0]
    where = "the image" if worst.layer < 0 else f"layer {_name(worst.layer, names)}"
    tune = f"train on as integers with --finetune {max(4 * epochs, EPOCHS)}"
    if worst.what == "weights":
        layer = quantised.layers[worst.layer]
        blamed = f"the weights of {where}, {layer.weight_bits} bits"
        ways = []
        one_scale = hasattr(layer, "log_scale") and not layer.log_scale.ndim
        if one_scale and worst.layer < len(quantised.fires):
            ways.append("give each channel a scale with --set per_channel=true")
        if layer.weight_bits < MOST_BITS:
            ways.append(f"take more bits with --set weight_bits={MOST_BITS} ('ttfs boards' says "
                        "which boards have so many)")
    else:
        ticks = (quantised.layers[0].source_ticks if worst.layer < 0
                 else quantised.fires[worst.layer].ticks)
        blamed = f"the codes of {where}, T = {ticks}"
        key = "input_ticks" if worst.layer < 0 else "ticks"
        more = BOARD_TICKS if ticks < BOARD_TICKS else 255
        ways = [] if ticks >= 255 else [
            f"take more ticks with --set {key}={more}"
            + " (which no shipped board has)" * (more > BOARD_TICKS)
        ]
    cost = f"{100 * worst.lost:.2f} points" if worst.lost > 0 else (
        f"no image, but {100 * worst.error:.0f} % of the logits' size")
    return f"most is lost by {blamed}: {cost} alone, on training images; " + ", or ".join(
        [*ways, tune])


def _firing(
    index: int, quantised: QuantisedNetwork, scale: torch.Tensor
) -> Callable[[int, torch.Tensor], torch.Tensor]:
    """What stands for the ReLUs of a network whose layer ``index`` alone has codes."""
    ticks = quantised.fires[index].ticks

    def fire(layer: int, received: torch.Tensor) -> torch.Tensor:
        if layer != index:
            return received.clamp(min=0)
        return torch.floor(received / scale + 0.5).clamp(0, ticks) * scale

    return fire


def _name(layer: int, names: Sequence[str]) -> str:
    return "image" if layer < 0 else names[layer]
