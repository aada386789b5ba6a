"""The compiler: from a network of integers to the memories of a core.

A network is anything with the attributes of the artifact's ``Network`` and ``Layer`` (this package
imports nothing of ours). Every width and every depth is checked here, once, so that the hardware
need not: what does not fit is refused with the layer, the memory and the amount.
"""

import dataclasses
from typing import Any

import numpy as np

from hdl.config import CoreConfig
from hdl.program import LayerPlan, Program
from hdl.shapes import Memory
from hdl.table import ENTRY_WORDS, Operation, entry_words, header_words

__all__ = ["DoesNotFit", "compile_network", "membrane_bounds", "minimal_config"]


class DoesNotFit(ValueError):
    """A network does not fit a core: the message says which memory, by how much, what would fit."""

    exit_code = 2


def compile_network(network: Any, config: CoreConfig) -> Program:
    """Lay a network out in the memories of a core.

    Parameters
    ----------
    network : ``ttfs_sw.network.Network`` or alike
        Integers, shapes and slopes of every layer.
    config : :class:`hdl.CoreConfig`
        Sizes of the core.

    Raises
    ------
    :exc:`DoesNotFit`
        If a layer needs an operation, a width or a memory that the core does not have.
    """
    _check_layers(network, config)
    layers = network.layers
    words = [_ceil_div(layer.outputs, config.lanes) for layer in layers]
    maps = _allocate_maps(layers, config)

    plans = []
    weight_base = slope_base = bias_base = 0
    # A layer of one word needs two, at an even address: see hdl.sequencer.
    stored = [count + count % 2 for count in words]
    bias_words = sum(stored)
    # Consecutive layers take turns in two regions, so that one may accumulate while the one before
    # it fires.
    turns = [max(stored[turn::2], default=0) for turn in (0, 1)]
    for index, layer in enumerate(layers):
        weight_words = layer.inputs * words[index]
        slopes = _slope_count(layer)
        from_input = layer.source < 0
        plans.append(LayerPlan(
            name=layer.name,
            inputs=layer.inputs,
            neurons=layer.outputs,
            spiking=layer.spiking,
            words=words[index],
            map_words=_ceil_div(layer.inputs, config.codes_per_word),
            weight_base=weight_base,
            weight_words=weight_words,
            bias_base=bias_base,
            membrane_base=bias_words + (turns[0] if index % 2 else 0),
            source_base=None if from_input else maps[layer.source],
            destination_base=maps[index] if layer.spiking else None,
            destination_words=(
                _ceil_div(layer.neurons, config.codes_per_word) if layer.spiking else 0),
            slope_base=slope_base if layer.spiking else None,
            fire_threshold=_fire_threshold(layer, config),
            bounds=membrane_bounds(layer, _source_ticks(network, layer)),
        ))
        weight_base += weight_words
        slope_base += slopes
        bias_base += stored[index]

    def most(sizes):
        return layers[max(range(len(layers)), key=list(sizes).__getitem__)].name

    _require("weights", weight_base, config.weight_words, "weight",
             most(plan.weight_words for plan in plans), config.lanes)
    _require("membrane", bias_words + sum(turns), config.membrane_words, "membrane", most(words),
             config.lanes)
    _require("slopes", slope_base, config.slopes, "slope", most(map(_slope_count, layers)), 1)
    memories = _contents(network, config, plans)
    return Program(config, int(np.prod(network.input_shape)), network.input_ticks, tuple(plans),
                   memories)


def membrane_bounds(layer: Any, source_ticks: int) -> tuple[int, int]:
    """Exact smallest and largest potential of a dense layer over all inputs (ALGORITHMS §8.5).

    The bound is reached, and covers every partial sum: each starts at β and moves by whole terms.
    """
    weight = layer.weight.reshape(layer.inputs, layer.outputs).astype(np.int64)
    bias = layer.bias.astype(np.int64)
    low = bias + source_ticks * np.minimum(weight, 0).sum(axis=0)
    high = bias + source_ticks * np.maximum(weight, 0).sum(axis=0)
    return int(low.min()), int(high.max())


def minimal_config(network: Any, **overrides: int | str) -> CoreConfig:
    """The smallest core that runs ``network``, with ``overrides`` fixed by the caller."""
    layers = network.layers
    base = CoreConfig()
    lanes = int(overrides.get("lanes", base.lanes))
    ticks = max([network.input_ticks, *(layer.ticks for layer in layers)])
    extremes = [
        bound for layer in layers
        for bound in membrane_bounds(layer, _source_ticks(network, layer))
    ]
    needed = 1 + max(max(high, -1 - high).bit_length() for high in extremes)
    sizes: dict[str, Any] = {
        "lanes": lanes,
        "weight_bits": max(layer.weight_bits for layer in layers),
        "tick_bits": ticks.bit_length(),
        "accumulator_bits": max(8, needed),
        "layers": len(layers),
        "slopes": max(2, sum(_slope_count(layer) for layer in layers)),
    }
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
        membrane_words=1 << 15, input_words=1 << 15, map_words=1 << 15,
    )
    used = compile_network(network, largest).report()["memories"]
    sizes = {
        "weight_words": max(2, used["weights"]["used"]),
        "membrane_words": used["membrane"]["used"],
        "input_words": max(2, used["input_map"]["used"]),
        # A neuron's number must fit as well, also where it fires into no map.
        "map_words": max(
            2, used["map"]["used"],
            _ceil_div(max(layer.outputs for layer in layers), largest.codes_per_word),
        ),
        **sizes,
    }
    return CoreConfig(**sizes)


def _check_layers(network, config):
    if len(network.layers) > config.layers:
        raise DoesNotFit(
            f"the network has {len(network.layers)} layers and the core's table holds "
            f"{config.layers}; merge or drop {len(network.layers) - config.layers}"
        )
    if network.input_ticks > config.max_ticks:
        raise DoesNotFit(
            f"the network's input has T = {network.input_ticks}, and codes of "
            f"{config.tick_bits} bits hold at most {config.max_ticks}; train with a smaller T or "
            f"choose a core with tick_bits = {network.input_ticks.bit_length()}"
        )
    inputs = int(np.prod(network.input_shape))
    if inputs > config.input_words * config.codes_per_word:
        raise DoesNotFit(
            f"the network's input has {inputs} values and the core's input map holds "
            f"{config.input_words * config.codes_per_word}: "
            f"{inputs - config.input_words * config.codes_per_word} too many"
        )
    for layer in network.layers:
        where = f"layer {layer.name}"
        if (layer.kind != "dense" or layer.pool != 1 or layer.second_source is not None):
            what = layer.kind if layer.kind != "dense" else "pooling or a residual input"
            raise DoesNotFit(f"{where} is {what}, and this core runs dense layers only")
        if layer.weight_bits > config.weight_bits:
            raise DoesNotFit(
                f"{where} has weights of {layer.weight_bits} bits and the core's have "
                f"{config.weight_bits}; train with weight_bits = {config.weight_bits}"
            )
        if layer.ticks > config.max_ticks:
            raise DoesNotFit(
                f"{where} has T = {layer.ticks}, and codes of {config.tick_bits} bits hold at "
                f"most {config.max_ticks}; train with a smaller T"
            )
        if layer.outputs > 1 << config.neuron_bits:
            raise DoesNotFit(
                f"{where} has {layer.outputs} neurons, and the core numbers at most "
                f"{1 << config.neuron_bits}"
            )
        low, high = membrane_bounds(layer, _source_ticks(network, layer))
        limit = 1 << (config.accumulator_bits - 1)
        if low < -limit or high >= limit:
            needed = 1 + max((-1 - low).bit_length(), high.bit_length())
            raise DoesNotFit(
                f"{where} has potentials from {low} to {high}, which need {needed} bits, and the "
                f"core's accumulator_bits is {config.accumulator_bits}; train with a penalty on "
                f"weights or fewer bits"
            )


def _require(memory, needed, available, unit, layer, lanes):
    if needed > available:
        each = f" of {lanes}" if lanes > 1 else ""
        raise DoesNotFit(
            f"the network needs {needed} {unit} words{each} (most in layer {layer}) and the "
            f"core's {memory} memory has {available}: {needed - available} too many; what would "
            f"fit is {available / needed:.0%} of that"
        )


def _allocate_maps(layers, config):
    """First map word of each spiking layer: the lowest place free while its map is needed."""
    last_reader = {}
    for index, layer in enumerate(layers):
        last_reader[layer.source] = index
    bases: dict[int, int] = {}
    sizes = {
        index: _ceil_div(layer.neurons, config.codes_per_word)
        for index, layer in enumerate(layers) if layer.spiking
    }
    for index, size in sizes.items():
        # A map is written while its source is read: one whose last reader is this layer lives.
        alive = sorted(
            (bases[other], bases[other] + sizes[other])
            for other in bases if last_reader.get(other, other) >= index
        )
        base = 0
        for low, high in alive:
            if base + size <= low:
                break
            base = max(base, high)
        if base + size > config.map_words:
            over = base + size - config.map_words
            raise DoesNotFit(
                f"layer {layers[index].name} needs {size} map words at {base} and the core's map "
                f"memory has {config.map_words}: {over} too many; what would fit is "
                f"{(size - over) * config.codes_per_word} neurons" if over < size else
                f"layer {layers[index].name} needs {size} map words and the core's map memory "
                f"has none of its {config.map_words} left"
            )
        bases[index] = base
    return bases


def _contents(network, config, plans):
    """The 32-bit values of every memory, by address."""
    table: dict[int, int] = dict(enumerate(header_words(
        len(plans), int(np.prod(network.input_shape)))))
    slopes: dict[int, int] = {}
    membrane: dict[int, int] = {}
    weights: dict[int, int] = {}
    mask = (1 << config.accumulator_bits) - 1
    for index, (layer, plan) in enumerate(zip(network.layers, plans, strict=True)):
        count = _slope_count(layer)
        for n in range(count):
            slopes[plan.slope_base + n] = int(layer.multiplier[n]) | int(layer.shift[n]) << 16
        for neuron, bias in enumerate(layer.bias.tolist()):
            membrane[plan.bias_base * config.lanes + neuron] = bias & mask
        # Lanes beyond the last neuron stay at 0, so that they neither fire nor overflow; and so
        # does the second copy of a layer of one word.
        for lane in range(layer.outputs, plan.membrane_words * config.lanes):
            membrane[plan.bias_base * config.lanes + lane] = 0
        weights.update(_weight_parts(layer, plan, config))
        entry = entry_words(
            operation=Operation.DENSE,
            spiking=int(layer.spiking),
            last=int(index + 1 == len(plans)),
            source_input=int(plan.source_base is None),
            per_channel=int(count > 1),
            ticks=layer.ticks,
            source_base=plan.source_base or 0,
            source_last=plan.map_words - 1,
            last_lane=(plan.neurons - 1) % config.lanes,
            last_word=plan.words - 1,
            weight_base=plan.weight_base,
            weight_stride=plan.inputs,
            membrane_base=plan.membrane_base,
            bias_base=plan.bias_base,
            destination_base=plan.destination_base or 0,
            destination_last=max(0, plan.destination_words - 1),
            fire_threshold=plan.fire_threshold,
            slope_base=plan.slope_base or 0,
        )
        table.update({(1 + index) * ENTRY_WORDS + n: word for n, word in enumerate(entry)})
    return {
        Memory.TABLE: table,
        Memory.ENCODER: dict(enumerate(network.input_codes.tolist())),
        Memory.SLOPES: slopes,
        Memory.MEMBRANE: membrane,
        Memory.WEIGHTS: weights,
    }


def _weight_parts(layer, plan, config):
    """Weights, word-major: ``base + u * inputs + j`` has the P weights from input j to word u."""
    lanes, bits, parts = config.lanes, config.weight_bits, config.weight_parts
    padded = np.zeros((layer.inputs, plan.words * lanes), np.int64)
    padded[:, :layer.outputs] = layer.weight.reshape(layer.inputs, layer.outputs)
    words = padded.reshape(layer.inputs, plan.words, lanes).transpose(1, 0, 2)
    fields = words.reshape(-1, parts, lanes // parts) & ((1 << bits) - 1)
    values = (fields << (bits * np.arange(lanes // parts))).sum(axis=2)
    first = plan.weight_base * parts
    return {first + n: value for n, value in enumerate(values.reshape(-1).tolist())}


def _fire_threshold(layer, config):
    """Smallest potential that any neuron of the layer may fire at, a sieve before the requantiser.

    A code is at least 1 if ``V·m + half >= 2^s``. With a slope for each neuron, the lowest of
    theirs; the requantiser decides. A neuron that no potential can make fire needs no candidate.
    """
    if not layer.spiking:
        return 0
    thresholds = [
        -(-((1 << s) - (1 << s >> 1)) // m)
        for m, s in zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True)
    ]
    return min(min(thresholds), (1 << (config.accumulator_bits - 1)) - 1)


def _slope_count(layer):
    """Slopes to store: one where all neurons have the same, else one each; none without firing."""
    if not layer.spiking:
        return 0
    pairs = set(zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True))
    return 1 if len(pairs) == 1 else layer.outputs


def _source_ticks(network, layer):
    return network.input_ticks if layer.source < 0 else network.layers[layer.source].ticks


def _ceil_div(a, b):
    return -(-a // b)
