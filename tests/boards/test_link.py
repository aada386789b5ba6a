# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The link: every request, every refusal, and a good answer after whatever came before."""

import dataclasses
import enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.link_bench import CONFIG, INPUTS, Bench, request, result_of, status_of
from ttfs_fpga.boards.link import check_same_errors
from ttfs_fpga.boards.recorder import RecordMap
from ttfs_fpga.hdl.core.guard import CoreError
from ttfs_sw.link import protocol
from ttfs_sw.link.protocol import (
    NAK,
    REPLY,
    Identity,
    LoadState,
    Result,
    Source,
    Status,
    StatusReport,
    encode_events,
    unpack_statistics,
)
from ttfs_sw.link.requests import Command


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
        bench.ctx.set(bench.dut.loader.state, LoadState.BAD_CHECKSUM)
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


def test_busy_while_booting():
    bench = Bench()

    async def body(ask):
        bench.ctx.set(bench.dut.loader.booting, 1)
        bench.ctx.set(bench.dut.loader.state, LoadState.LOADING)
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


@settings(max_examples=15)
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


def test_core_and_hosts_number_errors_alike():
    check_same_errors(CoreError, protocol.CoreError)
    names = [error.name for error in CoreError]
    more = enum.IntEnum("more", [*names, "NEW"], start=0)
    other = enum.IntEnum("other", [*names[:-1], "LATE"], start=0)
    for errors in (more, other):
        with pytest.raises(ImportError, match=r"the core's errors are .*CHECKSUM.*protocol has"):
            check_same_errors(errors, protocol.CoreError)
