"""The scanner: from a spike-time map to events, skipping silence."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.onehot import encode, lowest_set, select, several
from ttfs_fpga.hdl.shapes import event_shape
from ttfs_fpga.hdl.table import field_widths

__all__ = ["Scanner"]


class Scanner(wiring.Component):
    """Reads a map word by word and emits one event for each neuron that fired, in raster order.

    Behind the events of each row comes one transfer with ``end``. Every row begins with a new word.
    A pixel has ``chunk_last + 1`` words, or a word has ``codes_per_word >> slot_shift`` pixels.
    The scan ends with the map, or with every row, so that another map's may come in between.

    Throughput: one transfer a cycle while the words have any, and one word without any a cycle:
    ``Σ_words max(1, events in the word + end)`` cycles if ``o`` is always ready. Latency: the first
    event is valid 4 cycles after ``start``.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    seek : In(1), base : In
        The first word; with ``start`` or before it.
    start : In(1)
        Begin; only while not ``busy``.
    single : In(1)
        End with the row.
    last : In
        Last word of the map; not looked at with ``single``.
    row_last, chunk_last, slot_shift : In
        Layout of the map; see :data:`hdl.table.FIELDS`. These, ``single`` and ``last`` must hold
        while ``busy``.
    limited, final : In
        While ``limited``, only words before ``final`` may be read: the others are still written.
    map_address, map_enable, map_data
        Read port of the map: data one cycle after address, held while not enabled.
    steal : In(1)
        Somebody else reads the map in this cycle.
    clears, wipe, wiped
        With ``clears``, every word with events is to be made silent when it has been read, so that
        the map can be written anew: ``wipe`` asks for it until ``wiped``, at ``wipe_word``.
    o : Out(stream.Signature(event_shape(config)))
        Events and ends of rows; ``place`` is counted from the start of the memory.
    busy : Out(1)
        From the cycle after ``start`` until the last transfer has been taken.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        widths = field_widths(config)
        super().__init__({
            "seek": In(1),
            "base": In(widths["source_base"]),
            "start": In(1),
            "single": In(1),
            "last": In(widths["source_last"]),
            "row_last": In(widths["row_last"]),
            "chunk_last": In(widths["chunk_last"]),
            "slot_shift": In(widths["slot_shift"]),
            "limited": In(1),
            "final": In(config.map_address_bits + 1),
            "map_address": Out(config.map_address_bits),
            "map_enable": Out(1),
            "map_data": In(config.map_width),
            "steal": In(1),
            "clears": In(1),
            "wipe": Out(1),
            "wiped": In(1),
            "wipe_word": Out(config.map_address_bits),
            "o": Out(stream.Signature(event_shape(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        slots, slot_bits = config.codes_per_word, config.slot_bits
        arriving = [self.map_data.word_select(n, config.tick_bits) for n in range(slots)]

        fetching = Signal()  # words remain to be asked for
        allowed = Signal()  # that word is final
        address = Signal.like(self.map_address)  # the word to be asked for
        have = Signal()  # map_data is a word of this scan

        # Where the word in map_data lies.
        chunk = Signal.like(self.chunk_last)
        column = Signal(config.column_bits)
        row_left = Signal.like(self.row_last)  # words of the row after it
        row_ends = Signal()  # there are none
        number = Signal(config.map_address_bits)

        # The word whose events go out. Which slot is next is chosen one cycle ahead, because what
        # follows, up to the map's read enable, is one level of logic after another already. The
        # end of a row is one more slot.
        codes = [Signal(config.tick_bits, name=f"code{n}") for n in range(slots)]
        current = Signal(slots + 1)  # one-hot: the slot whose event is next
        waiting = Signal(slots + 1)  # slots after it
        # Whether there are any: registers of their own, because they decide about much.
        has_current, has_waiting = Signal(), Signal()
        current_chunk = Signal.like(chunk)
        current_column = Signal.like(column)
        current_number = Signal.like(number)
        fresh = Signal(slots + 1)  # slots of map_data with an event

        free = Signal()
        drained = Signal()  # nothing of the word will be left after this cycle
        lost = Signal()  # map_data was not used, and will be something else
        m.d.comb += [
            fresh.eq(
                Cat(*(code.any() for code in arriving), row_ends) & have.replicate(slots + 1)),
            free.eq(~self.o.valid | self.o.ready),
            drained.eq((~has_current | (free & ~has_waiting)) & (~self.wipe | self.wiped)),
            self.wipe_word.eq(current_number),
            lost.eq(self.steal & have & ~drained),
            self.map_enable.eq(
                (fetching & allowed & ~(self.single & have & row_ends))
                & ~self.steal & (drained | ~have)),
            self.map_address.eq(address),
            self.busy.eq(fetching | have | has_current | self.o.valid | self.wipe),
        ]

        slot = Signal(slot_bits)
        m.d.comb += slot.eq(encode(current[:slots], slot_bits))
        # A word holds whole pixels or is part of one: nothing has to be added.
        within = Array((1 << shift) - 1 for shift in range(slot_bits + 1))[self.slot_shift]
        with m.If(self.wiped):
            m.d.sync += self.wipe.eq(0)
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(has_current),
                self.o.p.column.eq(current_column | (slot >> self.slot_shift)),
                self.o.p.channel.eq(Cat(slot & within, current_chunk)),
                self.o.p.place.eq(Cat(slot, current_number)),
                self.o.p.code.eq(select(current[:slots], codes)),
                self.o.p.end.eq(current[slots]),
                current.eq(lowest_set(waiting)),
                waiting.eq(waiting & ~lowest_set(waiting)),
                has_current.eq(has_waiting),
                has_waiting.eq(several(waiting)),
            ]
        with m.If(drained):
            m.d.sync += [
                self.wipe.eq(self.clears & fresh[:slots].any()),
                current.eq(lowest_set(fresh)),
                waiting.eq(fresh & ~lowest_set(fresh)),
                has_current.eq(fresh.any()),
                has_waiting.eq(several(fresh)),
                current_chunk.eq(chunk),
                current_column.eq(column),
                current_number.eq(number),
            ]
            m.d.sync += [code.eq(new) for code, new in zip(codes, arriving, strict=True)]
            with m.If(have):
                m.d.sync += [
                    number.eq(number + 1), row_left.eq(row_left - 1), row_ends.eq(row_left == 1),
                ]
                with m.If(chunk == self.chunk_last):
                    m.d.sync += [
                        chunk.eq(0), column.eq(column + (slots >> self.slot_shift)),
                    ]
                with m.Else():
                    m.d.sync += chunk.eq(chunk + 1)
                with m.If(row_ends):
                    m.d.sync += [
                        chunk.eq(0), column.eq(0), row_left.eq(self.row_last),
                        row_ends.eq(self.row_last == 0),
                    ]
        with m.If(drained | ~have | lost):
            m.d.sync += have.eq(self.map_enable)

        # Words become final in order: that the one after this is final will do, as long as what is
        # final last of all lifts the limit.
        m.d.sync += allowed.eq(~self.limited | (address + 1 < self.final))
        with m.If(self.map_enable):
            m.d.sync += [
                address.eq(address + 1),
                fetching.eq(self.single | (address != self.last)),
            ]
        with m.Elif(lost):
            m.d.sync += [address.eq(address - 1), fetching.eq(1)]
        with m.Elif(self.single & have & row_ends):
            m.d.sync += fetching.eq(0)
        with m.If(self.seek):
            m.d.sync += [address.eq(self.base), number.eq(self.base)]
        with m.If(self.start):
            m.d.sync += [
                fetching.eq(1),
                allowed.eq(0),
                chunk.eq(0),
                column.eq(0),
                row_left.eq(self.row_last),
                row_ends.eq(self.row_last == 0),
            ]
        return m
