# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The link while a network is loaded: chunks in order, repeated, lost and damaged."""

from tests.support.link_bench import Bench, request, status_of
from ttfs_sw.link.protocol import LoadState, Status, StatusReport
from ttfs_sw.link.requests import Command


def test_load():
    # More chunks than there are numbers; they may be of any size.
    sizes = [9] * 16 + [300, 1, 0, 7]
    pieces = [bytes(n & 0xFF for n in range(size)) for size in sizes]
    bench = Bench()

    async def body(ask):
        assert status_of(await ask(request(Command.LOAD_BEGIN)), Command.LOAD_BEGIN) == Status.OK
        bench.ctx.set(bench.dut.loader.state, LoadState.LOADING)
        for number, piece in enumerate(pieces):
            reply = await ask(request(Command.LOAD_DATA, bytes([number % 16]) + piece))
            assert status_of(reply, Command.LOAD_DATA) == Status.OK
        bench.ctx.set(bench.dut.loader.state, LoadState.READY)
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
        bench.ctx.set(bench.dut.loader.image.ready, 0)
        await ask(chunk(0, b"x"))
        assert bench.stops == 1

    bench.run(body)


def test_load_end_tells_of_a_bad_image():
    bench = Bench()

    async def body(ask):
        bench.ctx.set(bench.dut.loader.state, LoadState.BAD_FINGERPRINT)
        reply = await ask(request(Command.LOAD_END))
        assert status_of(reply, Command.LOAD_END) == Status.LOAD_FAILED
        assert StatusReport.unpack(reply[3:]).load_state == LoadState.BAD_FINGERPRINT

    bench.run(body)
