"""The host link: answers the requests of :mod:`ttfs_sw.protocol`, one at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.feeder import SampleFeeder
from boards.frames import received_shape, reply_shape
from boards.recorder import Recorder, RecordMap, padded
from hdl.config import CoreConfig
from hdl.shapes import logit_shape, sample_shape, statistics_shape
from ttfs_sw.protocol import (
    NAK,
    REPLY,
    SEQUENCES,
    STATISTICS_BYTES,
    Command,
    Identity,
    LoadState,
    Source,
    Status,
    StatusReport,
)

__all__ = ["Link"]

_CLASSIFY = (Command.CLASSIFY_PIXELS, Command.CLASSIFY_EVENTS)
_LOAD = (Command.LOAD_BEGIN, Command.LOAD_DATA, Command.LOAD_END)


class Link(wiring.Component):
    """Receives a request, carries it out and replies. Nothing that arrives can stop it for long.

    A frame is acted upon when its end has come and its CRC was right. Only what may be long is
    passed on as it comes: of an image to be classified all but the last sample, and the chunks of a
    network image, which is given up when one of them was damaged. Frames that come while a request
    is carried out or answered are not looked at: they are answered as ``BUSY``, once, afterwards.
    The core may take at most ``2 ** timeout_bits`` cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        The core's sizes.
    identity : :class:`ttfs_sw.protocol.Identity`
        What the board says of itself.
    timeout_bits : :class:`int`
        By default as many as the core's cycle counter has.

    Members
    -------
    rx : In(stream.Signature(received_shape(), always_ready=True))
        Requests, from :class:`boards.frames.FrameReceiver`.
    tx : Out(stream.Signature(reply_shape()))
        Replies, to :class:`boards.frames.FrameSender`.
    booting : In(1)
        The loader is busy with the flash: an image cannot be loaded now.
    load_start, load_stop : Out(1), image : Out(stream.Signature(8))
        To the loader. Image bytes come no faster than the line is; one that is not taken at once
        is lost, and the image with it.
    load_state : In(LoadState), loaded_from : In(Source), last_input : In(config.neuron_bits)
        From the loader.
    samples : Out(stream.Signature(sample_shape())), restart : Out(1)
        To the core.
    logits : In(stream.Signature(logit_shape(config))), statistics, cycles, core_error
        From the core.
    core_reset : Out(1)
        The core did not answer: bring it to its senses.
    """

    def __init__(self, config: CoreConfig, identity: Identity, timeout_bits: int = 24):
        self._config = config
        self._identity = identity
        self._timeout_bits = timeout_bits
        statistics = stream.Signature(statistics_shape(config), always_ready=True)
        super().__init__({
            "rx": In(stream.Signature(received_shape(), always_ready=True)),
            "tx": Out(stream.Signature(reply_shape())),
            "booting": In(1),
            "load_start": Out(1),
            "load_stop": Out(1),
            "image": Out(stream.Signature(8)),
            "load_state": In(LoadState),
            "loaded_from": In(Source),
            "last_input": In(config.neuron_bits),
            "samples": Out(stream.Signature(sample_shape())),
            "restart": Out(1),
            "logits": In(stream.Signature(logit_shape(config))),
            "statistics": In(statistics),
            "cycles": In(24),
            "core_error": In(4),
            "core_reset": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        places = RecordMap(self._config)
        m.submodules.feeder = feeder = SampleFeeder(self._config)
        m.submodules.recorder = recorder = Recorder(self._config, self._identity)
        wiring.connect(m, feeder.o, wiring.flipped(self.samples))
        wiring.connect(m, wiring.flipped(self.logits), recorder.logits)
        wiring.connect(m, wiring.flipped(self.statistics), recorder.statistics)

        # Command bytes that are none are kept as 0.
        command, tag = Signal(4), Signal(8, reset_less=True)
        next_chunk = Signal(range(SEQUENCES))
        # A chunk is the next one, or the last one again.
        expected, repeated = Signal(), Signal(reset_less=True)
        wrong_length = Signal()
        status, last_error = Signal(Status, reset_less=True), Signal(Status)
        has_result = Signal()
        known, classify, load_data = Signal(), Signal(), Signal()
        m.d.comb += [
            known.eq((command != Command.NONE) & (command <= max(Command))),
            classify.eq((command == Command.CLASSIFY_PIXELS)
                        | (command == Command.CLASSIFY_EVENTS)),
            load_data.eq(command == Command.LOAD_DATA),
            feeder.last_input.eq(self.last_input),
            feeder.events.eq(command == Command.CLASSIFY_EVENTS),
            feeder.i.payload.eq(self.rx.p.data),
            self.image.payload.eq(self.rx.p.data),
            recorder.cycles.eq(self.cycles),
            self.restart.eq(feeder.restart),
        ]

        # What comes while no request is waited for is not looked at, only noticed.
        receiving, byte_came, frame_ended = Signal(), Signal(), Signal()
        missed = Signal()  # a frame ended meanwhile
        torn = Signal()  # a frame began meanwhile
        m.d.comb += [
            byte_came.eq(self.rx.valid & ~self.rx.p.end),
            frame_ended.eq(self.rx.valid & self.rx.p.end),
        ]
        with m.If(self.rx.valid & ~receiving):
            m.d.sync += [torn.eq(byte_came), missed.eq(missed | frame_ended)]

        timer = Signal(self._timeout_bits, reset_less=True)
        late = Signal()
        m.d.sync += [
            timer.eq(timer + 1), self.load_start.eq(0), self.load_stop.eq(0), feeder.start.eq(0)
        ]
        m.d.comb += late.eq(timer.all())

        # Bytes of the recorder go into the reply, the one at `end` is the last.
        end = Signal.like(recorder.end)
        m.d.comb += end.eq(recorder.end)
        with m.If(command == Command.IDENTIFY):
            m.d.comb += end.eq(Identity.SIZE - 1)
        with m.If(command == Command.COUNTERS):
            last_layer = self.statistics.p.layer * STATISTICS_BYTES
            m.d.comb += end.eq(places.counters | last_layer | (STATISTICS_BYTES - 1))
        address = Signal.like(recorder.address, reset_less=True)
        m.d.comb += recorder.address.eq(address)

        # A reply begins with three bytes; the board's status follows, or bytes of the recorder.
        step = Signal(3, reset_less=True)
        last_step = 3 + StatusReport.SIZE - 1
        from_recorder = Signal()
        report = Cat(
            command, Const(REPLY >> 4, 4),
            tag,
            padded(status, 8),
            padded(self.load_state, 4), padded(self.loaded_from, 4),
            padded(self.core_error, 4), padded(last_error, 4),
        )
        m.d.comb += self.tx.p.data.eq(report.word_select(step, 8))

        def reply(what):
            m.d.sync += [status.eq(what), from_recorder.eq(0), step.eq(0)]
            m.next = "Reply"

        def reply_from(start):
            reply(Status.OK)
            m.d.sync += [from_recorder.eq(1), address.eq(start)]

        def refuse_frame(why):
            m.d.sync += command.eq(NAK)
            reply(why)

        def time_out():
            m.d.comb += self.core_reset.eq(1)
            reply(Status.TIMEOUT)

        with m.FSM():
            with m.State("Command"):
                m.d.comb += receiving.eq(~missed)
                m.d.sync += wrong_length.eq(0)
                with m.If(missed):
                    m.d.sync += missed.eq(0)
                    refuse_frame(Status.BUSY)
                with m.Elif(frame_ended):
                    m.d.sync += torn.eq(0)
                    refuse_frame(Mux(torn, Status.BUSY, Status.BAD_FRAME))
                with m.Elif(byte_came & ~torn):
                    m.d.sync += command.eq(Mux(self.rx.p.data < NAK, self.rx.p.data, Command.NONE))
                    m.next = "Tag"

            with m.State("Tag"):
                m.d.comb += receiving.eq(1)
                with m.If(frame_ended):
                    refuse_frame(Status.BAD_FRAME)
                with m.Elif(byte_came):
                    m.d.sync += feeder.start.eq(classify)
                    m.d.sync += tag.eq(self.rx.p.data)
                    m.next = "Body"
                    with m.If(load_data):
                        m.d.sync += wrong_length.eq(1)
                        m.next = "Sequence"

            with m.State("Sequence"):
                m.d.comb += receiving.eq(1)
                with m.If(byte_came):
                    number = self.rx.p.data[:len(next_chunk)]
                    m.d.sync += [
                        expected.eq((number == next_chunk) & ~self.booting),
                        repeated.eq((number + 1)[:len(next_chunk)] == next_chunk),
                        wrong_length.eq(0),
                    ]
                    m.next = "Body"
                with m.If(frame_ended):
                    m.next = "Execute"
                    with m.If(~self.rx.p.good):
                        refuse_frame(Status.BAD_FRAME)

            with m.State("Body"):
                m.d.comb += [
                    receiving.eq(1),
                    feeder.i.valid.eq(byte_came & classify),
                    self.image.valid.eq(byte_came & expected),
                ]
                with m.If(byte_came & ~classify & ~load_data):
                    m.d.sync += wrong_length.eq(1)
                with m.If(frame_ended):
                    m.next = "Execute"
                    with m.If(~self.rx.p.good):
                        # What of it was passed on cannot be taken back.
                        m.d.sync += [self.load_stop.eq(expected), expected.eq(0)]
                        refuse_frame(Status.BAD_FRAME)
                with m.If(self.image.valid & ~self.image.ready):
                    m.d.sync += self.load_stop.eq(1)

            with m.State("Execute"):
                m.d.sync += timer.eq(0)
                with m.If(wrong_length & known):
                    reply(Status.BAD_LENGTH)
                with m.Else():
                    with m.Switch(command):
                        with m.Case(Command.IDENTIFY):
                            reply_from(0)
                        with m.Case(Command.STATUS):
                            reply(Status.OK)
                        with m.Case(Command.LOAD_BEGIN):
                            m.d.sync += self.load_start.eq(~self.booting)
                            m.d.sync += [next_chunk.eq(0), has_result.eq(0)]
                            reply(Mux(self.booting, Status.BUSY, Status.OK))
                        with m.Case(Command.LOAD_DATA):
                            m.d.sync += [next_chunk.eq(next_chunk + expected), expected.eq(0)]
                            # A repeated chunk has been loaded; only its reply was lost.
                            reply(Mux(expected | repeated, Status.OK, Status.BAD_SEQUENCE))
                            with m.If(self.booting):
                                reply(Status.BUSY)
                        with m.Case(Command.LOAD_END):
                            m.d.sync += self.load_stop.eq(~self.booting)
                            reply(Mux(self.load_state == LoadState.READY,
                                      Status.OK, Status.LOAD_FAILED))
                        with m.Case(Command.CLASSIFY_PIXELS, Command.CLASSIFY_EVENTS):
                            m.d.comb += recorder.clear.eq(1)
                            m.d.sync += has_result.eq(0)
                            m.next = "Commit"
                            with m.If(self.core_error != 0):
                                reply(Status.CORE_ERROR)
                            with m.If(self.load_state != LoadState.READY):
                                reply(Status.NOT_READY)
                        with m.Case(Command.RESULT):
                            reply_from(places.result)
                            with m.If(~has_result):
                                reply(Status.NO_RESULT)
                        with m.Case(Command.COUNTERS):
                            reply_from(places.counters)
                            with m.If(~has_result):
                                reply(Status.NO_RESULT)
                        with m.Default():
                            reply(Status.UNKNOWN_COMMAND)

            with m.State("Commit"):
                m.d.comb += feeder.commit.eq(1)
                with m.If(feeder.done):
                    m.next = "Compute"
                with m.If(feeder.error != Status.OK):
                    reply(feeder.error)
                with m.If(late):
                    time_out()

            with m.State("Compute"):
                with m.If(recorder.done):
                    m.d.sync += has_result.eq(1)
                    reply_from(places.result)
                with m.Elif(self.core_error != 0):
                    reply(Status.CORE_ERROR)
                with m.Elif(late):
                    time_out()

            with m.State("Reply"):
                m.d.comb += [self.tx.valid.eq(1), self.tx.p.last.eq(step == last_step)]
                with m.If(status != Status.OK):
                    m.d.sync += last_error.eq(status)
                with m.If(self.tx.ready):
                    m.d.sync += step.eq(step + 1)
                    with m.If((step == 2) & from_recorder):
                        m.next = "Fetch"
                    with m.If(step == last_step):
                        m.next = "Command"

            with m.State("Fetch"):
                m.d.comb += recorder.enable.eq(1)
                m.next = "Give"

            with m.State("Give"):
                m.d.comb += [
                    self.tx.valid.eq(1),
                    self.tx.p.data.eq(recorder.data),
                    self.tx.p.last.eq(address == end),
                ]
                with m.If(self.tx.ready):
                    m.d.sync += address.eq(address + 1)
                    m.next = "Fetch"
                    with m.If(address == end):
                        m.next = "Command"
        return m
