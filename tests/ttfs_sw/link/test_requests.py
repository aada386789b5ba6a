# SPDX-License-Identifier: Apache-2.0
"""The table of requests: complete, and what the manual shows."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ttfs_sw.link.framing import FrameError
from ttfs_sw.link.protocol import NAK
from ttfs_sw.link.requests import REQUESTS, Command, Need, Reply, unpack_reply


def test_every_command_is_a_request():
    assert list(REQUESTS) == [command for command in Command if command is not Command.NONE]
    # Whoever looks for commands that are none looks no further than for the highest one.
    assert list(REQUESTS) == list(range(1, len(REQUESTS) + 1)) and max(REQUESTS) < NAK


def row(request) -> str:
    """The line of ``docs/link.md`` that describes a request."""
    needs = "; ".join(f"{need.says} ({need.otherwise.value})" for need in request.needs)
    cells = (request.command.value, request.name, request.says, request.body.value, needs,
             request.reply.value)
    return f"| {' | '.join(map(str, cells))} |".replace("|  |", "| |").replace("|  |", "| |")


def manual() -> list[str]:
    """The lines of ``docs/link.md`` that list the requests."""
    return [
        "| command | | | body of the request | needs, or else the status "
        "| body of a reply with status 0 |",
        "|---|---|---|---|---|---|",
        *map(row, REQUESTS.values()),
        "| other | | | | | status 2, with a command byte of 80h |",
    ]


def test_the_manual_lists_them():
    page = (Path(__file__).parents[3] / "docs" / "link.md").read_text(encoding="utf-8")
    shown = page.split("<!-- requests: begin -->\n")[1].split("<!-- requests: end -->")[0]
    assert shown.splitlines() == manual(), "\n".join(manual())


def test_a_need_has_a_status_of_its_own():
    assert len({need.otherwise for need in Need}) == len(Need)


@pytest.mark.parametrize("reply", Reply)
def test_a_reply_that_makes_no_sense_is_refused(reply):
    with pytest.raises(FrameError):
        unpack_reply(reply, b"\xff" * 3, lambda: SimpleNamespace(logit_bytes=2, max_logits=4))
