# SPDX-License-Identifier: Apache-2.0
"""From a ReLU network to spike times and back, exactly.

B1 takes weights and biases as they are. The alpha-model needs, for each neuron that fires,
``J = a W / (1 - sum W)`` and ``D = b B`` with ``B = a + sum J = a / (1 - sum W)``, and so that
``sum W < 1``: :func:`ttfs_sw.research.theory.initialise.rescale` sees to that, without changing
what the network computes.
"""

import torch

from ttfs_sw.common.errors import InputError
from ttfs_sw.research.theory.network import TtfsNetwork
from ttfs_sw.training.models import ReluNetwork
from ttfs_sw.training.topology import Topology

__all__ = ["relu_parameters", "to_relu", "to_ttfs"]


@torch.no_grad()
def to_ttfs(relu: ReluNetwork, topology: Topology, model: str = "b1", *, alpha: float = 1.0
            ) -> TtfsNetwork:
    """The network of spike times, in float64, that computes what ``relu`` does.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the alpha-model cannot hold a neuron, since its weights add up to 1 or more.
    """
    device = next(relu.parameters()).device
    network = TtfsNetwork(topology, model, alpha=alpha).to(device)
    for index, (layer, source) in enumerate(zip(network.layers, relu.layers, strict=True)):
        if not layer.plan.learned:
            continue
        weight, bias = source.weight.double(), source.bias.double()
        if layer.model == "alpha":
            total = weight.flatten(1).sum(dim=1)
            if (total >= 1).any():
                raise InputError(
                    f"layer {index} has a neuron whose weights add up to {total.max():.3g}, and "
                    "the alpha-model needs less than 1; rescale the network first"
                )
            slope = alpha / (1 - total)
            weight, bias = weight * slope.view(-1, *[1] * (weight.ndim - 1)), bias * slope
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return network


@torch.no_grad()
def to_relu(network: TtfsNetwork) -> ReluNetwork:
    """The ReLU network, in float64, that computes what ``network`` does.

    Raises
    ------
    :exc:`ValueError`
        If neurons of one channel have different biases, as batch-norm leaves them at the border of
        a map: a convolution of torch has no place for those.
    """
    relu = ReluNetwork(network.topology, torch.Generator()).double().to(network.windows.device)
    for (weight, bias), target in zip(relu_parameters(network), relu.layers, strict=True):
        if weight is None or bias is None:
            continue
        if bias.ndim != 1:
            raise ValueError("a layer has a bias for each neuron; a ReLU network has one a channel")
        target.weight.copy_(weight)
        target.bias.copy_(bias)
    return relu


def relu_parameters(
    network: TtfsNetwork,
) -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
    """Weight and bias of each layer as a ReLU network would have them; ``None`` for an average."""
    found: list[tuple[torch.Tensor | None, torch.Tensor | None]] = []
    for layer in network.layers:
        if not layer.plan.learned:
            found.append((None, None))
            continue
        weight, bias, slope = layer.weight, layer.bias, layer.slope
        wide = slope.view(-1, *[1] * (weight.ndim - 1))
        high = slope.view(-1, *[1] * (bias.ndim - 1))
        found.append((weight / wide, bias / high))
    return found
