# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""A made-up request: a line in the table, and gateware and client carry it out."""

import enum

import pytest

from tests.support.link_bench import Bench, request, status_of
from ttfs_sw.link.framing import FLAG, decode_frame, encode_frame
from ttfs_sw.link.host import Client, RefusedError
from ttfs_sw.link.protocol import LayerStatistics, LoadState, Source, Status, StatusReport
from ttfs_sw.link.requests import REQUESTS, Command, Need, Reply, Request


class More(enum.IntEnum):
    """One more command."""

    LAYERS_TOOK = len(REQUESTS) + 1


MADE_UP = Request(
    More.LAYERS_TOOK, "counters of the network that is still there",
    needs=(Need.NETWORK, Need.RESULT), reply=Reply.COUNTERS,
)
#: Begins with the same need as others do, and has one more.
LOADER = Request(More.LAYERS_TOOK, "a loader with a network", needs=(Need.LOADER, Need.LOADED))


@pytest.fixture
def table(monkeypatch):
    """Puts a request into the table."""
    return lambda made_up: monkeypatch.setitem(REQUESTS, made_up.command, made_up)


def carried_out(payloads, prepare=lambda bench: None) -> list[bytes]:
    """The gateware's replies."""
    bench, replies = Bench(), []

    async def body(ask):
        prepare(bench)
        for payload in payloads:
            replies.append(await ask(payload))

    bench.run(body)
    return replies


class Recorded:
    """A line at whose other end the gateware was: its replies, in order, whatever their tag."""

    def __init__(self, replies):
        self.replies, self.requests, self._coming = list(replies), [], b""

    def write(self, data):
        payload = decode_frame(data.strip(bytes([FLAG])))
        self.requests.append(payload)
        reply = self.replies.pop(0)
        self._coming += encode_frame(bytes([reply[0], payload[1]]) + reply[2:])
        return len(data)

    def read(self, count, timeout):
        data, self._coming = self._coming[:count], self._coming[count:]
        return data


def test_gateware_and_client_carry_it_out(table):
    table(MADE_UP)
    asked = request(More.LAYERS_TOOK)
    replies = carried_out([
        asked, request(Command.CLASSIFY_PIXELS, b"abcde"), asked, request(More.LAYERS_TOOK, b"x"),
    ])
    assert status_of(replies[0], More.LAYERS_TOOK) == Status.NO_RESULT
    assert status_of(replies[2], More.LAYERS_TOOK) == Status.OK
    assert status_of(replies[3], More.LAYERS_TOOK) == Status.BAD_LENGTH

    line = Recorded([replies[0], replies[2]])
    client = Client(line)
    with pytest.raises(RefusedError, match="the board refuses layers took: no result"):
        client.ask(More.LAYERS_TOOK)
    assert client.ask(More.LAYERS_TOOK) == [
        LayerStatistics(3, 70), LayerStatistics(2, 0x12345 - 70)]
    assert [payload[0] for payload in line.requests] == [More.LAYERS_TOOK] * 2


def test_its_needs_are_looked_at_in_order(table):
    table(MADE_UP)

    def empty(bench):
        bench.ctx.set(bench.dut.loader.state, LoadState.EMPTY)

    reply, = carried_out([request(More.LAYERS_TOOK)], empty)
    assert status_of(reply, More.LAYERS_TOOK) == Status.NOT_READY


@pytest.mark.parametrize(("booting", "state", "status"), [
    (1, LoadState.READY, Status.BUSY), (0, LoadState.EMPTY, Status.LOAD_FAILED),
    (0, LoadState.READY, Status.OK),
])
def test_requests_that_begin_with_the_same_need_keep_their_own(table, booting, state, status):
    table(LOADER)

    def prepare(bench):
        bench.ctx.set(bench.dut.loader.booting, booting)
        bench.ctx.set(bench.dut.loader.state, state)

    made_up, begun, chunk = carried_out([
        request(More.LAYERS_TOOK), request(Command.LOAD_BEGIN),
        request(Command.LOAD_DATA, b"\7abc"),
    ], prepare)
    assert status_of(made_up, More.LAYERS_TOOK) == status
    assert status_of(begun, Command.LOAD_BEGIN) == (Status.BUSY if booting else Status.OK)
    assert status_of(chunk, Command.LOAD_DATA) == (
        Status.BUSY if booting else Status.BAD_SEQUENCE)
    assert StatusReport.unpack(made_up[3:]).source == Source.FLASH


def test_it_is_gone_with_its_line():
    reply, = carried_out([request(More.LAYERS_TOOK)])
    assert status_of(reply, More.LAYERS_TOOK) == Status.UNKNOWN_COMMAND
