# amaranth: UnusedElaboratable=no
"""Frames: the gateware and the Python side agree on every one, and on every one that is none."""

import pytest
from amaranth.sim import Simulator
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boards.frames import BYTE_CYCLES, FrameReceiver, FrameSender
from hdl.testing import stream_get, stream_put, watchdog
from ttfs_sw.framing import FrameError, decode_frame, encode_frame

#: Payloads with the byte counts that matter to the stuffing: blocks of 253 to 256 bytes.
PAYLOADS = st.one_of(
    st.binary(max_size=20),
    st.lists(st.sampled_from([0, 1, 255]), max_size=40).map(bytes),
    st.tuples(st.integers(250, 258), st.binary(max_size=3)).map(lambda t: b"\x07" * t[0] + t[1]),
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
            # What comes out belongs to the cycle in which the byte is there.
            _, _, valid, data, end, good = await ctx.tick().sample(
                dut.o.valid, dut.o.p.data, dut.o.p.end, dut.o.p.good
            )
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.error, 0)
            if valid and end:
                frames.append(bytes(payload) if good else None)
                payload.clear()
            elif valid:
                payload.append(data)
            await ctx.tick().repeat(BYTE_CYCLES - 1)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    return frames


def reference_decode(received: bytes) -> list[bytes | None]:
    """What :func:`rtl_decode` must give; what follows the last delimiter is no frame yet."""
    frames = []
    for encoded in received.split(b"\0")[:-1]:
        if encoded:
            try:
                frames.append(decode_frame(encoded))
            except FrameError:
                frames.append(None)
    return frames


def rtl_encode(payload: bytes, *, depth: int = 512, pause: int = 0) -> bytes:
    """The frame that a sender makes of ``payload``, taken with ``pause`` cycles between bytes."""
    dut = FrameSender(depth)
    sent = bytearray()

    async def put(ctx):
        for position, byte in enumerate(payload):
            last = position == len(payload) - 1
            await stream_put(ctx, dut.i, {"data": byte, "last": last})

    async def get(ctx):
        while not sent.endswith(b"\0"):
            sent.append(await stream_get(ctx, dut.o))
            await ctx.tick().repeat(pause + 1)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(put)
    sim.add_testbench(get)
    sim.add_testbench(watchdog((20 + pause) * (len(payload) + 10)), background=True)
    sim.run()
    return bytes(sent)


@settings(max_examples=25, deadline=None)
@given(st.lists(PAYLOADS, min_size=1, max_size=2), st.integers(0, 2))
def test_receives_good_frames(payloads, idle):
    received = b"".join(b"\0" * idle + encode_frame(payload) for payload in payloads)
    assert rtl_decode(received) == payloads


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 4), st.integers(0, 255)), max_size=40).map(bytes),
       st.binary(max_size=8))
def test_garbage_is_told_from_frames_as_in_software(garbage, payload):
    received = garbage + b"\0" + encode_frame(payload)
    assert rtl_decode(received) == reference_decode(received)
    assert rtl_decode(received)[-1] == payload


@settings(max_examples=30, deadline=None)
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
    # The delimiter of an empty frame would not be missed: the damage itself makes it a bad frame.
    for lost in range(len(frame) - 1):
        errors = frozenset([lost])
        assert rtl_decode(frame + encode_frame(b"d"), errors=errors) == [None, b"d"]


@settings(max_examples=25, deadline=None)
@given(PAYLOADS.filter(len), st.integers(0, 2))
@example(b"\x01" * 252, 0)
@example(b"\0" * 30, 0)
def test_sends_what_software_decodes(payload, pause):
    sent = rtl_encode(payload, pause=pause)
    assert sent.count(b"\0") == 1
    assert decode_frame(sent[:-1]) == payload
    # The gateware closes a full block at once, which may leave an empty one at the end.
    assert sent in (encode_frame(payload), encode_frame(payload)[:-1] + b"\x01\0")


def test_sender_takes_the_longest_payload():
    dut = FrameSender(512)
    for filler in (b"\0", b"\x01"):
        payload = filler * dut.max_payload
        assert decode_frame(rtl_encode(payload)[:-1]) == payload
    assert decode_frame(rtl_encode(b"1234", depth=8)[:-1]) == b"1234"


def test_sender_checks_its_depth():
    with pytest.raises(ValueError, match="depth must be an integer of at least 8, not 7"):
        FrameSender(7)
