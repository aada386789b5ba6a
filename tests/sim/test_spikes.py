# SPDX-License-Identifier: Apache-2.0
"""The spikes that the RTL shows are those of the golden model, got without it."""

import itertools

import numpy as np
import pytest

from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.sim.simulators import SIMULATORS, find_simulator
from ttfs_fpga.sim.spikes import rtl_spike_times
from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.common.errors import ToolError


@pytest.mark.parametrize(
    "simulator",
    [pytest.param(name, marks=getattr(pytest.mark, name)) for name in SIMULATORS],
)
def test_spike_times(simulator):
    try:
        find_simulator(simulator)
    except ToolError as error:
        pytest.skip(str(error))
    generator = np.random.default_rng(7)
    sizes = (64, 20, 33, 10)
    weights = [generator.integers(-7, 8, shape) for shape in itertools.pairwise(sizes)]
    network = dense_network(weights, None, [900, 700], [15, 14], [15, 9], weight_bits=4)
    pixels = generator.integers(0, 256, 64).astype(np.uint8)
    pixels[generator.random(64) < 0.5] = 0
    times = rtl_spike_times(
        network, pixels, config=BOARDS["icebreaker"].config, simulator=simulator
    )
    trace = golden.run(network, pixels[np.newaxis])
    assert [len(layer) for layer in times] == [20, 33]
    for index, layer in enumerate(times):
        assert np.array_equal(layer, trace.spike_times(index)[0])
        # Some fire and some are silent, or the comparison would show nothing.
        assert 0 < np.count_nonzero(layer < network.layers[index].ticks) < len(layer)
