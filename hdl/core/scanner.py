# SPDX-License-Identifier: Apache-2.0
"""The scanner: from a spike-time map to events, skipping silence."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.event_picker import EventPicker
from ttfs_fpga.hdl.core.map_reader import MapReader
from ttfs_fpga.hdl.ports import (
    FinalPort,
    MapReadPort,
    RunPort,
    SourceRowPort,
    WipePort,
    connect_entry,
    entry_layout,
)
from ttfs_fpga.hdl.shapes import event_shape

__all__ = ["Scanner"]


class Scanner(wiring.Component):
    """Reads a map word by word and emits one event for each neuron that fired, in raster order.

    Behind the events of each row comes one transfer with ``end``. Every row begins with a new word.
    A pixel has ``chunk_last + 1`` words, or a word has ``codes_per_word >> slot_shift`` pixels.
    The scan ends with the map, or in a layer with a residual with every row, so that another map's
    may come in between.

    Throughput: one transfer a cycle while the words have any, and one word without any a cycle:
    ``Σ_words max(1, events in the word + end)`` cycles if ``o`` is always ready. Latency: the first
    event is valid 5 cycles after ``start``.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A map, or a row of it; busy until its last transfer has been taken.
    entry : In(entry_layout(config, FIELDS))
        The map; see :data:`hdl.table.FIELDS`. Must hold while busy.
    row : In(SourceRowPort(config))
        In a layer with a residual, where the next row lies; before ``start``.
    final : In(FinalPort(config))
        Words that may be read, if the map is that of the layer before.
    map : Out(MapReadPort(config))
        Reads the map; data is held while not enabled.
    wipe : Out(WipePort(config))
        Where no later layer reads the map, every word with events is made silent when it has been
        read, so that the map can be written anew.
    o : Out(stream.Signature(event_shape(config)))
        Events and ends of rows; ``place`` is counted from the start of the memory.
    """

    #: Fields of the layer table that it works by.
    FIELDS = tuple(dict.fromkeys(("source_base", *MapReader.FIELDS, *EventPicker.FIELDS)))

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "row": In(SourceRowPort(config)),
            "final": In(FinalPort(config)),
            "map": Out(MapReadPort(config)),
            "wipe": Out(WipePort(config)),
            "o": Out(stream.Signature(event_shape(config))),
        })

    def elaborate(self, platform):
        m = Module()
        entry = self.entry
        m.submodules.reader = reader = MapReader(self._config)
        m.submodules.picker = picker = EventPicker(self._config)
        connect_entry(m, entry, reader.entry, picker.entry)
        wiring.connect(m, wiring.flipped(self.final), reader.final)
        wiring.connect(m, reader.map, wiring.flipped(self.map))
        wiring.connect(m, reader.o, picker.i)
        wiring.connect(m, picker.wipe, wiring.flipped(self.wipe))
        wiring.connect(m, picker.o, wiring.flipped(self.o))
        m.d.comb += [
            # Rows of two maps take turns in a layer with a residual, each where it says.
            reader.seek.valid.eq(Mux(entry.residual, self.row.begins, self.run.start)),
            reader.seek.p.eq(Mux(entry.residual, self.row.map, entry.source_base)),
            reader.run.start.eq(self.run.start),
            self.run.busy.eq(reader.run.busy | picker.busy),
        ]
        return m
