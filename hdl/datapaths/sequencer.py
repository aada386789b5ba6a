"""The sequencer: from an event to the membrane updates of its whole fan-out."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import event_shape, update_shape
from ttfs_fpga.hdl.table import COLUMN_FIELDS, ROW_FIELDS, field_widths

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
    3 cycles. ``hold`` stops updates for as long as it is high.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        A new layer begins; only while not ``busy``.
    depthwise, weight_step, weight_row_step, membrane_step, row_step, wrap_step, bias_base,
    last_word, row_table, column_table, window_rows : In
        Fields of the layer table; must hold while events come.
    begins : Out(1)
        A row begins: events of it are waited for.
    row_map : Out(config.map_address_bits)
        With ``begins``: the ``map`` of its descriptor.
    second : Out(1)
        The row that has begun is one of a residual's map.
    i : In(stream.Signature(event_shape(config)))
        Events and ends of rows.
    ask, address, words
        Read port of the table's memory, for descriptors: data one cycle after ``ask``.
    stolen : In(1)
        Somebody else reads the table in this cycle; not with ``ask``.
    hold : In(1)
        Issue nothing in this cycle.
    o : Out(stream.Signature(update_shape(config), always_ready=True))
        Updates.
    walking : Out(1)
        Updates of an event are left.
    completed : Out
        Output rows of this layer that are complete.
    swept : In(1)
        An output row of this layer has been swept: its place may be opened again.
    busy : Out(1)
        From the cycle after ``start`` until the end of the last row.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("weight_step", "weight_row_step", "membrane_step", "row_step", "wrap_step",
              "bias_base", "last_word", "row_table", "column_table", "window_rows")

    def __init__(self, config: CoreConfig):
        self._config = config
        widths = field_widths(config)
        super().__init__({
            "start": In(1),
            "depthwise": In(1),
            **{name: In(widths[name]) for name in self.FIELDS},
            "begins": Out(1),
            "row_map": Out(config.map_address_bits),
            "second": Out(1),
            "i": In(stream.Signature(event_shape(config))),
            "ask": Out(1),
            "address": Out(config.table_address_bits),
            "stolen": In(1),
            "words": In(32),
            "hold": In(1),
            "o": Out(stream.Signature(update_shape(config), always_ready=True)),
            "walking": Out(1),
            "completed": Out(config.row_bits + 1),
            "swept": In(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        weight, word = config.weight_address_bits, config.membrane_address_bits

        def part(words, field):
            return words[field.offset:field.offset + field.width]

        # The row, and the next one: its descriptor is read while events of this one come.
        row = Signal(data.StructLayout({
            "membrane": word, "taps": 3, "wrap": 3, "completes": 4, "second": 1, "last": 1,
            "weight": weight,
        }))
        coming_row = Signal.like(row)
        opens = Signal(4)
        row_valid, row_ends = Signal(), Signal()
        row_address = Signal.like(self.address)
        asked = Signal(2, init=2)  # words of the descriptor that were asked for
        coming, latter, loaded = Signal(), Signal(), Signal()
        look = Signal()  # a column's descriptor is asked for, which goes first
        fetch = Signal()
        places = Signal(config.row_bits + 1)  # in the window, free for rows to be opened
        room = Signal()  # enough of them: known since the descriptor's first word, with one of two
        begins = self.begins
        m.d.comb += [
            self.second.eq(row.second),
            fetch.eq((asked != 2) & ~look),
            self.ask.eq(look | (asked != 2)),
            begins.eq((~row_valid | row_ends) & loaded & room),
        ]
        m.d.sync += [coming.eq(fetch), latter.eq(asked[0]), room.eq(opens <= places)]
        with m.If(fetch):
            m.d.sync += [asked.eq(asked + 1), row_address.eq(row_address + 1)]
        with m.If(coming & ~latter):
            m.d.sync += opens.eq(part(self.words, ROW_FIELDS["opens"]))
            m.d.sync += [
                coming_row[name].eq(part(self.words, field))
                for name, field in ROW_FIELDS.items() if field.word == 0 and name != "opens"
            ]
        with m.If(coming & latter):
            m.d.sync += [
                coming_row.weight.eq(part(self.words, ROW_FIELDS["weight"])),
                self.row_map.eq(part(self.words, ROW_FIELDS["map"])),
                loaded.eq(1),
            ]
        with m.If(row_ends):
            m.d.sync += row_valid.eq(0)
        with m.If(begins):
            m.d.sync += [row.eq(coming_row), row_valid.eq(1), loaded.eq(0)]
            with m.If(~coming_row.last):
                m.d.sync += asked.eq(0)
        m.d.sync += places.eq(places + self.swept - Mux(begins, opens, 0))

        # A: an event was taken, and its column's descriptor is read: once more if somebody else has
        # read something meanwhile.
        take = Signal()
        a_valid, a_end, a_moves, a_fresh = Signal(), Signal(), Signal(), Signal()
        a_column = Signal(config.column_bits)
        a = Signal(data.StructLayout({
            "weight": weight, "membrane": word, "bias": word, "code": config.tick_bits,
            "taps": 3, "wrap": 3, "completes": 4, "second": 1,
        }))
        own_word = Mux(self.depthwise | row.second, self.i.p.channel >> config.lane_bits, 0)
        m.d.comb += [
            self.i.ready.eq(row_valid & ~a_valid),
            take.eq(self.i.valid & self.i.ready),
            row_ends.eq(take & self.i.p.end),
            look.eq(take | (a_valid & ~a_fresh)),
            # While nothing is asked for, what was read for this event is read again.
            self.address.eq(Mux(
                look | (asked == 2),
                self.column_table + Mux(a_valid, a_column, self.i.p.column), row_address)),
        ]
        m.d.sync += a_fresh.eq(look | ~(self.ask | self.stolen))
        with m.If(take):
            m.d.sync += [
                a.weight.eq(row.weight + self.i.p.channel),
                a.membrane.eq(row.membrane + own_word),
                a.bias.eq(self.bias_base + own_word),
                a.code.eq(self.i.p.code),
                a.taps.eq(row.taps),
                a.wrap.eq(row.wrap),
                a.completes.eq(row.completes),
                a.second.eq(row.second),
                a_end.eq(self.i.p.end),
                a_column.eq(self.i.p.column),
            ]
        with m.If(take | a_moves):
            m.d.sync += a_valid.eq(take)

        # B: where it begins, and how many taps.
        b_valid, b_end, b_taken = Signal(), Signal(), Signal()
        b = Signal.like(a)
        b_columns = Signal(3)
        m.d.comb += a_moves.eq(a_valid & a_fresh & ~b_valid)
        with m.If(a_moves):
            m.d.sync += [
                b_valid.eq(1),
                b_end.eq(a_end),
                b.eq(a),
                b.weight.eq(a.weight + part(self.words, COLUMN_FIELDS["weight"])),
                b.membrane.eq(a.membrane + part(self.words, COLUMN_FIELDS["membrane"])),
                b_columns.eq(part(self.words, COLUMN_FIELDS["taps"])),
            ]

        # The walk. ``*_left`` count what follows the update at ``o``; whether nothing does is a
        # register beside each, and another one for all of them: all that follows hangs on it.
        walking = self.walking
        last_of_pixel, last_column, last_row, wraps = Signal(), Signal(), Signal(), Signal()
        final = Signal()
        first = Signal(data.StructLayout({"weight": weight, "membrane": word}))
        columns = Signal(3)
        words_left = Signal.like(self.last_word)
        columns_left, rows_left, wrap_left = Signal(3), Signal(3), Signal(3)
        issue = Signal()
        stays = Signal()  # all of the event's updates are of one word
        again = Signal()  # the word is the one that was updated in the cycle before
        update = self.o.p
        m.d.comb += [
            issue.eq(walking & ~self.hold & ~again),
            self.o.valid.eq(issue),
            b_taken.eq(b_valid & (~walking | (issue & final))),
        ]
        # A new event can begin where the one before it ended; else words differ, or all are one.
        m.d.sync += again.eq(Mux(
            b_taken, walking & (b.membrane == update.word), issue & stays))
        one_word = Signal()
        m.d.sync += one_word.eq(self.depthwise | (self.last_word == 0))

        # One adder for each address: along the row of taps, or to the next row.
        next_row = last_of_pixel & last_column
        weight_sum = Signal(weight)
        word_sum = Signal(word)
        m.d.comb += [
            weight_sum.eq(
                Mux(next_row, first.weight, update.weight)
                + Mux(next_row, self.weight_row_step, self.weight_step)),
            word_sum.eq(
                Mux(next_row, first.membrane, update.word)
                + Mux(stays, 0, Mux(next_row, Mux(wraps, self.wrap_step, self.row_step),
                                    self.membrane_step))),
        ]
        with m.If(b_taken):
            m.d.sync += [
                b_valid.eq(0),
                walking.eq(~b_end & (b.taps != 0) & (b_columns != 0)),
                update.weight.eq(b.weight),
                update.word.eq(b.membrane),
                update.bias.eq(b.bias),
                update.code.eq(b.code),
                stays.eq(b.second),
                first.weight.eq(b.weight),
                first.membrane.eq(b.membrane),
                columns.eq(b_columns - 1),
                words_left.eq(self.last_word),
                columns_left.eq(b_columns - 1),
                rows_left.eq(b.taps - 1),
                wrap_left.eq(b.wrap),
                last_of_pixel.eq(one_word | b.second),
                last_column.eq(b_columns == 1),
                last_row.eq(b.taps == 1),
                final.eq((one_word | b.second) & (b_columns == 1) & (b.taps == 1)),
                wraps.eq(b.wrap == 0),
            ]
        with m.Elif(issue):
            m.d.sync += [
                walking.eq(~final),
                update.weight.eq(weight_sum),
                update.word.eq(word_sum),
            ]
            with m.If(~last_of_pixel):
                m.d.sync += [
                    words_left.eq(words_left - 1),
                    last_of_pixel.eq(words_left == 1),
                    final.eq((words_left == 1) & last_column & last_row),
                    update.bias.eq(update.bias + 1),
                ]
            with m.Else():
                m.d.sync += [
                    words_left.eq(self.last_word), last_of_pixel.eq(one_word | stays),
                ]
                with m.If(~(self.depthwise | stays)):
                    m.d.sync += update.bias.eq(self.bias_base)
                with m.If(~last_column):
                    m.d.sync += [
                        columns_left.eq(columns_left - 1),
                        last_column.eq(columns_left == 1),
                        final.eq((one_word | stays) & (columns_left == 1) & last_row),
                    ]
                with m.Else():
                    m.d.sync += [
                        columns_left.eq(columns),
                        last_column.eq(columns == 0),
                        rows_left.eq(rows_left - 1),
                        last_row.eq(rows_left == 1),
                        final.eq((one_word | stays) & (columns == 0) & (rows_left == 1)),
                        wrap_left.eq(wrap_left - 1),
                        wraps.eq(wrap_left == 1),
                        first.weight.eq(weight_sum),
                        first.membrane.eq(word_sum),
                    ]

        # Output rows are complete when their last update has been written.
        count = Signal(4)
        drain = Signal()
        m.d.sync += drain.eq(b_taken & b_end)
        with m.If(b_taken & b_end):
            m.d.sync += count.eq(b.completes)
        with m.If(drain):
            m.d.sync += self.completed.eq(self.completed + count)

        m.d.comb += self.busy.eq(
            (asked != 2) | coming | loaded | row_valid | a_valid | b_valid | walking | drain)
        with m.If(self.start):
            m.d.sync += [
                row_address.eq(self.row_table),
                asked.eq(0),
                places.eq(self.window_rows),
                self.completed.eq(0),
            ]
        return m
