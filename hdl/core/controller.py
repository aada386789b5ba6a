# SPDX-License-Identifier: Apache-2.0
"""The controller: runs the layers of the layer table, one after another, for each image."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import LAYER_CYCLES_BITS, CoreConfig
from ttfs_fpga.hdl.core.fetcher import Fetcher
from ttfs_fpga.hdl.core.layer_table import LayerTable
from ttfs_fpga.hdl.core.watchdog import Watchdog
from ttfs_fpga.hdl.ports import (
    AccumulatingPort,
    FiringPort,
    ImagePort,
    RunPort,
    SourceRowPort,
    TableReadPort,
    WritePort,
)
from ttfs_fpga.hdl.shapes import statistics_shape
from ttfs_fpga.hdl.table import ACCUMULATE_FIELDS, ACCUMULATE_WORDS, FIRE_FIELDS, FIRE_WORDS

__all__ = ["Controller"]


class Controller(wiring.Component):
    """Lets a layer accumulate and fire, and lets the next one accumulate as soon as it may.

    Two layers may be under way: one accumulates, while the one before it fires what is left of it.
    Each half has its own copy of the fields that it needs, read from the layer table beforehand. A
    layer's firing is attached when the layer before it has fired; rows of its output are then swept
    while it goes on accumulating.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial 32-bit words of the layer table.
    late_bits : :class:`int`
        A layer may take ``2 ** late_bits`` cycles: every so many one must have ended.

    Members
    -------
    write : In(WritePort(...))
        Writes one word of the layer table.
    descriptors : In(TableReadPort(config))
        Reads it, first of all.
    check : In(TableReadPort(config))
        Reads it while no image is computed.
    image : In(ImagePort())
        An image, which is taken if the layer table is good.
    forget : In(1)
        Images are forgotten in this cycle: begin nothing.
    stalled : In(1)
        The sink of logits makes us wait.
    late : Out(1)
        The layer has taken too long: this component must be reset then.
    accumulating : Out(AccumulatingPort(config))
        The half of a layer that accumulates.
    scan : Out(RunPort())
        Has the map scanned that the entry describes: all of it, or row by row.
    row : In(SourceRowPort(config))
        In a layer with a residual, a row of either map, which is scanned when nothing of another
        row is on its way any more.
    firing : Out(FiringPort(config))
        The half of a layer that fires.
    statistics : Out(stream.Signature(statistics_shape(config), always_ready=True))
        One transfer a layer, in the cycle after it has fired. The payload stays for at least ten
        cycles, so that whoever writes it down bit by bit needs no copy.
    busy : Out(1)
        An image is being computed.
    clock : Out(24)
        Cycles since the image was there: three before it was seen, and the next one, included.
    """

    def __init__(self, config: CoreConfig, init=(), late_bits: int = LAYER_CYCLES_BITS):
        self._config = config
        self._late_bits = late_bits
        self._init = list(init)
        super().__init__({
            "write": In(WritePort(config.table_address_bits, 32)),
            "descriptors": In(TableReadPort(config)),
            "check": In(TableReadPort(config)),
            "image": In(ImagePort()),
            "forget": In(1),
            "stalled": In(1),
            "late": Out(1),
            "accumulating": Out(AccumulatingPort(config)),
            "scan": Out(RunPort()),
            "row": In(SourceRowPort(config)),
            "firing": Out(FiringPort(config)),
            "statistics": Out(stream.Signature(statistics_shape(config), always_ready=True)),
            "busy": Out(1),
            "clock": Out(24),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.table = table = LayerTable(config, self._init)
        m.submodules.entry = entry = Fetcher(config, ACCUMULATE_WORDS, ACCUMULATE_FIELDS)
        m.submodules.firing = firing = Fetcher(config, FIRE_WORDS, FIRE_FIELDS)
        m.submodules.watchdog = watchdog = Watchdog(self._late_bits)
        for port in "write", "descriptors", "check":
            wiring.connect(m, wiring.flipped(getattr(self, port)), getattr(table, port))
        wiring.connect(m, entry.table, table.accumulating)
        wiring.connect(m, firing.table, table.firing)
        m.d.comb += [
            self.accumulating.entry.eq(entry.fields),
            self.firing.entry.eq(firing.fields),
            watchdog.clock.eq(self.clock),
            watchdog.busy.eq(self.busy),
            watchdog.progress.eq(self.stalled | self.statistics.valid),
            self.late.eq(watchdog.late),
        ]
        m.d.sync += self.clock.eq(self.clock + 1)

        attaching = Signal()  # the layer that accumulates waits for firing
        attached = Signal()  # it is the one that may fire
        firing_busy = Signal()
        self._accumulate(m, entry, attaching, attached, firing_busy)
        self._take_turns(m, entry)
        self._fire(m, firing, attaching, attached, firing_busy)
        return m

    def _accumulate(self, m, entry, attaching, attached, firing_busy):
        """Layers one after another, and the image with them."""
        half, firing = self.accumulating, self.firing
        subject = Signal.like(half.layer)  # the layer whose entry is read
        prefetched = Signal()  # the entry of that layer was asked for
        full = Signal()  # there is an image
        events = Signal.like(self.statistics.p.events)
        m.d.comb += entry.fetch.layer.eq(subject)
        m.d.sync += [
            full.eq(self.image.full & ~(self.image.release | self.forget | self.late)),
            events.eq(events + half.event),
            half.start.eq(0),
        ]

        def fetch():
            m.d.comb += entry.fetch.start.eq(1)
            m.d.sync += prefetched.eq(1)

        def begin_image():
            m.d.sync += [self.busy.eq(1), self.clock.eq(3), events.eq(0)]

        def begin_layer():
            m.d.sync += [
                half.start.eq(1), attaching.eq(1), attached.eq(0), firing.same.eq(0),
                firing.settled.eq(0),
            ]

        def settle():
            m.d.sync += [
                self.statistics.p.events.eq(events), events.eq(0), firing.settled.eq(1),
            ]

        def end_image():
            m.d.comb += self.image.release.eq(1)
            m.d.sync += self.busy.eq(0)

        with m.FSM():
            with m.State("Idle"), m.If(full & ~self.forget):
                begin_image()
                with m.If(prefetched):
                    m.next = "Begin"
                with m.Else():
                    m.next = "Next"
            with m.State("Begin"):
                m.d.sync += half.layer.eq(subject)
                with m.If(entry.fetch.complete):
                    begin_layer()
                    m.next = "Accumulate"
            with m.State("Accumulate"):
                # Not before its firing half has its fields: that is long after the statistics of
                # the layer before.
                with m.If(half.ended & attached):
                    settle()
                    with m.If(half.entry.last):
                        m.d.sync += [subject.eq(0), prefetched.eq(0)]
                        m.next = "Finish"
                    with m.Else():
                        m.d.sync += subject.eq(subject + 1)
                        m.next = "Next"
            with m.State("Next"):
                fetch()
                m.next = "Begin"
            with m.State("Finish"):
                with m.If(~prefetched):
                    fetch()
                with m.If(~firing_busy):
                    end_image()
                    m.next = "Idle"

    def _take_turns(self, m, entry):
        """Maps take turns in a layer with a residual: what describes one is read for every row."""
        scan, residual = self.scan, self.accumulating.entry.residual
        with m.FSM(name="row_state"):
            with m.State("Idle"):
                m.d.comb += scan.start.eq(self.accumulating.start & ~residual)
                with m.If(self.row.begins & residual):
                    m.next = "Wait"
            with m.State("Wait"), m.If(~scan.busy):
                m.d.comb += entry.fetch.again.eq(1)
                m.next = "Fetch"
            with m.State("Fetch"):
                m.d.comb += entry.fetch.second.eq(self.row.second)
                with m.If(entry.fetch.complete):
                    m.d.comb += scan.start.eq(1)
                    m.next = "Idle"

    def _fire(self, m, fetcher, attaching, attached, busy):
        """The layer that accumulates is attached when the one before it has fired, and fires."""
        half, statistics = self.firing, self.statistics
        layer = Signal.like(self.accumulating.layer)
        m.d.comb += [fetcher.fetch.layer.eq(layer), half.previous.eq(busy & ~half.same)]
        m.d.sync += [statistics.valid.eq(0), half.start.eq(0)]
        with m.FSM(name="firing_state"):
            with m.State("Idle"), m.If(attaching):
                m.d.comb += [fetcher.fetch.start.eq(1), half.attach.eq(1)]
                m.d.sync += [
                    attaching.eq(0), layer.eq(self.accumulating.layer), half.same.eq(1),
                ]
                m.next = "Fetch"
            with m.State("Fetch"):
                m.d.comb += busy.eq(1)
                with m.If(fetcher.fetch.complete):
                    m.d.sync += [half.start.eq(1), attached.eq(1)]
                    m.next = "Fire"
            with m.State("Fire"):
                m.d.comb += busy.eq(1)
                # The last ones stay.
                m.d.sync += [statistics.p.layer.eq(layer), statistics.p.clock.eq(self.clock)]
                with m.If(half.ended & ~half.start & (half.settled | ~half.same)):
                    m.d.sync += statistics.valid.eq(1)
                    m.next = "Idle"
