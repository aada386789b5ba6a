# SPDX-License-Identifier: Apache-2.0
"""The feeder: from the body of a classify request to the samples of one image."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import sample_shape
from ttfs_sw.link.protocol import Status

__all__ = ["SampleFeeder"]


class SampleFeeder(wiring.Component):
    """Passes an image on to the core while it arrives, all but its last sample.

    The frame that carries an image is known to be whole only at its end, and the core starts with
    the last sample: so that one waits for ``commit``. An image that is not committed is forgotten
    when the next one begins.

    Pixels are one byte each. Events are three bytes, address (low byte first) and code, in order of
    address; the inputs between them get code 0, which must be done before the next byte comes.
    Throughput: one sample in two cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        The core's sizes.

    Members
    -------
    last_input : In(config.neuron_bits)
        Number of the network's last input.
    start : In(1), events : In(1)
        A new image begins; it comes as ``events``, which stays as it is until the next one.
    i : In(stream.Signature(8, always_ready=True))
        Bytes of the image, from the cycle after ``start``.
    commit : In(1)
        The image is complete and sound. Keep it high until ``done`` or ``error``.
    done : Out(1)
        High for one cycle when the last sample has been given to the core.
    error : Out(Status)
        Why the image cannot be given to the core, or ``OK``.
    restart : Out(1), o : Out(stream.Signature(sample_shape(config)))
        To the core.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "last_input": In(config.neuron_bits),
            "start": In(1),
            "events": In(1),
            "i": In(stream.Signature(8, always_ready=True)),
            "commit": In(1),
            "done": Out(1),
            "error": Out(Status),
            "restart": Out(1),
            "o": Out(stream.Signature(sample_shape(config))),
        })

    def elaborate(self, platform):
        m = Module()
        code_bits = self._config.tick_bits
        # Of the next sample for the core.
        position = Signal(self._config.neuron_bits, reset_less=True)
        address = Signal.like(position)  # of the event
        value = Signal(8, reset_less=True)
        pending = Signal()  # the value waits for its turn
        field = Signal(2, reset_less=True)  # of the event, the next to come
        arrived = Signal()  # the value is a byte that has just come
        open_ = Signal()  # neither the last sample was given, nor is there an error

        # Registers break long paths here: those of the core end at the sample for it, and what is
        # known of the position is known in the cycle after, when a sample still waits there.
        at_last, at_address = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            at_last.eq(position == self.last_input),
            at_address.eq(position == address),
        ]
        here, give = Signal(), Signal()
        m.d.comb += [
            here.eq(pending & (~self.events | at_address)),
            give.eq(
                ~self.o.valid & open_
                & (pending | (self.events & self.commit))
                & Mux(at_last, self.commit & (here | ~pending), 1)
            ),
            self.restart.eq(self.start),
        ]
        m.d.sync += self.done.eq(self.o.valid & self.o.ready & ~open_)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(give):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.p.value.eq(Mux(here, value, 0)),
                self.o.p.raw.eq(self.events),
                open_.eq(~at_last),
                position.eq(position + 1),
            ]
            with m.If(here):
                m.d.sync += pending.eq(0)

        def refuse(reason):
            # The first reason counts.
            with m.If(open_):
                m.d.sync += [self.error.eq(reason), open_.eq(0)]

        with m.If(pending & at_last & ~here):
            # The inputs are full and the event's address was not among them.
            refuse(Status.BAD_EVENT)
        with m.If(self.commit & Mux(self.events, field != 0, ~pending)):
            refuse(Status.BAD_LENGTH)

        m.d.sync += arrived.eq(self.i.valid)
        with m.If(self.i.valid):
            m.d.sync += value.eq(self.i.payload)
        with m.If(arrived):
            with m.If(pending):
                full = Mux(self.events, Status.BAD_EVENT, Status.BAD_LENGTH)
                refuse(Mux(at_last, full, Status.OVERRUN))
            with m.Elif(~self.events):
                m.d.sync += pending.eq(1)
            with m.Else():
                with m.Switch(field):
                    with m.Case(0):
                        m.d.sync += [address[:8].eq(value), field.eq(1)]
                    with m.Case(1):
                        m.d.sync += [address[8:].eq(value), field.eq(2)]
                        with m.If(value[max(0, len(address) - 8):] != 0):
                            refuse(Status.BAD_EVENT)
                    with m.Case(2):
                        m.d.sync += [pending.eq(1), field.eq(0)]
                        with m.If(value[code_bits:] != 0):
                            refuse(Status.BAD_EVENT)

        with m.If(self.start):
            m.d.sync += [
                position.eq(0), pending.eq(0), field.eq(0), arrived.eq(0),
                self.o.valid.eq(0), self.error.eq(Status.OK), open_.eq(1),
            ]
        return m
