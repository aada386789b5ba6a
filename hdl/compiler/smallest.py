# SPDX-License-Identifier: Apache-2.0
"""The smallest core that runs a network."""

import dataclasses
from typing import Any

from ttfs_fpga.hdl.compiler.compile import compile_network
from ttfs_fpga.hdl.compiler.limits import idles
from ttfs_fpga.hdl.compiler.refusal import DoesNotFit
from ttfs_fpga.hdl.compiler.residual import largest_shift
from ttfs_fpga.hdl.config import MAX_WEIGHT_BITS, CoreConfig
from ttfs_fpga.hdl.protocols import Network

__all__ = ["minimal_config"]


def minimal_config(network: Network, **overrides: int | str) -> CoreConfig:
    """The smallest core that runs ``network``, with ``overrides`` fixed by the caller."""
    layers = network.layers
    base = CoreConfig()
    lanes = int(overrides.get("lanes", base.lanes))
    ticks = max([network.input_ticks, *(layer.ticks for layer in layers)])
    needed = 1 + max(max(high, -1 - low + idles(layer, lanes), 0).bit_length()
                     for layer, (low, high) in zip(layers, network.bounds(), strict=True))
    sizes: dict[str, Any] = {
        "lanes": lanes,
        "weight_bits": max(layer.weight_bits for layer in layers),
        "tick_bits": ticks.bit_length(),
        "accumulator_bits": max(8, needed),
        "layers": len(layers),
    }
    shift = max(layer.residual_shift for layer in layers)
    while sizes["weight_bits"] < MAX_WEIGHT_BITS and largest_shift(sizes["weight_bits"]) < shift:
        sizes["weight_bits"] += 1
    while not CoreConfig.loadable(lanes * sizes["weight_bits"]):
        sizes["weight_bits"] += 1
    sizes.update(overrides)
    if sizes.get("weight_memory") == "spram":
        # The device has it in one size.
        sizes.setdefault("weight_words", 16384)
    if len(layers) > 63:
        raise DoesNotFit(
            f"the network has {len(layers)} layers and no core's table holds more than 63; merge "
            f"or drop {len(layers) - 63}"
        )
    largest = dataclasses.replace(
        CoreConfig(**sizes), weight_words=1 << 20, weight_memory="block",
        membrane_words=1 << 15, input_words=1 << 15, map_words=1 << 15, table_words=1 << 14,
        slopes=1 << 15,
    )
    used = compile_network(network, largest, spare=False).report()["memories"]
    sizes = {
        "weight_words": max(2, used["weights"]["used"]),
        "membrane_words": max(2, used["membrane"]["used"]),
        "input_words": max(2, used["input_map"]["used"]),
        # A neuron's number must fit as well, also where it fires into no map.
        "map_words": max(
            2, used["map"]["used"],
            -(-max(max(layer.neurons, layer.out_shape[2]) for layer in layers)
              // largest.codes_per_word),
        ),
        "slopes": max(2, used["slopes"]["used"]),
        "table_words": max(32, used["table"]["used"]),
        **sizes,
    }
    return CoreConfig(**sizes)
