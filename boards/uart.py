# SPDX-License-Identifier: Apache-2.0
"""The serial line: bytes to and from an asynchronous line with 8 data bits and one stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ttfs_sw.common.errors import InputError

__all__ = ["MAX_BAUD_ERROR", "UARTReceiver", "UARTTransmitter", "baud_divisor"]

#: Largest share by which our baud rate may differ from what was asked for. A byte is sampled for
#: the last time 9.5 bits after its start edge, so both ends together may be 5 % apart; we take less
#: than half of that.
MAX_BAUD_ERROR = 0.02

#: The receiver needs this many samples a bit to find the middle of one.
MIN_DIVISOR = 4


def baud_divisor(clock_hz: int, baud: int) -> int:
    """Clock cycles a bit.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the clock cannot give this baud rate closely enough.
    """
    divisor = max(1, round(clock_hz / baud))
    error = abs(clock_hz / divisor / baud - 1)
    if divisor < MIN_DIVISOR or error > MAX_BAUD_ERROR:
        raise InputError(
            f"a clock of {clock_hz} Hz cannot give {baud} baud: {divisor} cycles a bit are "
            f"{error:.1%} off; choose a baud rate of which the clock is a multiple, at least "
            f"{MIN_DIVISOR} times as fast"
        )
    return divisor


def _checked_divisor(divisor: int) -> int:
    if not isinstance(divisor, int) or divisor < MIN_DIVISOR:
        raise ValueError(f"divisor must be an integer of at least {MIN_DIVISOR}, not {divisor!r}")
    return divisor


class UARTReceiver(wiring.Component):
    """Receives bytes, the least significant bit first.

    The line is sampled every cycle. A majority of three samples removes pulses of one cycle, and
    each bit is taken in its middle. A byte is given half a bit before its stop bit ends. After a
    missing stop bit nothing is received until the line is idle again.

    Parameters
    ----------
    divisor : :class:`int`
        Clock cycles a bit, at least 4.

    Members
    -------
    rx : In(1)
        The line, asynchronous to the clock, high when idle.
    o : Out(stream.Signature(8, always_ready=True))
        Bytes received, at least ``9 * divisor`` cycles apart.
    error : Out(1)
        High for one cycle when a byte had no stop bit; that byte is dropped.
    """

    def __init__(self, divisor: int):
        self._divisor = _checked_divisor(divisor)
        super().__init__({
            "rx": In(1, init=1),
            "o": Out(stream.Signature(8, always_ready=True)),
            "error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        history = Signal(2, init=0b11)
        level = Signal(init=1)
        m.d.sync += [
            history.eq(Cat(line, history)),
            level.eq((line & history[0]) | (line & history[1]) | (history[0] & history[1])),
        ]

        timer = Signal(range(self._divisor), reset_less=True)
        bit = Signal(3, reset_less=True)
        byte = Signal(8, reset_less=True)
        sample = Signal()
        m.d.comb += [sample.eq(timer == 0), self.o.payload.eq(byte)]
        m.d.sync += [timer.eq(timer - 1), self.o.valid.eq(0), self.error.eq(0)]
        with m.If(sample):
            m.d.sync += timer.eq(self._divisor - 1)

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [timer.eq(self._divisor // 2 - 1), bit.eq(0)]
                with m.If(~level):
                    m.next = "Start"
            with m.State("Start"):
                with m.If(sample):
                    with m.If(level):
                        m.next = "Idle"
                    with m.Else():
                        m.next = "Data"
            with m.State("Data"):
                with m.If(sample):
                    m.d.sync += [byte.eq(Cat(byte[1:], level)), bit.eq(bit + 1)]
                    with m.If(bit == 7):
                        m.next = "Stop"
            with m.State("Stop"):
                with m.If(sample):
                    m.d.sync += [self.o.valid.eq(level), self.error.eq(~level)]
                    m.next = "Break"
            with m.State("Break"):
                # After a good stop bit the line is idle already, and this costs one cycle.
                with m.If(level):
                    m.next = "Idle"
        return m


class UARTTransmitter(wiring.Component):
    """Sends bytes, the least significant bit first, one in ``10 * divisor`` cycles.

    Parameters
    ----------
    divisor : :class:`int`
        Clock cycles a bit, at least 4.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes to send.
    tx : Out(1)
        The line, high when idle.
    """

    def __init__(self, divisor: int):
        self._divisor = _checked_divisor(divisor)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self._divisor))
        # The bits still to be sent, the next one lowest; the last one is the stop bit, a 1.
        bits = Signal(9)
        # A register, because whoever sends has much to decide with it.
        ready = Signal(init=1)
        m.d.comb += self.i.ready.eq(ready)
        with m.If(timer != 0):
            m.d.sync += [timer.eq(timer - 1), ready.eq((timer == 1) & (bits == 0))]
        with m.Elif(bits != 0):
            m.d.sync += [Cat(self.tx, bits).eq(bits), timer.eq(self._divisor - 1)]
        with m.Elif(self.i.valid):
            m.d.sync += [
                ready.eq(0),
                self.tx.eq(0),
                bits.eq(Cat(self.i.payload, Const(1, 1))),
                timer.eq(self._divisor - 1),
            ]
        return m
