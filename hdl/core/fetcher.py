# SPDX-License-Identifier: Apache-2.0
"""The fetcher: reads a layer's entry from the layer table, and keeps its fields."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import FetchPort, TableReadPort, entry_layout
from ttfs_fpga.hdl.table import ENTRY_WORDS, FIELDS, MAP_WORDS, SECOND

__all__ = ["Fetcher"]


class Fetcher(wiring.Component):
    """Reads some words of an entry of the table, and keeps the fields in them.

    Throughput: a word a cycle, while the table grants it. Latency: complete three cycles after the
    last word was granted.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    numbers : tuple of :class:`int`
        Words of the entry in the order in which they are read. The last ones, ``MAP_WORDS``,
        describe a map where that is read again.
    names : tuple of :class:`str`
        Fields to keep.

    Members
    -------
    fetch : In(FetchPort(config))
        Which entry, and whether it is there.
    table : Out(TableReadPort(config))
        Reads the table.
    fields : Out(entry_layout(config, names))
        The fields.
    """

    def __init__(self, config: CoreConfig, numbers: tuple[int, ...], names: tuple[str, ...]):
        self._numbers = numbers
        super().__init__({
            "fetch": In(FetchPort(config)),
            "table": Out(TableReadPort(config)),
            "fields": Out(entry_layout(config, names)),
        })

    def elaborate(self, platform):
        m = Module()
        fetch, table = self.fetch, self.table
        # One-hot: which word is asked for next, and which one comes.
        count = len(self._numbers)
        asked, coming = Signal(count), Signal(count)
        word_bits = exact_log2(ENTRY_WORDS)
        number = Signal(word_bits)
        for index, word in enumerate(self._numbers):
            with m.If(asked[index]):
                m.d.comb += number.eq(word)
                if index >= count - MAP_WORDS:
                    m.d.comb += number.eq(Mux(fetch.second, word | SECOND, word))
        m.d.comb += [
            table.request.eq(asked.any()),
            table.address.eq(((fetch.layer + 1) << word_bits) | number),
        ]
        m.d.sync += coming.eq(Mux(table.grant, asked, 0))
        with m.If(table.grant):
            m.d.sync += asked.eq(asked << 1)
        with m.If(coming[-1]):
            m.d.sync += fetch.complete.eq(1)
        for index, word in enumerate(self._numbers):
            with m.If(coming[index]):
                for name in self.fields.shape().members:
                    if FIELDS[name].word == word:
                        field = FIELDS[name]
                        m.d.sync += self.fields[name].eq(
                            table.data[field.offset:field.offset + field.width])
        with m.If(fetch.start):
            m.d.sync += [asked.eq(1), coming.eq(0), fetch.complete.eq(0)]
        with m.If(fetch.again):
            m.d.sync += [asked.eq(1 << count - MAP_WORDS), fetch.complete.eq(0)]
        return m
