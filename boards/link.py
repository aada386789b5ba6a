# SPDX-License-Identifier: Apache-2.0
"""The host link: answers the requests of :mod:`ttfs_sw.link.requests`, one at a time."""

import enum
from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.boards.feeder import SampleFeeder
from ttfs_fpga.boards.frames import reply_shape
from ttfs_fpga.boards.ports import CorePort, LoaderPort, RequestPort
from ttfs_fpga.boards.recorder import Recorder, RecordMap, padded
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.guard import CoreError
from ttfs_sw.link import protocol
from ttfs_sw.link.protocol import (
    NAK,
    REPLY,
    SEQUENCES,
    STATISTICS_BYTES,
    Identity,
    LoadState,
    Status,
    StatusReport,
)
from ttfs_sw.link.requests import REQUESTS, Action, Body, Command, Need, Reply, Request

__all__ = ["Link"]


def check_same_errors(core: type[enum.Enum], host: type[enum.Enum]) -> None:
    """Check that the core and hosts call errors by the same names and numbers.

    The core's own (:class:`hdl.core.guard.CoreError`) are the source. A host must read them without
    any hardware description installed, and hdl knows nothing of hosts, so neither can import the
    other's; here both are known, and no board is made where they differ.

    Raises
    ------
    :exc:`ImportError`
        If they differ.
    """
    ours, theirs = ({error.name: error.value for error in errors} for errors in (core, host))
    if ours != theirs:
        raise ImportError(f"the core's errors are {ours}, and ttfs_sw.link.protocol has {theirs}")


check_same_errors(CoreError, protocol.CoreError)

#: Bodies that go to the core.
_IMAGES = (Body.PIXELS, Body.EVENTS)


def _commands(wanted: Callable[[Request], bool]) -> list[int]:
    """Commands of the requests that are ``wanted``."""
    return [code for code, request in REQUESTS.items() if wanted(request)]


def _among(command: Signal, commands: list[int]) -> Value:
    """Whether ``command`` is one of these."""
    if len(commands) == 1:
        return command == commands[0]
    return Cat(command == one for one in commands).any()


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
    identity : :class:`ttfs_sw.link.protocol.Identity`
        What the board says of itself.
    timeout_bits : :class:`int`
        By default twice as many as the core takes to give up a layer that comes to no end.

    Members
    -------
    rx : In(RequestPort())
        Requests, from :class:`boards.frames.FrameReceiver`.
    tx : Out(stream.Signature(reply_shape()))
        Replies, to :class:`boards.frames.FrameSender`.
    loader : Out(LoaderPort(config))
        To and from :class:`boards.loader.ImageLoader`.
    core : Out(CorePort(config))
        To and from :class:`hdl.core.Core`.
    """

    def __init__(self, config: CoreConfig, identity: Identity, timeout_bits: int = 25):
        self._config = config
        self._identity = identity
        self._timeout_bits = timeout_bits
        super().__init__({
            "rx": In(RequestPort()),
            "tx": Out(stream.Signature(reply_shape())),
            "loader": Out(LoaderPort(config)),
            "core": Out(CorePort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        places = RecordMap(self._config)
        m.submodules.feeder = feeder = SampleFeeder(self._config)
        m.submodules.recorder = recorder = Recorder(self._config, self._identity)
        wiring.connect(m, feeder.o, wiring.flipped(self.core.samples))
        wiring.connect(m, wiring.flipped(self.core.logits), recorder.logits)
        wiring.connect(m, wiring.flipped(self.core.statistics), recorder.statistics)

        # Command bytes that are none are kept as 0.
        command, tag = Signal(4), Signal(8, reset_less=True)
        next_chunk = Signal(range(SEQUENCES))
        # A chunk is the next one, or the last one again.
        expected, repeated = Signal(), Signal(reset_less=True)
        wrong_length = Signal()
        status, last_error = Signal(Status, reset_less=True), Signal(Status)
        has_result = Signal()
        in_image = Signal()  # the bytes that come are of an image to be classified

        def among(wanted):
            return _among(command, _commands(wanted))

        # What a command means is known a cycle after it came, long before the request ends: what
        # many decide with is a register. So is the verdict on a request, from cycle to cycle.
        known, classify = Signal(), Signal()
        load_begin, load_data = Signal(), Signal()
        from_recorder = Signal()  # the reply's body comes from there
        ready, broken, refused = Signal(), Signal(), Signal()
        m.d.sync += [
            known.eq((command != Command.NONE) & (command <= max(REQUESTS))),
            classify.eq(among(lambda request: request.body in _IMAGES)),
            load_begin.eq(among(lambda request: request.action is Action.BEGIN_LOAD)),
            load_data.eq(among(lambda request: request.body is Body.CHUNK)),
            feeder.events.eq(among(lambda request: request.body is Body.EVENTS)),
            from_recorder.eq(among(lambda request: request.reply is not Reply.REPORT)
                             & (status == Status.OK)),
            ready.eq(self.loader.state == LoadState.READY),
            broken.eq(self.core.error != 0),
            refused.eq(feeder.error != Status.OK),
        ]
        m.d.comb += [
            feeder.last_input.eq(self.loader.last_input),
            feeder.i.payload.eq(self.rx.bytes.payload),
            self.loader.image.payload.eq(self.rx.bytes.payload),
            recorder.cycles.eq(self.core.cycles),
            self.core.restart.eq(feeder.restart),
        ]
        verdict = Signal(Status, reset_less=True)
        runs = Signal()  # the verdict on an image is that it be computed
        m.d.sync += runs.eq(classify & ready & ~broken)
        self._elaborate_verdict(m, verdict, command, wrong_length & known, {
            Need.LOADER: self.loader.booting,
            Need.SEQUENCE: ~(expected | repeated),
            Need.LOADED: ~ready,
            Need.NETWORK: ~ready,
            Need.CORE: broken,
            Need.RESULT: ~has_result,
        })

        # What comes while no request is waited for is not looked at, only noticed.
        receiving = Signal()
        byte_came, frame_ended = self.rx.bytes.valid, self.rx.end
        missed = Signal()  # a frame ended meanwhile
        torn = Signal()  # a frame began meanwhile
        m.d.comb += [
            feeder.i.valid.eq(byte_came & in_image),
            self.loader.image.valid.eq(byte_came & expected),
        ]
        with m.If((byte_came | frame_ended) & ~receiving):
            m.d.sync += [torn.eq(byte_came), missed.eq(missed | frame_ended)]
        with m.If(frame_ended):
            m.d.sync += in_image.eq(0)

        # Its highest bit says that the core is late.
        timer = Signal(self._timeout_bits + 1, reset_less=True)
        late = timer[-1]
        m.d.sync += [
            timer.eq(timer + 1), self.loader.start.eq(0), feeder.start.eq(0), recorder.clear.eq(0),
            # An image is given up when a byte of it is lost.
            self.loader.stop.eq(self.loader.image.valid & ~self.loader.image.ready),
        ]

        # Bytes of the recorder go into the reply, the one at `end` is the last.
        end, at_end = Signal.like(recorder.end), Signal(reset_less=True)
        m.d.comb += end.eq(recorder.end)
        with m.If(among(lambda request: request.reply is Reply.IDENTITY)):
            m.d.comb += end.eq(Identity.SIZE - 1)
        counters = among(lambda request: request.reply is Reply.COUNTERS)
        with m.If(counters):
            last_layer = self.core.statistics.p.layer * STATISTICS_BYTES
            m.d.comb += end.eq(places.counters | last_layer | (STATISTICS_BYTES - 1))
        address = Signal.like(recorder.address, reset_less=True)
        m.d.comb += recorder.address.eq(address)
        m.d.sync += at_end.eq(address == end)

        # A reply begins with three bytes; the board's status follows, or bytes of the recorder.
        step = Signal(3, reset_less=True)
        last_step = 3 + StatusReport.SIZE - 1
        report = Cat(
            command, Const(REPLY >> 4, 4),
            tag,
            padded(status, 8),
            padded(self.loader.state, 4), padded(self.loader.source, 4),
            padded(self.core.error, 4), padded(last_error, 4),
        )
        m.d.comb += self.tx.p.data.eq(report.word_select(step, 8))

        def reply(what):
            m.d.sync += status.eq(what)
            m.next = "Reply"

        def refuse_frame(why):
            m.d.sync += command.eq(NAK)
            reply(why)

        # Two small machines are faster than a large one: what is done, and what is sent.
        sent = Signal()
        m.d.sync += [feeder.commit.eq(0), sent.eq(0)]
        with m.FSM() as doing:
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
                    byte = self.rx.bytes.payload
                    m.d.sync += command.eq(Mux(byte < NAK, byte, Command.NONE))
                    m.next = "Tag"

            with m.State("Tag"):
                m.d.comb += receiving.eq(1)
                with m.If(frame_ended):
                    refuse_frame(Status.BAD_FRAME)
                with m.Elif(byte_came):
                    m.d.sync += [tag.eq(self.rx.bytes.payload), feeder.start.eq(classify)]
                    m.d.sync += [in_image.eq(classify), wrong_length.eq(load_data)]
                    m.next = "Body"
                    with m.If(load_data):
                        m.next = "Sequence"

            with m.State("Sequence"):
                m.d.comb += receiving.eq(1)
                with m.If(byte_came):
                    number = self.rx.bytes.payload[:len(next_chunk)]
                    m.d.sync += [
                        expected.eq((number == next_chunk) & ~self.loader.booting),
                        repeated.eq((number + 1)[:len(next_chunk)] == next_chunk),
                        wrong_length.eq(0),
                    ]
                    m.next = "Body"
                with m.If(frame_ended):
                    m.next = "Execute"
                    with m.If(~self.rx.good):
                        refuse_frame(Status.BAD_FRAME)

            with m.State("Body"):
                m.d.comb += receiving.eq(1)
                with m.If(byte_came & ~classify & ~load_data):
                    m.d.sync += wrong_length.eq(1)
                with m.If(frame_ended):
                    m.next = "Execute"
                    with m.If(~self.rx.good):
                        # What of it was passed on cannot be taken back.
                        m.d.sync += [self.loader.stop.eq(expected), expected.eq(0)]
                        refuse_frame(Status.BAD_FRAME)

            with m.State("Execute"):
                m.d.sync += [
                    timer.eq(0),
                    next_chunk.eq(Mux(load_begin, 0, next_chunk + expected)),
                    expected.eq(0),
                    self.loader.start.eq(load_begin & (verdict == Status.OK)),
                    self.loader.stop.eq(
                        among(lambda request: request.action is Action.END_LOAD)
                        & ~wrong_length & ~self.loader.booting),
                    recorder.clear.eq(classify),
                    has_result.eq(has_result & ~(classify | (load_begin & ~wrong_length))),
                    address.eq(0),
                ]
                with m.If(counters):
                    m.d.sync += address.eq(places.counters)
                with m.If(classify | among(lambda request: request.reply is Reply.RESULT
                                           and request.body not in _IMAGES)):
                    m.d.sync += address.eq(places.result)
                reply(verdict)
                with m.If(runs):
                    m.next = "Commit"

            with m.State("Commit"):
                m.d.sync += feeder.commit.eq(1)
                with m.If(feeder.done):
                    m.next = "Compute"
                with m.If(refused):
                    reply(feeder.error)
                with m.Elif(broken):
                    reply(Status.CORE_ERROR)
                with m.Elif(late):
                    m.d.comb += self.core.reset.eq(1)
                    reply(Status.TIMEOUT)

            with m.State("Compute"):
                with m.If(recorder.done):
                    m.d.sync += has_result.eq(1)
                    m.next = "Reply"
                with m.Elif(broken):
                    reply(Status.CORE_ERROR)
                with m.Elif(late):
                    m.d.comb += self.core.reset.eq(1)
                    reply(Status.TIMEOUT)

            with m.State("Reply"):
                with m.If(status != Status.OK):
                    m.d.sync += last_error.eq(status)
                with m.If(sent):
                    m.next = "Command"

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += step.eq(0)
                with m.If(doing.ongoing("Reply") & ~sent):
                    m.next = "Report"

            with m.State("Report"):
                m.d.comb += [self.tx.valid.eq(1), self.tx.p.last.eq(step == last_step)]
                with m.If(self.tx.ready):
                    m.d.sync += step.eq(step + 1)
                    with m.If((step == 2) & from_recorder):
                        m.next = "Fetch"
                    with m.If(step == last_step):
                        m.d.sync += sent.eq(1)
                        m.next = "Idle"

            with m.State("Fetch"):
                m.d.comb += recorder.enable.eq(1)
                m.next = "Give"

            with m.State("Give"):
                m.d.comb += [
                    self.tx.valid.eq(1),
                    self.tx.p.data.eq(recorder.data),
                    self.tx.p.last.eq(at_end),
                ]
                with m.If(self.tx.ready):
                    m.d.sync += address.eq(address + 1)
                    m.next = "Fetch"
                    with m.If(at_end):
                        m.d.sync += sent.eq(1)
                        m.next = "Idle"
        return m

    def _elaborate_verdict(self, m, verdict, command, wrong_length, lacks):
        """What the status of the command's reply would be if its request ended now.

        ``lacks`` says of each need that it is not met. Requests that begin with the same need are
        looked at together.
        """
        m.d.sync += verdict.eq(Status.OK)
        alike: dict[Need | None, list[int]] = {}
        for code, request in REQUESTS.items():
            alike.setdefault(request.needs[0] if request.needs else None, []).append(code)
        with m.If(wrong_length):
            m.d.sync += verdict.eq(Status.BAD_LENGTH)
        with m.Else():
            with m.Switch(command):
                for codes in alike.values():
                    with m.Case(*codes):
                        self._elaborate_needs(m, verdict, command, codes, lacks)
                with m.Default():
                    m.d.sync += verdict.eq(Status.UNKNOWN_COMMAND)

    def _elaborate_needs(self, m, verdict, command, codes, lacks):
        """The first need of the command, one of these, that is not met."""
        needs = dict.fromkeys(need for code in codes for need in REQUESTS[code].needs)
        for number, need in enumerate(needs):
            needy = [code for code in codes if need in REQUESTS[code].needs]
            unmet = lacks[need]
            if needy != codes:
                unmet = _among(command, needy) & unmet
            with m.Elif(unmet) if number else m.If(unmet):
                m.d.sync += verdict.eq(need.otherwise)
