# SPDX-License-Identifier: Apache-2.0
"""Batch-norm and input ranges, taken into weights and biases, against the network that has them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw.research.theory.fusing import NormalisedNetwork, fuse
from ttfs_sw.research.theory.mapping import to_relu
from ttfs_sw.training import topology

SHAPES = (["12", "9"], ["5c3", "p2", "6c3", "8"], ["4c3s2", "d3", "7"], ["3c1", "4c5p0", "p2", "5"])


def drawn(texts, place, seed, shape=(6, 6, 2)):
    """A network whose batch-norms have statistics and scales of both signs, ready for use."""
    generator = torch.Generator().manual_seed(seed)
    network = NormalisedNetwork(topology.plan(texts, shape, 4), place, generator)
    with torch.no_grad():
        for norm in network.norms:
            for values in (norm.weight, norm.bias, norm.running_mean):
                values.normal_(generator=generator)
            norm.running_var.uniform_(0.2, 2, generator=generator)
    return network.eval()


@given(texts=st.sampled_from(SHAPES), place=st.sampled_from(["before", "after"]),
       seed=st.integers(0, 10_000), span=st.sampled_from([(0.0, 1.0), (-3.0, 3.0), (1.0, 1.5)]))
@settings(max_examples=25)
def test_exact(texts, place, seed, span):
    network = drawn(texts, place, seed)
    low, high = span
    values = torch.rand(5, 72, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    values = low + (high - low) * values
    fused = fuse(network, low, high)
    fused.calibrate(values)
    trace = fused.run(values)
    expected = network(values)
    assert trace.early == 0
    assert (trace.logits - expected).abs().max() <= 1e-12 * (1 + expected.abs().max())


def test_nine_biases_of_a_padded_convolution():
    """Inner, four edges, four corners; without padding, or for batch-norm before, there is one."""
    bias = fuse(drawn(["5c3", "6c3", "8"], "after", 1)).layers[1].bias
    assert bias.shape == (6, 6, 6)
    for channel in bias:
        inner = channel[1:-1, 1:-1]
        assert torch.allclose(inner, inner[0, 0], rtol=0, atol=1e-14)
        edges = [channel[0, 1:-1], channel[-1, 1:-1], channel[1:-1, 0], channel[1:-1, -1]]
        assert all(torch.allclose(edge, edge[0], rtol=0, atol=1e-14) for edge in edges)
        corners = channel[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()
        kinds = [inner[0, 0].item(), *(edge[0].item() for edge in edges), *corners]
        assert len({round(value, 10) for value in kinds}) == 9
    assert fuse(drawn(["5c3", "6c3", "8"], "before", 1)).layers[1].bias.ndim == 1
    bare = fuse(drawn(["5c3", "6c3p0", "8"], "after", 1)).layers[1].bias
    assert torch.allclose(bare, bare[:, :1, :1], rtol=0, atol=1e-14)


def test_a_pool_behind_a_negative_scale_takes_the_last_spike():
    network = drawn(["5c3", "p2", "8"], "after", 1)
    with torch.no_grad():
        network.norms[0].weight.copy_(torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0]))
    fused = fuse(network)
    assert fused.layers[0].signs.tolist() == [1, -1, 1, -1, 1]
    values = torch.rand(3, 72, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = network(values)
    assert (fused(values) - expected).abs().max() < 1e-12
    fused.layers[0].signs.fill_(1)
    assert (fused(values) - expected).abs().max() > 1e-3


def test_what_it_refuses():
    layers = topology.plan(["4c3", "4c3+1", "5"], (6, 6, 2), 4)
    with pytest.raises(ValueError, match="without residuals"):
        NormalisedNetwork(layers, "before", torch.Generator())
    with pytest.raises(ValueError, match="before, after"):
        NormalisedNetwork(topology.plan(["5"], (6, 6, 2), 4), "between", torch.Generator())
    with pytest.raises(ValueError, match="a bias for each neuron"):
        to_relu(fuse(drawn(["5c3", "6c3", "8"], "after", 1)))
    # Before the ReLU there is none, and the way to a ReLU network is open.
    network = drawn(["5c3", "6c3", "8"], "before", 1)
    values = torch.rand(2, 72, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(to_relu(fuse(network))(values), network(values), rtol=1e-12, atol=1e-12)
