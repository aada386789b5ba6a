# SPDX-License-Identifier: Apache-2.0
"""A whole board, simulated through its pins: it boots from flash, classifies, and never hangs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.patience import until
from ttfs_fpga.boards.build import make_image
from ttfs_fpga.boards.clock import RESET_SECONDS
from ttfs_fpga.boards.flash_boot import READ, WAKE_UP
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.sim.device import SimulatedBoard
from ttfs_fpga.sim.simulators import find_simulator
from ttfs_sw import golden
from ttfs_sw.common.errors import FailureError, ToolError
from ttfs_sw.link.framing import FLAG, decode_frame, encode_frame
from ttfs_sw.link.host import Client, RefusedError
from ttfs_sw.link.protocol import (
    REPLY,
    LoadState,
    Result,
    Source,
    Status,
    StatusReport,
)
from ttfs_sw.link.requests import Command

pytestmark = [pytest.mark.verilator, pytest.mark.slow]

BOARD = BOARDS["icebreaker"]

#: Longer than any reply takes to begin, in seconds of the board's time.
SILENCE = 1e-3

#: What the loader writes first, and again when an image is bad: no network.
NOTHING = (Memory.TABLE, 0, 0)


def replies(device: SimulatedBoard) -> list[bytes]:
    """Everything that the board says until it is silent, one payload a frame."""
    received = b""
    while more := device.read(1, SILENCE):
        received += more
    *frames, rest = received.split(bytes([FLAG]))
    assert rest == b""
    return [decode_frame(frame) for frame in frames]


def boot(device: SimulatedBoard) -> StatusReport:
    """Wait until the board is out of reset and has finished with its flash."""
    device.run(round(2 * RESET_SECONDS * BOARD.clock_hz))
    while (report := Client(device).status()).load_state in (LoadState.EMPTY, LoadState.LOADING):
        assert device.cycles < 1_000_000
    # A bad image is made invalid after its state is known.
    device.run(100)
    return report


@pytest.fixture(scope="module")
def network(make_network):
    """A network of the digits' size."""
    return make_network((64, 32, 10), ticks=15)


@pytest.fixture(scope="module")
def image(network):
    """Its flash image."""
    return make_image(network, BOARD)


@pytest.fixture(scope="module")
def device(image):
    """A board that has booted the network."""
    try:
        find_simulator("verilator")
    except ToolError as error:
        pytest.skip(str(error))
    with SimulatedBoard(BOARD, image) as device:
        boot(device)
        yield device


def same(result: Result, trace: golden.Trace, index: int) -> bool:
    """Whether a result is the golden model's."""
    expected = int(trace.winners[index]), tuple(trace.logits[index].tolist())
    return (result.winner, result.logits) == expected


def test_boots_from_flash_byte_for_byte(verilator, network, image):
    writes = list(compile_network(network, BOARD.config).writes())
    with SimulatedBoard(BOARD, image) as device:
        report = boot(device)
        assert report == StatusReport(LoadState.READY, Source.FLASH, 0, Status.OK)
        assert device.writes == [NOTHING, *writes]
        assert device.flash_commands == [(WAKE_UP, 0), (READ, BOARD.flash_offset)]
        assert device.leds == 0b01
        assert device.framing_errors == 0


def test_a_hundred_images_are_classified(device, network, make_images):
    client = Client(device)
    pixels = make_images(network, 100)
    trace = golden.run(network, pixels)
    wrong = [
        index for index, each in enumerate(pixels) if not same(client.classify(each), trace, index)
    ]
    assert wrong == []
    assert len(set(trace.winners.tolist())) > 1


def test_identity(device):
    identity = Client(device).identify()
    assert identity.board == BOARD.name
    assert identity.fingerprint == BOARD.config.fingerprint
    assert identity.baud == device.board.baud == BOARD.clock_hz // 6


def damaged(image: bytes, place: int) -> bytes:
    """The image with one bit wrong."""
    content = bytearray(image)
    content[place] ^= 0x10
    return bytes(content)


@pytest.mark.parametrize(("damage", "state"), [
    pytest.param(lambda image: None, LoadState.BAD_MAGIC, id="erased"),
    pytest.param(lambda image: bytes(4096), LoadState.BAD_MAGIC, id="zeros"),
    pytest.param(lambda image: damaged(image, 0), LoadState.BAD_MAGIC, id="magic"),
    pytest.param(lambda image: damaged(image, 4), LoadState.BAD_VERSION, id="version"),
    pytest.param(lambda image: damaged(image, 8), LoadState.BAD_FINGERPRINT, id="fingerprint"),
    pytest.param(lambda image: damaged(image, 15), LoadState.BAD_LENGTH, id="length"),
    pytest.param(lambda image: damaged(image, 23), LoadState.BAD_SECTION, id="section"),
    pytest.param(lambda image: damaged(image, 1500), LoadState.BAD_CHECKSUM, id="content"),
    pytest.param(lambda image: damaged(image, -1), LoadState.BAD_CHECKSUM, id="checksum"),
    pytest.param(lambda image: image[:1500], LoadState.BAD_SECTION, id="cut"),
    pytest.param(lambda image: image[:-4], LoadState.BAD_CHECKSUM, id="no checksum"),
])
def test_a_bad_image_leaves_the_board_waiting(
    verilator, image, make_images, network, damage, state
):
    with SimulatedBoard(BOARD, damage(image)) as device:
        report = boot(device)
        assert report == StatusReport(state, Source.FLASH, 0, Status.OK)
        assert device.leds == 0b10
        # The core has no network: the last write to its table's header says so.
        headers = [write for write in device.writes if write[:2] == NOTHING[:2]]
        assert headers[-1] == NOTHING
        pixels = make_images(network, 1)
        client = Client(device)
        with pytest.raises(RefusedError, match="no valid network") as refusal:
            client.classify(pixels[0])
        assert refusal.value.status is Status.NOT_READY
        assert refusal.value.report.load_state is state
        assert client.status().last_error is Status.NOT_READY


def test_a_network_from_the_host_replaces_a_bad_one(verilator, image, network, make_images):
    with SimulatedBoard(BOARD, None) as device:
        boot(device)
        client = Client(device)
        device.writes.clear()
        client.load(image)
        writes = list(compile_network(network, BOARD.config).writes())
        assert device.writes == [NOTHING, *writes]
        assert client.status() == StatusReport(LoadState.READY, Source.LINK, 0, Status.OK)
        pixels = make_images(network, 1)
        assert same(client.classify(pixels[0]), golden.run(network, pixels), 0)


@settings(max_examples=15)
@given(
    garbage=st.one_of(
        st.binary(min_size=1, max_size=60),
        # Frames whose CRC is right and whose contents are any.
        st.lists(st.binary(max_size=20), min_size=1, max_size=3).map(
            lambda payloads: b"".join(map(encode_frame, payloads))
        ),
    ),
    divisor=st.sampled_from([None, None, 3, 11]),
)
def test_garbage_does_not_hang_the_board(device, network, make_images, garbage, divisor):
    # A network may have been lost, but only by a request to load one.
    device.write(garbage, divisor=divisor)
    # At another speed the last byte may end later for the board than for the host.
    device.run(12 * 6)
    device.write(bytes([FLAG]))
    for payload in replies(device):
        assert payload[0] & REPLY
    client = Client(device)
    report = client.status()
    if report.load_state is LoadState.READY:
        pixels = make_images(network, 1)
        assert same(client.classify(pixels[0]), golden.run(network, pixels), 0)
    else:
        client.load(make_image(network, BOARD))


@pytest.mark.parametrize("kept", [1, 2, 3, 33, -3, -1])
def test_a_cut_request_does_not_hang_the_board(device, network, make_images, kept):
    pixels = make_images(network, 1)
    frame = encode_frame(bytes([Command.CLASSIFY_PIXELS, 99]) + pixels.tobytes())
    device.write(frame[:kept] + bytes([FLAG]))
    answers = replies(device)
    assert len(answers) <= 1 or kept == -1
    assert all(payload[2] != Status.OK for payload in answers if kept != -1)
    assert same(Client(device).classify(pixels[0]), golden.run(network, pixels), 0)


def test_time_passes_only_while_the_host_waits(device):
    before = device.cycles
    time.sleep(0.1)
    assert device.cycles == before
    device.run(1000)
    assert 1000 <= device.cycles - before <= 1010
    # Nothing to come: all of the timeout passes, and no more.
    before = device.cycles
    assert device.read(1, 100e-6) == b""
    cycles = round(100e-6 * BOARD.clock_hz)
    assert cycles <= device.cycles - before <= cycles + 10


@pytest.mark.icarus
def test_icarus_gives_the_same_and_a_waveform(make_network, make_images, icarus, tmp_path):
    network = make_network((8, 5, 3), ticks=15)
    pixels = make_images(network, 1)
    waves = tmp_path / "board.vcd"
    image = make_image(network, BOARD)
    with SimulatedBoard(BOARD, image, simulator="icarus", waves=waves) as device:
        assert boot(device).load_state is LoadState.READY
        assert same(Client(device).classify(pixels[0]), golden.run(network, pixels), 0)
    assert waves.stat().st_size > 10_000


def simulators(parent: int) -> list[int]:
    """Running children of a process."""
    try:
        return [int(pid) for pid in
                Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except FileNotFoundError:
        pytest.skip("finding a process's children needs Linux's /proc")


def test_a_simulator_that_dies_is_an_error(verilator):
    before = set(simulators(os.getpid()))
    with SimulatedBoard(BOARD, None) as device:
        device.run(10)
        [simulator] = set(simulators(os.getpid())) - before
        os.kill(simulator, signal.SIGKILL)
        with pytest.raises(FailureError, match=r"verilator .* ended too early"):
            device.run(1_000_000)
    assert set(simulators(os.getpid())) == before


def test_a_host_that_dies_takes_its_simulator_along(verilator):
    script = (
        "import time\n"
        "from ttfs_fpga.boards.registry import BOARDS\n"
        "from ttfs_fpga.sim.device import SimulatedBoard\n"
        f"with SimulatedBoard(BOARDS[{BOARD.name!r}], None) as device:\n"
        "    device.run(10)\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(77777)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            [simulator] = simulators(process.pid)
        finally:
            process.kill()
    until(lambda: not Path(f"/proc/{simulator}").exists(), "the simulator's end")
