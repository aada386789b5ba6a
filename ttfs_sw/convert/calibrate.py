"""From a folded network to integers: windows, weight scales and biases, found without training.

Layer by layer, each reading the codes of the layers already done:

* the weight scale is the one with the least squared error of the rounded weights;
* the bias takes up the mean error that rounding left in each channel's membranes (Nagel et al.
  2019, "Data-free quantization through weight equalization and bias correction");
* the window ``λ = T s_y`` is the one with the least squared error of the codes: a narrow window has
  fine steps and clips strong activations, a wide one is coarse.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.convert.layers import Folded
from ttfs_sw.models import QuantisedNetwork, ReluNetwork

__all__ = ["activations", "calibrate", "relu_network", "settle_constants"]

#: Windows that are tried, as shares of the largest membrane, and membranes they are tried on.
SHARES, MEMBRANES = np.geomspace(0.03, 1.0, 80), 200_000


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
    found = []
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
    window: float = 1.0,
) -> None:
    """Set every number of ``network`` so that it computes what ``relu`` does, as nearly as it can.

    Parameters
    ----------
    network : :class:`ttfs_sw.models.QuantisedNetwork`
        Takes everything over.
    relu : :class:`ttfs_sw.models.ReluNetwork`
        Of the same topology.
    images, codes : :class:`torch.Tensor`
        Training images as ``relu`` and as ``network`` read them, ``[images, inputs]``.
    window : :class:`float`
        The part of each layer's window that is kept.
    """
    network.start_from(relu, codes)
    wanted = activations(relu, images)
    set_window = functools.partial(_set_window, window)
    handles = [fire.register_forward_pre_hook(set_window) for fire in network.fires]
    handles += [
        layer.register_forward_hook(functools.partial(_correct_bias, received))
        for layer, received in zip(network.layers, wanted, strict=True) if layer.plan.learned
    ]
    with _hooks(handles):
        network(codes)


def _correct_bias(
    wanted: torch.Tensor, layer: nn.Module, given: tuple, result: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift a layer's biases by the mean error of its membranes; give the membranes it has then."""
    membrane, unit = result
    over = [axis for axis in range(membrane.ndim) if axis != 1]
    error = wanted.mean(dim=over, dtype=torch.float64) - membrane.double().mean(dim=over) * unit
    before = torch.floor(layer.bias / unit + 0.5)
    layer.bias += error.to(layer.bias.dtype)
    moved = (torch.floor(layer.bias / unit + 0.5) - before).to(membrane.dtype)
    return membrane + moved.view(-1, *[1] * (membrane.ndim - 2)), unit


def _set_window(
    part: float, fire: nn.Module, given: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Set the window of a layer from the membranes it is about to fire on."""
    membrane, unit = given
    # The unit may be one a channel.
    real = membrane.double() * unit.double().view(-1, *[1] * (membrane.ndim - 2))
    positive = real[real > 0]
    positive = positive[:: len(positive) // MEMBRANES + 1]
    if not len(positive):
        return
    steps = [positive.max() * share / fire.ticks for share in SHARES]
    errors = [
        (torch.floor(positive / step + 0.5).clamp(max=fire.ticks) * step - positive).square().sum()
        for step in steps
    ]
    fire.log_scale.copy_((part * steps[int(torch.stack(errors).argmin())]).log())


@contextlib.contextmanager
def _hooks(handles: Sequence | Iterator) -> Iterator[None]:
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
