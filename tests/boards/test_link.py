# amaranth: UnusedElaboratable=no
"""The link: every request, every refusal, and a good answer after whatever came before."""

import dataclasses

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.frames import BYTE_CYCLES
from boards.link import Link
from boards.recorder import RecordMap
from hdl.config import CoreConfig
from hdl.testing import watchdog
from ttfs_sw.protocol import (
    NAK,
    REPLY,
    Command,
    Identity,
    LoadState,
    Result,
    Source,
    Status,
    StatusReport,
    encode_events,
    unpack_statistics,
)

CONFIG = CoreConfig(lanes=4, weight_words=512, membrane_words=64, input_words=16, map_words=16,
                    layers=4)
INPUTS = 5


def identity(config: CoreConfig) -> Identity:
    places = RecordMap(config)
    sizes = config.as_dict()
    names = {field.name for field in dataclasses.fields(Identity)} & sizes.keys()
    return Identity(
        protocol_version=1, logit_bytes=places.logit_bytes, max_logits=places.max_logits,
        event_gap=300, fingerprint=config.fingerprint, clock_hz=36_000_000, baud=1_000_000,
        board="bench", **{name: sizes[name] for name in names},
    )


class Bench:
    """A link between a host and a core that are played by the test.

    The core answers an image with ``logits``; with ``core_error`` it gives up, and without logits
    it does not answer at all.
    """

    def __init__(self, config=CONFIG, *, logits=(3, -7, 12, 12), timeout_bits=12):
        self.config = config
        self.identity = identity(config)
        self.dut = Link(config, self.identity, timeout_bits)
        self.logits, self.core_error, self.core_stalls = list(logits), 0, False
        self.samples, self.chunks = [], bytearray()
        self.starts = self.stops = self.resets = 0

    def run(self, body):
        """Run ``body(request)``; ``await request(payload)`` gives the reply, None for none."""
        async def testbench(ctx):
            self.ctx = ctx
            ctx.set(self.dut.load_state, LoadState.READY)
            ctx.set(self.dut.last_input, INPUTS - 1)
            ctx.set(self.dut.loaded_from, Source.FLASH)
            await body(self.request)

        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        sim.add_testbench(self._core, background=True)
        sim.add_testbench(self._answer, background=True)
        sim.add_testbench(self._loader, background=True)
        sim.add_testbench(watchdog(60_000), background=True)
        sim.run()

    async def send(self, payload: bytes, *, good: bool = True, end: bool = True) -> None:
        """Put one frame's payload and verdict on the link's receiving side."""
        for byte in payload:
            self.ctx.set(self.dut.rx.payload, byte)
            await self._pulse(self.dut.rx.valid)
        if end:
            self.ctx.set(self.dut.rx_good, good)
            await self._pulse(self.dut.rx_end)

    async def _pulse(self, signal) -> None:
        self.ctx.set(signal, 1)
        await self.ctx.tick()
        self.ctx.set(signal, 0)
        await self.ctx.tick().repeat(BYTE_CYCLES - 1)

    async def receive(self, patience: int = 300) -> bytes | None:
        """The next reply, or None when there is none for so many cycles."""
        reply, waited = bytearray(), 0
        self.ctx.set(self.dut.tx.ready, 1)
        while waited < patience:
            _, _, valid, item = await self.ctx.tick().sample(
                self.dut.tx.valid, self.dut.tx.payload)
            waited = 0 if valid else waited + 1
            if valid:
                reply.append(item.data)
                if item.last:
                    self.ctx.set(self.dut.tx.ready, 0)
                    # The next request cannot begin before the frame's CRC and flag have been sent.
                    await self.ctx.tick().repeat(BYTE_CYCLES)
                    return bytes(reply)
        self.ctx.set(self.dut.tx.ready, 0)
        assert not reply, "the reply does not end"
        return None

    async def request(self, payload: bytes, *, good: bool = True) -> bytes | None:
        await self.send(payload, good=good)
        return await self.receive(5000)

    async def _core(self, ctx):
        dut = self.dut
        ctx.set(dut.samples.ready, 1)
        async for _, _, valid, sample, restart, reset in ctx.tick().sample(
            dut.samples.valid, dut.samples.payload, dut.restart, dut.core_reset
        ):
            if restart or reset:
                self.samples.clear()
                self.resets += reset
            elif valid:
                self.samples.append((sample.value, sample.raw))

    async def _answer(self, ctx):
        dut = self.dut
        while True:
            await ctx.tick()
            ctx.set(dut.core_error, self.core_error)
            if len(self.samples) < INPUTS or self.core_stalls or self.core_error:
                continue
            last = len(self.logits) - 1
            for layer, (events, clock) in enumerate([(3, 70), (2, 0x12345)]):
                ctx.set(dut.statistics.payload,
                        {"layer": layer, "events": events, "clock": clock})
                ctx.set(dut.statistics.valid, 1)
                await ctx.tick()
                ctx.set(dut.statistics.valid, 0)
                for _ in range(8):
                    await ctx.tick()
            ctx.set(dut.cycles, 0xABCDE)
            for index, value in enumerate(self.logits):
                winner = self.logits.index(max(self.logits[:index + 1]))
                ctx.set(dut.logits.payload, {"index": index, "value": value, "winner": winner,
                                             "last": index == last})
                ctx.set(dut.logits.valid, 1)
                await ctx.tick().until(dut.logits.ready)
                ctx.set(dut.logits.valid, 0)
            self.samples.clear()

    async def _loader(self, ctx):
        dut = self.dut
        ctx.set(dut.image.ready, 1)
        async for _, _, valid, byte, start, stop in ctx.tick().sample(
            dut.image.valid, dut.image.payload, dut.load_start, dut.load_stop
        ):
            self.starts += start
            self.stops += stop
            if valid:
                self.chunks.append(byte)


def request(command: int, body: bytes = b"", tag: int = 0x5A) -> bytes:
    return bytes([command, tag]) + body


def status_of(reply: bytes, command: int, tag: int | None = 0x5A) -> Status:
    assert reply[0] == command | REPLY
    assert tag is None or reply[1] == tag
    return Status(reply[2])


def result_of(bench: Bench, reply: bytes) -> Result:
    assert reply[2] == Status.OK
    return Result.unpack(reply[3:], bench.identity)


def test_identify():
    bench = Bench()

    async def body(ask):
        reply = await ask(request(Command.IDENTIFY))
        assert status_of(reply, Command.IDENTIFY) == Status.OK
        assert Identity.unpack(reply[3:]) == bench.identity

    bench.run(body)


def test_status():
    bench = Bench()

    async def body(ask):
        reply = await ask(request(Command.STATUS))
        assert status_of(reply, Command.STATUS) == Status.OK
        assert StatusReport.unpack(reply[3:]) == StatusReport(
            LoadState.READY, Source.FLASH, 0, Status.OK)
        await ask(request(Command.RESULT))
        reply = await ask(request(Command.STATUS))
        assert StatusReport.unpack(reply[3:]).last_error == Status.NO_RESULT

    bench.run(body)


@pytest.mark.parametrize(("command", "image"), [
    (Command.CLASSIFY_PIXELS, b"abcde"),
    (Command.CLASSIFY_EVENTS, encode_events([(1, 4), (4, 15)], 300)),
])
def test_classify(command, image):
    bench = Bench()
    seen = []

    async def body(ask):
        await bench.send(request(command, image), end=False)
        assert len(bench.samples) < INPUTS
        await bench.send(b"")
        seen.append(result_of(bench, await bench.receive()))
        seen.append(result_of(bench, await ask(request(Command.RESULT))))
        reply = await ask(request(Command.COUNTERS))
        seen.append([(layer.events, layer.cycles) for layer in unpack_statistics(reply[3:])])

    bench.run(body)
    expected = Result(cycles=0xABCDE, winner=2, logits=(3, -7, 12, 12))
    assert seen == [expected, expected, [(3, 70), (2, 0x12345 - 70)]]


@pytest.mark.parametrize("accumulator_bits", [9, 16, 18, 32])
def test_logits_of_any_width(accumulator_bits):
    config = dataclasses.replace(CONFIG, accumulator_bits=accumulator_bits)
    top = 1 << (accumulator_bits - 1)
    bench = Bench(config, logits=[-top, top - 1, -1, 0, 1])

    async def body(ask):
        result = result_of(bench, await ask(request(Command.CLASSIFY_PIXELS, b"abcde")))
        assert result.logits == (-top, top - 1, -1, 0, 1)

    bench.run(body)


@pytest.mark.parametrize("over", [-1, 0, 1, 3])
def test_more_classes_than_a_result_keeps(over):
    room = RecordMap(CONFIG).max_logits
    logits = [n % 100 for n in range(room + over)]
    bench = Bench(logits=logits)

    async def body(ask):
        result = result_of(bench, await ask(request(Command.CLASSIFY_PIXELS, b"abcde")))
        assert result.logits == tuple(logits[:room])
        assert result.winner == 99
        # Neither the identity nor the counters were written over.
        reply = await ask(request(Command.IDENTIFY))
        assert Identity.unpack(reply[3:]) == bench.identity

    bench.run(body)


def test_classify_is_refused_without_a_network():
    bench = Bench()

    async def body(ask):
        bench.ctx.set(bench.dut.load_state, LoadState.BAD_CHECKSUM)
        reply = await ask(request(Command.CLASSIFY_PIXELS, b"abcde"))
        assert status_of(reply, Command.CLASSIFY_PIXELS) == Status.NOT_READY
        assert StatusReport.unpack(reply[3:]).load_state == LoadState.BAD_CHECKSUM
        assert len(bench.samples) < INPUTS

    bench.run(body)


@pytest.mark.parametrize(("command", "body", "status"), [
    (Command.CLASSIFY_PIXELS, b"abcd", Status.BAD_LENGTH),
    (Command.CLASSIFY_PIXELS, b"abcdef", Status.BAD_LENGTH),
    (Command.CLASSIFY_EVENTS, b"\1\0\3\1\0\3", Status.BAD_EVENT),
    (Command.CLASSIFY_EVENTS, b"\1\0", Status.BAD_LENGTH),
    (Command.IDENTIFY, b"x", Status.BAD_LENGTH),
    (Command.STATUS, b"x", Status.BAD_LENGTH),
    (Command.LOAD_BEGIN, b"x", Status.BAD_LENGTH),
    (Command.LOAD_DATA, b"", Status.BAD_LENGTH),
    (Command.LOAD_END, b"x", Status.BAD_LENGTH),
    (Command.RESULT, b"", Status.NO_RESULT),
    (Command.COUNTERS, b"", Status.NO_RESULT),
    (Command.NONE, b"", Status.UNKNOWN_COMMAND),
    (14, b"any", Status.UNKNOWN_COMMAND),
])
def test_refusals_leave_the_link_working(command, body, status):
    bench = Bench()

    async def drive(ask):
        reply = await ask(request(command, body))
        assert status_of(reply, command) == status
        assert StatusReport.unpack(reply[3:]).last_error == status
        result = result_of(bench, await ask(request(Command.CLASSIFY_PIXELS, b"abcde")))
        assert result.winner == 2

    bench.run(drive)
    assert (bench.starts, bench.stops, bench.chunks) == (0, 0, b"")


def test_command_bytes_that_are_none():
    bench = Bench()

    async def body(ask):
        for command in (NAK, 16, Command.IDENTIFY + 16, 0x81, 0xFF):
            reply = await ask(request(command))
            assert status_of(reply, Command.NONE) == Status.UNKNOWN_COMMAND

    bench.run(body)


@pytest.mark.parametrize("payload", [
    b"", b"\x06", b"\x06\x01", b"\x06\x01abcde", b"\x04", b"\x04\x01", b"\x04\x01\x07xyz",
    b"\x01\x01",
])
def test_damaged_frames(payload):
    bench = Bench()

    async def body(ask):
        reply = await ask(payload, good=False)
        assert status_of(reply, NAK, tag=None) == Status.BAD_FRAME
        assert (bench.chunks, bench.stops) == (b"", 0)
        assert len(bench.samples) < INPUTS
        assert result_of(bench, await ask(request(Command.CLASSIFY_PIXELS, b"abcde"))).winner == 2

    bench.run(body)


def test_good_frames_too_short_to_be_requests():
    bench = Bench()

    async def body(ask):
        for payload in (b"", b"\x01"):
            assert status_of(await ask(payload), NAK, tag=None) == Status.BAD_FRAME

    bench.run(body)


def test_load():
    # More chunks than there are numbers; they may be of any size.
    sizes = [9] * 16 + [300, 1, 0, 7]
    pieces = [bytes(n & 0xFF for n in range(size)) for size in sizes]
    bench = Bench()

    async def body(ask):
        assert status_of(await ask(request(Command.LOAD_BEGIN)), Command.LOAD_BEGIN) == Status.OK
        bench.ctx.set(bench.dut.load_state, LoadState.LOADING)
        for number, piece in enumerate(pieces):
            reply = await ask(request(Command.LOAD_DATA, bytes([number % 16]) + piece))
            assert status_of(reply, Command.LOAD_DATA) == Status.OK
        bench.ctx.set(bench.dut.load_state, LoadState.READY)
        assert status_of(await ask(request(Command.LOAD_END)), Command.LOAD_END) == Status.OK

    bench.run(body)
    assert bench.chunks == b"".join(pieces)
    assert (bench.starts, bench.stops) == (1, 1)


def chunk(number: int, data: bytes) -> bytes:
    return request(Command.LOAD_DATA, bytes([number]) + data)


def test_chunks_that_are_repeated_or_lost():
    bench = Bench()

    async def body(ask):
        await ask(request(Command.LOAD_BEGIN))
        assert (await ask(chunk(0, b"zero")))[2] == Status.OK
        assert (await ask(chunk(0, b"zero")))[2] == Status.OK
        assert (await ask(chunk(2, b"two")))[2] == Status.BAD_SEQUENCE
        # A repeated chunk was not looked at, so it may be damaged.
        assert (await ask(chunk(0, b"damaged"), good=False))[2] == Status.BAD_FRAME
        assert (await ask(chunk(1, b"one")))[2] == Status.OK
        assert (bench.chunks, bench.stops) == (b"zeroone", 0)
        # From the start: what has come so far does not count.
        await ask(request(Command.LOAD_BEGIN))
        assert (await ask(chunk(2, b"two")))[2] == Status.BAD_SEQUENCE
        assert (await ask(chunk(0, b"0")))[2] == Status.OK

    bench.run(body)
    assert bench.chunks == b"zeroone0"
    assert (bench.starts, bench.stops) == (2, 0)


def test_damaged_chunk_ends_the_load():
    bench = Bench()

    async def body(ask):
        await ask(request(Command.LOAD_BEGIN))
        assert (await ask(chunk(0, b"zero")))[2] == Status.OK
        assert (await ask(chunk(1, b"damaged"), good=False))[2] == Status.BAD_FRAME
        assert bench.stops == 1
        await ask(request(Command.LOAD_BEGIN))
        assert (await ask(chunk(0, b"zero")))[2] == Status.OK

    bench.run(body)
    assert (bench.starts, bench.stops) == (2, 1)


def test_loader_that_does_not_keep_up_ends_the_load():
    bench = Bench()

    async def body(ask):
        await ask(request(Command.LOAD_BEGIN))
        bench.ctx.set(bench.dut.image.ready, 0)
        await ask(chunk(0, b"x"))
        assert bench.stops == 1

    bench.run(body)


def test_result_outlives_a_refused_request():
    bench = Bench()

    async def body(ask):
        first = await ask(request(Command.CLASSIFY_PIXELS, b"abcde"))
        await ask(request(Command.CLASSIFY_PIXELS, b"abcde"), good=False)
        await ask(request(Command.IDENTIFY, b"too long"))
        again = await ask(request(Command.RESULT))
        assert again[2:] == first[2:]
        await ask(request(Command.LOAD_BEGIN))
        assert (await ask(request(Command.RESULT)))[2] == Status.NO_RESULT

    bench.run(body)


def test_load_end_tells_of_a_bad_image():
    bench = Bench()

    async def body(ask):
        bench.ctx.set(bench.dut.load_state, LoadState.BAD_FINGERPRINT)
        reply = await ask(request(Command.LOAD_END))
        assert status_of(reply, Command.LOAD_END) == Status.LOAD_FAILED
        assert StatusReport.unpack(reply[3:]).load_state == LoadState.BAD_FINGERPRINT

    bench.run(body)


def test_busy_while_booting():
    bench = Bench()

    async def body(ask):
        bench.ctx.set(bench.dut.booting, 1)
        bench.ctx.set(bench.dut.load_state, LoadState.LOADING)
        for command, rest in ((Command.LOAD_BEGIN, b""), (Command.LOAD_DATA, b"\0abc")):
            assert status_of(await ask(request(command, rest)), command) == Status.BUSY
        assert (await ask(request(Command.CLASSIFY_PIXELS, b"abcde")))[2] == Status.NOT_READY
        assert (await ask(request(Command.IDENTIFY)))[2] == Status.OK

    bench.run(body)
    assert (bench.starts, bench.stops, bench.chunks) == (0, 0, b"")


def test_frames_that_come_meanwhile_are_answered_as_busy():
    bench = Bench()

    async def body(ask):
        # Two whole frames and the beginning of a third one, while the reply is not taken.
        await bench.send(request(Command.IDENTIFY))
        await bench.send(request(Command.STATUS))
        await bench.send(request(Command.STATUS))
        await bench.send(b"\x02", end=False)
        assert status_of(await bench.receive(), Command.IDENTIFY) == Status.OK
        assert status_of(await bench.receive(), NAK, tag=None) == Status.BUSY
        # The end of the third one: it cannot be carried out, for its beginning was not seen.
        await bench.send(b"\x02\x02")
        assert status_of(await bench.receive(), NAK, tag=None) == Status.BUSY
        assert status_of(await ask(request(Command.STATUS)), Command.STATUS) == Status.OK
        assert await bench.receive() is None

    bench.run(body)


def test_core_that_refuses_the_network():
    bench = Bench()

    async def body(ask):
        await bench.send(request(Command.CLASSIFY_PIXELS, b"abcde"), end=False)
        bench.core_stalls = True
        await bench.send(b"")
        bench.core_error = 2
        reply = await bench.receive()
        assert status_of(reply, Command.CLASSIFY_PIXELS) == Status.CORE_ERROR
        assert StatusReport.unpack(reply[3:]).core_error == 2
        # The error stays, so the next image is not even tried.
        reply = await ask(request(Command.CLASSIFY_PIXELS, b"abcde"))
        assert status_of(reply, Command.CLASSIFY_PIXELS) == Status.CORE_ERROR

    bench.run(body)


def test_core_that_does_not_answer_is_reset():
    bench = Bench()

    async def body(ask):
        bench.core_stalls = True
        reply = await ask(request(Command.CLASSIFY_PIXELS, b"abcde"))
        assert status_of(reply, Command.CLASSIFY_PIXELS) == Status.TIMEOUT
        assert (await ask(request(Command.RESULT)))[2] == Status.NO_RESULT
        bench.core_stalls = False
        assert result_of(bench, await ask(request(Command.CLASSIFY_PIXELS, b"abcde"))).winner == 2

    bench.run(body)
    assert bench.resets == 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(
    st.one_of(
        st.binary(max_size=12),
        st.tuples(st.sampled_from(Command), st.integers(0, 255), st.binary(max_size=8)).map(
            lambda t: bytes(t[:2]) + t[2]),
    ),
    st.booleans(),
), max_size=8))
def test_any_frames_are_answered_and_the_next_good_one_works(frames):
    bench = Bench()

    async def body(ask):
        for payload, good in frames:
            reply = await ask(payload, good=good)
            assert reply is not None and reply[0] & REPLY
            if reply[2] != Status.OK:
                StatusReport.unpack(reply[3:])
        reply = await ask(request(Command.IDENTIFY))
        assert Identity.unpack(reply[3:]) == bench.identity
        result = result_of(bench, await ask(request(Command.CLASSIFY_PIXELS, b"abcde")))
        assert (result.winner, result.logits) == (2, (3, -7, 12, 12))

    bench.run(body)


def test_status_report_is_as_documented():
    report = StatusReport(LoadState.BAD_SECTION, Source.LINK, 2, Status.TIMEOUT)
    assert report.pack() == b"\x27\xc2"
    assert StatusReport.unpack(report.pack()) == report
