# SPDX-License-Identifier: Apache-2.0
"""Networks for tests of the theory: small, random, in float64."""

import pytest
import torch

from ttfs_sw.training import topology
from ttfs_sw.training.models import ReluNetwork


@pytest.fixture(scope="module")
def make_relu():
    """``make_relu(texts, seed)``: a random ReLU network with biases, its topology, some images."""

    def make(texts, seed=0, images=6):
        generator = torch.Generator().manual_seed(seed)
        layers = topology.plan(texts, (6, 6, 2), 4)
        relu = ReluNetwork(layers, generator).double()
        with torch.no_grad():
            for layer in relu.layers:
                if layer.plan.learned:
                    layer.bias.normal_(0, 0.3, generator=generator)
        values = torch.rand(images, 72, generator=generator, dtype=torch.float64)
        # A third of the inputs is silent.
        return relu, layers, values * (values > 1 / 3)

    return make
