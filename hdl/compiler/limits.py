# SPDX-License-Identifier: Apache-2.0
"""What a core cannot do, whatever the sizes of its memories: layers are refused by name."""

from collections.abc import Sequence

from ttfs_fpga.hdl.compiler.cycles import most_cycles
from ttfs_fpga.hdl.compiler.placement import Measure
from ttfs_fpga.hdl.compiler.refusal import DoesNotFit
from ttfs_fpga.hdl.compiler.residual import largest_shift
from ttfs_fpga.hdl.config import LAYER_CYCLES_BITS, MAX_WEIGHT_BITS, CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_of
from ttfs_fpga.hdl.protocols import Layer, Network
from ttfs_fpga.hdl.table import MAX_KERNEL

__all__ = ["check_cycles", "check_layers", "idles"]


def check_layers(network: Network, config: CoreConfig) -> None:
    """Refuse a layer that needs an operation or a width that the core does not have."""
    if len(network.layers) > config.layers:
        raise DoesNotFit(
            f"the network has {len(network.layers)} layers and the core's table holds "
            f"{config.layers}; merge or drop {len(network.layers) - config.layers}"
        )
    if network.input_ticks > config.max_ticks:
        raise DoesNotFit(
            f"the network's input has T = {network.input_ticks}, and codes of "
            f"{config.tick_bits} bits hold at most {config.max_ticks}; make it with input_ticks = "
            f"{config.max_ticks} or less"
        )
    for layer, (low, high) in zip(network.layers, network.bounds(), strict=True):
        where = f"layer {layer.name}"
        refusal = datapath_of(config).refusal(layer)
        if refusal:
            raise DoesNotFit(f"{where} {refusal}")
        shift = largest_shift(config.weight_bits)
        if layer.residual_shift > shift:
            wider = largest_shift(MAX_WEIGHT_BITS) >= layer.residual_shift
            raise DoesNotFit(
                f"{where} adds its residual {1 << layer.residual_shift} times, and the core's "
                f"weights of {config.weight_bits} bits can do that {1 << shift} times; let the "
                f"added map count for less{' or choose a core with wider weights' * wider}"
            )
        if max(layer.kernel) > MAX_KERNEL:
            raise DoesNotFit(
                f"{where} has a kernel of {layer.kernel[0]} x {layer.kernel[1]}, and the core's "
                f"descriptors hold {MAX_KERNEL} x {MAX_KERNEL}; train with a smaller kernel"
            )
        if layer.pool > 8:
            raise DoesNotFit(
                f"{where} pools {layer.pool} x {layer.pool}, and the core at most 8 x 8"
            )
        if layer.weight_bits > config.weight_bits:
            raise DoesNotFit(
                f"{where} has weights of {layer.weight_bits} bits and the core's have "
                f"{config.weight_bits}; make it with weight_bits = {config.weight_bits} or less"
            )
        if layer.ticks > config.max_ticks:
            raise DoesNotFit(
                f"{where} has T = {layer.ticks}, and codes of {config.tick_bits} bits hold at "
                f"most {config.max_ticks}; make it with ticks = {config.max_ticks} or less"
            )
        most = 1 << config.neuron_bits
        numbered = layer.out_shape[2] if layer.spiking else layer.outputs
        if numbered > most:
            what = "channels" if layer.spiking else "neurons"
            raise DoesNotFit(
                f"{where} has {numbered} {what}, and the core numbers at most {most}"
            )
        limit = 1 << (config.accumulator_bits - 1)
        least = low - idles(layer, config.lanes)
        if least < -limit or high >= limit:
            needed = 1 + max((-1 - least).bit_length(), high.bit_length())
            raise DoesNotFit(
                f"{where} has potentials from {low} to {high}, which need {needed} bits, and the "
                f"core's accumulator_bits is {config.accumulator_bits}; make it with fewer "
                f"weight_bits or ticks, or train with accumulator_bits = {config.accumulator_bits}"
            )


def idles(layer: Layer, lanes: int) -> bool:
    """Whether an output layer has lanes without a channel: they hold one less than any logit."""
    return not layer.spiking and layer.out_shape[2] % lanes > 0


def check_cycles(measures: Sequence[Measure], config: CoreConfig) -> None:
    """Refuse a layer that may take so long that the core gives it up."""
    for plan in measures:
        cycles = most_cycles(plan, config)
        if cycles >= 1 << LAYER_CYCLES_BITS:
            lanes = plan.tap_words > 1
            raise DoesNotFit(
                f"layer {plan.name} may take {cycles} cycles, and the core gives up a layer that "
                f"takes {1 << LAYER_CYCLES_BITS}; make the layer smaller"
                f"{' or choose a core with more lanes' * lanes}"
            )
