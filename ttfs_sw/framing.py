"""Frames on the serial line: where one begins and ends, and whether it is whole.

A frame is ``COBS(payload, CRC) 00``: consistent overhead byte stuffing, so that a zero byte occurs
nowhere but at the end of a frame, and CRC-16/IBM-3740 of the payload, high byte first. The gateware
of both directions is in :mod:`boards.frames`. Standard library only.
"""

import binascii

__all__ = ["DELIMITER", "FrameError", "cobs_decode", "cobs_encode", "crc16", "decode_frame",
           "encode_frame"]

DELIMITER = 0


class FrameError(ValueError):
    """Received bytes are not a frame, or a frame's contents are not what they must be."""


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, initial value 0xFFFF, not reflected."""
    return binascii.crc_hqx(data, 0xFFFF)


def cobs_encode(data: bytes) -> bytes:
    """Stuff ``data`` so that it has no zero byte; at most one byte in 254 longer, plus one.

    A block is a count byte and then ``count - 1`` bytes that are not zero. It stands for these
    bytes and a zero, except that the last block, and a block of 254 bytes, have no zero.
    """
    encoded = bytearray([0])
    code = 0  # where the count of the open block will stand
    for byte in data:
        # A full block is closed only when more data follows.
        if len(encoded) - code == 255:
            encoded[code] = 255
            code = len(encoded)
            encoded.append(0)
        if byte:
            encoded.append(byte)
        else:
            encoded[code] = len(encoded) - code
            code = len(encoded)
            encoded.append(0)
    encoded[code] = len(encoded) - code
    return bytes(encoded)


def cobs_decode(encoded: bytes) -> bytes:
    """Undo :func:`cobs_encode`.

    Raises
    ------
    :exc:`FrameError`
        If ``encoded`` has a zero byte or ends within a block.
    """
    data = bytearray()
    position = 0
    while position < len(encoded):
        code = encoded[position]
        block = encoded[position + 1:position + code]
        if code == 0 or 0 in block or len(block) != code - 1:
            raise FrameError("byte stuffing is broken")
        data += block
        position += code
        if code != 255 and position < len(encoded):
            data.append(0)
    return bytes(data)


def encode_frame(payload: bytes) -> bytes:
    """The frame that carries ``payload``, its delimiter included."""
    return cobs_encode(payload + crc16(payload).to_bytes(2, "big")) + bytes([DELIMITER])


def decode_frame(encoded: bytes) -> bytes:
    """Payload of a frame, given without its delimiter.

    Raises
    ------
    :exc:`FrameError`
        If the byte stuffing or the CRC is wrong.
    """
    data = cobs_decode(encoded)
    if len(data) < 2 or crc16(data[:-2]) != int.from_bytes(data[-2:], "big"):
        raise FrameError("the CRC is wrong")
    return data[:-2]
