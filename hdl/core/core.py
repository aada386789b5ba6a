# SPDX-License-Identifier: Apache-2.0
"""The core: one image in, spikes and logits out, driven by the layer table."""

from types import SimpleNamespace

from amaranth.hdl import Const, Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import LAYER_CYCLES_BITS, CoreConfig
from ttfs_fpga.hdl.core.controller import Controller
from ttfs_fpga.hdl.core.encoder import Encoder
from ttfs_fpga.hdl.core.final_rows import FinalRows
from ttfs_fpga.hdl.core.first_spike import FirstSpike
from ttfs_fpga.hdl.core.guard import CoreError, Guard
from ttfs_fpga.hdl.core.layer_map import LayerMap
from ttfs_fpga.hdl.core.loader import Loader
from ttfs_fpga.hdl.core.logit_gate import LogitGate
from ttfs_fpga.hdl.core.membrane import Membrane
from ttfs_fpga.hdl.core.membrane_arbiter import MembraneArbiter
from ttfs_fpga.hdl.core.purge import Purge
from ttfs_fpga.hdl.core.readout import Readout
from ttfs_fpga.hdl.core.requantiser import Requantiser
from ttfs_fpga.hdl.core.scanner import Scanner
from ttfs_fpga.hdl.core.source_map import SourceMap
from ttfs_fpga.hdl.core.sweep import Sweep
from ttfs_fpga.hdl.core.weights import WeightMemory
from ttfs_fpga.hdl.datapaths import datapath_of
from ttfs_fpga.hdl.ports import connect_entry
from ttfs_fpga.hdl.shapes import (
    Memory,
    load_shape,
    logit_shape,
    sample_shape,
    spike_shape,
    statistics_shape,
    time_shape,
)

__all__ = ["Core"]


class Core(wiring.Component):
    """Event-driven processor of time-to-first-spike networks, equal to the golden model.

    ::

        i -> encoder -> input map -+
                                   +-> scanner -> sequencer -> lanes <-> membrane -> sweep -+-> o
                        map <------+                 ^            ^                         |
                         ^                      layer table   weights        slopes         v
                         +------- first spike <------------------------- requantiser <-----+

    A layer accumulates: each event of its source map updates the membrane words of its whole
    fan-out. An output row whose input window has closed fires, while the layer goes on with later
    rows: its potentials are swept, and spikes written to the layer's map. The next layer begins as
    soon as there is something final in that map. The output layer does not fire; its potentials are
    the logits.

    Latency: a layer that takes R updates for its events (``Placement.roofline``) and has W membrane
    words takes about ``R + W`` cycles, and a few a row; ``docs/core.md`` has the details.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes. The same core runs every network that fits them.
    program : :class:`hdl.compiler.program.Program` or None
        Initial contents of the memories; None leaves them empty, to be loaded.
    late_bits : :class:`int`
        A layer that takes ``2 ** late_bits`` cycles is given up. For tests: the compiler takes care
        that no network does by default.

    Members
    -------
    load : In(stream.Signature(load_shape()))
        Writes one word of one memory, in two cycles, while no image is computed. Forgets received
        images; none are taken until the layer table has been looked through.
    restart : In(1)
        Forget the samples of a partly received image.
    i : In(stream.Signature(sample_shape(config)))
        Samples in raster order; the last one of an image starts it.
    o : Out(stream.Signature(logit_shape(config)))
        Logits in order of their index; the last ``winner`` stays until the next image's first.
    spikes : Out(stream.Signature(spike_shape(config), always_ready=True))
        Every spike of a hidden layer when a layer reads it, in raster order of its map.
    statistics : Out(stream.Signature(statistics_shape(config), always_ready=True))
        Events of each layer, and when it ended, the last layer with the last logit. The payload
        stays for at least ten cycles.
    busy : Out(1)
        An image is being computed.
    cycles : Out(24)
        Of the last image, from its being complete in the input map to the last logit's being valid.
        There with that logit, and for ten cycles.
    error : Out(CoreError)
        Why the network is refused, or the last image was given up; cleared by a load.
    time : Out(stream.Signature(time_shape(config), always_ready=True))
        Only with a datapath that has ticks (``ramp``): one transfer a tick of a layer's input
        window, when all of its potentials in the membrane memory are those at the end of that tick.
        They stay so for this cycle and the next.
    """

    def __init__(self, config: CoreConfig, program=None, *, late_bits: int = LAYER_CYCLES_BITS):
        if program is not None and program.config != config:
            raise ValueError("the program was compiled for another CoreConfig")
        self._config = config
        self._datapath = datapath_of(config)
        self._program = program
        self._late_bits = late_bits
        super().__init__({
            "load": In(stream.Signature(load_shape())),
            "restart": In(1),
            "i": In(stream.Signature(sample_shape(config))),
            "o": Out(stream.Signature(logit_shape(config))),
            "spikes": Out(stream.Signature(spike_shape(config), always_ready=True)),
            "statistics": Out(stream.Signature(statistics_shape(config), always_ready=True)),
            "busy": Out(1),
            "cycles": Out(24),
            "error": Out(CoreError),
            **({"time": Out(stream.Signature(time_shape(config), always_ready=True))}
               if self._datapath.shows_time else {}),
        })

    @property
    def config(self) -> CoreConfig:
        """Sizes of this core."""
        return self._config

    def elaborate(self, platform):
        m = Module()
        parts = self._make_parts(m)
        self._load(m, parts)
        self._accumulate(m, parts)
        self._update(m, parts)
        self._fire(m, parts)
        self._answer(m, parts)
        return m

    def _make_parts(self, m):
        """All components, by the names that they have as submodules."""
        config, datapath = self._config, self._datapath
        purge, requantiser = Purge(config), Requantiser(config, self._init(Memory.SLOPES))
        restarted = {
            "controller": Controller(config, self._init(Memory.TABLE), self._late_bits),
            "scanner": Scanner(config),
            "sequencer": datapath.sequencer(config),
            "sweep": Sweep(config),
            "gate": LogitGate(config),
        }
        queue = datapath.queue(config)
        if queue is not None:
            restarted["queue"] = queue
        others = {
            "loader": Loader(config),
            "purge": purge,
            "guard": Guard(config),
            "encoder": Encoder(config, self._init(Memory.ENCODER)),
            "source": SourceMap(config),
            "map": LayerMap(config),
            "arbiter": MembraneArbiter(config, datapath.lanes),
            "weights": WeightMemory(config, self._init(Memory.WEIGHTS)),
            "lanes": datapath.lanes(config),
            "membrane": Membrane(config, self._init(Memory.MEMBRANE)),
            "requantiser": requantiser,
            "first_spike": FirstSpike(config),
            "final_rows": FinalRows(config, requantiser.latency + 4),
            "readout": Readout(config),
        }
        # Whatever may wait for something is brought back to where it began when memories change and
        # when an image is given up; the rest has nothing left to do a few cycles later.
        for name, part in restarted.items():
            m.submodules[name] = ResetInserter(purge.o.start)(part)
        for name, part in others.items():
            m.submodules[name] = part
        return SimpleNamespace(**{"queue": None, **restarted, **others})

    def _init(self, which):
        return () if self._program is None else self._program.memory_words(which)

    def _entry(self, entry):
        """Fields of the layer table: some are the same for all layers that the datapath runs.

        As constants they cost no logic.
        """
        constants = self._datapath.constants(self._config)
        return {name: constants.get(name, entry[name]) for name in entry.shape().members}

    def _load(self, m, parts):
        """Memories are written, what was there is wiped, and the layer table is looked through."""
        loader, purge, guard = parts.loader, parts.purge, parts.guard
        controller, encoder = parts.controller, parts.encoder
        wiring.connect(m, wiring.flipped(self.load), loader.i)
        wiring.connect(m, loader.table, controller.write)
        wiring.connect(m, loader.codes, encoder.table)
        wiring.connect(m, loader.slopes, parts.requantiser.slopes)
        wiring.connect(m, loader.weights, parts.weights.write)
        wiring.connect(m, loader.biases, parts.arbiter.biases)
        wiring.connect(m, purge.o, guard.purge, parts.membrane.purge, parts.map.purge)
        wiring.connect(m, guard.table, controller.check)
        wiring.connect(m, guard.layout, encoder.layout)
        m.d.comb += [
            loader.busy.eq(controller.busy),
            purge.changing.eq(loader.changing),
            purge.late.eq(controller.late),
            guard.forget.eq(loader.changing),
            guard.late.eq(controller.late),
            controller.forget.eq(loader.changing),
            encoder.forget.eq(purge.forget),
            parts.readout.forget.eq(purge.o.start),
            self.error.eq(guard.error),
        ]

    def _accumulate(self, m, parts):
        """Samples into the input map; a layer's source map, event by event, to the sequencer."""
        controller, scanner, sequencer = parts.controller, parts.scanner, parts.sequencer
        half, source, encoder = controller.accumulating, parts.source, parts.encoder
        wiring.connect(m, wiring.flipped(self.i), encoder.i)
        wiring.connect(m, encoder.image, controller.image)
        wiring.connect(m, source.input, encoder.map)
        wiring.connect(m, source.layers, parts.map.scan)
        wiring.connect(m, scanner.map, source.scan)
        wiring.connect(m, scanner.wipe, parts.map.wipe)
        wiring.connect(m, parts.final_rows.final, scanner.final)
        wiring.connect(m, controller.scan, scanner.run)
        wiring.connect(m, sequencer.row, controller.row, scanner.row)
        connect_entry(m, self._entry(half.entry), scanner.entry)
        m.d.comb += [
            encoder.restart.eq(self.restart), source.from_input.eq(half.entry.source_input),
        ]
        taken = scanner.o.valid & scanner.o.ready & ~scanner.o.p.end
        m.d.comb += [
            half.event.eq(taken),
            self.spikes.valid.eq(taken & ~half.entry.source_input),
            self.spikes.p.layer.eq(half.layer),
            self.spikes.p.place.eq(scanner.o.p.place),
            self.spikes.p.code.eq(scanner.o.p.code),
        ]
        queued = Const(0)
        if parts.queue is None:
            wiring.connect(m, scanner.o, sequencer.i)
        else:
            wiring.connect(m, scanner.o, parts.queue.i)
            wiring.connect(m, parts.queue.o, sequencer.i)
            m.d.comb += parts.queue.run.start.eq(half.start)
            m.d.comb += self._datapath.queue_inputs(parts.queue, half, parts.purge.o)
            queued = parts.queue.run.busy
        # Registered, because many flags meet here; the start is one of them, so that a half that
        # has not begun does not look ended.
        m.d.sync += half.ended.eq(~(half.start | scanner.run.busy | queued | sequencer.run.busy))

    def _update(self, m, parts):
        """Events, by the sequencer and the lanes, into the membrane memory."""
        controller, sequencer, arbiter = parts.controller, parts.sequencer, parts.arbiter
        half = controller.accumulating
        wiring.connect(m, sequencer.table, controller.descriptors)
        wiring.connect(m, sequencer.o, arbiter.updates)
        wiring.connect(m, arbiter.weights, parts.weights.read)
        wiring.connect(m, arbiter.lanes, parts.lanes.i)
        wiring.connect(m, arbiter.membrane, parts.membrane.operation)
        wiring.connect(m, parts.membrane.lanes, parts.lanes.memory)
        connect_entry(m, self._entry(half.entry), sequencer.entry)
        m.d.comb += [
            sequencer.run.start.eq(half.start),
            arbiter.busy.eq(controller.busy),
        ]
        if self._datapath.shows_time:
            m.d.comb += [
                self.time.valid.eq(sequencer.time.valid),
                self.time.p.layer.eq(half.layer),
                self.time.p.tick.eq(sequencer.time.p),
            ]

    def _fire(self, m, parts):
        """Potentials of rows that are complete: to spike times in the layer's map, or to logits."""
        sweep, gate, requantiser = parts.sweep, parts.gate, parts.requantiser
        half, arbiter, final_rows = parts.controller.firing, parts.arbiter, parts.final_rows
        entry = self._entry(half.entry)
        wiring.connect(m, half, final_rows.firing)
        wiring.connect(m, sweep.o, gate.i)
        wiring.connect(m, gate.candidates, requantiser.i)
        wiring.connect(m, gate.adder, requantiser.adder)
        wiring.connect(m, gate.o, parts.readout.i)
        wiring.connect(m, requantiser.o, parts.first_spike.i)
        wiring.connect(m, parts.first_spike.map, parts.map.update)
        wiring.connect(m, parts.sequencer.window, sweep.window)
        wiring.connect(m, sweep.membrane, arbiter.sweep)
        connect_entry(m, entry, sweep.entry, requantiser.entry)
        m.d.comb += [
            sweep.run.start.eq(half.start),
            sweep.accumulating.eq(half.same),
            gate.spiking.eq(half.entry.spiking),
            gate.settled.eq(half.settled),
            parts.first_spike.pooled.eq(sweep.pooled),
            final_rows.sweeping.eq(sweep.run.busy),
            final_rows.written.eq(sweep.written),
            final_rows.answered.eq(gate.answered),
        ]

    def _answer(self, m, parts):
        """Logits, and what is told of the image."""
        controller = parts.controller
        wiring.connect(m, parts.readout.o, wiring.flipped(self.o))
        wiring.connect(m, controller.statistics, wiring.flipped(self.statistics))
        m.d.comb += [
            controller.stalled.eq(self.o.valid & ~self.o.ready),
            self.busy.eq(controller.busy),
            self.cycles.eq(controller.statistics.p.clock),
        ]
