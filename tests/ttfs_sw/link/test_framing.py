# SPDX-License-Identifier: Apache-2.0
"""Frames in software: what is sent is received, and what is damaged is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_sw.link.framing import (
    ESCAPE,
    FLAG,
    INVERTED,
    FrameError,
    crc16,
    decode_frame,
    encode_frame,
    stuff,
    unstuff,
)

#: Bytes, many of them special.
DATA = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([ESCAPE, FLAG, 0x5D, 0x5E]), max_size=20).map(bytes),
)


def test_crc_is_the_catalogued_one():
    assert crc16(b"123456789") == 0x29B1


def test_frame_is_as_documented():
    assert encode_frame(b"\x01\x7e") == bytes.fromhex("01 7d5e b167 7e")
    assert crc16(b"\x01\x7e") == 0xB167


@given(DATA)
def test_stuffing_is_undone(data):
    stuffed = stuff(data)
    assert FLAG not in stuffed
    assert len(data) <= len(stuffed) <= 2 * len(data)
    assert unstuff(stuffed) == data


@given(DATA)
def test_any_bytes_without_a_flag_are_unstuffed_or_refused(data):
    data = data.replace(bytes([FLAG]), b"")
    try:
        assert len(unstuff(data)) <= len(data)
    except FrameError:
        assert data.endswith(bytes([ESCAPE]))


def test_the_byte_after_an_escape_may_be_any():
    # A newline at the end is no end of a line.
    assert unstuff(bytes([ESCAPE, 0x0A])) == bytes([0x0A ^ INVERTED])


@given(DATA)
def test_frame_carries_its_payload(payload):
    frame = encode_frame(payload)
    assert frame.index(FLAG) == len(frame) - 1
    assert decode_frame(frame[:-1]) == payload


@given(st.binary(max_size=40), st.data())
def test_a_wrong_byte_is_found(payload, data):
    # A CRC of 16 bits finds every burst of up to 16; where the stuffing stays, a byte is 8.
    content = bytearray(payload + crc16(payload).to_bytes(2, "big"))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameError, match="CRC"):
        decode_frame(stuff(bytes(content)))


@pytest.mark.parametrize(("stuffed", "reason"), [
    (b"", "CRC"),
    (b"a", "CRC"),
    (bytes([1, FLAG, 2]), "flag within"),
    (bytes([1, 2, ESCAPE]), "ends with an escape"),
    (bytes([1, 2, ESCAPE, ESCAPE, ESCAPE]), "ends with an escape"),
    (encode_frame(b"good")[:-2], "CRC"),
])
def test_what_is_no_frame(stuffed, reason):
    with pytest.raises(FrameError, match=reason):
        decode_frame(stuffed)
