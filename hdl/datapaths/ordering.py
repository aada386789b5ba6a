# SPDX-License-Identifier: Apache-2.0
"""The ordering queue: events come in the order of neurons, and leave in the order of time."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.event_lists import EventLists
from ttfs_fpga.hdl.ports import PurgePort, RunPort, entry_layout
from ttfs_fpga.hdl.shapes import event_shape, ordered_shape

__all__ = ["OrderingQueue"]


class OrderingQueue(wiring.Component):
    """Sorts the events of one source map by tick: a list for each.

    The last transfer of a tick has ``end``. It is the tick's last event, or no event, where there
    is none or they have all passed already. Ticks before the first event are left out, because
    nothing happens in them; but there is at least the end of the last tick. Events of the first
    tick pass at once if they can.

    Throughput: takes an event a cycle; gives one a cycle, and takes a cycle more for a tick that
    has any. Latency: an empty first tick's end is valid 2 cycles after the map's end was taken.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A new layer; busy until the last transfer has been taken.
    entry : In(entry_layout(config, FIELDS))
        T of the source map, the code of tick 0. Must hold while busy.
    purge : In(PurgePort(config))
        Empties the lists; only while not busy. After a reset none is known to be empty.
    i : In(stream.Signature(event_shape(config)))
        Events in any order, then one transfer with ``end``.
    o : Out(stream.Signature(ordered_shape(config)))
        Events of a tick, the last one with ``end``, events of the next tick, and so on.
    """

    #: Fields of the layer table that it works by.
    FIELDS = ("source_ticks",)

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "purge": In(PurgePort(config)),
            "i": In(stream.Signature(event_shape(config))),
            "o": Out(stream.Signature(ordered_shape(config))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.lists = lists = EventLists(self._config)
        wiring.connect(m, wiring.flipped(self.purge), lists.purge)
        filling, draining = Signal(), Signal()
        free, taken, direct = Signal(), Signal(), Signal()
        code = Signal(self._config.tick_bits)  # at first the largest one, of the first tick
        event, ticks = self.i.p, self.entry.source_ticks
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(filling),
            taken.eq(self.i.valid & self.i.ready & ~event.end),
            direct.eq(taken & (event.code == ticks) & free),
            self.run.busy.eq(filling | draining | self.o.valid),
            lists.i.valid.eq(taken & ~direct),
            lists.i.p.code.eq(event.code),
            lists.i.p.channel.eq(event.channel),
            lists.drain.selected.eq(~filling | event.end),
            lists.drain.code.eq(code),
        ]
        with m.If(free):
            m.d.sync += self.o.valid.eq(direct)
        with m.If(direct):
            m.d.sync += [
                self.o.p.channel.eq(event.channel), self.o.p.event.eq(1), self.o.p.end.eq(0),
                self.o.p.last.eq(0),
            ]
        self._order(m, lists.drain, filling, draining, taken, free, code)
        return m

    def _order(self, m, drain, filling, draining, taken, free, code):
        """Fill the lists, and empty them again: from the head of every list along its links.

        The link of an event says whether it is the last one: it is read one cycle ahead.
        """
        tick = Signal.like(code)
        current = Signal.like(drain.channel)  # the event that leaves next
        with m.If(drain.look):
            m.d.sync += [code.eq(code - 1), tick.eq(self.entry.source_ticks - code)]
        with m.If(drain.step):
            m.d.sync += current.eq(drain.channel)

        def look():
            m.d.comb += drain.look.eq(1)
            m.next = "Head"

        def give(event, end):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.p.channel.eq(current),
                self.o.p.event.eq(event),
                self.o.p.end.eq(end),
                self.o.p.tick.eq(tick),
                self.o.p.last.eq(end & (code == 0)),
            ]
            with m.If(end & (code == 0)):
                m.d.sync += draining.eq(0)
                m.next = "Idle"
            with m.Elif(end):
                look()

        with m.FSM():
            with m.State("Idle"), m.If(self.run.start):
                m.d.sync += [filling.eq(1), code.eq(1)]
                m.next = "Fill"
            with m.State("Fill"):
                with m.If(taken & (self.i.p.code > code)):
                    m.d.sync += code.eq(self.i.p.code)
                with m.If(self.i.valid & self.i.p.end):
                    m.d.sync += [filling.eq(0), draining.eq(1)]
                    with m.If(drain.clash):
                        m.next = "Look"
                    with m.Else():
                        look()
            with m.State("Look"):
                look()
            with m.State("Head"):
                m.d.comb += drain.channel.eq(drain.head.channel)
                with m.If(drain.head.valid):
                    m.d.comb += drain.step.eq(1)
                    m.next = "Event"
                with m.Elif(free):
                    give(Const(0), Const(1))
            with m.State("Event"):
                m.d.comb += drain.channel.eq(drain.behind.channel)
                with m.If(free):
                    m.d.comb += drain.step.eq(drain.behind.valid)
                    give(Const(1), ~drain.behind.valid)
