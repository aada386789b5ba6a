"""The ordering queue: events come in the order of neurons, and leave in the order of time."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import event_shape, ordered_shape

__all__ = ["OrderingQueue"]


class OrderingQueue(wiring.Component):
    """Sorts the events of one source map by tick: a bucket for each.

    The last transfer of a tick has ``end``. It is the tick's last event, or no event, where there
    is none or they have all passed already. Ticks before the first event are left out, because
    nothing happens in them; but there is at least the end of the last tick.

    Buckets are linked lists: of every tick the event that came last, and of every event the one of
    its tick that came before. A place of a map spikes at most once, so its number is its address,
    and there is room for whatever may come. Events of the first tick pass at once if they can.

    Throughput: takes an event a cycle; gives one a cycle, and takes a cycle more for a tick that
    has any. Latency: an empty first tick's end is valid 2 cycles after the map's end was taken.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        A new layer begins; only while not ``busy``.
    ticks : In(config.tick_bits)
        T of the source map: the code of tick 0. Must hold while ``busy``.
    i : In(stream.Signature(event_shape(config)))
        Events in any order, then one transfer with ``end``.
    o : Out(stream.Signature(ordered_shape(config)))
        Events of a tick, the last one with ``end``, events of the next tick, and so on.
    forget, forget_code : In
        Empties the bucket of one code; only while not ``busy``. After a reset none is known to be
        empty.
    busy : Out(1)
        From the cycle after ``start`` until the last transfer has been taken.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "ticks": In(config.tick_bits),
            "i": In(stream.Signature(event_shape(config))),
            "o": Out(stream.Signature(ordered_shape(config))),
            "forget": In(1),
            "forget_code": In(config.tick_bits),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        link = data.StructLayout({"channel": config.neuron_bits, "valid": 1})
        # A device whose only memories are block RAMs has none to spare for so few words.
        ice40 = getattr(platform, "device", "").startswith("iCE40")
        m.submodules.heads = heads = memory.Memory(
            shape=link, depth=1 << config.tick_bits, init=[],
            attrs={"ram_style": "registers"} if ice40 and config.tick_bits <= 4 else {})
        m.submodules.links = links = memory.Memory(
            shape=link, depth=config.map_places, init=[])
        head, new_head = heads.read_port(), heads.write_port()
        before, new_link = links.read_port(), links.write_port()

        filling, working = Signal(), Signal()
        free = Signal()
        direct = Signal()
        taken = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(filling),
            taken.eq(self.i.valid & self.i.ready & ~self.i.p.end),
            direct.eq(taken & (self.i.p.code == self.ticks) & free),
            self.busy.eq(filling | working | self.o.valid),
        ]

        # In: the head of the list is read, and one cycle later the event takes its place. Of two
        # events of a tick in succession, the second one's head is not in the memory yet.
        entering = Signal()
        same = Signal()
        clash = Signal()  # the head that is wanted is being written
        code = Signal(config.tick_bits)
        channel, channel_before = Signal(config.neuron_bits), Signal(config.neuron_bits)
        enters = Signal()
        m.d.comb += [
            enters.eq(taken & ~direct),
            clash.eq(entering & (head.addr == code)),
            new_link.en.eq(entering),
            new_link.addr.eq(channel),
            new_link.data.channel.eq(Mux(same, channel_before, head.data.channel)),
            new_link.data.valid.eq(same | head.data.valid),
        ]
        m.d.sync += [
            entering.eq(enters),
            same.eq(clash),
            code.eq(self.i.p.code),
            channel.eq(self.i.p.channel),
            channel_before.eq(channel),
        ]

        # Out: from the head of every list along its links. A head that was read is emptied. The
        # link of an event says whether it is the last one: it is read one cycle ahead.
        out_code = Signal(config.tick_bits)  # at first the largest one, of the first tick
        tick = Signal(config.tick_bits)
        emptied, empty = Signal(config.tick_bits), Signal()
        current = Signal(config.neuron_bits)
        follow = Signal(link)
        look, step = Signal(), Signal()
        m.d.comb += [
            before.addr.eq(follow.channel),
            before.en.eq(step),
            head.addr.eq(Mux(filling & ~self.i.p.end, self.i.p.code, out_code)),
            head.en.eq((enters & ~clash) | look),
            new_head.en.eq(entering | empty | self.forget),
            new_head.addr.eq(Mux(self.forget, self.forget_code, Mux(entering, code, emptied))),
            new_head.data.channel.eq(channel),
            new_head.data.valid.eq(entering),
        ]
        m.d.sync += empty.eq(look)
        with m.If(look):
            m.d.sync += [
                emptied.eq(out_code), out_code.eq(out_code - 1), tick.eq(self.ticks - out_code),
            ]
        with m.If(step):
            m.d.sync += current.eq(follow.channel)

        with m.If(free):
            m.d.sync += self.o.valid.eq(direct)
        with m.If(direct):
            m.d.sync += [
                self.o.p.channel.eq(self.i.p.channel), self.o.p.event.eq(1), self.o.p.end.eq(0),
                self.o.p.last.eq(0),
            ]

        def give(event, end):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.p.channel.eq(current),
                self.o.p.event.eq(event),
                self.o.p.end.eq(end),
                self.o.p.tick.eq(tick),
                self.o.p.last.eq(end & (out_code == 0)),
            ]
            with m.If(end & (out_code == 0)):
                m.d.sync += working.eq(0)
                m.next = "Idle"
            with m.Elif(end):
                m.d.comb += look.eq(1)
                m.next = "Head"

        with m.FSM():
            with m.State("Idle"):
                with m.If(self.start):
                    m.d.sync += [filling.eq(1), out_code.eq(1)]
                    m.next = "Fill"
            with m.State("Fill"):
                with m.If(taken & (self.i.p.code > out_code)):
                    m.d.sync += out_code.eq(self.i.p.code)
                with m.If(self.i.valid & self.i.p.end):
                    m.d.sync += [filling.eq(0), working.eq(1)]
                    m.d.comb += look.eq(~clash)
                    m.next = "Head"
                    with m.If(clash):
                        m.next = "Look"
            with m.State("Look"):
                m.d.comb += look.eq(1)
                m.next = "Head"
            with m.State("Head"):
                m.d.comb += follow.eq(head.data)
                with m.If(head.data.valid):
                    m.d.comb += step.eq(1)
                    m.next = "Event"
                with m.Elif(free):
                    give(Const(0), Const(1))
            with m.State("Event"):
                m.d.comb += follow.eq(before.data)
                with m.If(free):
                    m.d.comb += step.eq(before.data.valid)
                    give(Const(1), ~before.data.valid)
        return m
