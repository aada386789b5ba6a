# SPDX-License-Identifier: Apache-2.0
"""Rows of a source map: their descriptors are read ahead, and rows of outputs opened for them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import RunPort, SourceRowPort, TableReadPort, entry_layout
from ttfs_fpga.hdl.table import ROW_FIELDS, ROW_WORDS

__all__ = ["RowReader", "row_layout"]


def row_layout(config: CoreConfig) -> data.StructLayout:
    """What events of a row must know of it: fields of :data:`hdl.table.ROW_FIELDS`."""
    widths = {
        "membrane": config.membrane_address_bits, "weight": config.weight_address_bits,
    }
    return data.StructLayout({
        name: widths.get(name, ROW_FIELDS[name].width)
        for name in ("membrane", "taps", "wrap", "completes", "second", "last", "weight")
    })


class RowReader(wiring.Component):
    """Gives the rows of a layer one after another, each as soon as the window has room for it.

    The descriptor of a row is read while events of the row before it come. A row begins when the
    one before it has ended and as many places of the window are free as it opens rows of outputs.

    Latency: the first row begins 4 cycles after ``start``. Throughput: a row every 4 cycles, if the
    table is not read by others meanwhile.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A new layer; busy until the last row has ended.
    entry : In(entry_layout(config, FIELDS))
        Where descriptors are, and rows of the window; looked at with ``start``.
    table : Out(TableReadPort(config))
        Reads descriptors.
    swept : In(1)
        A place of the window has become free.
    row : Out(SourceRowPort(config))
        A row begins.
    o : Out(stream.Signature(row_layout(config)))
        The row whose events come; taken when it ends.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("row_table", "window_rows")

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "table": Out(TableReadPort(config)),
            "swept": In(1),
            "row": Out(SourceRowPort(config)),
            "o": Out(stream.Signature(row_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        row = self.row
        next_row = Signal(row_layout(self._config))
        opens = Signal(ROW_FIELDS["opens"].width)  # rows of outputs that the next row opens
        loaded = Signal()  # its descriptor has come
        pending = self._fetch(m, next_row, opens, loaded)

        free = Signal(self._config.row_bits + 1)  # places of the window
        room = Signal()  # enough of them: known since the descriptor's first word came
        m.d.sync += [
            room.eq(opens <= free), free.eq(free + self.swept - Mux(row.begins, opens, 0)),
        ]
        m.d.comb += [
            row.begins.eq((~self.o.valid | self.o.ready) & loaded & room),
            row.second.eq(self.o.p.second),
            self.run.busy.eq(pending | loaded | self.o.valid),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(row.begins):
            m.d.sync += [self.o.p.eq(next_row), self.o.valid.eq(1), loaded.eq(0)]
        with m.If(self.run.start):
            m.d.sync += free.eq(self.entry.window_rows)
        return m

    def _fetch(self, m, next_row, opens, loaded):
        """Read the descriptor of the next row; whether it is still on its way."""
        table = self.table
        address = Signal.like(table.address)
        asked = Signal(range(ROW_WORDS + 1), init=ROW_WORDS)  # words that were asked for
        coming, latter = Signal(), Signal()  # a word, and that it is the second one
        granted = table.request & table.grant
        m.d.comb += [table.request.eq(asked != ROW_WORDS), table.address.eq(address)]
        m.d.sync += [coming.eq(granted), latter.eq(asked[0])]
        with m.If(granted):
            m.d.sync += [asked.eq(asked + 1), address.eq(address + 1)]

        def keep(word, targets):
            m.d.sync += [
                target.eq(ROW_FIELDS[name].of(table.data))
                for name, target in targets.items() if ROW_FIELDS[name].word == word
            ]

        targets = {name: next_row[name] for name in next_row.shape().members}
        targets |= {"opens": opens, "map": self.row.map}
        with m.If(coming & ~latter):
            keep(0, targets)
        with m.If(coming & latter):
            keep(1, targets)
            m.d.sync += loaded.eq(1)

        with m.If(self.row.begins & ~next_row.last):
            m.d.sync += asked.eq(0)
        with m.If(self.run.start):
            m.d.sync += [address.eq(self.entry.row_table), asked.eq(0)]
        return table.request | coming
