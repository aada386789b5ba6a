"""The recorder: everything that a host may read back, as the bytes of the replies."""

import dataclasses
import struct

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import CoreConfig
from hdl.shapes import logit_shape, statistics_shape
from ttfs_sw.protocol import STATISTICS_BYTES, Identity, Result

__all__ = ["RecordMap", "Recorder", "padded"]


@dataclasses.dataclass(frozen=True)
class RecordMap:
    """Where things are in the recorder's memory: identity, counters, a result in the upper half.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        The core's sizes.
    """

    config: CoreConfig

    @property
    def logit_bytes(self) -> int:
        """Bytes of one logit: one or two words of the memory."""
        return 2 if self.config.accumulator_bits <= 16 else 4

    @property
    def counters(self) -> int:
        """Address of the first layer's counters, a multiple of the space that they take."""
        return max(128, STATISTICS_BYTES << self.config.layer_bits)

    @property
    def depth(self) -> int:
        """Bytes of the memory, a power of two; one block RAM of the iCE40 where that is enough."""
        # A result of 100 classes is kept whole.
        result = 100 * self.logit_bytes + Result.TRAILER.size
        return 2 << (max(2 * self.counters, result) - 1).bit_length()

    @property
    def result(self) -> int:
        """Address of the result."""
        return self.depth // 2

    @property
    def max_logits(self) -> int:
        """Logits that a result keeps."""
        return (self.depth - self.result - Result.TRAILER.size) // self.logit_bytes


class Recorder(wiring.Component):
    """Keeps the last result and the counters of its layers; the identity is there from the start.

    Where the result is kept, a chunk of a network image can be kept instead. Logits of up to 16
    bits are taken one a cycle, so that the core does not wait and counts the cycles that it needs.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        The core's sizes.
    identity : :class:`ttfs_sw.protocol.Identity`
        What the board says of itself.

    Members
    -------
    clear : In(1)
        Forget result or chunk: a new one begins.
    logits : In(stream.Signature(logit_shape(config)))
        From the core.
    statistics : In(stream.Signature(statistics_shape(config), always_ready=True))
        From the core, which keeps the payload as it is until the next transfer.
    cycles : In(24)
        From the core, valid with the last logit.
    done : Out(1)
        High for one cycle when a result is complete.
    chunk : In(stream.Signature(8, always_ready=True))
        Bytes to be kept instead of a result.
    overflow : Out(1)
        High in the cycle in which a byte of a chunk is dropped because there is no room.
    end : Out
        Address of a result's last byte; the address behind a chunk, modulo the depth of the memory.
    address : In, enable : In(1), data : Out(8)
        Read port; ``data`` belongs to the ``address`` of the last cycle with ``enable``.
    """

    def __init__(self, config: CoreConfig, identity: Identity):
        self._config = config
        self._identity = identity
        self._map = RecordMap(config)
        address = range(self._map.depth)
        super().__init__({
            "clear": In(1),
            "logits": In(stream.Signature(logit_shape(config))),
            "statistics": In(stream.Signature(statistics_shape(config), always_ready=True)),
            "cycles": In(24),
            "done": Out(1),
            "chunk": In(stream.Signature(8, always_ready=True)),
            "overflow": Out(1),
            "end": Out(address, init=self._map.result),
            "address": In(address),
            "enable": In(1),
            "data": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        places = self._map
        identity = self._identity.pack()
        # Words of 16 bits. What is being read is not written: a collision needs no logic.
        m.submodules.storage = storage = memory.Memory(
            shape=16, depth=places.depth // 2, attrs={"no_rw_check": 1},
            init=struct.unpack(f"<{len(identity) // 2}H", identity),
        )
        read, write = storage.read_port(), storage.write_port(granularity=8)
        odd = Signal()
        with m.If(self.enable):
            m.d.sync += odd.eq(self.address[0])
        m.d.comb += [
            read.addr.eq(self.address[1:]),
            read.en.eq(self.enable),
            self.data.eq(read.data.word_select(odd, 8)),
        ]

        logit, statistics = self.logits.p, self.statistics.p
        # What is written one word after the other, in the order of the replies.
        trailer = Cat(padded(self.cycles, 32), padded(logit.winner, 16), padded(logit.index, 16))
        counters = Cat(padded(statistics.events, 32), padded(statistics.cycles, 32))
        step = Signal(2)
        counted = Signal()  # counters wait to be written
        with m.If(self.statistics.valid):
            m.d.sync += counted.eq(1)

        word = Signal(len(self.end) - 1, init=places.result // 2)
        half = Signal()  # of a chunk's word: the next byte goes to the high half
        advance, counting, full = Signal(), Signal(), Signal()
        m.d.comb += [
            self.end.eq(Cat(half, word)),
            full.eq(word == (places.result + places.max_logits * places.logit_bytes) // 2),
            write.addr.eq(Mux(
                counting, Cat(step, statistics.layer) | places.counters // 2, word)),
        ]
        with m.If(advance):
            m.d.sync += word.eq(word + 1)

        def put(value, room):
            m.d.comb += [
                write.en.eq(room.replicate(2)), write.data.eq(value), advance.eq(room)
            ]

        def after_logit():
            with m.If(logit.last):
                m.next = "Trailer"
            with m.Else():
                m.d.comb += self.logits.ready.eq(1)
                m.next = "Idle"

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += step.eq(0)
                with m.If(counted):
                    m.d.sync += counted.eq(0)
                    m.next = "Counters"
                with m.Elif(self.logits.valid):
                    put(logit.value, ~full)
                    if places.logit_bytes == 2:
                        after_logit()
                    else:
                        m.next = "High"
                with m.Elif(self.chunk.valid):
                    # The upper half of the memory is the room for a chunk.
                    m.d.comb += [
                        self.overflow.eq(~word[-1]),
                        write.en.eq(word[-1] << half),
                        write.data.eq(self.chunk.payload.replicate(2)),
                        advance.eq(word[-1] & half),
                    ]
                    m.d.sync += half.eq(half ^ word[-1])
            if places.logit_bytes == 4:
                with m.State("High"):
                    put(logit.value >> 16, ~full)
                    after_logit()
            with m.State("Trailer"):
                put(trailer.word_select(step, 16), Const(1))
                m.d.sync += step.eq(step + 1)
                with m.If(step == 3):
                    m.d.comb += [self.logits.ready.eq(1), self.done.eq(1), advance.eq(0)]
                    m.d.sync += half.eq(1)
                    m.next = "Idle"
            with m.State("Counters"):
                m.d.comb += [
                    counting.eq(1),
                    write.en.eq(0b11),
                    write.data.eq(counters.word_select(step, 16)),
                ]
                m.d.sync += step.eq(step + 1)
                with m.If(step == 3):
                    m.next = "Idle"
        with m.If(self.clear):
            m.d.sync += [word.eq(places.result // 2), half.eq(0)]
        return m


def padded(value: Value, width: int) -> Value:
    """A value with zeros above it, as a little-endian field of a reply."""
    return Cat(value, Const(0, width - len(value)))
