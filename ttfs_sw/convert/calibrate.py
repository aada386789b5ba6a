# SPDX-License-Identifier: Apache-2.0
"""From a folded network to integers: windows, weight scales and biases, found without training.

Layer by layer, each reading the codes of the layers already done:

* the weights make up for errors in the codes that they read and for each other's rounding
  (:mod:`ttfs_sw.convert.rounding`), with the scale that has the least squared error of the
  membranes (:mod:`ttfs_sw.convert.scales`);
* the bias takes up the mean error that rounding left in each channel's membranes (Nagel et al.
  2019, "Data-free quantization through weight equalization and bias correction");
* the window ``λ = T s_y`` is the one with the least squared error of the codes: a narrow window has
  fine steps and clips strong activations, a wide one is coarse.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from ttfs_sw.convert.layers import Folded
from ttfs_sw.convert.rounding import moments, refit, round_weights
from ttfs_sw.convert.scales import set_scale
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork
from ttfs_sw.training.qat import Fire, QuantisedLayer

__all__ = ["Calibration", "activations", "calibrate", "relu_network", "settle_constants"]

#: Steps that the largest logit is divided into where errors are judged, and the least of a layer.
LOGIT_STEPS, TINY = 255, 1e-6

#: Windows that are tried, as shares of the largest membrane, and membranes they are tried on.
SHARES, MEMBRANES = np.geomspace(0.03, 1.0, 80), 200_000


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The training images that calibrated a conversion.

    Parameters
    ----------
    pixels : :class:`numpy.ndarray`
        As bytes, ``[images, inputs]``.
    images, codes : :class:`torch.Tensor`
        As the float network and as the integers read them.
    labels : :class:`numpy.ndarray`
        Their classes.
    """

    pixels: np.ndarray
    images: torch.Tensor
    codes: torch.Tensor
    labels: np.ndarray

    def first(self, count: int) -> "Calibration":
        """The first ``count`` of them."""
        return Calibration(*(getattr(self, field.name)[:count]
                             for field in dataclasses.fields(self)))


def relu_network(folded: Folded, dtype: torch.dtype = torch.float32) -> ReluNetwork:
    """The folded network in real numbers, for images worth 0 to 1 in raster order."""
    network = ReluNetwork(folded.topology, torch.Generator()).to(dtype)
    for layer, values in zip(network.layers, folded.weights, strict=True):
        if values is not None:
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(values[0]))
                layer.bias.copy_(torch.from_numpy(values[1]))
    return network.eval()


@torch.no_grad()
def activations(relu: ReluNetwork, images: torch.Tensor) -> list[torch.Tensor]:
    """What the neurons of each layer receive, before pooling and firing; the logits last."""
    found: list[torch.Tensor] = []
    with _hooks(layer.register_forward_hook(lambda module, given, out: found.append(out))
                for layer in relu.layers):
        relu(images)
    return found


@torch.no_grad()
def settle_constants(relu: ReluNetwork, constants: Sequence[int], images: torch.Tensor) -> None:
    """Make each constant channel as large as the largest of its layer's other activations.

    Then it fires at the first tick of a window that is made for them, and its weights are small.
    """
    for index in constants:
        layer, reader = relu.layers[index], relu.layers[index + 1]
        largest = activations(relu, images)[index][:, :-1].max().clamp(min=1e-6)
        reader.weight[:, -1] *= layer.bias[-1] / largest
        layer.bias[-1] = largest


@torch.no_grad()
def calibrate(
    network: QuantisedNetwork, relu: ReluNetwork, images: torch.Tensor, codes: torch.Tensor,
    window: float = 1.0, constants: Sequence[int] = (),
) -> None:
    """Set every number of ``network`` so that it computes what ``relu`` does, as nearly as it can.

    Parameters
    ----------
    network : :class:`ttfs_sw.training.models.QuantisedNetwork`
        Takes everything over.
    relu : :class:`ttfs_sw.training.models.ReluNetwork`
        Of the same topology.
    images, codes : :class:`torch.Tensor`
        Training images as ``relu`` and as ``network`` read them, ``[images, inputs]``.
    window : :class:`float`
        The part of each layer's window that is kept.
    constants : sequence of :class:`int`
        Layers whose last channel is a constant, as large as their window.
    """
    for layer, source in zip(network.layers, relu.layers, strict=True):
        if layer.plan.learned:
            layer.weight.copy_(source.weight)
            layer.bias.copy_(source.bias)
    wanted = activations(relu, images)
    handles: list[RemovableHandle] = []
    for index, (layer, received) in enumerate(zip(network.layers, wanted, strict=True)):
        fire = network.fires[index] if index < len(network.fires) else None
        if layer.plan.learned:
            handles += [
                layer.register_forward_pre_hook(functools.partial(
                    _find_weights, _step(layer, fire, received, window), received)),
                layer.register_forward_hook(functools.partial(_correct_bias, received)),
            ]
        if fire is not None:
            handles.append(fire.register_forward_pre_hook(functools.partial(_set_window, window)))
            if index in constants:
                settle = functools.partial(
                    _settle, layer.bias[-1].clone(), network.layers[index + 1])
                handles.append(fire.register_forward_hook(settle))
    with _hooks(handles):
        network(codes)


def _step(
    layer: QuantisedLayer, fire: Fire | None, received: torch.Tensor, window: float
) -> float | torch.Tensor:
    """What a step of a layer's codes will be worth, judged by what it should receive."""
    if fire is None:
        # Logits are compared, not rounded; but what is that small decides nothing.
        return max(received.abs().max().item(), TINY) / LOGIT_STEPS
    activity = pooled(received, layer.plan.pool)
    found = _best_step(activity[activity > 0].double(), fire.ticks)
    if found is None:
        # Nothing fires: what it would take to fire at the first tick.
        return max(received.abs().max().item(), TINY) / fire.ticks
    return window * found


def _find_weights(
    step: float | torch.Tensor, wanted: torch.Tensor, layer: QuantisedLayer,
    given: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None],
) -> None:
    """Set a layer's weights and their scale from the codes that it is about to read."""
    codes, source_scale, second, second_scale = given
    if second is not None and second_scale is not None:
        wanted = wanted - second.float() * second_scale
    found = moments(layer, codes, wanted)
    refit(layer, found, source_scale)
    set_scale(layer, source_scale, second_scale, found.variances(layer), step)
    round_weights(layer, found, layer.weight_scale(source_scale, second_scale))


def _correct_bias(
    wanted: torch.Tensor, layer: QuantisedLayer, given: tuple,
    result: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift a layer's biases by the mean error of its membranes; give the membranes it has then."""
    membrane, unit = result
    over = [axis for axis in range(membrane.ndim) if axis != 1]
    error = wanted.mean(dim=over, dtype=torch.float64) - membrane.double().mean(dim=over) * unit
    before = torch.floor(layer.bias / unit + 0.5)
    layer.bias.add_(error.to(layer.bias.dtype))
    moved = (torch.floor(layer.bias / unit + 0.5) - before).to(membrane.dtype)
    return membrane + moved.view(-1, *[1] * (membrane.ndim - 2)), unit


def _set_window(
    part: float, fire: Fire, given: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Set the window of a layer from the membranes it is about to fire on."""
    membrane, unit = given
    # The unit may be one a channel.
    real = membrane.double() * unit.double().view(-1, *[1] * (membrane.ndim - 2))
    step = _best_step(real[real > 0], fire.ticks)
    if step is not None:
        fire.log_scale.copy_((part * step).log())


def _best_step(positive: torch.Tensor, ticks: int) -> torch.Tensor | None:
    """The step of the codes that has the least squared error; ``None`` if nothing is positive."""
    positive = positive[:: len(positive) // MEMBRANES + 1]
    if not len(positive):
        return None
    steps = [positive.max() * share / ticks for share in SHARES]
    errors = [
        (torch.floor(positive / step + 0.5).clamp(max=ticks) * step - positive).square().sum()
        for step in steps
    ]
    return steps[int(torch.stack(errors).argmin())]


def _settle(
    value: torch.Tensor, reader: QuantisedLayer, fire: Fire, given: tuple,
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Let the weights that read a constant count with what its code is worth.

    It is the only channel whose error no bias can take up: it is silent in the padding.
    """
    codes, scale, _ = result
    reader.weight[:, -1] *= value / (codes[:, -1].max() * scale)


@contextlib.contextmanager
def _hooks(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks when the block ends."""
    handles = list(handles)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def pooled(values: torch.Tensor, pool: int) -> torch.Tensor:
    """The activations of a layer's map, ``[images, neurons]`` in raster order."""
    values = functional.relu(values)
    if values.ndim == 2:
        return values
    if pool > 1:
        values = functional.max_pool2d(values, pool)
    return values.permute(0, 2, 3, 1).flatten(1)
