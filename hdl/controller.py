"""The controller: runs the layers of the layer table, one after another, for each image."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hdl.config import CoreConfig
from hdl.shapes import statistics_shape
from hdl.table import (
    ACCUMULATE_WORDS,
    ENTRY_WORDS,
    FETCHED_WORDS,
    FIELDS,
    FIRE_FIELDS,
    MAGIC,
    Operation,
    field_widths,
)

__all__ = ["Controller", "CoreError"]


class CoreError(enum.Enum, shape=4):
    """Why the core refuses to run the network in its memories."""

    NONE = 0
    #: The layer table is of another version, or there is none.
    TABLE_VERSION = 1
    #: An entry of the layer table makes no sense.
    LAYER = 2


class Controller(wiring.Component):
    """Reads a layer's entry, lets the layer accumulate, lets it fire, and goes on to the next one.

    The entry of the next layer, or of the first layer for the next image, is read while a layer
    fires: only the first image after a load waits for its entry.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial 32-bit words of the layer table.

    Members
    -------
    load, load_address, load_data
        Writes one word of the layer table.
    forget : In(1)
        Memories change: clear ``error`` and whatever was known of the network.
    valid : Out(1)
        The layer table has a header of this version and no image has been given up.
    last_input : Out
        Number of an image's last sample.
    full : In(1), release : Out(1)
        An image is there; it is no longer needed.
    entry : Out(...)
        Fields of the layer that accumulates, named as in :data:`hdl.table.FIELDS`.
    firing : Out(...)
        Those that firing needs, from the cycle after ``fire`` on: meanwhile ``entry`` becomes that
        of the next layer.
    accumulate, fire : Out(1)
        One cycle at the start of either half of a layer.
    accumulated, fired : In(1)
        The half has ended. Looked at from the cycle after its start.
    event : In(1)
        An input event was taken, for the statistics.
    statistics : Out(stream.Signature(statistics_shape(config), always_ready=True))
        One transfer a layer, in the cycle after its end.
    busy : Out(1)
        An image is being computed.
    layer : Out
        Number of the layer being run.
    clock : Out(24)
        Cycles since the image was started.
    error : Out(CoreError)
        Why the last image was given up.
    """

    def __init__(self, config: CoreConfig, init=()):
        self._config = config
        self._init = list(init)
        widths = field_widths(config)
        super().__init__({
            "load": In(1),
            "load_address": In(self._address_bits),
            "load_data": In(32),
            "forget": In(1),
            "valid": Out(1),
            "last_input": Out(config.neuron_bits),
            "full": In(1),
            "release": Out(1),
            "entry": Out(data.StructLayout(
                {name: widths[name] for name in FIELDS if name != "check"})),
            "firing": Out(data.StructLayout({name: widths[name] for name in FIRE_FIELDS})),
            "accumulate": Out(1),
            "fire": Out(1),
            "accumulated": In(1),
            "fired": In(1),
            "event": In(1),
            "statistics": Out(stream.Signature(statistics_shape(config), always_ready=True)),
            "busy": Out(1),
            "layer": Out(config.layer_bits),
            "clock": Out(24),
            "error": Out(CoreError),
        })

    @property
    def _address_bits(self) -> int:
        return ceil_log2((self._config.layers + 1) * ENTRY_WORDS)

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = memory.Memory(
            shape=32, depth=1 << self._address_bits, init=self._init
        )
        read, write = table.read_port(), table.write_port()
        m.d.comb += [
            write.addr.eq(self.load_address),
            write.data.eq(self.load_data),
            write.en.eq(self.load),
        ]

        # The header is needed all the time: it is kept as it is written.
        header, count = self._init[:2] if self._init else (0, 0)
        valid = Signal(init=header >> 16 == MAGIC)
        layers = Signal(self._config.layer_bits, init=header & 0xFFFF)
        last_input = Signal.like(self.last_input, init=count)
        m.d.comb += [self.valid.eq(valid), self.last_input.eq(last_input)]
        with m.If(self.load & (self.load_address == 0)):
            m.d.sync += [valid.eq(self.load_data[16:] == MAGIC), layers.eq(self.load_data)]
        with m.If(self.load & (self.load_address == 1)):
            m.d.sync += last_input.eq(self.load_data)

        entry = self.entry
        word_bits = exact_log2(ENTRY_WORDS)
        asked = Signal(range(FETCHED_WORDS + 1), init=FETCHED_WORDS)  # word to ask for next
        came = Signal.like(asked)  # the word that leaves the table in this cycle
        coming = Signal()
        asking = asked != FETCHED_WORDS
        subject = Signal.like(self.layer)  # the layer whose entry it is
        prefetched = Signal()  # the entry of that layer was asked for
        complete = Signal()  # all that accumulation needs has come
        m.d.comb += [
            read.addr.eq(((subject + 1) << word_bits) | asked),
            read.en.eq(asking),
        ]
        m.d.sync += [coming.eq(asking), came.eq(asked), asked.eq(asked + asking)]
        with m.If(coming & (came == ACCUMULATE_WORDS - 1)):
            m.d.sync += complete.eq(1)

        def fetch():
            m.d.sync += [asked.eq(0), prefetched.eq(1), complete.eq(0)]

        def unfetch():
            m.d.sync += [
                asked.eq(FETCHED_WORDS), coming.eq(0), subject.eq(0), prefetched.eq(0),
                complete.eq(0),
            ]

        magic = Signal(16)
        keep = Array(Signal(name=f"keep{n}") for n in range(FETCHED_WORDS))
        with m.If(coming):
            m.d.comb += keep[came].eq(1)
        for name, field in FIELDS.items():
            kept = magic if name == "check" else entry[name]
            with m.If(keep[field.word]):
                m.d.sync += kept.eq(read.data[field.offset:field.offset + field.width])

        layer_clock = Signal(24)
        events = Signal(self._config.neuron_bits + 1)
        m.d.sync += [
            self.clock.eq(self.clock + 1),
            layer_clock.eq(layer_clock + 1),
            events.eq(events + self.event),
            self.statistics.valid.eq(0),
        ]
        def give_up(reason):
            # The image is gone, and with the header invalid no other one is taken.
            m.d.sync += [self.error.eq(reason), valid.eq(0)]
            m.d.comb += self.release.eq(1)
            unfetch()
            m.next = "Idle"

        # What is wrong with the entry is known two cycles after its first word has come.
        foreign, senseless = Signal(), Signal()
        m.d.sync += [
            foreign.eq((magic != MAGIC) | (layers == 0)),
            senseless.eq(
                (entry.operation != Operation.DENSE)
                | (entry.last != (subject + 1 == layers))
                | (entry.spiking == entry.last)),
        ]
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.full & ~self.forget):
                    m.d.sync += [self.clock.eq(1), layer_clock.eq(1), events.eq(0)]
                    with m.If(~prefetched):
                        fetch()
                    m.next = "Begin"

            with m.State("Begin"):
                m.d.sync += self.layer.eq(subject)
                with m.If(complete):
                    with m.If(foreign):
                        give_up(CoreError.TABLE_VERSION)
                    with m.Elif(senseless):
                        give_up(CoreError.LAYER)
                    with m.Else():
                        m.d.comb += self.accumulate.eq(1)
                        m.next = "Accumulate"

            with m.State("Accumulate"):
                with m.If(self.accumulated):
                    m.d.comb += self.fire.eq(1)
                    m.d.sync += [
                        *(self.firing[name].eq(entry[name]) for name in FIRE_FIELDS),
                        subject.eq(Mux(entry.last, 0, subject + 1)),
                    ]
                    fetch()
                    m.next = "Fire"

            with m.State("Fire"):
                with m.If(self.fired):
                    m.d.sync += [
                        self.statistics.valid.eq(1),
                        self.statistics.p.layer.eq(self.layer),
                        self.statistics.p.events.eq(events),
                        self.statistics.p.cycles.eq(layer_clock + 1),
                        layer_clock.eq(0),
                        events.eq(0),
                    ]
                    with m.If(self.firing.last):
                        m.d.comb += self.release.eq(1)
                        m.next = "Idle"
                    with m.Else():
                        m.next = "Begin"

        with m.If(self.forget):
            m.d.sync += self.error.eq(CoreError.NONE)
            unfetch()
        return m
