# SPDX-License-Identifier: Apache-2.0
"""The host's end of the serial link: asks a board, real or simulated, and trusts no byte of it.

::

    with connect("/dev/ttyUSB1", 1_000_000) as client:
        print(client.identify().board, client.classify(pixels).winner)
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ttfs_sw.common.errors import FailureError, InputError
from ttfs_sw.link.framing import FLAG, FrameError, decode_frame, encode_frame
from ttfs_sw.link.protocol import (
    NAK,
    REPLY,
    SEQUENCES,
    CoreError,
    Identity,
    LayerStatistics,
    LoadState,
    Result,
    Status,
    StatusReport,
    encode_events,
)
from ttfs_sw.link.requests import REQUESTS, Command, unpack_reply
from ttfs_sw.link.transport import SerialTransport, Transport

__all__ = ["Client", "RefusedError", "connect"]

#: Bytes of an image in one request. A damaged one starts the load again, so not the whole image.
_CHUNK_BYTES = 1024
#: A reply has fewer bytes, even if each of them is escaped.
_MOST_FRAME_BYTES = 8192
#: Bytes that are read in vain before an attempt is given up, so that a babbling line ends.
_MOST_NOISE_BYTES = 1 << 16

_NO_NETWORK = {
    LoadState.EMPTY: "it has not looked for one yet",
    LoadState.LOADING: "it is still loading one",
    LoadState.BAD_MAGIC: "there is none in its flash; write one with `ttfs flash --image-only`",
    LoadState.BAD_VERSION: "the image is of another format version; make it again with "
    "`ttfs image`",
    LoadState.BAD_FINGERPRINT: "the image was made for another core configuration; make it again "
    "with `ttfs image` for this board, or build the board's bitstream again",
    LoadState.BAD_LENGTH: "the image's length field is wrong; make it again with `ttfs image`",
    LoadState.BAD_SECTION: "the image writes to memory that the core does not have; make it again "
    "with `ttfs image`",
    LoadState.BAD_CHECKSUM: "the image's checksum is wrong; write it again",
    LoadState.INCOMPLETE: "the image did not arrive whole; load it again",
}


#: By code: a board may say one that this program does not know.
_CORE_ERRORS: dict[int, str] = {
    CoreError.TABLE_VERSION: "its layer table is of another version; make the image again with "
    "`ttfs image`, or build the board's bitstream again",
    CoreError.LAYER: "its layer table has an operation that the core does not know, or layers out "
    "of order; make the image again with `ttfs image`",
    CoreError.CHECKSUM: "its layer table is damaged; write the image again",
    CoreError.RANGE: "its layer table has an address or a size beyond the core's memories; make "
    "the image again with `ttfs image`",
    CoreError.TIMEOUT: "a layer of it came to no end, and the image was given up; make the network "
    "image again with `ttfs image`",
}


class RefusedError(FailureError):
    """The board refused a request; ``status`` and ``report`` have what it said."""

    def __init__(self, message: str, status: Status, report: StatusReport):
        super().__init__(message)
        self.status = status
        self.report = report


class Client:
    """Asks a board, one request after the other.

    A request that gets no answer, or is not understood, is repeated: every request may be carried
    out twice without harm. What comes that is no reply to it is dropped.

    Parameters
    ----------
    transport : :class:`ttfs_sw.link.transport.Transport`
        The line to the board.
    name : :class:`str`
        What messages call the board's end of it.
    timeout : :class:`float`
        Seconds to wait for a byte of a reply.
    retry_after : :class:`float`
        Seconds to wait for a reply after the board has refused a frame, which may have been another
        one. Longer than a USB serial port may keep a byte.
    attempts : :class:`int`
        How often a request is sent before the board counts as silent.
    """

    def __init__(
        self, transport: Transport, *, name: str = "the board", timeout: float = 1.0,
        retry_after: float = 0.05, attempts: int = 5,
    ):
        self._transport = transport
        self._name = name
        self._timeout = timeout
        self._retry_after = retry_after
        self._attempts = attempts
        self._tag = 0
        self._identity: Identity | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        close = getattr(self._transport, "close", None)
        if close is not None:
            close()

    def identify(self) -> Identity:
        """What the board says of itself; asked once."""
        if self._identity is None:
            self._identity = self.ask(Command.IDENTIFY)
        return self._identity

    def status(self) -> StatusReport:
        """Whether there is a valid network, and what went wrong last."""
        return self.ask(Command.STATUS)

    def classify(self, pixels: Sequence[int]) -> Result:
        """Classify one image.

        Parameters
        ----------
        pixels : sequence of :class:`int`
            Bytes in raster order, as many as the network has inputs.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If the network has another number of inputs.
        :exc:`ttfs_sw.common.errors.FailureError`
            If the board is silent or refuses; :exc:`RefusedError` then.
        """
        try:
            body = bytes(pixels)
        except ValueError:
            raise InputError("pixels must be bytes from 0 to 255") from None
        return self._classify(Command.CLASSIFY_PIXELS, body, f"{len(body)} pixels")

    def classify_events(self, events: Iterable[tuple[int, int]]) -> Result:
        """Classify one image from its spikes.

        Parameters
        ----------
        events : iterable of (:class:`int`, :class:`int`)
            Input and activation code ``T - k`` of each spike, in order of the input.

        Raises
        ------
        As :meth:`classify`.
        """
        events = [(int(address), int(code)) for address, code in events]
        highest = (1 << self.identify().tick_bits) - 1
        last = -1
        for address, code in events:
            if not last < address < 1 << 16 or not 0 <= code <= highest:
                raise InputError(
                    f"event ({address}, {code}) is wrong: inputs must rise from event to event and "
                    f"codes be from 0 to {highest}"
                )
            last = address
        body = encode_events(events, self.identify().event_gap)
        return self._classify(Command.CLASSIFY_EVENTS, body, f"events up to input {last}")

    def result(self) -> Result:
        """The last result once more."""
        return self.ask(Command.RESULT)

    def counters(self) -> list[LayerStatistics]:
        """Input events and cycles of each layer, for the last image."""
        return self.ask(Command.COUNTERS)

    def load(self, image: bytes, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Load a network image into the core's memories, until the board is switched off.

        Parameters
        ----------
        image : :class:`bytes`
            A network image, as for the flash.
        progress : callable, optional
            Called as ``progress(done, total)``, in bytes.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If the board refuses the image.
        :exc:`ttfs_sw.common.errors.FailureError`
            If the board is silent, or the line too bad.
        """
        for _ in range(self._attempts):
            report = self._load_once(image, progress)
            if report.load_state == LoadState.READY:
                return
            if report.load_state not in (LoadState.LOADING, LoadState.INCOMPLETE):
                raise InputError(
                    f"{self._name} refuses the network: {_NO_NETWORK[report.load_state]}"
                )
        raise FailureError(
            f"{self._name} did not get the network whole in {self._attempts} attempts; try another "
            "cable, or a lower baud rate"
        )

    def _load_once(
        self, image: bytes, progress: Callable[[int, int], None] | None
    ) -> StatusReport:
        """One attempt to load; the board's report at its end, or when it went wrong."""
        report = self.ask(Command.LOAD_BEGIN)
        for number, start in enumerate(range(0, len(image), _CHUNK_BYTES)):
            if report.load_state not in (LoadState.LOADING, LoadState.READY):
                return report
            body = bytes([number % SEQUENCES]) + image[start:start + _CHUNK_BYTES]
            try:
                report = self.ask(Command.LOAD_DATA, body)
            except RefusedError as refusal:
                if refusal.status != Status.BAD_SEQUENCE:
                    raise
                return refusal.report
            if progress is not None:
                progress(min(start + _CHUNK_BYTES, len(image)), len(image))
        try:
            return self.ask(Command.LOAD_END)
        except RefusedError as refusal:
            if refusal.status != Status.LOAD_FAILED:
                raise
            return refusal.report

    def _classify(self, command: Command, body: bytes, what: str) -> Result:
        try:
            return self.ask(command, body)
        except RefusedError as refusal:
            if refusal.status in (Status.BAD_LENGTH, Status.BAD_EVENT):
                raise InputError(
                    f"{what} do not fit the network on {self._name}: it has another number of "
                    "inputs"
                ) from refusal
            if refusal.status == Status.CORE_ERROR:
                error = refusal.report.core_error
                raise RefusedError(
                    f"the core of {self._name} refuses the network: "
                    + _CORE_ERRORS.get(error, f"core error {error}"),
                    refusal.status, refusal.report,
                ) from refusal
            if refusal.status == Status.NOT_READY:
                raise RefusedError(
                    f"{self._name} has no valid network: {_NO_NETWORK[refusal.report.load_state]}",
                    refusal.status, refusal.report,
                ) from refusal
            raise

    def ask(self, command: int, body: bytes = b"") -> Any:
        """Send any request until its reply makes sense; what the reply's body says.

        Parameters
        ----------
        command : :class:`int`
            One of :data:`ttfs_sw.link.requests.REQUESTS`, which says what body it has and what
            comes back.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.FailureError`
            If the board is silent or refuses; :exc:`RefusedError` then.
        """
        asked = REQUESTS[command]
        self._tag = (self._tag + 1) % 256
        request = encode_frame(bytes([command, self._tag]) + body)
        why = "it does not answer"
        for _ in range(self._attempts):
            # The flag ends whatever was on the line before.
            self._transport.write(bytes([FLAG]) + request)
            try:
                status, answer = self._reply(command)
                if status == Status.OK:
                    return unpack_reply(asked.reply, answer, self.identify)
                report = StatusReport.unpack(answer)
            except FrameError as error:
                why = str(error)
                continue
            if status in (Status.BUSY, Status.OVERRUN):
                why = f"it is {status.name.lower().replace('_', ' ')}"
                self._transport.read(_MOST_FRAME_BYTES, self._retry_after)
                continue
            raise RefusedError(
                f"{self._name} refuses {asked.name}: "
                f"{status.name.lower().replace('_', ' ')}"
                + (f", core error {report.core_error}" if report.core_error else ""),
                status, report,
            )
        raise FailureError(
            f"cannot use {self._name}: {why}; check that it is the right port and baud rate, and "
            "that the board has its bitstream"
        )

    def _reply(self, command: int) -> tuple[Status, bytes]:
        """Status and body of the reply to ``command``.

        Raises
        ------
        :exc:`FrameError`
            If none comes.
        """
        timeout, noise = self._timeout, 0
        frame = bytearray()
        why = "it does not answer"
        while noise < _MOST_NOISE_BYTES:
            byte = self._transport.read(1, timeout)
            if not byte:
                raise FrameError(why)
            noise += 1
            if byte[0] != FLAG:
                frame += byte
                continue
            try:
                payload = decode_frame(bytes(frame[:_MOST_FRAME_BYTES])) if frame else b""
                status = Status(payload[2]) if len(payload) > 2 else None
            except (FrameError, ValueError):
                status = None
            frame.clear()
            if status is None:
                continue
            if payload[:2] == bytes([command | REPLY, self._tag]):
                return status, payload[3:]
            if payload[0] == NAK | REPLY:
                # Perhaps this request, perhaps what was on the line before it.
                why = f"it says {status.name.lower().replace('_', ' ')}"
                timeout = min(timeout, self._retry_after)
        raise FrameError("it sends something else without end")


def connect(port: str, baud: int, **options: Any) -> Client:
    """A client for the board at a serial port; options as for :class:`Client`."""
    return Client(SerialTransport(port, baud), name=f"the board at {port}", **options)
