# SPDX-License-Identifier: Apache-2.0
"""Records: every transfer of the core's output streams, as the harness hands them out.

A record has 16 bytes, little-endian: 80 bits of payload, 40 bits of the cycle in which the transfer
happened, 8 bits of :class:`Kind`. The payload is the stream's own, packed as the core packs it; the
offsets of its fields are taken from the shapes of :mod:`hdl.shapes` and typed nowhere.
"""

import dataclasses
import enum

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import logit_shape, spike_shape, statistics_shape

__all__ = ["PAYLOAD_BITS", "RECORD_BYTES", "End", "Ending", "Kind", "RecordLayout", "Records"]

RECORD_BYTES = 16
PAYLOAD_BITS = 80


class Kind(enum.IntEnum):
    """What a record is of."""

    SPIKE = 1
    STATISTICS = 2
    LOGIT = 3
    #: The core's cycle counter, taken with the last logit of an image.
    CYCLES = 4
    #: The simulation is over; the payload is an :class:`End`.
    END = 5


class Ending(enum.IntEnum):
    """Why the simulation ended."""

    DONE = 0
    HANG = 1
    CORE_ERROR = 2
    BAD_STIMULUS = 3


@dataclasses.dataclass(frozen=True)
class End:
    """How the simulation ended.

    Parameters
    ----------
    reason : :class:`Ending`
        Why.
    error : :class:`int`
        The core's error code.
    images : :class:`int`
        Images whose last logit was seen.
    cycles : :class:`int`
        Cycles simulated, loading and all.
    """

    reason: Ending
    error: int
    images: int
    cycles: int


@dataclasses.dataclass(frozen=True)
class Records:
    """Records in the order in which they happened: one array a field, one entry a record.

    Parameters
    ----------
    kind : :class:`numpy.ndarray`
        :class:`Kind` of each, uint8.
    cycle : :class:`numpy.ndarray`
        When it happened, in cycles since the clock started, int64.
    low, high : :class:`numpy.ndarray`
        The payload's lowest 64 bits and its highest 16, uint64.
    """

    kind: np.ndarray
    cycle: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def from_bytes(cls, content: bytes) -> "Records":
        """Split what the harness handed out; its length is a multiple of :data:`RECORD_BYTES`."""
        words = np.frombuffer(content, "<u8").reshape(-1, 2)
        low, high = words[:, 0], words[:, 1]
        return cls(
            kind=(high >> np.uint64(56)).astype(np.uint8),
            cycle=(high >> np.uint64(16) & np.uint64((1 << 40) - 1)).astype(np.int64),
            low=low,
            high=high & np.uint64(0xFFFF),
        )

    def field(self, chosen: np.ndarray, offset: int, width: int, signed: bool) -> np.ndarray:
        """Value of ``width`` payload bits from ``offset`` of the ``chosen`` records, as int64."""
        low, high = self.low[chosen], self.high[chosen]
        if offset >= 64:
            value = high >> np.uint64(offset - 64)
        elif offset + width <= 64:
            value = low >> np.uint64(offset)
        else:
            value = low >> np.uint64(offset) | high << np.uint64(64 - offset)
        value = (value & np.uint64((1 << width) - 1)).astype(np.int64)
        return value - ((value >> (width - 1)) << width) if signed else value

    def end(self) -> End | None:
        """How the simulation ended, or ``None`` while it runs."""
        places = np.flatnonzero(self.kind == Kind.END)
        if not len(places):
            return None
        place = places[:1]
        return End(
            reason=Ending(int(self.field(place, 0, 8, False)[0])),
            error=int(self.field(place, 8, 4, False)[0]),
            images=int(self.field(place, 12, 32, False)[0]),
            cycles=int(self.cycle[place][0]),
        )


class RecordLayout:
    """Where the fields of each stream's payload are, for a core of the given sizes.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes of the core that is simulated.
    """

    def __init__(self, config: CoreConfig):
        self._shapes = {
            Kind.SPIKE: spike_shape(config),
            Kind.STATISTICS: statistics_shape(config),
            Kind.LOGIT: logit_shape(config),
            Kind.CYCLES: data.StructLayout({"cycles": 24}),
        }

    def unpack(self, records: Records, kind: Kind) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Positions of the records of one kind, and their payload's fields by name, as int64."""
        places = np.flatnonzero(records.kind == kind)
        fields = {}
        for name, field in self._shapes[kind]:
            shape = Shape.cast(field.shape)
            fields[name] = records.field(places, field.offset, shape.width, shape.signed)
        return places, fields
