# SPDX-License-Identifier: Apache-2.0
"""Frames: the gateware and the Python side agree on every one, and on every one that is none."""

from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_fpga.boards.frames import BYTE_CYCLES, FrameReceiver, FrameSender
from ttfs_fpga.hdl.testing import stream_get, stream_put, watchdog
from ttfs_sw.link.framing import ESCAPE, FLAG, FrameError, decode_frame, encode_frame

#: Payloads, many of them with bytes that must be escaped.
PAYLOADS = st.one_of(
    st.binary(max_size=20),
    st.lists(st.sampled_from([0x5D, 0x5E, ESCAPE, FLAG, 0]), max_size=20).map(bytes),
)


def rtl_decode(received: bytes, *, errors: frozenset[int] = frozenset()) -> list[bytes | None]:
    """Payload of every frame in ``received``, None for a bad one; ``errors``: bytes lost there."""
    dut = FrameReceiver()
    frames, payload = [], bytearray()

    async def drive(ctx):
        for position, byte in enumerate(received):
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, position not in errors)
            ctx.set(dut.error, position in errors)
            # What comes out belongs to the byte that came two cycles before.
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.error, 0)
            await ctx.tick()
            _, _, valid, data, end, good = await ctx.tick().sample(
                dut.o.bytes.valid, dut.o.bytes.payload, dut.o.end, dut.o.good
            )
            assert not (valid and end)
            if end:
                frames.append(bytes(payload) if good else None)
                payload.clear()
            elif valid:
                payload.append(data)
            await ctx.tick().repeat(BYTE_CYCLES - 3)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return frames


def reference_decode(received: bytes) -> list[bytes | None]:
    """What :func:`rtl_decode` must give; what follows the last flag is no frame yet."""
    frames = []
    for encoded in received.split(bytes([FLAG]))[:-1]:
        if encoded:
            try:
                frames.append(decode_frame(encoded))
            except FrameError:
                frames.append(None)
    return frames


def rtl_encode(payload: bytes, *, pause: int = 0) -> bytes:
    """The frame that a sender makes of ``payload``, taken with ``pause`` cycles between bytes."""
    dut = FrameSender()
    sent = bytearray()

    async def put(ctx):
        for position, byte in enumerate(payload):
            last = position == len(payload) - 1
            await stream_put(ctx, dut.i, {"data": byte, "last": last})

    async def get(ctx):
        while FLAG not in sent:
            sent.append(await stream_get(ctx, dut.o))
            await ctx.tick().repeat(pause + 1)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(put)
    sim.add_testbench(get)
    sim.add_testbench(watchdog((20 + 2 * pause) * (len(payload) + 10)), background=True)
    sim.run()
    return bytes(sent)


@settings(max_examples=25)
@given(st.lists(PAYLOADS, min_size=1, max_size=2), st.integers(0, 2))
def test_receives_good_frames(payloads, idle):
    received = b"".join(bytes([FLAG]) * idle + encode_frame(payload) for payload in payloads)
    assert rtl_decode(received) == payloads


@settings(max_examples=40)
@given(st.lists(st.one_of(st.integers(ESCAPE, FLAG), st.integers(0, 255)), max_size=40).map(bytes),
       st.binary(max_size=8))
def test_garbage_is_told_from_frames_as_in_software(garbage, payload):
    received = garbage + bytes([FLAG]) + encode_frame(payload)
    assert rtl_decode(received) == reference_decode(received)
    assert rtl_decode(received)[-1] == payload


@settings(max_examples=30)
@given(st.binary(min_size=2, max_size=12), st.data())
def test_damaged_frame_is_not_good_and_the_next_one_is(payload, data):
    frame = bytearray(encode_frame(payload))
    position = data.draw(st.integers(0, len(frame) - 2))
    kind = data.draw(st.sampled_from(["flip", "cut", "repeat"]))
    if kind == "flip":
        frame[position] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del frame[position]
    else:
        frame.insert(position, frame[position])
    frames = rtl_decode(bytes(frame) + encode_frame(b"good"))
    assert frames[-1] == b"good"
    assert payload not in frames[:-1]


def test_byte_lost_on_the_line_spoils_its_frame_only():
    frame = encode_frame(b"abc")
    for lost in range(len(frame) - 1):
        errors = frozenset([lost])
        assert rtl_decode(frame + encode_frame(b"d"), errors=errors) == [None, b"d"]


@settings(max_examples=25)
@given(PAYLOADS.filter(len), st.integers(0, 20))
def test_sends_what_software_would(payload, pause):
    assert rtl_encode(payload, pause=pause) == encode_frame(payload)
