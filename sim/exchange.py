# SPDX-License-Identifier: Apache-2.0
"""What a host and the harness of a simulated board exchange: commands there, records back.

A command is answered with the records (:mod:`sim.records`) of all that was seen meanwhile, the last
one :attr:`Kind.DONE`. ``board_harness.v`` is the other end.
"""

import enum

__all__ = ["MOST_BYTES", "MOST_CYCLES", "Kind", "send", "wait"]

#: Most cycles that one :func:`wait` can wait.
MOST_CYCLES = (1 << 32) - 1
#: Most bytes that one :func:`wait` can wait for.
MOST_BYTES = (1 << 24) - 1


class Kind(enum.IntEnum):
    """What a record of a simulated board is of."""

    #: A byte from the board's serial line.
    BYTE = 1
    #: A byte without a stop bit.
    BAD_BYTE = 2
    #: A write to the core's load port, packed as :func:`hdl.shapes.load_shape`.
    LOAD = 3
    #: A command that the flash chip heard: 24 bits of address, 8 bits of command.
    FLASH = 4
    #: The LEDs changed; the first one is the lowest bit.
    LEDS = 5
    #: The command has been carried out.
    DONE = 6
    #: The simulation is over.
    END = 7


_SEND, _WAIT = 1, 2


def _command(kind: int, argument: int, left: int) -> bytes:
    return bytes([kind]) + argument.to_bytes(3, "big") + left.to_bytes(4, "big")


def send(data: bytes, divisor: int) -> bytes:
    """The command to send bytes to the board, ``divisor`` cycles a bit."""
    return _command(_SEND, divisor, len(data)) + data


def wait(count: int, cycles: int) -> bytes:
    """The command to let time pass until the board has sent ``count`` bytes, or for ``cycles``."""
    return _command(_WAIT, min(count, MOST_BYTES), min(cycles, MOST_CYCLES))
