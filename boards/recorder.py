# SPDX-License-Identifier: Apache-2.0
"""The recorder: everything that a host may read back, as the bytes of the replies."""

import dataclasses
import struct

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import logit_shape, statistics_shape
from ttfs_sw.link.protocol import STATISTICS_BYTES, Identity, Result

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

    Logits of up to 16 bits are taken one a cycle, so that the core does not wait and counts the
    cycles that it needs.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        The core's sizes.
    identity : :class:`ttfs_sw.link.protocol.Identity`
        What the board says of itself.

    Members
    -------
    clear : In(1)
        A new result begins.
    logits : In(stream.Signature(logit_shape(config)))
        From the core; ``winner`` stays for at least five cycles after the last one.
    statistics : In(stream.Signature(statistics_shape(config), always_ready=True))
        From the core, which keeps the payload for long enough to write it down.
    cycles : In(24)
        From the core, valid with the last logit.
    done : Out(1)
        High for one cycle when a result is complete.
    end : Out
        Address of the result's last byte.
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
            "end": Out(address),
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
        read, write = storage.read_port(), storage.write_port()
        odd = Signal(reset_less=True)
        with m.If(self.enable):
            m.d.sync += odd.eq(self.address[0])
        m.d.comb += [
            read.addr.eq(self.address[1:]),
            read.en.eq(self.enable),
            self.data.eq(read.data.word_select(odd, 8)),
        ]

        logit, statistics = self.logits.p, self.statistics.p
        # What is written one word after the other, in the order of the replies.
        trailer = Cat(padded(self.cycles, 32), padded(logit.winner, 16))
        counters = Cat(padded(statistics.events, 32), padded(statistics.clock, 32))
        step = Signal(2, reset_less=True)
        last_of_trailer = Signal(reset_less=True)
        m.d.sync += last_of_trailer.eq(step == Result.TRAILER.size // 2 - 2)
        counted = Signal()  # counters wait to be written
        with m.If(self.statistics.valid):
            m.d.sync += counted.eq(1)

        word = Signal(len(self.end) - 1, reset_less=True)
        last_word = (places.result + places.max_logits * places.logit_bytes) // 2 - 1
        full = Signal(reset_less=True)  # no more logits are kept
        recording, counting = Signal(), Signal()
        m.d.comb += [
            # The last word written ends with the last byte.
            self.end.eq(Cat(Const(1, 1), word)),
            write.addr.eq(Mux(
                counting, Cat(step, statistics.layer) | places.counters // 2, word)),
            write.data.eq(Mux(
                recording,
                Mux(counting, counters, trailer).word_select(step, 16),
                logit.value,
            )),
        ]

        def put_logit():
            with m.If(~full):
                m.d.comb += write.en.eq(1)
                m.d.sync += [word.eq(word + 1), full.eq(word == last_word)]

        # Registers, because the link has much to decide with the one, and the core with the other.
        ready = self.logits.ready
        m.d.sync += [self.done.eq(0), ready.eq(0)]

        def idle():
            # A logit of one word is taken while there is nothing else to write.
            if places.logit_bytes == 2:
                m.d.sync += ready.eq(1)
            m.next = "Idle"

        def after_logit():
            # Counters and the trailer can wait: what they are made of stays.
            with m.If(logit.last):
                m.next = "Trailer"
            with m.Elif(counted):
                m.d.sync += counted.eq(0)
                m.next = "Counters"
            with m.Else():
                idle()

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += step.eq(0)
                with m.If(self.logits.valid & (ready | (places.logit_bytes == 4))):
                    put_logit()
                    if places.logit_bytes == 2:
                        after_logit()
                    else:
                        m.d.sync += ready.eq(1)
                        m.next = "High"
                with m.Elif(counted):
                    m.d.sync += counted.eq(0)
                    m.next = "Counters"
                with m.Else():
                    idle()
            if places.logit_bytes == 4:
                with m.State("High"):
                    m.d.comb += write.data.eq(logit.value >> 16)
                    put_logit()
                    after_logit()
            with m.State("Trailer"):
                m.d.comb += [recording.eq(1), write.en.eq(1)]
                m.d.sync += [step.eq(step + 1), word.eq(word + 1)]
                with m.If(last_of_trailer):
                    m.d.sync += [self.done.eq(1), word.eq(word)]
                    idle()
            with m.State("Counters"):
                m.d.comb += [recording.eq(1), counting.eq(1), write.en.eq(1)]
                m.d.sync += step.eq(step + 1)
                with m.If(step == 3):
                    idle()
        with m.If(self.clear):
            m.d.sync += [word.eq(places.result // 2), full.eq(0)]
        return m


def padded(value: Value, width: int) -> Value:
    """A value with zeros above it, as a little-endian field of a reply."""
    return Cat(value, Const(0, width - len(value)))
