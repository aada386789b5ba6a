# SPDX-License-Identifier: Apache-2.0
"""The layers of a topology as a configuration writes them."""

from ttfs_sw.training import topology
from ttfs_sw.training.topology import Topology

__all__ = ["texts"]


def texts(network: Topology) -> tuple[str, ...]:
    """Return the texts from which :func:`topology.plan` makes the hidden layers."""
    found: list[str] = []
    for plan in network.layers[:-1]:
        found.append(plan.text)
        if plan.pool > 1:
            found.append(f"p{plan.pool}")
    classes = network.layers[-1].out_shape[2]
    assert topology.plan(found, network.input_shape, classes).layers[:-1] == network.layers[:-1]
    return tuple(found)
