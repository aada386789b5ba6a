# SPDX-License-Identifier: Apache-2.0
"""Linked lists of events, one for each activation code."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import PurgePort

__all__ = ["DrainPort", "EventLists", "link_layout", "listed_layout"]


def link_layout(config: CoreConfig) -> data.StructLayout:
    """The event that comes next in a list, if there is one (``valid``)."""
    return data.StructLayout({"channel": config.neuron_bits, "valid": 1})


def listed_layout(config: CoreConfig) -> data.StructLayout:
    """An event to be kept in the list of its code."""
    return data.StructLayout({"channel": config.neuron_bits, "code": config.tick_bits})


class DrainPort(wiring.Signature):
    """Reads lists, while no event is offered to them (``selected``).

    ``look`` reads the head of the list of ``code``, and empties the list; not in a cycle with
    ``clash``, in which its last event is not in it yet. ``step`` reads what comes behind the event
    of ``channel``. What was read is in ``head``, or ``behind``, from the next cycle on.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "selected": Out(1),
            "code": Out(config.tick_bits),
            "look": Out(1),
            "clash": In(1),
            "head": In(link_layout(config)),
            "channel": Out(config.neuron_bits),
            "step": Out(1),
            "behind": In(link_layout(config)),
        })


class EventLists(wiring.Component):
    """Keeps events in lists, one for each code, of which the last one to come is the first.

    Of every code the event that came last is kept, and of every event the one of its code that came
    before. A place of a map spikes at most once, so its number is its address, and there is room
    for whatever may come.

    Throughput: an event a cycle. Latency: a list may be looked at 2 cycles after an event came.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    purge : In(PurgePort(config))
        Empties lists; only while nothing else is done. After a reset none is known to be empty.
    i : In(stream.Signature(listed_layout(config), always_ready=True))
        Events.
    drain : In(DrainPort(config))
        Reads the lists.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "purge": In(PurgePort(config)),
            "i": In(stream.Signature(listed_layout(config), always_ready=True)),
            "drain": In(DrainPort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, drain = self._config, self.drain
        link = link_layout(config)
        # A device whose only memories are block RAMs has none to spare for so few words.
        ice40 = getattr(platform, "device", "").startswith("iCE40")
        m.submodules.heads = heads = memory.Memory(
            shape=link, depth=1 << config.tick_bits, init=[],
            attrs={"ram_style": "registers"} if ice40 and config.tick_bits <= 4 else {})
        m.submodules.links = links = memory.Memory(
            shape=link, depth=config.map_places, init=[])
        head, new_head = heads.read_port(), heads.write_port()
        behind, new_link = links.read_port(), links.write_port()

        # The head of the list is read, and one cycle later the event takes its place. Of two events
        # of a code in succession, the second one's head is not in the memory yet.
        entering, entered = Signal(), Signal(listed_layout(config))
        same, channel_before = Signal(), Signal(config.neuron_bits)
        emptying, emptied = Signal(), Signal(config.tick_bits)  # a head that was looked at
        m.d.sync += [
            entering.eq(self.i.valid), entered.eq(self.i.p),
            same.eq(drain.clash), channel_before.eq(entered.channel),
            emptying.eq(drain.look),
        ]
        with m.If(drain.look):
            m.d.sync += emptied.eq(drain.code)
        m.d.comb += [
            head.addr.eq(Mux(drain.selected, drain.code, self.i.p.code)),
            head.en.eq((self.i.valid & ~drain.clash) | drain.look),
            drain.clash.eq(entering & (head.addr == entered.code)),
            drain.head.eq(head.data),
            new_head.en.eq(entering | emptying | self.purge.active),
            new_head.addr.eq(Mux(
                self.purge.active, self.purge.word, Mux(entering, entered.code, emptied))),
            new_head.data.channel.eq(entered.channel),
            new_head.data.valid.eq(entering),
            new_link.en.eq(entering),
            new_link.addr.eq(entered.channel),
            new_link.data.channel.eq(Mux(same, channel_before, head.data.channel)),
            new_link.data.valid.eq(same | head.data.valid),
            behind.addr.eq(drain.channel),
            behind.en.eq(drain.step),
            drain.behind.eq(behind.data),
        ]
        return m
