# SPDX-License-Identifier: Apache-2.0
"""The requests of the serial link, in one table: body, what each one needs, and its reply.

The gateware (:mod:`boards.link`), the host (:mod:`ttfs_sw.link.host`) and the table in
``docs/link.md`` are made of it: another request is a line here, a line of that page, and what it
does in the gateware where that is something new. Standard library only.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from ttfs_sw.link.protocol import (
    SEQUENCES,
    Identity,
    Result,
    Status,
    StatusReport,
    unpack_statistics,
)

__all__ = ["REQUESTS", "Action", "Body", "Command", "Need", "Reply", "Request", "unpack_reply"]


class Command(enum.IntEnum):
    """What a host can ask for: a command byte. Any other byte counts as ``NONE``."""

    NONE = 0
    IDENTIFY = 1
    STATUS = 2
    LOAD_BEGIN = 3
    LOAD_DATA = 4
    LOAD_END = 5
    CLASSIFY_PIXELS = 6
    CLASSIFY_EVENTS = 7
    RESULT = 8
    COUNTERS = 9


class Body(enum.Enum):
    """What the body of a request is; the value says it in the manual's words."""

    NOTHING = ""
    #: Of a network image: the bytes behind the number go to the loader as they come.
    CHUNK = f"number of the chunk, modulo {SEQUENCES}; any number of bytes of the image"
    #: These go to the core as they come.
    PIXELS = "one byte an input, in raster order"
    EVENTS = "three bytes an event: input, low byte first, and code"


class Need(enum.Enum):
    """What must be so when a request is carried out; what it is, and the status if it is not."""

    LOADER = "a loader that is not busy with the flash", Status.BUSY
    SEQUENCE = "the next chunk, or the last one again", Status.BAD_SEQUENCE
    LOADED = "an image that was whole and good", Status.LOAD_FAILED
    NETWORK = "a valid network", Status.NOT_READY
    CORE = "a core without error", Status.CORE_ERROR
    RESULT = "a result", Status.NO_RESULT

    @property
    def says(self) -> str:
        """What is needed, in the manual's words."""
        return self.value[0]

    @property
    def otherwise(self) -> Status:
        """Status of the reply where it is not so."""
        return self.value[1]


class Action(enum.Enum):
    """What a request that is carried out does, besides passing on its body and being answered."""

    BEGIN_LOAD = enum.auto()
    END_LOAD = enum.auto()


class Reply(enum.Enum):
    """Body of a reply with status OK; the value says it in the manual's words."""

    REPORT = "the [report](#status-and-report)"
    IDENTITY = "the [identity](#identity)"
    RESULT = "the [result](#result)"
    COUNTERS = ("eight bytes a layer: its input events, and the cycle of the image that it ended "
                "in, 32 bits each")


@dataclasses.dataclass(frozen=True)
class Request:
    """One request.

    Parameters
    ----------
    command : :class:`enum.IntEnum`
        Its command byte.
    says : :class:`str`
        What it is for, as the manual says it.
    body : :class:`Body`
        What it carries.
    needs : tuple of :class:`Need`
        What must be so, looked at in this order.
    reply : :class:`Reply`
        What it is answered with.
    action : :class:`Action`, optional
        What it does.
    """

    command: enum.IntEnum
    says: str
    body: Body = Body.NOTHING
    needs: tuple[Need, ...] = ()
    reply: Reply = Reply.REPORT
    action: Action | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.command.name.lower().replace("_", " ")


#: By command byte. They are numbered from 1 without a gap.
REQUESTS: dict[int, Request] = {
    request.command: request
    for request in (
        Request(Command.IDENTIFY, "what the board is", reply=Reply.IDENTITY),
        Request(Command.STATUS, "whether there is a network, and what went wrong last"),
        Request(
            Command.LOAD_BEGIN, "a network image comes", needs=(Need.LOADER,),
            action=Action.BEGIN_LOAD,
        ),
        Request(
            Command.LOAD_DATA, "a piece of it", body=Body.CHUNK,
            needs=(Need.LOADER, Need.SEQUENCE),
        ),
        Request(
            Command.LOAD_END, "that was all", needs=(Need.LOADED,), action=Action.END_LOAD,
        ),
        Request(
            Command.CLASSIFY_PIXELS, "classify an image", body=Body.PIXELS,
            needs=(Need.NETWORK, Need.CORE), reply=Reply.RESULT,
        ),
        Request(
            Command.CLASSIFY_EVENTS, "classify an image from its spikes", body=Body.EVENTS,
            needs=(Need.NETWORK, Need.CORE), reply=Reply.RESULT,
        ),
        Request(
            Command.RESULT, "the last image's result again", needs=(Need.RESULT,),
            reply=Reply.RESULT,
        ),
        Request(
            Command.COUNTERS, "what the last image's layers took", needs=(Need.RESULT,),
            reply=Reply.COUNTERS,
        ),
    )
}


def unpack_reply(reply: Reply, body: bytes, identity: Callable[[], Identity]) -> Any:
    """What the body of a reply says.

    Parameters
    ----------
    identity : callable
        Gives the board's identity, on which some replies depend.

    Raises
    ------
    :exc:`ttfs_sw.link.framing.FrameError`
        If it makes no sense.
    """
    if reply is Reply.IDENTITY:
        return Identity.unpack(body)
    if reply is Reply.RESULT:
        return Result.unpack(body, identity())
    if reply is Reply.COUNTERS:
        return unpack_statistics(body)
    return StatusReport.unpack(body)
