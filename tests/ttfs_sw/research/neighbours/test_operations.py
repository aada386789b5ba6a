# SPDX-License-Identifier: Apache-2.0
"""What an inference costs: synapses, counted one by one."""

import itertools

import pytest
import torch

from ttfs_sw.research.neighbours.operations import Tally, synapses
from ttfs_sw.training import topology


def by_hand(plan, counts):
    """Every tap of every output, in loops."""
    if plan.kind == "dense":
        return counts.sum().item() * plan.out_shape[2]
    height, width, channels = plan.out_shape
    total = 0
    for y, x, channel in itertools.product(range(height), range(width), range(channels)):
        for row, column in itertools.product(range(plan.kernel), repeat=2):
            y_in = y * plan.stride + row - plan.padding
            x_in = x * plan.stride + column - plan.padding
            if 0 <= y_in < plan.in_shape[0] and 0 <= x_in < plan.in_shape[1]:
                here = counts[:, y_in, x_in]
                total += here.sum().item() if plan.kind == "conv2d" else here[channel].item()
    return total


@pytest.mark.parametrize("text", ["4c3", "4c3s2", "2c5p0", "d3", "d2s2p0", "a2", "a3", "6"])
def test_synapses(text):
    plan = topology.plan([text], (7, 6, 3), 2).layers[0]
    counts = torch.randint(0, 5, (3, 7, 6), generator=torch.Generator().manual_seed(0)).double()
    given = counts.flatten() if plan.kind == "dense" else counts
    assert synapses(plan, given) == by_hand(plan, counts)


def tally(weighted):
    layers = topology.plan(["4c3", "4c3+1", "5"], (3, 3, 2), 3)
    counted = Tally(layers, weighted=weighted)
    for count in (2, 1):
        counted.add(0, torch.ones(count, 4, 3, 3))
        counted.add(1, 2 * torch.ones(count, 4, 3, 3))
        counted.add(2, torch.ones(count, 5))
    return counted


def test_spikes_and_operations():
    counted = tally(False)
    counted.add(-1, torch.ones(3, 18))
    result = counted.inference(torch.zeros(3, 3), 7)
    assert result.spikes.tolist() == [[18, 36, 72, 5]] * 3
    assert result.neurons == 36 + 36 + 5
    assert result.spikes_per_neuron == 113 / 77
    assert result.spikes_per_inference == 131
    # Of a 3 x 3 map, 49 taps of 81 are inside. The residual adds the first map once more.
    wanted = 49 * 2 * 4 + 49 * 4 * 4 + 36 + 72 * 5 + 5 * 3
    assert result.additions == wanted
    assert result.multiplications == 0
    assert result.time_steps == 7
    assert result.winners.tolist() == [0, 0, 0]


def test_weighted_spikes_and_real_images_multiply():
    counted = tally(True)
    counted.add(-1, torch.ones(3, 18))
    result = counted.inference(torch.zeros(3, 3), 7)
    assert result.multiplications == result.additions
    counted = tally(False)
    values = torch.ones(3, 18)
    values[:, ::2] = 0
    counted.add_analog(values)
    result = counted.inference(torch.zeros(3, 3), 7)
    assert result.spikes[:, 0].tolist() == [0, 0, 0]
    assert result.multiplications == 49 * 1 * 4
