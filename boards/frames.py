"""Frames on the serial line, received and sent: byte stuffing and CRC of :mod:`ttfs_sw.framing`."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import crc, data, memory, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from ttfs_sw.framing import DELIMITER

__all__ = ["BYTE_CYCLES", "FrameReceiver", "FrameSender", "received_shape", "reply_shape"]

#: The CRC takes a byte bit by bit, which is a third of the size of a whole byte at once; a byte on
#: the line takes at least 40 cycles.
BYTE_CYCLES = 10


def received_shape() -> data.StructLayout:
    """One byte of a frame's payload, or, with ``end``, its end and whether it was ``good``."""
    return data.StructLayout({"data": 8, "end": 1, "good": 1})


def reply_shape() -> data.StructLayout:
    """One byte of a frame's payload, ``last`` with the last one."""
    return data.StructLayout({"data": 8, "last": 1})


def _crc16() -> crc.Processor:
    # Bit by bit, the most significant bit of each byte first.
    return crc.Parameters(catalog.CRC16_IBM_3740, data_width=1).create()


class FrameReceiver(wiring.Component):
    """Undoes the byte stuffing and checks the CRC of frames of any length, storing none.

    The payload is given as it arrives, two bytes late so that the CRC is not taken for payload, and
    then the verdict: whoever acts on a byte before the verdict must be able to take it back. Two
    delimiters in a row are no frame. After anything at all, the frame that follows the next
    delimiter is received.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
        Bytes from the line, at least :data:`BYTE_CYCLES` cycles apart.
    error : In(1)
        A byte was lost: the frame it belongs to is not good.
    o : Out(stream.Signature(received_shape(), always_ready=True))
        Payload bytes, and an ``end`` for every frame; in the same cycle as the byte from the line.
    """

    i: In(stream.Signature(8, always_ready=True))
    error: In(1)
    o: Out(stream.Signature(received_shape(), always_ready=True))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = checker = _crc16()

        left = Signal(8)  # bytes that the block still has
        zero = Signal()  # a zero follows the block, if another one does
        inside = Signal()  # bytes came since the last delimiter
        damaged = Signal()
        newest, previous = Signal(8), Signal(8)
        kept = Signal(2)  # how many of these two are of this frame

        shifting = Signal(4)  # bits of the newest byte that the CRC has still to see, from 8 down
        m.d.comb += [checker.data.eq(newest[-1]), checker.valid.eq(shifting[-1])]
        with m.If(shifting[-1]):
            m.d.sync += [newest.eq(newest.rotate_left(1)), shifting.eq(shifting + 1)]

        def decoded(byte):
            m.d.comb += self.o.valid.eq(kept[1])
            m.d.sync += [
                newest.eq(byte),
                previous.eq(newest),
                kept.eq(Mux(kept == 0, 1, 2)),
                shifting.eq(8),
            ]

        m.d.comb += self.o.p.data.eq(previous)
        with m.If(self.error):
            m.d.sync += [damaged.eq(1), inside.eq(1)]
        with m.If(self.i.valid):
            m.d.sync += inside.eq(1)
            with m.If(self.i.payload == DELIMITER):
                m.d.comb += [
                    self.o.valid.eq(inside),
                    self.o.p.end.eq(1),
                    self.o.p.good.eq(
                        ~damaged & (left == 0) & kept[1] & checker.match_detected
                    ),
                    checker.start.eq(1),
                ]
                m.d.sync += [
                    left.eq(0), zero.eq(0), kept.eq(0), inside.eq(0), damaged.eq(0)
                ]
            with m.Else():
                m.d.sync += left.eq(Mux(left == 0, self.i.payload, left) - 1)
                with m.If(left != 0):
                    decoded(self.i.payload)
                with m.Else():
                    m.d.sync += zero.eq(self.i.payload != 255)
                    with m.If(zero):
                        decoded(0)
        return m


class FrameSender(wiring.Component):
    """Collects the payload of one frame, then sends it stuffed, with CRC and delimiter.

    A count byte goes before the bytes that it counts, so the whole frame is stuffed in a memory: a
    byte that is not zero is written behind the others, for a zero the count is written where its
    block began. That is one write a byte.

    Throughput: one payload byte in at most 12 cycles until ``last``; then nothing is taken until
    the whole frame is sent.

    Parameters
    ----------
    depth : :class:`int`
        Bytes of memory.

    Members
    -------
    i : In(stream.Signature(reply_shape()))
        Payload of a frame.
    o : Out(stream.Signature(8))
        Bytes for the line.
    """

    def __init__(self, depth: int = 512):
        if not isinstance(depth, int) or depth < 8:
            raise ValueError(f"depth must be an integer of at least 8, not {depth!r}")
        self._depth = depth
        super().__init__({
            "i": In(stream.Signature(reply_shape())),
            "o": Out(stream.Signature(8)),
        })

    @property
    def max_payload(self) -> int:
        """Most payload bytes of a frame: the memory also takes the CRC and the counts."""
        return self._depth - self._depth // 254 - 4

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = summer = _crc16()
        # Nothing is read while anything is written, so a collision needs no logic.
        m.submodules.storage = storage = memory.Memory(
            shape=8, depth=self._depth, init=[], attrs={"no_rw_check": 1}
        )
        write, read = storage.write_port(), storage.read_port()

        address = Signal(range(self._depth), init=1)  # of the next byte: stored, then sent
        block = Signal(range(self._depth))  # where the block began; then, where the frame ends
        count = Signal(8, init=1)  # of the block so far
        byte = Signal(8)
        last = Signal()
        bits = Signal(3)
        crc_bytes = Signal(2)  # bytes of the CRC that have been taken out of it

        # What the CRC sees shifts it; when it sees its own highest bit it is only shifted out.
        bit = Signal()
        m.d.comb += [
            bit.eq(Mux(crc_bytes == 0, byte[-1], summer.crc[-1])),
            summer.data.eq(bit),
            read.addr.eq(address),
            self.o.payload.eq(read.data),
        ]

        # Two ways to write: the byte at the end, or the count where the block began.
        put, close_block = Signal(), Signal()
        m.d.comb += [
            write.en.eq(put | close_block),
            write.addr.eq(Mux(close_block, block, address)),
            write.data.eq(Mux(close_block, count, byte)),
        ]
        with m.If(write.en | (self.o.valid & self.o.ready)):
            m.d.sync += address.eq(address + 1)
        with m.If(put):
            m.d.sync += count.eq(count + 1)
        with m.If(close_block):
            m.d.sync += [count.eq(1), block.eq(address)]

        with m.FSM():
            with m.State("Collect"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [byte.eq(self.i.p.data), last.eq(self.i.p.last)]
                with m.If(self.i.valid):
                    m.next = "Sum"
            with m.State("Sum"):
                m.d.comb += summer.valid.eq(1)
                m.d.sync += [byte.eq(Cat(bit, byte)), bits.eq(bits + 1)]
                with m.If(bits == 7):
                    m.next = "Store"
            with m.State("Store"):
                m.d.comb += [close_block.eq(byte == 0), put.eq(byte != 0)]
                m.next = "Stored"
            with m.State("Stored"):
                m.d.comb += close_block.eq(count == 255)
                m.next = "Sum"
                with m.If(last):
                    m.d.sync += crc_bytes.eq(crc_bytes + 1)
                    with m.If(crc_bytes == 2):
                        m.next = "Close"
                with m.Else():
                    m.next = "Collect"
            with m.State("Close"):
                m.d.comb += [close_block.eq(1), summer.start.eq(1)]
                m.d.sync += [address.eq(0), crc_bytes.eq(0)]
                m.next = "Fetch"
            with m.State("Fetch"):
                m.next = "Send"
                with m.If(address == block):
                    m.next = "Delimiter"
            with m.State("Send"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Fetch"
            with m.State("Delimiter"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(DELIMITER)]
                m.d.sync += [address.eq(1), block.eq(0)]
                with m.If(self.o.ready):
                    m.next = "Collect"
        return m
