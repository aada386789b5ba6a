# SPDX-License-Identifier: Apache-2.0
"""Frames on the serial line, received and sent, as :mod:`ttfs_sw.link.framing` stuffs them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from ttfs_fpga.boards.ports import RequestPort
from ttfs_sw.link.framing import ESCAPE, FLAG, INVERTED

__all__ = ["BYTE_CYCLES", "FrameReceiver", "FrameSender", "reply_shape"]

#: The CRC takes a byte bit by bit, which is a third of the size of a whole byte at once; a byte on
#: the line takes at least 40 cycles.
BYTE_CYCLES = 11


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
    flags in a row are no frame. After anything at all, what follows the next flag is received.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
        Bytes from the line, at least :data:`BYTE_CYCLES` cycles apart; each stays for three.
    error : In(1)
        A byte was lost: the frame it belongs to is not good.
    o : Out(RequestPort())
        Payload bytes, and ends of frames, two cycles after the byte from the line.
    """

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(8, always_ready=True)),
            "error": In(1),
            "o": Out(RequestPort()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = checker = _crc16()

        inside = Signal()  # bytes came since the last flag
        escaped = Signal()
        damaged = Signal()
        newest, previous = Signal(8, reset_less=True), Signal(8, reset_less=True)
        kept = Signal(2)  # how many of these two are of this frame

        shifting = Signal(4)  # 8 to 15 while the CRC takes the newest byte
        m.d.comb += [checker.data.eq(newest[-1]), checker.valid.eq(shifting[-1])]
        with m.If(shifting[-1]):
            m.d.sync += [newest.eq(newest.rotate_left(1)), shifting.eq(shifting + 1)]

        # What a byte is is found out in the cycle in which it comes, what it means in the next, and
        # in the one after that it is given: the link's paths begin at registers.
        came, known = Signal(), Signal()
        is_flag, is_escape = Signal(), Signal()
        m.d.sync += [
            came.eq(self.i.valid),
            is_flag.eq(self.i.payload == FLAG),
            is_escape.eq((self.i.payload == ESCAPE) & ~escaped),
            known.eq(came),
            self.o.bytes.valid.eq(came & ~is_flag & ~is_escape & kept[1]),
            self.o.end.eq(came & is_flag & inside),
            self.o.good.eq(~damaged & ~escaped & kept[1] & checker.match_detected),
        ]
        m.d.comb += self.o.bytes.payload.eq(previous)
        with m.If(self.error):
            m.d.sync += [damaged.eq(1), inside.eq(1)]
        with m.If(known):
            m.d.sync += [inside.eq(1), escaped.eq(is_escape)]
            with m.If(is_flag):
                m.d.comb += checker.start.eq(1)
                m.d.sync += [kept.eq(0), inside.eq(0), damaged.eq(0)]
            with m.Elif(~is_escape):
                m.d.sync += [
                    newest.eq(self.i.payload ^ Mux(escaped, INVERTED, 0)),
                    previous.eq(newest),
                    kept.eq(Mux(kept == 0, 1, 2)),
                    shifting.eq(8),
                ]
        return m


class FrameSender(wiring.Component):
    """Sends the payload of frames, stuffed, with CRC and flag.

    Nothing is stored, so a payload may have any length. Between its bytes the line may be idle.

    Members
    -------
    i : In(stream.Signature(reply_shape()))
        Payload of a frame, at least one byte.
    o : Out(stream.Signature(8))
        Bytes for the line.
    """

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(reply_shape())),
            "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = summer = _crc16()
        byte = Signal(8, reset_less=True)
        escaped = Signal()
        last = Signal(reset_less=True)
        bits = Signal(3)
        crc_bytes = Signal(2)  # bytes of the CRC that have been taken out of it

        # What the CRC sees shifts it; when it sees its own highest bit it is only shifted out.
        bit = Signal()
        shifted = Cat(bit, byte[:-1])
        special = Signal(reset_less=True)  # the byte, once it has been shifted through
        m.d.comb += [
            bit.eq(Mux(crc_bytes == 0, byte[-1], summer.crc[-1])),
            summer.data.eq(bit),
        ]
        with m.FSM():
            with m.State("Collect"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [byte.eq(self.i.p.data), last.eq(self.i.p.last)]
                with m.If(self.i.valid):
                    m.next = "Sum"
            with m.State("Sum"):
                m.d.comb += summer.valid.eq(1)
                m.d.sync += [
                    byte.eq(shifted),
                    special.eq((shifted == FLAG) | (shifted == ESCAPE)),
                    bits.eq(bits + 1),
                ]
                with m.If(bits == 7):
                    m.next = "Send"
            with m.State("Send"):
                m.d.comb += self.o.valid.eq(1)
                m.d.comb += self.o.payload.eq(byte ^ Mux(escaped, INVERTED, 0))
                with m.If(special & ~escaped):
                    m.d.comb += self.o.payload.eq(ESCAPE)
                with m.If(self.o.ready):
                    m.d.sync += escaped.eq(special & ~escaped)
                    with m.If(escaped | ~special):
                        m.next = "Sum"
                        with m.If(last):
                            m.d.sync += crc_bytes.eq(crc_bytes + 1)
                            with m.If(crc_bytes == 2):
                                m.next = "Flag"
                        with m.Else():
                            m.next = "Collect"
            with m.State("Flag"):
                m.d.comb += [
                    self.o.valid.eq(1), self.o.payload.eq(FLAG), summer.start.eq(1)
                ]
                m.d.sync += crc_bytes.eq(0)
                with m.If(self.o.ready):
                    m.next = "Collect"
        return m
