# SPDX-License-Identifier: Apache-2.0
"""Columns of a source map: what an event meets is in the descriptors of its row and its column."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.rows import row_layout
from ttfs_fpga.hdl.ports import TableReadPort, entry_layout
from ttfs_fpga.hdl.shapes import event_shape
from ttfs_fpga.hdl.table import COLUMN_FIELDS, Operation

__all__ = ["ColumnReader", "walk_layout"]


def _event_layout(config: CoreConfig) -> dict:
    """What is known of an event before the descriptor of its column has come."""
    row = row_layout(config).members
    return {
        "weight": config.weight_address_bits,
        "membrane": config.membrane_address_bits,
        "bias": config.membrane_address_bits,
        "code": config.tick_bits,
        "end": 1,
        **{name: row[name] for name in ("taps", "wrap", "completes", "second")},
    }


def walk_layout(config: CoreConfig) -> data.StructLayout:
    """The rectangle of outputs that an event meets, or the ``end`` of a row.

    Its first update is of the words ``weight``, ``membrane`` and ``bias``, by ``code``. The
    rectangle has ``taps`` rows, of which ``wrap`` lie before the last row of the window, and
    ``columns``. Of a residual's map it is in one place (``second``). With the row's end,
    ``completes`` rows of outputs are complete.
    """
    return data.StructLayout(
        _event_layout(config) | {"columns": COLUMN_FIELDS["taps"].width})


class ColumnReader(wiring.Component):
    """Takes the events of a row, and looks up for each where its walk begins.

    Latency: 2 cycles, and as many more as the descriptor of its column is not granted. Throughput:
    an event every 2 cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while events come.
    row : In(stream.Signature(row_layout(config)))
        The row whose events come; taken with its end.
    i : In(stream.Signature(event_shape(config)))
        Events and ends of rows.
    table : Out(TableReadPort(config))
        Reads descriptors, first of all.
    o : Out(stream.Signature(walk_layout(config)))
        Walks, and ends of rows.
    busy : Out(1)
        An event is under way, or is offered at ``o``.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("operation", "column_table", "bias_base")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "entry": In(entry_layout(config, self.FIELDS)),
            "row": In(stream.Signature(row_layout(config))),
            "i": In(stream.Signature(event_shape(config))),
            "table": Out(TableReadPort(config)),
            "o": Out(stream.Signature(walk_layout(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, row, table = self._config, self.row, self.table
        pending = Signal()  # an event was taken, and waits for its column
        fresh = Signal()  # what the table gives is its column's descriptor
        column = Signal(config.column_bits)
        event = Signal(data.StructLayout(_event_layout(config)))
        take, leave = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(row.valid & ~pending),
            take.eq(self.i.valid & self.i.ready),
            leave.eq(pending & fresh & ~self.o.valid),
            row.ready.eq(take & self.i.p.end),
            self.busy.eq(pending | self.o.valid),
            # Once more if somebody else has read something meanwhile. While nothing is asked for,
            # what was read for this event is read again.
            table.request.eq(take | (pending & ~fresh)),
            table.address.eq(self.entry.column_table + Mux(pending, column, self.i.p.column)),
        ]
        m.d.sync += fresh.eq(table.grant)

        depthwise = self.entry.operation == Operation.DEPTHWISE
        own_word = Mux(depthwise | row.p.second, self.i.p.channel >> config.lane_bits, 0)
        with m.If(take):
            m.d.sync += [
                *(event[name].eq(row.p[name]) for name in ("taps", "wrap", "completes", "second")),
                event.weight.eq(row.p.weight + self.i.p.channel),
                event.membrane.eq(row.p.membrane + own_word),
                event.bias.eq(self.entry.bias_base + own_word),
                event.code.eq(self.i.p.code),
                event.end.eq(self.i.p.end),
                column.eq(self.i.p.column),
            ]
        with m.If(take | leave):
            m.d.sync += pending.eq(take)

        descriptor = {name: field.of(table.data) for name, field in COLUMN_FIELDS.items()}
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(leave):
            m.d.sync += [
                self.o.valid.eq(1),
                *(self.o.p[name].eq(event[name]) for name in event.shape().members),
                self.o.p.weight.eq(event.weight + descriptor["weight"]),
                self.o.p.membrane.eq(event.membrane + descriptor["membrane"]),
                self.o.p.columns.eq(descriptor["taps"]),
            ]
        return m
