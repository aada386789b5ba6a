"""A compiled network: the contents of the core's memories, and what they are expected to cost."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ttfs_fpga.hdl.compiler.layout import Axis, MapPlan
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_named, datapath_of
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import HEADER_FIELDS

__all__ = ["LayerPlan", "Program", "ResidualPlan"]


def _placed(base, plan):
    """Neuron of a map at every place of its memory, in which it begins at word ``base``."""
    return np.concatenate([np.full((base or 0) * plan.codes_per_word, -1), plan.neurons])


@dataclasses.dataclass(frozen=True)
class ResidualPlan:
    """What a layer adds of a second map: where that lies, and by which weights.

    ``weights`` are the weights of an event by their place behind ``weight_base`` and the channel's
    number; it meets ``row_taps`` times ``column_taps`` of them, one update each. The axes say which
    rows and columns have outputs.
    """

    source: int
    base: int | None
    map: MapPlan
    weight_base: int
    weight_words: int
    weights: dict[int, int]
    row_taps: int
    column_taps: int
    row_axis: Axis
    column_axis: Axis

    @property
    def neurons(self) -> np.ndarray:
        """Neuron of the map at every place of the memory that it is in; -1 is none."""
        return _placed(self.base, self.map)

    @property
    def updates(self) -> np.ndarray:
        """Updates that an event of each neuron takes, at least 1."""
        used = np.outer(self.row_axis.taps, self.column_axis.taps)
        taps = np.maximum(1, used * self.row_taps * self.column_taps)
        return np.repeat(taps.reshape(-1), self.map.places.size // taps.size)


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """Where a layer lies in the core's memories, in words of each, and how large it is.

    ``words`` is W, the words of all its neurons if every pixel began a new one; ``packed`` the
    pixels of a membrane word, and ``pixel_words`` the membrane words of so many pixels;
    ``slope_words`` those behind its window that the datapath keeps slopes in;
    ``word_step`` the weight words from a membrane word of an event to the next one;
    ``window_rows`` the output rows that the membrane memory holds at a time; ``map_words`` the
    words of the maps it reads; ``bounds`` the exact smallest and largest potential that any input
    can give. ``source_map`` and ``map`` are the layouts of what it reads and of what it fires.
    """

    name: str
    kind: str
    source: int
    inputs: int
    neurons: int
    spiking: bool
    words: int
    pixel_words: int
    row_words: int
    rows: int
    window_rows: int
    slope_words: int
    source_ticks: int
    map_words: int
    weight_base: int
    weight_words: int
    word_step: int
    bias_base: int
    membrane_base: int
    source_base: int | None
    destination_base: int | None
    destination_words: int
    slope_base: int | None
    fire_threshold: int
    bounds: tuple[int, int]
    source_map: MapPlan = dataclasses.field(repr=False)
    map: MapPlan | None = dataclasses.field(repr=False)
    row_axis: Axis = dataclasses.field(repr=False)
    column_axis: Axis = dataclasses.field(repr=False)
    column_taps: tuple[int, ...] = dataclasses.field(repr=False)
    residual: ResidualPlan | None = dataclasses.field(default=None, repr=False)
    packed: int = 1
    datapath: str = "mac"

    @property
    def membrane_words(self) -> int:
        """Membrane words of the window, and of slopes behind them."""
        return self.window_rows * self.row_words + self.slope_words

    @property
    def source_neurons(self) -> np.ndarray:
        """Neuron of the source at every place of the memory that its map is in; -1 is none."""
        return _placed(self.source_base, self.source_map)

    @property
    def updates(self) -> np.ndarray:
        """Updates that an event of each neuron of the source takes, at least 1.

        One for each tap and word of a pixel, as if no pixels were packed: packing saves of these.
        """
        if self.kind == "dense":
            return np.full(self.inputs, self.pixel_words)
        per_tap = 1 if self.kind == "depthwise" else self.pixel_words
        taps = np.outer(self.row_axis.taps, self.column_taps) * per_tap
        channels = self.source_map.shape[2]
        return np.maximum(1, np.repeat(taps.reshape(-1), channels))

    def roofline(self, codes: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
        """Cycles of an ideal core of so many lanes for each of ``codes [images, inputs]``.

        An update a cycle, as if no pixels were packed: as many for each code as the datapath makes
        of it, and those that it makes without an event. ``second`` are the codes
        ``[images, neurons]`` of a residual's map.
        """
        datapath = datapath_named(self.datapath)
        total = datapath.additions(codes) @ self.updates
        total = total + datapath.tick_updates(self.source_ticks, self.slope_words)
        if self.residual is not None and second is not None:
            total = total + datapath.additions(second) @ self.residual.updates
        return total

    def target(self, roofline: np.ndarray) -> np.ndarray:
        """What layers of many events are held to: 1.05 × roofline + W + map words read + 32.

        Not a limit: :func:`hdl.compiler.cycles.cycle_terms` says what a layer may take, and why.
        """
        return 1.05 * roofline + self.words + self.map_words + 32


@dataclasses.dataclass(frozen=True)
class Program:
    """Contents of every memory of a core for one network.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        The core that it was compiled for.
    inputs : :class:`int`
        Samples of one image.
    input_ticks : :class:`int`
        T of the input codes.
    layers : sequence of :class:`LayerPlan`
        One a layer.
    memories : :class:`dict`
        For each :class:`hdl.shapes.Memory`, its 32-bit values by load address; the biases in
        :attr:`~hdl.shapes.Memory.MEMBRANE` by ``word * lanes + lane``.
    """

    config: CoreConfig
    inputs: int
    input_ticks: int
    layers: tuple[LayerPlan, ...]
    memories: dict[Memory, dict[int, int]] = dataclasses.field(repr=False)

    @property
    def pairs(self) -> bool:
        """Whether samples may go two a transfer: the core takes them, and runs are of even length.

        An image that is one run may be odd: its last sample goes alone.
        """
        field = HEADER_FIELDS["run_last"]
        run = 1 + (self.memories[Memory.TABLE][field.word] & ((1 << field.width) - 1))
        return self.config.samples == 2 and (run == self.inputs or run % 2 == 0)

    def writes(self) -> Iterator[tuple[Memory, int, int]]:
        """What the load port must receive, in this order, as (memory, address, 32-bit data).

        The header of the layer table is made invalid first and valid last, so that a network of
        which only a part has arrived never runs.
        """
        table = self.memories[Memory.TABLE]
        yield Memory.TABLE, 0, 0
        # Biases before weights, whose memory they use on their way.
        for word, biases in self._biases():
            yield from datapath_of(self.config).bias_writes(self.config, word, biases)
        for which, contents in self.memories.items():
            if which not in (Memory.MEMBRANE, Memory.TABLE):
                for address, value in sorted(contents.items()):
                    yield which, address, value
        # All of it, because the checksum covers what an earlier network may have left behind.
        for address in range(1, self.config.table_words):
            yield Memory.TABLE, address, table.get(address, 0)
        yield Memory.TABLE, 0, table[0]

    def _biases(self) -> Iterator[tuple[int, np.ndarray]]:
        """Every word of biases, and what its lanes must hold."""
        config = self.config
        sign = 1 << (config.accumulator_bits - 1)
        contents = self.memories[Memory.MEMBRANE]
        for word in range(min(contents) // config.lanes, 1 + max(contents) // config.lanes):
            biases = np.array([contents[word * config.lanes + n] for n in range(config.lanes)])
            yield word, (biases ^ sign) - sign

    def memory_words(self, which: Memory) -> list[int]:
        """Initial contents of a memory, one integer for each of its own words."""
        config = self.config
        parts, width = {
            Memory.WEIGHTS: (config.weight_parts, config.weight_width // config.weight_parts),
            Memory.MEMBRANE: (config.lanes, config.accumulator_bits),
        }.get(which, (1, 32))
        contents = self.memories[which]
        words = [0] * (1 + max(contents, default=-1) // parts)
        for address, value in contents.items():
            word, part = divmod(address, parts)
            words[word] |= (value & ((1 << width) - 1)) << (part * width)
        return words

    def report(self) -> dict:
        """The memory map and the exact bound of every membrane, as plain data."""
        config, layers = self.config, self.layers
        fired = [layer for layer in layers if layer.destination_base is not None]
        used = {
            "weights": (sum(layer.weight_words for layer in layers), config.weight_words),
            "membrane": (
                max(layer.membrane_base + layer.membrane_words for layer in layers),
                config.membrane_words,
            ),
            "input_map": (
                max(layer.source_map.words for layer in layers if layer.source < 0),
                config.input_words),
            "map": (
                max((layer.destination_base + layer.destination_words for layer in fired),
                    default=0),
                config.map_words,
            ),
            "slopes": (len(self.memories[Memory.SLOPES]), config.slopes),
            "layers": (len(layers), config.layers),
            "table": (1 + max(self.memories[Memory.TABLE]), config.table_words),
        }
        hidden = ("source_map", "map", "row_axis", "column_axis", "column_taps", "residual")
        return {
            "config": config.as_dict(),
            "memories": {
                name: {"used": count, "available": depth} for name, (count, depth) in used.items()
            },
            "layers": [
                {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)
                 if field.name not in hidden}
                for layer in layers
            ],
        }
