# SPDX-License-Identifier: Apache-2.0
"""Frames on the serial line: where one begins and ends, and whether it is whole.

The framing is that of HDLC on asynchronous lines (RFC 1662): a flag byte ends each frame and occurs
nowhere else, because bytes of the payload that would be a flag or an escape are sent as an escape
and the byte with one bit inverted. The last two bytes of a frame are CRC-16/IBM-3740 of the others,
high byte first. The gateware of both directions is in :mod:`boards.frames`. Standard library only.
"""

import binascii
import re

__all__ = ["ESCAPE", "FLAG", "INVERTED", "FrameError", "crc16", "decode_frame", "encode_frame",
           "stuff", "unstuff"]

FLAG = 0x7E
ESCAPE = 0x7D
#: Bit that is inverted in the byte after an escape.
INVERTED = 0x20


class FrameError(ValueError):
    """Received bytes are not a frame, or a frame's contents are not what they must be."""


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, initial value 0xFFFF, not reflected."""
    return binascii.crc_hqx(data, 0xFFFF)


def stuff(data: bytes) -> bytes:
    """Escape ``data`` so that it has no flag; at worst twice as long."""
    return re.sub(
        rb"[\x7d\x7e]", lambda found: bytes([ESCAPE, found[0][0] ^ INVERTED]), data
    )


def unstuff(stuffed: bytes) -> bytes:
    """Undo :func:`stuff`; the byte after an escape may be any.

    Raises
    ------
    :exc:`FrameError`
        If ``stuffed`` has a flag or ends with an escape.
    """
    if FLAG in stuffed:
        raise FrameError("there is a flag within the frame")
    data = re.sub(
        rb"\x7d(.)", lambda found: bytes([found[1][0] ^ INVERTED]), stuffed, flags=re.DOTALL
    )
    if (len(stuffed) - len(stuffed.rstrip(bytes([ESCAPE])))) % 2:
        raise FrameError("the frame ends with an escape")
    return data


def encode_frame(payload: bytes) -> bytes:
    """The frame that carries ``payload``, with the flag at its end."""
    return stuff(payload + crc16(payload).to_bytes(2, "big")) + bytes([FLAG])


def decode_frame(stuffed: bytes) -> bytes:
    """Payload of a frame, given without its flag.

    Raises
    ------
    :exc:`FrameError`
        If the byte stuffing or the CRC is wrong.
    """
    data = unstuff(stuffed)
    if len(data) < 2 or crc16(data[:-2]) != int.from_bytes(data[-2:], "big"):
        raise FrameError("the CRC is wrong")
    return data[:-2]
