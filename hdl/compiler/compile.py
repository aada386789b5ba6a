"""The compiler: from a network of integers to the memories of a core.

A network is anything with the attributes of the artifact's ``Network`` and ``Layer`` (this package
imports nothing of ours). Every width and every depth is checked here, once, so that the hardware
need not: what does not fit is refused with the layer, the memory and the amount.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from ttfs_fpga.hdl.compiler.contents import contents, fire_threshold, packed_kernel, slope_count
from ttfs_fpga.hdl.compiler.cycles import most_cycles
from ttfs_fpga.hdl.compiler.inspection import check_table
from ttfs_fpga.hdl.compiler.layout import Axis, MapPlan, axis_of, plan_map
from ttfs_fpga.hdl.compiler.program import LayerPlan, Program
from ttfs_fpga.hdl.compiler.residual import largest_shift, plan_residual, reads
from ttfs_fpga.hdl.config import LAYER_CYCLES_BITS, MAX_WEIGHT_BITS, CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_of
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import ENTRY_WORDS, MAX_KERNEL, ROW_WORDS, TooWide

__all__ = ["DoesNotFit", "compile_network", "minimal_config"]


class DoesNotFit(ValueError):
    """A network does not fit a core: the message says which memory, by how much, what would fit."""

    exit_code = 2


def compile_network(network: Any, config: CoreConfig, *, spare: bool = True) -> Program:
    """Lay a network out in the memories of a core.

    Parameters
    ----------
    network : ``ttfs_sw.artifact.network.Network`` or alike
        Integers, shapes and slopes of every layer.
    config : :class:`hdl.CoreConfig`
        Sizes of the core.
    spare : :class:`bool`
        Whether windows get more rows than they need, where there is room.

    Raises
    ------
    :exc:`DoesNotFit`
        If a layer needs an operation, a width or a memory that the core does not have.
    :exc:`hdl.compiler.inspection.BadTable`
        Never, unless there is a fault in this package: what was compiled does not stay within the
        core's memories.
    """
    bounds = network.bounds()
    _check_layers(network, config, bounds)
    layers = network.layers
    maps = _plan_maps(network, config)
    bases = _allocate_maps(layers, maps, config)
    windows = [_window(layer, maps.get(index), config) for index, layer in enumerate(layers)]
    biases, regions, rows = _allocate_membrane(layers, windows, config, spare)

    plans: list[LayerPlan] = []
    slopes: list[int] = []
    weight_base = slope_base = 0
    for index, (layer, window) in enumerate(zip(layers, windows, strict=True)):
        source = maps[layer.source]
        # A dense layer reads its source flat, gaps and all.
        inputs = int(source.places[-1]) + 1 if layer.kind == "dense" else layer.in_shape[2]
        per_tap = 1 if layer.kind == "depthwise" else window.pixel_words
        step = inputs
        if (1 << layer.residual_shift) >= 1 << (config.weight_bits - 1):
            # A residual's taps are as far apart as others, and each has a word for every channel.
            step = max(inputs, layer.out_shape[2])
        weight_words = window.taps * per_tap * step
        residual = None
        if layer.second_source is not None:
            residual = plan_residual(
                layer, config, maps[layer.second_source], bases.get(layer.second_source),
                weight_base + weight_words, window.rows, window.row_words // window.pixel_words,
                (step * per_tap * len(window.column_axis.order), step))
            weight_words += residual.weight_words
        spiking = layer.spiking
        plans.append(LayerPlan(
            name=layer.name,
            kind=layer.kind,
            source=layer.source,
            inputs=layer.inputs,
            neurons=layer.outputs,
            spiking=spiking,
            words=window.words,
            pixel_words=window.pixel_words,
            row_words=window.row_words,
            rows=window.rows,
            window_rows=rows[index],
            slope_words=window.slope_words,
            source_ticks=(
                network.input_ticks if layer.source < 0 else layers[layer.source].ticks),
            map_words=source.words + (0 if residual is None else residual.map.words),
            weight_base=weight_base,
            weight_words=weight_words,
            word_step=step,
            bias_base=biases[index],
            membrane_base=regions[index % 2],
            source_base=None if layer.source < 0 else bases[layer.source],
            destination_base=bases[index] if spiking else None,
            destination_words=maps[index].words if spiking else 0,
            slope_base=slope_base if spiking else None,
            fire_threshold=fire_threshold(layer, bounds[index][0], config),
            bounds=bounds[index],
            source_map=source,
            map=maps.get(index),
            row_axis=window.row_axis,
            column_axis=window.column_axis,
            column_taps=window.column_taps,
            residual=residual,
            packed=window.packed,
            datapath=config.datapath,
        ))
        weight_base += plans[-1].weight_words
        slopes.append(slope_count(layer, window.packed, maps.get(index)))
        slope_base += slopes[-1]

    def most(sizes):
        return layers[max(range(len(layers)), key=list(sizes).__getitem__)].name

    _require("weights", weight_base, config.weight_words, "weight",
             most(plan.weight_words for plan in plans), config.lanes)
    _require("slopes", slope_base, config.slopes, "slope", most(slopes), 1)
    table = ENTRY_WORDS * (1 + len(plans)) + sum(
        ROW_WORDS * len(each.row_axis.taps) + len(each.column_axis.taps)
        for plan in plans for each in (plan, plan.residual) if each is not None)
    _require("table", table, config.table_words, "table",
             most(len(plan.row_axis.taps) for plan in plans), 1)
    for plan in plans:
        cycles = most_cycles(plan, config)
        if cycles >= 1 << LAYER_CYCLES_BITS:
            lanes = plan.kind != "depthwise" and plan.pixel_words > 1
            raise DoesNotFit(
                f"layer {plan.name} may take {cycles} cycles, and the core gives up a layer that "
                f"takes {1 << LAYER_CYCLES_BITS}; make the layer smaller"
                f"{' or choose a core with more lanes' * lanes}"
            )
    try:
        memories = contents(network, config, plans, maps[-1])
    except TooWide as error:
        raise DoesNotFit(str(error)) from error
    # What this finds wrong is wrong with the compiler, and no reason to refuse a network.
    check_table(memories[Memory.TABLE], config, plans)
    return Program(config, math.prod(network.input_shape), network.input_ticks, tuple(plans),
                   memories)


def minimal_config(network: Any, **overrides: int | str) -> CoreConfig:
    """The smallest core that runs ``network``, with ``overrides`` fixed by the caller."""
    layers = network.layers
    base = CoreConfig()
    lanes = int(overrides.get("lanes", base.lanes))
    ticks = max([network.input_ticks, *(layer.ticks for layer in layers)])
    needed = 1 + max(max(high, -1 - low + _idles(layer, lanes), 0).bit_length()
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
            _ceil_div(max(max(layer.neurons, layer.out_shape[2]) for layer in layers),
                      largest.codes_per_word),
        ),
        "slopes": max(2, used["slopes"]["used"]),
        "table_words": max(32, used["table"]["used"]),
        **sizes,
    }
    return CoreConfig(**sizes)


@dataclasses.dataclass(frozen=True)
class _Window:
    """Outputs of a layer that are computed, along both axes, and words of the membrane memory."""

    rows: int
    row_words: int
    words: int
    pixel_words: int
    packed: int
    taps: int
    row_axis: Axis
    column_axis: Axis
    column_taps: tuple[int, ...]
    slope_words: int = 0


def _window(layer, own, config) -> _Window:
    # What would fill no window of pooling is not computed.
    rows, columns = (size - size % layer.pool for size in layer.out_shape[:2])
    pixel_words = _ceil_div(layer.out_shape[2], config.lanes)
    if layer.kind == "dense":
        axis = axis_of(1, 1, 1, 1, 0)
        return _Window(1, pixel_words, pixel_words, pixel_words, 1, 1, axis, axis, axis.taps,
                       slope_words=datapath_of(config).slope_words(pixel_words))
    packed = _packed(layer, own, columns, config)
    row_axis, plain_axis, column_axis = (
        axis_of(layer.in_shape[n], size // pixels, packed_kernel(layer, n, pixels),
                layer.stride[n] * pixels, layer.padding[n])
        for n, size, pixels in ((0, rows, 1), (1, columns, 1), (1, columns, packed))
    )
    return _Window(
        rows, columns // packed * pixel_words, rows * columns * pixel_words, pixel_words, packed,
        len(row_axis.order) * len(column_axis.order), row_axis, column_axis, plain_axis.taps,
    )


def _packed(layer, own, columns, config) -> int:
    """Pixels beside each other that share a membrane word, so that lanes do not idle.

    Of a pooling window two, channel by channel: their spikes have the same place. Else as many as
    the map has in so many places. Logits are not packed, nor what a residual is added to.
    """
    channels = layer.out_shape[2]
    if layer.kind != "conv2d" or not layer.spiking or layer.second_source is not None:
        return 1
    if layer.pool > 1:
        return 2 if layer.pool % 2 == 0 and 2 * channels <= config.lanes else 1
    pixels = config.lanes // own.pitch if own.pitch < 2 * channels else 1
    while pixels > 1 and columns % pixels:
        pixels //= 2
    return max(1, pixels)


def _plan_maps(network, config) -> dict[int, MapPlan]:
    """Layout of every map, by the index of the layer that fires into it; -1 is the input."""
    layers = network.layers
    structured = {source for layer in layers if layer.kind != "dense" for source in reads(layer)}
    maps = {-1: plan_map(tuple(network.input_shape), -1 not in structured, config, runs=True)}
    for index, layer in enumerate(layers):
        if layer.spiking:
            # What a dense layer fires has no rows; what any other fires keeps them.
            flat = layer.kind == "dense" and index not in structured
            maps[index] = plan_map(layer.map_shape, flat, config, runs=False)
    available = config.input_words * config.codes_per_word
    needed = maps[-1].words * config.codes_per_word
    if needed > available:
        raise DoesNotFit(
            f"the network's input needs {needed} values and the core's input map holds "
            f"{available}: {needed - available} too many"
        )
    return maps


def _allocate_membrane(layers, windows, config, spare):
    """Bias words of every layer, the two regions of potentials, and the rows of every window.

    Successive layers take turns in the two regions, so that one may accumulate while the one before
    it fires. What is left goes into spare rows: while one is swept, the next one is accumulated.
    """
    # Word 0 stays 0: what biases are made from.
    biases = np.cumsum([1, *(window.pixel_words for window in windows)]).tolist()
    rows = [window.row_axis.live for window in windows]

    def sizes(rows):
        words = [count * window.row_words + window.slope_words
                 for count, window in zip(rows, windows, strict=True)]
        return [max(words[turn::2], default=0) for turn in (0, 1)], words

    def total(rows):
        return biases[-1] + sum(sizes(rows)[0])

    words = sizes(rows)[1]
    _require("membrane", total(rows), config.membrane_words, "membrane",
             layers[words.index(max(words))].name, config.lanes)
    for _ in range(2 * spare):
        for index, window in enumerate(windows):
            more = [*rows[:index], rows[index] + 1, *rows[index + 1:]]
            if rows[index] < window.rows and total(more) <= config.membrane_words:
                rows = more
    regions = (biases[-1], biases[-1] + sizes(rows)[0][0])
    return biases, regions, rows


def _check_layers(network, config, bounds):
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
    for layer, (low, high) in zip(network.layers, bounds, strict=True):
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
        least = low - _idles(layer, config.lanes)
        if least < -limit or high >= limit:
            needed = 1 + max((-1 - least).bit_length(), high.bit_length())
            raise DoesNotFit(
                f"{where} has potentials from {low} to {high}, which need {needed} bits, and the "
                f"core's accumulator_bits is {config.accumulator_bits}; make it with fewer "
                f"weight_bits or ticks, or train with accumulator_bits = {config.accumulator_bits}"
            )


def _idles(layer, lanes):
    """Whether an output layer has lanes without a channel: they hold one less than any logit."""
    return not layer.spiking and layer.out_shape[2] % lanes > 0


def _require(memory, needed, available, unit, layer, lanes):
    if needed > available:
        each = f" of {lanes}" if lanes > 1 else ""
        raise DoesNotFit(
            f"the network needs {needed} {unit} words{each} (most in layer {layer}) and the "
            f"core's {memory} memory has {available}: {needed - available} too many; what would "
            f"fit is {available / needed:.0%} of that"
        )


def _allocate_maps(layers, maps, config):
    """First map word of each spiking layer: the lowest place free while its map is needed."""
    last_reader = {}
    for index, layer in enumerate(layers):
        last_reader.update(dict.fromkeys(reads(layer), index))
    bases: dict[int, int] = {}
    for index, plan in maps.items():
        if index < 0:
            continue
        size = plan.words
        # A map is written while its source is read: one whose last reader is this layer lives.
        alive = sorted(
            (bases[other], bases[other] + maps[other].words)
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


def _ceil_div(a, b):
    return -(-a // b)
