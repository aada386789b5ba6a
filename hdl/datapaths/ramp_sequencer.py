# SPDX-License-Identifier: Apache-2.0
"""The sequencer of the ``ramp`` datapath: events raise slopes, ends of ticks raise potentials."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.ramp_walk import PlaceReader, RampWalk
from ttfs_fpga.hdl.ports import (
    RunPort,
    SourceRowPort,
    TableReadPort,
    WindowPort,
    connect_entry,
    entry_layout,
)
from ttfs_fpga.hdl.shapes import ordered_shape, ramp_update_shape

__all__ = ["RampSequencer"]


class RampSequencer(wiring.Component):
    """Walks the membrane words of a dense layer, once for each event and once for each tick.

    An event adds its weights to the slopes, ``S += w``. At the end of a tick every word of slopes
    is added to the potentials, ``V += S``, right behind the update by the tick's last event if it
    had any. So after tick k a potential is its bias plus ``w · (k + 1 - k_j)`` of every spike j
    that came at a tick ``k_j <= k``. Slopes begin at 0 and are read for the last time at the last
    tick, which leaves them at 0.

    Potentials lie at ``membrane`` of the layer's only row descriptor, slopes ``row_step`` words
    behind them.

    Throughput: ⌈N/P⌉ cycles for an event, at least 2; twice ⌈N/P⌉ for the end of a tick, its last
    event included. Latency: 2 cycles.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    run : In(RunPort())
        A new layer; busy until its last operation has been issued.
    entry : In(entry_layout(config, FIELDS))
        The layer; must hold while events come.
    row : Out(SourceRowPort(config))
        As other sequencers have it; the only row has no need to begin.
    i : In(stream.Signature(ordered_shape(config)))
        Events and ends of ticks, in the order of time.
    table : Out(TableReadPort(config))
        Reads the descriptor, first of all readers.
    o : Out(stream.Signature(ramp_update_shape(config), always_ready=True))
        Operations of the membrane memory and the lanes.
    window : Out(WindowPort(config))
        The layer is one row of outputs, which is never swept before its end.
    time : Out(stream.Signature(config.tick_bits, always_ready=True))
        The potentials in the membrane memory are those at the end of this tick, and they stay so
        for this cycle and the next.
    """

    #: Fields of the layer table that it works by.
    FIELDS = (*PlaceReader.FIELDS, *RampWalk.FIELDS)

    def __init__(self, config: CoreConfig):
        self._config = config
        #: Cycles from the last operation of a tick until what it writes is in the memory.
        self.latency = config.weight_latency + 2
        super().__init__({
            "run": In(RunPort()),
            "entry": In(entry_layout(config, self.FIELDS)),
            "row": Out(SourceRowPort(config)),
            "i": In(stream.Signature(ordered_shape(config))),
            "table": Out(TableReadPort(config)),
            "o": Out(stream.Signature(ramp_update_shape(config), always_ready=True)),
            "window": Out(WindowPort(config)),
            "time": Out(stream.Signature(config.tick_bits, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = PlaceReader(self._config)
        m.submodules.walk = walk = RampWalk(self._config)
        connect_entry(m, self.entry, reader.entry, walk.entry)
        wiring.connect(m, wiring.flipped(self.run), reader.run)
        wiring.connect(m, reader.table, wiring.flipped(self.table))
        wiring.connect(m, reader.o, walk.places)
        wiring.connect(m, wiring.flipped(self.i), walk.i)
        wiring.connect(m, walk.o, wiring.flipped(self.o))
        m.d.comb += [walk.hold.eq(self.window.hold), self.window.pending.eq(walk.pending)]
        completed = Signal()
        m.d.comb += self.window.completed.eq(completed)
        with m.If(walk.places.ready):
            m.d.sync += completed.eq(1)
        with m.If(self.run.start):
            m.d.sync += completed.eq(0)

        # A tick has passed when its last potential has been written.
        tick, passed = walk.passed.p, walk.passed.valid
        for _ in range(self.latency):
            tick_before, passed_before = tick, passed
            tick, passed = Signal(self._config.tick_bits), Signal()
            m.d.sync += [tick.eq(tick_before), passed.eq(passed_before)]
        m.d.comb += [self.time.p.eq(tick), self.time.valid.eq(passed)]
        return m
