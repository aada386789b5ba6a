# SPDX-License-Identifier: Apache-2.0
"""The sequencer: from an event to the membrane updates of its whole fan-out."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.columns import ColumnReader
from ttfs_fpga.hdl.datapaths.rows import RowReader
from ttfs_fpga.hdl.datapaths.walk import Walk
from ttfs_fpga.hdl.ports import (
    RunPort,
    SourceRowPort,
    TableReadPort,
    WindowPort,
    connect_entry,
    entry_layout,
)
from ttfs_fpga.hdl.shapes import event_shape, update_shape

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Walks the fan-out of each event: all membrane words of all outputs that a tap leads to.

    An event of row y and column x meets a rectangle of outputs. Which, is in the descriptor of its
    row and in that of its column, so that strides, padding and borders cost neither a
    multiplication nor a comparison: ``taps`` of the row times ``taps`` of the column times the
    words of a pixel. Weights lie in the order in which they are walked: the words of a pixel, then
    the taps along the row (``weight_step`` apart), then rows of taps (``weight_row_step`` apart);
    those of channel c come c words after those of channel 0. A dense layer is one tap.

    The window of output rows rolls: a row is opened by the first input row that reaches it, and
    only when the sweep has left its place; it is ``completed`` when no later input row reaches it.

    Rows of a residual's map come between those of the source. Their events meet one membrane word,
    the channel's own, and update it once for each tap: with weights whose sum is a power of two.

    Throughput: one update a cycle, no bubble between events, but two cycles for an event of one
    update or none. A word must not be updated twice in succession: then one cycle is lost. Latency:
    3 cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A new layer; busy until the end of its last row.
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while events come.
    row : Out(SourceRowPort(config))
        Rows that begin.
    i : In(stream.Signature(event_shape(config)))
        Events and ends of rows.
    table : Out(TableReadPort(config))
        Reads descriptors, first of all readers.
    o : Out(stream.Signature(update_shape(config), always_ready=True))
        Updates.
    window : Out(WindowPort(config))
        Output rows.
    """

    #: Fields of the layer table that it works by.
    FIELDS = tuple(dict.fromkeys((*RowReader.FIELDS, *ColumnReader.FIELDS, *Walk.FIELDS)))

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "row": Out(SourceRowPort(config)),
            "i": In(stream.Signature(event_shape(config))),
            "table": Out(TableReadPort(config)),
            "o": Out(stream.Signature(update_shape(config), always_ready=True)),
            "window": Out(WindowPort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, table, window = self._config, self.table, self.window
        m.submodules.rows = rows = RowReader(config)
        m.submodules.columns = columns = ColumnReader(config)
        m.submodules.walk = walk = Walk(config)
        connect_entry(m, self.entry, rows.entry, columns.entry, walk.entry)
        wiring.connect(m, rows.row, wiring.flipped(self.row))
        wiring.connect(m, rows.o, columns.row)
        wiring.connect(m, wiring.flipped(self.i), columns.i)
        wiring.connect(m, columns.o, walk.i)
        wiring.connect(m, walk.o, wiring.flipped(self.o))

        # Columns first, because an event waits; they also have what nobody asks for.
        by_column = columns.table.request | ~rows.table.request
        m.d.comb += [
            table.request.eq(columns.table.request | rows.table.request),
            table.address.eq(Mux(by_column, columns.table.address, rows.table.address)),
            columns.table.grant.eq(
                columns.table.request | (table.grant & ~rows.table.request)),
            rows.table.grant.eq(~columns.table.request),
            columns.table.data.eq(table.data),
            rows.table.data.eq(table.data),
        ]

        # Output rows are complete when their last update has been written.
        ending = walk.i.valid & walk.i.ready & walk.i.p.end
        completing = Signal()
        count = Signal.like(walk.i.p.completes)
        m.d.sync += completing.eq(ending)
        with m.If(ending):
            m.d.sync += count.eq(walk.i.p.completes)
        with m.If(completing):
            m.d.sync += window.completed.eq(window.completed + count)
        with m.If(self.run.start):
            m.d.sync += window.completed.eq(0)

        m.d.comb += [
            rows.run.start.eq(self.run.start),
            rows.swept.eq(window.swept),
            walk.hold.eq(window.hold),
            window.pending.eq(walk.pending),
            self.run.busy.eq(rows.run.busy | columns.busy | walk.pending | completing),
        ]
        return m
