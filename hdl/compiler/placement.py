# SPDX-License-Identifier: Apache-2.0
"""Layers on their way through the compiler: how large each is, and where it lies in the memories.

:mod:`hdl.compiler.measure` makes a :class:`Measure` of each layer, :mod:`hdl.compiler.place` a
:class:`Placement` of each measure, and :mod:`hdl.compiler.write` words of all placements.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from ttfs_fpga.hdl.compiler.layout import Axis, MapPlan
from ttfs_fpga.hdl.datapaths import datapath_named
from ttfs_fpga.hdl.table import ROW_WORDS

__all__ = ["Measure", "Placement", "ResidualMeasure", "ResidualPlacement", "Spot", "fields_of"]


class Spot(NamedTuple):
    """What a lane of a membrane word is: a channel of one of the pixels that share the word.

    Channel -1 is none.
    """

    pixel: int
    channel: int


@dataclasses.dataclass(frozen=True)
class ResidualMeasure:
    """What a layer adds of a second map, and by which weights.

    ``weights`` are the weights of an event by their place behind the residual's first word of
    weights and the channel's number; it meets ``row_taps`` times ``column_taps`` of them, one
    update each. The axes say which rows and columns have outputs.
    """

    source: int
    map: MapPlan
    weight_words: int
    weights: dict[int, int]
    row_taps: int
    column_taps: int
    row_axis: Axis
    column_axis: Axis

    @property
    def updates(self) -> np.ndarray:
        """Updates that an event of each neuron takes, at least 1."""
        used = np.outer(self.row_axis.taps, self.column_axis.taps)
        taps = np.maximum(1, used * self.row_taps * self.column_taps)
        return np.repeat(taps.reshape(-1), self.map.places.size // taps.size)


@dataclasses.dataclass(frozen=True)
class ResidualPlacement(ResidualMeasure):
    """The same, where its map and its weights begin; ``base`` is None in the input map."""

    base: int | None
    weight_base: int

    @property
    def neurons(self) -> np.ndarray:
        """Neuron of the map at every place of the memory that it is in; -1 is none."""
        return _placed(self.base, self.map)


@dataclasses.dataclass(frozen=True)
class Measure:
    """How large a layer is, in words of each memory.

    ``words`` is W, the words of all its neurons if every pixel began a new one; ``packed`` the
    pixels of a membrane word, and ``pixel_words`` the membrane words of so many pixels; ``spots``
    what the lanes of those are; ``slope_words`` the words behind its window that the datapath keeps
    slopes in; ``slopes`` the slopes to store; ``word_step`` the weight words from a membrane word
    of an event to the next one; ``map_words`` the words of the maps it reads; ``bounds`` the exact
    smallest and largest potential that any input can give. ``source_map`` and ``map`` are the
    layouts of what it reads and of what it fires. ``flat`` and ``own_channel`` are what its kind
    says of how it reads its source (:class:`hdl.protocols.Kind`).
    """

    name: str
    kind: str
    flat: bool
    own_channel: bool
    source: int
    inputs: int
    neurons: int
    spiking: bool
    words: int
    pixel_words: int
    packed: int
    spots: tuple[Spot, ...] = dataclasses.field(repr=False)
    row_words: int
    rows: int
    slope_words: int
    slopes: int
    source_ticks: int
    map_words: int
    weight_words: int
    word_step: int
    fire_threshold: int
    bounds: tuple[int, int]
    source_map: MapPlan = dataclasses.field(repr=False)
    map: MapPlan | None = dataclasses.field(repr=False)
    row_axis: Axis = dataclasses.field(repr=False)
    column_axis: Axis = dataclasses.field(repr=False)
    column_taps: tuple[int, ...] = dataclasses.field(repr=False)
    residual: ResidualMeasure | None = dataclasses.field(repr=False)
    datapath: str

    @property
    def tap_words(self) -> int:
        """Membrane words that an event reaches by one tap."""
        return 1 if self.own_channel else self.pixel_words

    @property
    def weight_row_step(self) -> int:
        """Weight words from a row of taps to the next."""
        return self.word_step * len(self.column_axis.order) * self.tap_words

    @property
    def destination_words(self) -> int:
        """Words of the map that it fires, 0 where it fires none."""
        return 0 if self.map is None else self.map.words

    @property
    def table_words(self) -> int:
        """Words of the layer table that describe the rows and columns of what it reads."""
        return sum(ROW_WORDS * len(each.row_axis.taps) + len(each.column_axis.taps)
                   for each in (self, self.residual) if each is not None)

    @property
    def updates(self) -> np.ndarray:
        """Updates that an event of each neuron of the source takes, at least 1.

        One for each tap and word of a pixel, as if no pixels were packed: packing saves of these.
        """
        if self.flat:
            return np.full(self.inputs, self.pixel_words)
        taps = np.outer(self.row_axis.taps, self.column_taps) * self.tap_words
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
        if self.residual is not None:
            assert second is not None
            total = total + datapath.additions(second) @ self.residual.updates
        return total

    def target(self, roofline: np.ndarray) -> np.ndarray:
        """What layers of many events are held to: 1.05 × roofline + W + map words read + 32.

        Not a limit: :func:`hdl.compiler.cycles.cycle_terms` says what a layer may take, and why.
        """
        return 1.05 * roofline + self.words + self.map_words + 32


@dataclasses.dataclass(frozen=True)
class Placement(Measure):
    """Where a layer lies in the core's memories, in words of each.

    ``window_rows`` are the output rows that the membrane memory holds at a time. ``source_base`` is
    None in the input map; ``destination_base`` and ``slope_base`` are None where nothing fires.
    ``row_table`` and ``column_table`` are the descriptors of its source's rows and columns.
    """

    residual: ResidualPlacement | None = dataclasses.field(repr=False)
    window_rows: int
    weight_base: int
    bias_base: int
    membrane_base: int
    source_base: int | None
    destination_base: int | None
    slope_base: int | None
    row_table: int
    column_table: int

    @property
    def membrane_words(self) -> int:
        """Membrane words of the window, and of slopes behind them."""
        return self.window_rows * self.row_words + self.slope_words

    @property
    def source_neurons(self) -> np.ndarray:
        """Neuron of the source at every place of the memory that its map is in; -1 is none."""
        return _placed(self.source_base, self.source_map)

    def as_dict(self) -> dict[str, Any]:
        """What reports say of it."""
        return {name: getattr(self, name) for name in REPORTED}


#: What reports say of a layer.
REPORTED = (
    "name", "kind", "source", "inputs", "neurons", "spiking", "words", "pixel_words", "row_words",
    "rows", "window_rows", "slope_words", "source_ticks", "map_words", "weight_base",
    "weight_words", "word_step", "bias_base", "membrane_base", "source_base", "destination_base",
    "destination_words", "slope_base", "fire_threshold", "bounds", "packed", "datapath",
)


def fields_of(measure: Any) -> dict[str, Any]:
    """The fields of a measure by name, to which a placement adds its own."""
    return {field.name: getattr(measure, field.name) for field in dataclasses.fields(measure)}


def _placed(base: int | None, plan: MapPlan) -> np.ndarray:
    """Neuron of a map at every place of its memory, in which it begins at word ``base``."""
    return np.concatenate([np.full((base or 0) * plan.codes_per_word, -1), plan.neurons])
