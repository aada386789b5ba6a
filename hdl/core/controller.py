"""The controller: runs the layers of the layer table, one after another, for each image."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ttfs_fpga.hdl.config import LAYER_CYCLES_BITS, CoreConfig
from ttfs_fpga.hdl.shapes import statistics_shape
from ttfs_fpga.hdl.table import (
    ACCUMULATE_FIELDS,
    ACCUMULATE_WORDS,
    ENTRY_WORDS,
    FIELDS,
    FIRE_FIELDS,
    FIRE_WORDS,
    MAP_WORDS,
    SECOND,
    field_widths,
)

__all__ = ["Controller"]


class Fetcher(wiring.Component):
    """Reads some words of an entry of the table, and keeps the fields in them.

    Members
    -------
    start : In(1), layer : In
        Begin, with this layer's entry, which must hold until ``complete``.
    ask, address, granted, words
        Read port of the table: ``ask`` until ``granted``, data one cycle later.
    again : In(1), second : In(1)
        Read the words that describe a map again, or those of the second map; that must hold.
    fields : Out
        The fields; not to be looked at before ``complete``.
    complete : Out(1)
        All of them have come.
    """

    def __init__(self, config: CoreConfig, numbers: tuple[int, ...], names: tuple[str, ...]):
        self._config = config
        self._numbers = numbers
        widths = field_widths(config)
        super().__init__({
            "start": In(1),
            "layer": In(config.layer_bits),
            "ask": Out(1),
            "address": Out(config.table_address_bits),
            "granted": In(1),
            "words": In(32),
            "again": In(1),
            "second": In(1),
            "fields": Out(data.StructLayout({name: widths[name] for name in names})),
            "complete": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # One-hot: which word is asked for next, and which one comes.
        count = len(self._numbers)
        asked, coming = Signal(count), Signal(count)
        word_bits = exact_log2(ENTRY_WORDS)
        number = Signal(word_bits)
        for index, word in enumerate(self._numbers):
            with m.If(asked[index]):
                m.d.comb += number.eq(word)
                if index >= count - MAP_WORDS:
                    m.d.comb += number.eq(Mux(self.second, word | SECOND, word))
        m.d.comb += [
            self.ask.eq(asked.any()),
            self.address.eq(((self.layer + 1) << word_bits) | number),
        ]
        m.d.sync += coming.eq(Mux(self.granted, asked, 0))
        with m.If(self.granted):
            m.d.sync += asked.eq(asked << 1)
        with m.If(coming[-1]):
            m.d.sync += self.complete.eq(1)
        for index, word in enumerate(self._numbers):
            with m.If(coming[index]):
                for name in self.fields.shape().members:
                    if FIELDS[name].word == word:
                        field = FIELDS[name]
                        m.d.sync += self.fields[name].eq(
                            self.words[field.offset:field.offset + field.width])
        with m.If(self.start):
            m.d.sync += [asked.eq(1), coming.eq(0), self.complete.eq(0)]
        with m.If(self.again):
            m.d.sync += [asked.eq(1 << count - MAP_WORDS), self.complete.eq(0)]
        return m


class Controller(wiring.Component):
    """Lets a layer accumulate and fire, and lets the next one accumulate as soon as it may.

    Two layers may be under way: one accumulates, while the one before it fires what is left of it.
    Each half has its own copy of the fields that it needs, read from the layer table beforehand. A
    layer's firing is attached when the layer before it has fired; rows of its output are then swept
    while it goes on accumulating.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial 32-bit words of the layer table.
    late_bits : :class:`int`
        A layer may take ``2 ** late_bits`` cycles: every so many one must have ended.

    Members
    -------
    load, load_address, load_data
        Writes one word of the layer table.
    forget : In(1)
        Memories change: begin nothing.
    full : In(1), release : Out(1)
        An image is there, and the layer table is good; it is no longer needed.
    waits : In(1)
        The sink of logits makes us wait.
    late : Out(1)
        The layer has taken too long: this component must be reset then.
    ask, address, words
        Another reader of the table, the first to be served: data one cycle later. While nobody asks
        it has what is at ``address``.
    check, check_address
        One more, while no image is computed.
    own : Out(1)
        The table is read for the controller itself; never with ``ask``.
    entry : Out(...)
        Fields of the layer that accumulates, named as in :data:`hdl.table.FIELDS`.
    firing : Out(...)
        Those of the layer that fires.
    accumulate, fire : Out(1)
        One cycle at the start of either half of a layer.
    row : In(1), second : In(1), scanning : In(1)
        In a layer with a residual, a row begins; from the next cycle on, of which map; something
        of another row is still on its way from its map.
    scan : Out(1)
        Scan the map that ``entry`` describes, in a layer with a residual a row of it.
    attach : Out(1)
        The layer that accumulates is attached to firing: its map will be written anew.
    accumulated, fired : In(1)
        The half has ended. Looked at from the cycle after its start.
    settled : Out(1)
        The layer that was attached last has accumulated; its last rows may reach no output.
    same : Out(1)
        The layer that accumulates is attached to firing.
    previous : Out(1)
        The layer that fires is the one before the layer that accumulates.
    event : In(1)
        An input event was taken, for the statistics.
    statistics : Out(stream.Signature(statistics_shape(config), always_ready=True))
        One transfer a layer, in the cycle after it has fired. The payload stays for at least ten
        cycles, so that whoever writes it down bit by bit needs no copy.
    busy : Out(1)
        An image is being computed.
    layer : Out
        Number of the layer that accumulates.
    clock : Out(24)
        Cycles since the image was there: two before ``full`` was seen, and the next one, included.
    """

    def __init__(self, config: CoreConfig, init=(), late_bits: int = LAYER_CYCLES_BITS):
        self._config = config
        self._late_bits = late_bits
        self._init = list(init)
        widths = field_widths(config)

        def layout(names):
            return data.StructLayout({name: widths[name] for name in names})

        super().__init__({
            "load": In(1),
            "load_address": In(config.table_address_bits),
            "load_data": In(32),
            "forget": In(1),
            "full": In(1),
            "release": Out(1),
            "waits": In(1),
            "late": Out(1),
            "ask": In(1),
            "address": In(config.table_address_bits),
            "check": In(1),
            "check_address": In(config.table_address_bits),
            "own": Out(1),
            "words": Out(32),
            "entry": Out(layout(ACCUMULATE_FIELDS)),
            "firing": Out(layout(FIRE_FIELDS)),
            "accumulate": Out(1),
            "row": In(1),
            "second": In(1),
            "scanning": In(1),
            "scan": Out(1),
            "fire": Out(1),
            "attach": Out(1),
            "accumulated": In(1),
            "fired": In(1),
            "settled": Out(1),
            "same": Out(1),
            "previous": Out(1),
            "event": In(1),
            "statistics": Out(stream.Signature(statistics_shape(config), always_ready=True)),
            "busy": Out(1),
            "layer": Out(config.layer_bits),
            "clock": Out(24),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.table = table = memory.Memory(
            shape=32, depth=config.table_words, init=self._init
        )
        m.submodules.entry = entry = Fetcher(config, ACCUMULATE_WORDS, ACCUMULATE_FIELDS)
        m.submodules.firing = firing = Fetcher(config, FIRE_WORDS, FIRE_FIELDS)
        read, write = table.read_port(), table.write_port()
        m.d.comb += [
            write.addr.eq(self.load_address),
            write.data.eq(self.load_data),
            write.en.eq(self.load),
            # Descriptors first: they are waited for most often.
            self.own.eq(~self.ask & (entry.ask | firing.ask)),
            entry.granted.eq(entry.ask & ~self.ask),
            firing.granted.eq(firing.ask & ~self.ask & ~entry.ask),
            # The first of them reads also when it does not ask: it keeps its word by that, and no
            # read enable hangs on who asks.
            read.addr.eq(Mux(
                self.ask | ~(entry.ask | firing.ask | self.check), self.address, Mux(
                    entry.ask, entry.address,
                    Mux(self.check, self.check_address, firing.address)))),
            read.en.eq(~self.load),
            self.words.eq(read.data),
            entry.words.eq(read.data),
            firing.words.eq(read.data),
            self.entry.eq(entry.fields),
            self.firing.eq(firing.fields),
        ]

        subject = Signal.like(self.layer)  # the layer whose entry is read
        fires = Signal.like(self.layer)  # the layer that fires
        prefetched = Signal()  # the entry of that layer was asked for
        firing_busy = Signal()
        unattached = Signal()  # the layer that accumulates waits for firing
        attached = Signal()  # it is the one that may fire
        settled = self.settled
        reading = Signal()  # a map's words are read again
        m.d.comb += [
            entry.layer.eq(subject),
            firing.layer.eq(fires),
            self.previous.eq(firing_busy & ~self.same),
        ]

        def fetch():
            m.d.comb += entry.start.eq(1)
            m.d.sync += prefetched.eq(1)

        events, fired_events = Signal(config.neuron_bits + 1), Signal(config.neuron_bits + 1)
        m.d.sync += [
            self.clock.eq(self.clock + 1),
            events.eq(events + self.event),
        ]
        m.d.comb += self.statistics.p.events.eq(fired_events)
        m.d.sync += [self.statistics.valid.eq(0), self.fire.eq(0)]

        # A layer without an end: between two looks at the clock none has ended. What the sink has
        # made it wait for is not its fault.
        tick, was_tick, progress = self.clock[self._late_bits], Signal(), Signal()
        m.d.sync += was_tick.eq(tick)
        with m.If(self.waits | self.statistics.valid | ~self.busy):
            m.d.sync += progress.eq(1)
        with m.Elif(tick != was_tick):
            m.d.sync += progress.eq(0)
        m.d.comb += self.late.eq((tick != was_tick) & ~progress & self.busy)

        m.d.sync += self.accumulate.eq(0)
        with m.FSM():
            with m.State("Idle"):
                with m.If(self.full & ~self.forget):
                    m.d.sync += [self.busy.eq(1), self.clock.eq(3), events.eq(0)]
                    with m.If(prefetched):
                        m.next = "Begin"
                    with m.Else():
                        m.next = "Next"

            with m.State("Begin"):
                m.d.sync += self.layer.eq(subject)
                with m.If(entry.complete):
                    m.d.sync += [
                        self.accumulate.eq(1), unattached.eq(1), attached.eq(0),
                        self.same.eq(0), settled.eq(0),
                    ]
                    m.next = "Accumulate"

            with m.State("Accumulate"):
                # Not before its firing half has its fields: that is long after the statistics of
                # the layer before.
                with m.If(self.accumulated & attached):
                    m.d.sync += [fired_events.eq(events), events.eq(0), settled.eq(1)]
                    with m.If(entry.fields.last):
                        m.d.sync += [subject.eq(0), prefetched.eq(0)]
                        m.next = "Finish"
                    with m.Else():
                        m.d.sync += subject.eq(subject + 1)
                        m.next = "Next"

            with m.State("Next"):
                fetch()
                m.next = "Begin"

            with m.State("Finish"):
                with m.If(~prefetched):
                    fetch()
                with m.If(~firing_busy):
                    m.d.comb += self.release.eq(1)
                    m.d.sync += self.busy.eq(0)
                    m.next = "Idle"

        # Maps take turns in a layer with a residual: what describes one is read for every row.
        m.d.comb += entry.second.eq(self.second & reading)
        with m.FSM(name="row_state"):
            with m.State("Idle"):
                m.d.comb += self.scan.eq(self.accumulate & ~entry.fields.residual)
                with m.If(self.row & entry.fields.residual):
                    m.next = "Wait"
            with m.State("Wait"):
                with m.If(~self.scanning):
                    m.d.comb += entry.again.eq(1)
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.d.comb += reading.eq(1)
                with m.If(entry.complete):
                    m.d.comb += self.scan.eq(1)
                    m.next = "Idle"

        with m.FSM(name="firing_state"):
            with m.State("Idle"):
                with m.If(unattached):
                    m.d.comb += [firing.start.eq(1), self.attach.eq(1)]
                    m.d.sync += [unattached.eq(0), fires.eq(self.layer), self.same.eq(1)]
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.d.comb += firing_busy.eq(1)
                with m.If(firing.complete):
                    m.d.sync += [self.fire.eq(1), attached.eq(1)]
                    m.next = "Fire"
            with m.State("Fire"):
                m.d.comb += firing_busy.eq(1)
                # The last ones stay.
                m.d.sync += [
                    self.statistics.p.layer.eq(fires), self.statistics.p.clock.eq(self.clock),
                ]
                with m.If(self.fired & ~self.fire & (settled | ~self.same)):
                    m.d.sync += self.statistics.valid.eq(1)
                    m.next = "Idle"
        return m
