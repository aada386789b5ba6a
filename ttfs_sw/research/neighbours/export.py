# SPDX-License-Identifier: Apache-2.0
"""The integers of a network whose activations have a window and a number of levels a layer.

A QCFS unit with window λ and L levels, and a few-spike ReLU with α = λ and L = 2^K - 1, have the
values of a neuron that fires once, at one of T = L ticks (docs/theory.md, section 3). So
every such network is one that our core runs; only its weights are rounded.
"""

import math
from collections.abc import Sequence

import torch

from ttfs_sw.artifact.network import Network
from ttfs_sw.research.neighbours.method import Task
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork
from ttfs_sw.training.topology import Topology

__all__ = ["integers"]


@torch.no_grad()
def integers(
    task: Task,
    topology: Topology,
    model: ReluNetwork,
    windows: Sequence[float],
    levels: Sequence[int],
    weight_bits: int,
) -> Network:
    """Return the integer network with the weights of ``model``, rounded and not trained again.

    Parameters
    ----------
    task : :class:`ttfs_sw.research.neighbours.method.Task`
        Its dataset, and the ticks of its images.
    topology : :class:`ttfs_sw.training.topology.Topology`
        The layers of ``model``.
    model : :class:`ttfs_sw.training.models.ReluNetwork`
        Weights and biases.
    windows : sequence of :class:`float`
        λ of each hidden layer: the largest activation.
    levels : sequence of :class:`int`
        L of each hidden layer, 1 to 255, which becomes its T.
    weight_bits : :class:`int`
        2 to 8, for all layers.
    """
    learned = sum(plan.learned for plan in topology.layers)
    ticks = (task.config.network.input_ticks, *levels)
    quantised = QuantisedNetwork(topology, [weight_bits] * learned, ticks).to(task.device)
    scales = [quantised.input_scale]
    for index, (layer, source) in enumerate(zip(quantised.layers, model.layers, strict=True)):
        if layer.plan.learned:
            layer.weight.copy_(source.weight)
            layer.bias.copy_(source.bias)
        second = layer.plan.second_source
        layer.calibrate(scales[index], None if second is None else scales[second + 1])
        if index < len(levels):
            fire = quantised.fires[index]
            fire.log_scale.fill_(math.log(windows[index] / levels[index]))
            scales.append(fire.log_scale.exp())
    return task.data().export(quantised)
