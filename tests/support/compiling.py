# SPDX-License-Identifier: Apache-2.0
"""What the tests of the compiler share: a small core, networks for it, and refusals."""

import dataclasses

import numpy as np
import pytest

from tests.support.networks import networks
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network
from ttfs_fpga.hdl.config import CoreConfig

__all__ = ["CONFIG", "NETWORKS", "refusal", "replace_layer", "rng"]

CONFIG = CoreConfig(lanes=4, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=512,
                    membrane_words=64, input_words=16, map_words=16, slopes=128, layers=4)

#: Networks of all kinds, which the core can run.
NETWORKS = networks(max_channels=9, max_size=9, max_neurons=300)


def rng():
    return np.random.default_rng(1)


def replace_layer(network, index, **changes):
    layers = list(network.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(network, layers=tuple(layers))


def refusal(network, config):
    """The sentence with which the compiler refuses a network."""
    with pytest.raises(DoesNotFit) as caught:
        compile_network(network, config)
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ValueError)
    return str(caught.value)
