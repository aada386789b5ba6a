# SPDX-License-Identifier: Apache-2.0
"""The serial protocol between a host and a board: one source of truth for both ends.

The host client, the gateware of the link and their tests take every number from here, and what can
be asked for from :mod:`ttfs_sw.link.requests`. The protocol is described byte by byte in
``docs/link.md``. Standard library only.

What travels in a frame (:mod:`ttfs_sw.link.framing`): a request is ``command tag body``, its reply
``command|0x80 tag status body``.
"""

import dataclasses
import enum
import struct
from collections.abc import Iterable
from typing import Any

from ttfs_sw.link.framing import FrameError

__all__ = [
    "NAK",
    "PROTOCOL_VERSION",
    "REPLY",
    "SEQUENCES",
    "STATISTICS_BYTES",
    "CoreError",
    "Identity",
    "LayerStatistics",
    "LoadState",
    "Result",
    "Source",
    "Status",
    "StatusReport",
    "encode_events",
    "event_gap",
    "unpack_statistics",
]

PROTOCOL_VERSION = 1
#: Set in the command byte of a reply.
REPLY = 0x80
#: Command of the reply to a frame whose command could not be trusted; never a request.
NAK = 15
#: Chunks of an image are numbered from 0, modulo this.
SEQUENCES = 16


class Status(enum.IntEnum):
    """What became of a request."""

    OK = 0
    #: The frame was damaged: byte stuffing or CRC wrong, or too short to be a request.
    BAD_FRAME = 1
    UNKNOWN_COMMAND = 2
    #: The request came while another was being carried out, or while the board was booting.
    BUSY = 3
    #: The body has not the length that this command needs; pixels: not as many as the network.
    BAD_LENGTH = 4
    #: The address of an event is not above the last one's, or above the last input; or a code is
    #: larger than the core's.
    BAD_EVENT = 5
    #: The body came faster than the core could take it.
    OVERRUN = 6
    #: There is no valid network.
    NOT_READY = 7
    #: Nothing has been classified since a network was loaded, or the last attempt failed.
    NO_RESULT = 8
    #: A chunk of an image that is neither the next one nor a repetition of the last.
    BAD_SEQUENCE = 9
    #: The image was refused or is not complete; the load state says why.
    LOAD_FAILED = 10
    #: The core refuses the network in its memories, or gave an image up; the core error says why.
    CORE_ERROR = 11
    #: The core did not answer in time; it has been reset.
    TIMEOUT = 12


class CoreError(enum.IntEnum):
    """Why the core refuses its network or gave an image up; as the core numbers it.

    :mod:`boards.link` is not imported where these differ from :class:`hdl.core.guard.CoreError`.
    """

    NONE = 0
    #: The layer table is of another version.
    TABLE_VERSION = 1
    #: A layer has an unknown operation, or layers are out of order.
    LAYER = 2
    #: The layer table and its checksum do not agree.
    CHECKSUM = 3
    #: A layer has an address beyond a memory, or a size that cannot be.
    RANGE = 4
    #: A layer came to no end.
    TIMEOUT = 5


class LoadState(enum.IntEnum):
    """State of the network in the core's memories."""

    #: No image has been looked at.
    EMPTY = 0
    #: An image is being loaded.
    LOADING = 1
    READY = 2
    #: The image does not start with the magic: there is none.
    BAD_MAGIC = 3
    #: The image is of another format version.
    BAD_VERSION = 4
    #: The image was made for another core configuration.
    BAD_FINGERPRINT = 5
    #: The length in the header is 0, or more than the core's memories could hold.
    BAD_LENGTH = 6
    #: A section is not inside a memory of the core, or not inside the image.
    BAD_SECTION = 7
    BAD_CHECKSUM = 8
    #: Loading ended before the image did.
    INCOMPLETE = 9


class Source(enum.IntEnum):
    """Where the last image came from."""

    NONE = 0
    FLASH = 1
    LINK = 2
    #: The network is part of the bitstream.
    BUILT_IN = 3


def event_gap(divisor: int) -> int:
    """Most inputs without a spike that the link fills in between two events, never 0.

    It fills in one in two clock cycles, while a byte of ten bits of ``divisor`` cycles each arrives
    from a host whose clock may be 3 % fast.
    """
    return min(97 * divisor // 20 - 4, 0xFFFF)


def encode_events(events: Iterable[tuple[int, int]], gap: int) -> bytes:
    """Body of a classify events request from (address, code) pairs in order of address.

    Where more than ``gap`` inputs between two events are silent, events of code 0 are inserted.
    """
    body = bytearray()
    position = 0
    for address, code in events:
        while address - position > gap:
            position += gap
            body += struct.pack("<HB", position, 0)
            position += 1
        body += struct.pack("<HB", address, code)
        position = address + 1
    return bytes(body)


def _unpack(layout: struct.Struct, what: str, body: bytes) -> tuple[Any, ...]:
    if len(body) != layout.size:
        raise FrameError(f"{what} has {len(body)} bytes, not {layout.size}")
    return layout.unpack(body)


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a board says of itself: reply to identify.

    Parameters
    ----------
    protocol_version : :class:`int`
        :data:`PROTOCOL_VERSION` of the bitstream.
    logit_bytes : :class:`int`
        Bytes of one logit in a result, 2 or 4.
    max_logits : :class:`int`
        Logits that a result keeps; the winner is right however many there are.
    event_gap : :class:`int`
        See :func:`event_gap`.
    fingerprint : :class:`int`
        ``CoreConfig.fingerprint``: what an image must have been made for.
    clock_hz, baud : :class:`int`
        Clock of the core and speed of the serial line.
    lanes, weight_bits, tick_bits, accumulator_bits, layers, weight_memory, weight_words, \
membrane_words, input_words, map_words, slopes
        The core's configuration, named as in ``CoreConfig``.
    board : :class:`str`
        Name of the board.
    """

    protocol_version: int
    logit_bytes: int
    max_logits: int
    event_gap: int
    fingerprint: int
    clock_hz: int
    baud: int
    lanes: int
    weight_bits: int
    tick_bits: int
    accumulator_bits: int
    layers: int
    weight_memory: str
    weight_words: int
    membrane_words: int
    input_words: int
    map_words: int
    slopes: int
    board: str

    MAGIC = b"TTFS"
    WEIGHT_MEMORIES = ("block", "spram")
    LAYOUT = struct.Struct("<4sBBHHxxIIIHBBBBBxIIIII32s")
    SIZE = LAYOUT.size

    def pack(self) -> bytes:
        """The reply's body."""
        values = dataclasses.asdict(self)
        values["weight_memory"] = self.WEIGHT_MEMORIES.index(self.weight_memory)
        values["board"] = self.board.encode("ascii")
        if len(values["board"]) > 32:
            raise ValueError(f"board name must have at most 32 letters, not {self.board!r}")
        return self.LAYOUT.pack(self.MAGIC, *values.values())

    @classmethod
    def unpack(cls, body: bytes) -> "Identity":
        """Read and check a reply's body.

        Raises
        ------
        :exc:`FrameError`
            If it is not what a board of this protocol says.
        """
        if body[:4] != cls.MAGIC:
            raise FrameError("the other end is not a board of this project")
        if len(body) < 5 or body[4] != PROTOCOL_VERSION:
            raise FrameError(
                f"the board speaks version {body[4] if len(body) > 4 else '?'} of the protocol, "
                f"this program version {PROTOCOL_VERSION}: rebuild the bitstream"
            )
        _, *unpacked = _unpack(cls.LAYOUT, "the identity", body)
        names = [field.name for field in dataclasses.fields(cls)]
        values: dict[str, Any] = dict(zip(names, unpacked, strict=True))
        try:
            values["weight_memory"] = cls.WEIGHT_MEMORIES[values["weight_memory"]]
            values["board"] = values["board"].rstrip(b"\0").decode("ascii")
        except (IndexError, UnicodeDecodeError):
            raise FrameError("the identity makes no sense") from None
        identity = cls(**values)
        if not (identity.logit_bytes in (2, 4) and identity.clock_hz and identity.event_gap
                and 1 <= identity.tick_bits <= 8):
            raise FrameError("the identity makes no sense")
        return identity


@dataclasses.dataclass(frozen=True)
class StatusReport:
    """State of a board: reply to status, and body of every error reply.

    Parameters
    ----------
    load_state : :class:`LoadState`
        Whether there is a valid network, or why not.
    source : :class:`Source`
        Where it came from.
    core_error : :class:`int`
        The core's error code, 0 when it is fine.
    last_error : :class:`Status`
        Status of the last request that failed, this one included; OK when none has.
    """

    load_state: LoadState
    source: Source
    core_error: int
    last_error: Status

    LAYOUT = struct.Struct("<BB")
    SIZE = LAYOUT.size

    def pack(self) -> bytes:
        """The reply's body."""
        return self.LAYOUT.pack(
            self.load_state | self.source << 4, self.core_error | self.last_error << 4
        )

    @classmethod
    def unpack(cls, body: bytes) -> "StatusReport":
        """Read and check a reply's body; raises :exc:`FrameError`."""
        network, errors = _unpack(cls.LAYOUT, "the status", body)
        try:
            return cls(LoadState(network & 15), Source(network >> 4), errors & 15,
                       Status(errors >> 4))
        except ValueError as error:
            raise FrameError(f"the status makes no sense: {error}") from None


@dataclasses.dataclass(frozen=True)
class Result:
    """One classified image: reply to the classify requests and to result.

    Parameters
    ----------
    cycles : :class:`int`
        Cycles from the image being in the core's input map to the last logit.
    winner : :class:`int`
        Index of the largest logit, the lowest one of equal ones.
    logits : tuple of :class:`int`
        All logits, or the first ``Identity.max_logits`` of more.
    """

    cycles: int
    winner: int
    logits: tuple[int, ...]

    #: Cycles and winner; the logits come before.
    TRAILER = struct.Struct("<IH")

    @classmethod
    def unpack(cls, body: bytes, identity: Identity) -> "Result":
        """Read and check a reply's body; raises :exc:`FrameError`."""
        size, end = identity.logit_bytes, len(body) - cls.TRAILER.size
        cycles, winner = _unpack(cls.TRAILER, "the result's trailer", body[max(end, 0):])
        count = end // size
        if end % size or not 1 <= count <= identity.max_logits or not (
                winner < count or count == identity.max_logits):
            raise FrameError("the result makes no sense")
        logits = tuple(
            int.from_bytes(body[start:start + size], "little", signed=True)
            for start in range(0, end, size)
        )
        return cls(cycles, winner, logits)


@dataclasses.dataclass(frozen=True)
class LayerStatistics:
    """What one layer did with the last image: its input events, and its cycles."""

    events: int
    cycles: int


_STATISTICS = struct.Struct("<II")
#: Bytes of one layer in the reply to counters.
STATISTICS_BYTES = _STATISTICS.size


def unpack_statistics(body: bytes) -> list[LayerStatistics]:
    """Read the reply to counters, one entry a layer; raises :exc:`FrameError`."""
    if len(body) % STATISTICS_BYTES:
        raise FrameError(f"the counters have {len(body)} bytes, not {STATISTICS_BYTES} a layer")
    # The board says when each layer ended.
    events, ends = zip(*_STATISTICS.iter_unpack(body), strict=True) if body else ((), ())
    return [LayerStatistics(count, end - before)
            for count, end, before in zip(events, ends, (0, *ends), strict=False)]
