# SPDX-License-Identifier: Apache-2.0
"""The host client, against a board in Python on a bad line, and against the simulated board."""

import builtins
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw import golden
from ttfs_sw.common.errors import FailureError, InputError, ToolError
from ttfs_sw.link.framing import FLAG, FrameError, decode_frame, encode_frame
from ttfs_sw.link.host import Client, RefusedError, connect
from ttfs_sw.link.protocol import (
    NAK,
    PROTOCOL_VERSION,
    REPLY,
    SEQUENCES,
    CoreError,
    Identity,
    LayerStatistics,
    LoadState,
    Result,
    Source,
    Status,
    StatusReport,
)
from ttfs_sw.link.requests import Command

IDENTITY = Identity(
    protocol_version=PROTOCOL_VERSION, logit_bytes=2, max_logits=125, event_gap=3,
    fingerprint=0x12345678, clock_hz=36_000_000, baud=1_000_000, lanes=16, weight_bits=4,
    tick_bits=4, accumulator_bits=16, layers=15, weight_memory="spram", weight_words=16384,
    membrane_words=256, input_words=256, map_words=256, slopes=256, board="icebreaker",
)
INPUTS = 6


class Board:
    """A board in a few lines, on a line with faults.

    A fault says what happens to one transmission, from the host or to it: "lost", "damaged",
    "repeated", "noise" before it, "late": it comes only after the next one. An image is good if it
    ends with "good".
    """

    def __init__(self, faults=(), *, load_state=LoadState.READY, core_error=0):
        self.faults = list(faults)
        self.core_error = core_error
        self.load_state = load_state
        self.image, self.next_chunk = b"", 0
        self.refuse: dict[Command, list[Status]] = {}
        self.events = None
        self.requests: list[bytes] = []
        self._to_host = bytearray()
        self._late = b""
        self._partial = b""
        self._answer = b""

    def write(self, data: bytes) -> int:
        self._partial += self._through_line(data)
        *frames, self._partial = self._partial.split(bytes([FLAG]))
        for frame in filter(None, frames):
            try:
                request = decode_frame(frame)
                reply = self._carry_out(Command(request[0]), request)
            except (FrameError, ValueError, IndexError):
                reply = self._reply(NAK, 0, Status.BAD_FRAME)
                if self.load_state == LoadState.LOADING:
                    self.load_state = LoadState.INCOMPLETE
            self._to_host += self._through_line(encode_frame(reply))
        return len(data)

    def read(self, count: int, timeout: float) -> bytes:
        data = bytes(self._to_host[:count])
        del self._to_host[:count]
        return data

    def _through_line(self, data: bytes) -> bytes:
        late, self._late = self._late, b""
        fault = self.faults.pop(0) if self.faults else None
        if fault == "lost":
            data = b""
        elif fault == "damaged":
            data = data[:3] + bytes([data[3] ^ 0x41]) + data[4:]
        elif fault == "repeated":
            data += data
        elif fault == "noise":
            data = b"\x00\xff\x7e~noise\x7d" + data
        elif fault == "late":
            self._late, data = data, b""
        return data + late

    def _reply(self, command, tag, status, body=None) -> bytes:
        if body is None:
            body = StatusReport(self.load_state, Source.LINK, self.core_error, status).pack()
        return bytes([command | REPLY, tag, status]) + body

    def _carry_out(self, command: Command, request: bytes) -> bytes:
        self.requests.append(request)
        tag, body = request[1], request[2:]
        status, answer = Status.OK, None
        refusals = self.refuse.get(command)
        if refusals:
            status = refusals.pop(0)
        elif command == Command.IDENTIFY:
            answer = IDENTITY.pack()
        elif command == Command.LOAD_BEGIN:
            self.load_state, self.image, self.next_chunk = LoadState.LOADING, b"", 0
        elif command == Command.LOAD_DATA:
            status = self._take_chunk(body)
        elif command == Command.LOAD_END:
            if self.load_state == LoadState.LOADING:
                self.load_state = LoadState.INCOMPLETE
            status = Status.OK if self.load_state == LoadState.READY else Status.LOAD_FAILED
        elif command in (Command.CLASSIFY_PIXELS, Command.CLASSIFY_EVENTS):
            status, answer = self._classify(command, body)
        elif command == Command.RESULT:
            answer = self._answer
        elif command == Command.COUNTERS:
            answer = bytes.fromhex("03000000 64000000")
        elif command == Command.NONE:
            status = Status.UNKNOWN_COMMAND
        return self._reply(command, tag, status, answer if status == Status.OK else None)

    def _take_chunk(self, body: bytes) -> Status:
        if body[0] == self.next_chunk:
            self.next_chunk = (self.next_chunk + 1) % SEQUENCES
            if self.load_state == LoadState.LOADING:
                self.image += body[1:]
                if self.image.startswith(b"other"):
                    self.load_state = LoadState.BAD_FINGERPRINT
                elif self.image.endswith(b"good"):
                    self.load_state = LoadState.READY
            return Status.OK
        repeated = (body[0] + 1) % SEQUENCES == self.next_chunk
        return Status.OK if repeated else Status.BAD_SEQUENCE

    def _classify(self, command: Command, body: bytes) -> tuple[Status, bytes | None]:
        if self.load_state != LoadState.READY:
            return Status.NOT_READY, None
        if command == Command.CLASSIFY_EVENTS:
            self.events = [(body[n] | body[n + 1] << 8, body[n + 2])
                           for n in range(0, len(body), 3)]
            values = dict(self.events)
            body = bytes(values.get(n, 0) for n in range(INPUTS))
        if len(body) != INPUTS:
            return Status.BAD_LENGTH, None
        logits = b"".join((value - 100).to_bytes(2, "little", signed=True) for value in body)
        self._answer = logits + Result.TRAILER.pack(1234, body.index(max(body)))
        return Status.OK, self._answer


def answer(pixels: bytes) -> Result:
    """What :class:`Board` makes of an image."""
    return Result(1234, pixels.index(max(pixels)), tuple(value - 100 for value in pixels))


FAULTS = st.lists(
    st.sampled_from([None, None, "lost", "damaged", "repeated", "noise", "late"]), max_size=7
)


def test_every_question_is_answered():
    client = Client(Board())
    assert client.identify() == IDENTITY
    assert client.status() == StatusReport(LoadState.READY, Source.LINK, 0, Status.OK)
    assert client.classify(b"abcdef") == answer(b"abcdef")
    assert client.result() == answer(b"abcdef")
    assert client.counters() == [LayerStatistics(3, 100)]


def test_pixels_may_be_an_array():
    pixels = np.array([1, 2, 250, 4, 5, 6], np.uint8)
    assert Client(Board()).classify(pixels).winner == 2


def test_events():
    board = Board()
    assert Client(board).classify_events([(0, 3), (5, 15)]) == answer(b"\3\0\0\0\0\x0f")
    # The gap of this board is three inputs.
    assert board.events == [(0, 3), (4, 0), (5, 15)]


@pytest.mark.parametrize("events", [
    [(3, 1), (3, 1)], [(3, 1), (2, 1)], [(-1, 1)], [(1 << 16, 1)], [(0, 16)], [(0, -1)],
])
def test_wrong_events_are_refused_here(events):
    board = Board()
    with pytest.raises(InputError, match=r"event \(.*\) is wrong"):
        Client(board).classify_events(events)
    assert board.events is None


@settings(max_examples=200)
@given(FAULTS, st.binary(min_size=INPUTS, max_size=INPUTS))
def test_bad_line_never_gives_a_wrong_answer(faults, pixels):
    client = Client(Board(faults), attempts=9)
    assert client.classify(pixels) == answer(pixels)
    # What is left on the line of the first request is no answer to the second.
    other = bytes(255 - pixel for pixel in pixels)
    assert client.classify(other) == answer(other)


@settings(max_examples=200)
@given(FAULTS, st.integers(0, 5000))
def test_network_is_loaded_over_a_bad_line(faults, size):
    board = Board(faults, load_state=LoadState.EMPTY)
    image = bytes(n * 7 & 0xFF for n in range(size)) + b"good"
    Client(board, attempts=9).load(image)
    assert (board.load_state, board.image) == (LoadState.READY, image)


def test_progress_of_a_load():
    steps = []
    image = bytes(2500) + b"good"
    Client(Board()).load(image, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1024, 2504), (2048, 2504), (2504, 2504)]


def test_network_for_another_core_is_bad_input():
    board = Board()
    with pytest.raises(InputError, match="another core configuration; make it again"):
        Client(board).load(b"other" + bytes(3000))
    # Refused at the first chunk, and not sent to the end.
    assert sum(request[0] == Command.LOAD_DATA for request in board.requests) == 1


def test_network_that_never_arrives_whole():
    board = Board()
    with pytest.raises(FailureError, match="did not get the network whole in 5 attempts"):
        Client(board).load(b"without its end")


def test_silent_board():
    board = Board(["lost"] * 5)
    with pytest.raises(FailureError, match="it does not answer; check that it is the right port"):
        Client(board, name="the board at COM3").status()
    assert board.requests == []


def test_babbling_line():
    class Babbling:
        def write(self, data):
            return len(data)

        def read(self, count, timeout):
            return b"~U"[:count] * count

    with pytest.raises(FailureError, match="something else without end"):
        Client(Babbling(), attempts=2).status()


def test_busy_board_is_asked_again():
    board = Board()
    board.refuse[Command.LOAD_BEGIN] = [Status.BUSY] * 3
    Client(board).load(b"good")
    assert board.load_state == LoadState.READY
    board.refuse[Command.STATUS] = [Status.BUSY] * 9
    with pytest.raises(FailureError, match="it is busy"):
        Client(board).status()


@pytest.mark.parametrize("pixels", [b"", b"12345", b"1234567"])
def test_image_of_another_size(pixels):
    with pytest.raises(InputError, match=f"{len(pixels)} pixels do not fit the network"):
        Client(Board()).classify(pixels)


def test_pixels_that_are_no_bytes():
    with pytest.raises(InputError, match="bytes from 0 to 255"):
        Client(Board()).classify([1, 256, 3])


@pytest.mark.parametrize("state", [state for state in LoadState if state != LoadState.READY])
def test_why_there_is_no_network(state):
    with pytest.raises(RefusedError, match="has no valid network: ") as error:
        Client(Board(load_state=state)).classify(b"abcdef")
    assert error.value.report.load_state == state
    assert error.value.exit_code == 1


@pytest.mark.parametrize("status", [
    Status.CORE_ERROR, Status.TIMEOUT, Status.UNKNOWN_COMMAND, Status.NO_RESULT,
])
def test_refusals(status):
    board = Board()
    board.refuse[Command.RESULT] = [status]
    reason = status.name.lower().replace("_", " ")
    with pytest.raises(RefusedError, match=f"refuses result: {reason}"):
        Client(board).result()


@pytest.mark.parametrize("error", [*list(CoreError)[1:], 15])
def test_why_the_core_refuses_a_network(error):
    board = Board(core_error=error)
    board.refuse[Command.CLASSIFY_PIXELS] = [Status.CORE_ERROR]
    with pytest.raises(RefusedError, match="refuses the network: ") as caught:
        Client(board).classify(b"abcdef")
    assert caught.value.report.core_error == error
    assert ("core error 15" in str(caught.value)) == (error == 15)


def test_serial_port():
    # pyserial's own loop: what is written comes back, which is no reply.
    pytest.importorskip("serial")
    with connect("loop://", 1_000_000, timeout=0.01, attempts=1) as client:
        with pytest.raises(FailureError, match="cannot use the board at loop://"):
            client.identify()


def test_serial_port_that_is_not_there():
    pytest.importorskip("serial")
    with pytest.raises(InputError, match=r"cannot open serial port /no/such/port: .* --port"):
        connect("/no/such/port", 1_000_000)
    with pytest.raises(InputError, match="cannot open serial port what://"):
        connect("what://", 1_000_000)


def test_pyserial_is_missing(monkeypatch):
    real = builtins.__import__

    def without_serial(name, *arguments, **more):
        if name == "serial":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.delitem(sys.modules, "serial", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_serial)
    with pytest.raises(ToolError, match="pip install 'pyserial"):
        connect("/dev/ttyUSB0", 1_000_000)


@pytest.mark.slow
@pytest.mark.verilator
def test_a_hundred_digits_on_the_simulated_board():
    """The client that talks to real boards, the whole board behind it, 100 real scans of digits."""
    from ttfs_fpga.boards.build import make_image
    from ttfs_fpga.boards.registry import BOARDS
    from ttfs_fpga.hdl.compiler import compile_network
    from ttfs_fpga.sim.device import SimulatedBoard
    from ttfs_fpga.sim.simulators import find_simulator
    from ttfs_sw.artifact.network import dense_network
    from ttfs_sw.data import datasets

    try:
        find_simulator("verilator")
    except ToolError as error:
        pytest.skip(str(error))
    board = BOARDS["icebreaker"]
    rng = np.random.default_rng(5)
    network = dense_network(
        [rng.integers(-8, 8, (64, 48)), rng.integers(-8, 8, (48, 10))],
        [rng.integers(0, 300, 48), rng.integers(-300, 300, 10)], [400], [15], 15, weight_bits=4,
        input_codes=np.minimum(np.arange(256), 15),
    )
    pixels = datasets.load("digits").x_test[:100]
    trace = golden.run(network, pixels)
    image = make_image(network, board)
    program = compile_network(network, board.config)
    with SimulatedBoard(board, None) as device:
        client = Client(device, timeout=0.01, retry_after=0.001)
        # An erased flash chip: there is no network until the host loads one.
        with pytest.raises(RefusedError, match="there is none in its flash"):
            client.classify(pixels[0])
        client.load(image)
        assert device.writes[-len(list(program.writes())):] == list(program.writes())
        wrong = 0
        for index, each in enumerate(pixels):
            result = client.classify(each)
            wrong += (result.winner, result.logits) != (
                trace.winners[index], tuple(trace.logits[index].tolist()))
        assert wrong == 0
        codes = trace.input_codes[-1].tolist()
        events = [(address, code) for address, code in enumerate(codes) if code]
        assert client.classify_events(events) == result
        counters = client.counters()
        assert [layer.events for layer in counters] == [
            np.count_nonzero(codes), np.count_nonzero(trace.codes[0][-1])]
        assert client.identify().board == "icebreaker"
