# SPDX-License-Identifier: Apache-2.0
"""The protocol's bodies: what is packed is unpacked, and nonsense is refused."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_sw.link.framing import FrameError, encode_frame
from ttfs_sw.link.protocol import (
    PROTOCOL_VERSION,
    REPLY,
    Identity,
    LayerStatistics,
    LoadState,
    Result,
    Source,
    Status,
    StatusReport,
    encode_events,
    event_gap,
    unpack_statistics,
)
from ttfs_sw.link.requests import Command

IDENTITY = Identity(
    protocol_version=PROTOCOL_VERSION, logit_bytes=2, max_logits=4, event_gap=170,
    fingerprint=0x12345678, clock_hz=36_000_000, baud=1_000_000, lanes=16, weight_bits=4,
    tick_bits=4, accumulator_bits=16, layers=15, weight_memory="spram", weight_words=16384,
    membrane_words=256, input_words=256, map_words=256, slopes=256, board="icebreaker",
)


def test_identity():
    assert Identity.unpack(IDENTITY.pack()) == IDENTITY
    assert len(IDENTITY.pack()) == Identity.SIZE == 84


@pytest.mark.parametrize(("place", "value", "reason"), [
    (0, 0, "not a board of this project"),
    (4, 9, "version 9 of the protocol"),
    (5, 3, "makes no sense"),
    (27, 9, "makes no sense"),
    (30, 2, "makes no sense"),
    (60, 0xFF, "makes no sense"),
])
def test_identity_that_makes_no_sense(place, value, reason):
    body = bytearray(IDENTITY.pack())
    body[place] = value
    with pytest.raises(FrameError, match=reason):
        Identity.unpack(bytes(body))


def test_identity_of_another_length():
    for length in (0, 3, 4, 5, 83):
        with pytest.raises(FrameError):
            Identity.unpack(IDENTITY.pack()[:length])
    with pytest.raises(FrameError):
        Identity.unpack(IDENTITY.pack() + b"\0")


def test_board_names_are_short():
    with pytest.raises(ValueError, match="at most 32 letters"):
        dataclasses.replace(IDENTITY, board="x" * 33).pack()


@given(st.sampled_from(LoadState), st.sampled_from(Source), st.integers(0, 15),
       st.sampled_from(Status))
def test_status(load_state, source, core_error, last_error):
    report = StatusReport(load_state, source, core_error, last_error)
    assert StatusReport.unpack(report.pack()) == report


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0", b"\x0f\0", b"\xf0\0", b"\0\xf0"])
def test_status_that_makes_no_sense(body):
    with pytest.raises(FrameError, match="the status"):
        StatusReport.unpack(body)


def test_result():
    body = bytes.fromhex("0300 f9ff 0c00") + bytes.fromhex("64000000 0200")
    assert Result.unpack(body, IDENTITY) == Result(cycles=100, winner=2, logits=(3, -7, 12))
    wide = dataclasses.replace(IDENTITY, logit_bytes=4)
    body = bytes.fromhex("f9ffffff") + bytes.fromhex("64000000 0000")
    assert Result.unpack(body, wide).logits == (-7,)


def test_winner_may_be_behind_the_logits_that_are_kept():
    body = bytes(2 * IDENTITY.max_logits) + bytes.fromhex("64000000 0900")
    assert Result.unpack(body, IDENTITY).winner == 9


@given(st.binary(max_size=20))
def test_result_is_checked(body):
    try:
        result = Result.unpack(body, IDENTITY)
    except FrameError:
        return
    assert len(body) == 6 + 2 * len(result.logits)
    assert 1 <= len(result.logits) <= IDENTITY.max_logits
    assert result.winner < len(result.logits) or len(result.logits) == IDENTITY.max_logits


def test_statistics():
    body = bytes.fromhex("03000000 64000000 02000000 45230100")
    assert unpack_statistics(body) == [LayerStatistics(3, 100), LayerStatistics(2, 0x12345 - 100)]
    assert unpack_statistics(b"") == []
    with pytest.raises(FrameError, match="the counters have 15 bytes"):
        unpack_statistics(body[:-1])


@given(st.sets(st.integers(0, 3000), max_size=20), st.integers(1, 700))
def test_events_are_never_further_apart_than_the_gap(addresses, gap):
    events = [(address, 1 + address % 15) for address in sorted(addresses)]
    body = encode_events(events, gap)
    sent = [(body[n] | body[n + 1] << 8, body[n + 2]) for n in range(0, len(body), 3)]
    assert [event for event in sent if event[1]] == events
    position = 0
    for address, _ in sent:
        assert 0 <= address - position <= gap
        position = address + 1


def test_exchange_in_the_documentation():
    page = (Path(__file__).parents[3] / "docs" / "link.md").read_text(encoding="utf-8")
    request = encode_frame(bytes([Command.STATUS, 7]))
    report = StatusReport(LoadState.READY, Source.FLASH, 0, Status.OK)
    reply = encode_frame(bytes([Command.STATUS | REPLY, 7, Status.OK]) + report.pack())
    assert f"host    {request.hex(' ').upper()}\n" in page
    assert f"board   {reply.hex(' ').upper()}\n" in page
    assert f"as `{encode_frame(bytes.fromhex('01 7e')).hex(' ').upper()}`" in page


@pytest.mark.parametrize("which", [Command, Status, LoadState])
def test_numbers_in_the_documentation(which):
    page = (Path(__file__).parents[3] / "docs" / "link.md").read_text(encoding="utf-8")
    in_other_words = {"none": "other", "empty": "no image", "loading": "being loaded"}
    for item in which:
        name = item.name.lower().replace("_", " ")
        number = "other" if item is Command.NONE else item.value
        name = in_other_words.get(name, name)
        assert re.search(rf"^\| {number} \|.*{'' if name == number else name}", page, re.MULTILINE)


def test_event_gap_of_a_real_board():
    # 36 cycles a bit: a byte lasts 360 cycles, in which 180 inputs can be filled in.
    assert 100 < event_gap(36) < 180
    assert event_gap(4) > 0
