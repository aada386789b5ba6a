"""The core: one image in, spikes and logits out, driven by the layer table."""

from amaranth.hdl import Const, Module, Mux, ResetInserter, Signal
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
from ttfs_fpga.hdl.datapaths.mac import MacLanes
from ttfs_fpga.hdl.datapaths.ordering import OrderingQueue
from ttfs_fpga.hdl.datapaths.pulses import Pulses
from ttfs_fpga.hdl.datapaths.ramp import RampLanes
from ttfs_fpga.hdl.datapaths.ramp_sequencer import RampSequencer
from ttfs_fpga.hdl.datapaths.sequencer import Sequencer
from ttfs_fpga.hdl.datapaths.serial import SerialLanes
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

#: The lanes of each datapath.
LANES = {"mac": MacLanes, "serial": SerialLanes, "ramp": RampLanes}


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

    Latency: a layer that takes R updates for its events (``LayerPlan.roofline``) and has W membrane
    words takes about ``R + W`` cycles, and a few a row; ``docs/core.md`` has the details.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes. The same core runs every network that fits them.
    program : :class:`hdl.compiler.Program` or None
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
        Only with ``datapath="ramp"``: one transfer a tick of a layer's input window, when all of
        its potentials in the membrane memory are those at the end of that tick. They stay so for
        this cycle and the next.
    """

    def __init__(self, config: CoreConfig, program=None, *, late_bits: int = LAYER_CYCLES_BITS):
        if program is not None and program.config != config:
            raise ValueError("the program was compiled for another CoreConfig")
        self._config = config
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
               if config.datapath == "ramp" else {}),
        })

    @property
    def config(self) -> CoreConfig:
        """Sizes of this core."""
        return self._config

    def elaborate(self, platform):
        m = Module()
        config = self._config
        ramp = config.datapath == "ramp"

        def init(which):
            return () if self._program is None else self._program.memory_words(which)

        # Whatever may wait for something is brought back to where it began when memories change and
        # when an image is given up; the rest has nothing left to do a few cycles later.
        stop = Signal()
        startable = ResetInserter(stop)

        def submodule(name, component, restarted=False):
            m.submodules[name] = startable(component) if restarted else component
            return component

        lanes_class = LANES[config.datapath]
        loader = submodule("loader", Loader(config))
        purge = submodule("purge", Purge(config))
        guard = submodule("guard", Guard(config))
        controller = submodule("controller", Controller(
            config, init(Memory.TABLE), self._late_bits), restarted=True)
        encoder = submodule("encoder", Encoder(config, init(Memory.ENCODER)))
        source = submodule("source", SourceMap(config))
        layer_map = submodule("map", LayerMap(config))
        scanner = submodule("scanner", Scanner(config), restarted=True)
        sequencer = submodule(
            "sequencer", (RampSequencer if ramp else Sequencer)(config), restarted=True)
        weights = submodule("weights", WeightMemory(config, init(Memory.WEIGHTS)))
        lanes = submodule("lanes", lanes_class(config))
        membrane = submodule("membrane", Membrane(config, init(Memory.MEMBRANE)))
        arbiter = submodule("arbiter", MembraneArbiter(config, lanes_class))
        sweep = submodule("sweep", Sweep(config), restarted=True)
        gate = submodule("gate", LogitGate(config))
        requantiser = submodule("requantiser", Requantiser(config, init(Memory.SLOPES)))
        first_spike = submodule("first_spike", FirstSpike(config))
        final_rows = submodule("final_rows", FinalRows(config, requantiser.latency + 4))
        readout = submodule("readout", Readout(config))
        accumulating, firing = controller.accumulating, controller.firing
        entry = accumulating.entry

        # Dense layers have no rows, windows or pools: what the table says of them is the same for
        # all, and as constants it costs no logic.
        flat = {
            "chunk_last": -1, "slot_shift": config.slot_bits, "rows_last": 0, "pitch": 0,
            "pool_last": 0, "across_last": 0, "halves": 0, "destination_row": 0,
        } if ramp else {}

        def follow(consumer, fields):
            """Give a component the fields of the layer table that it works by."""
            for name in consumer.shape().members:
                m.d.comb += consumer[name].eq(flat.get(name, fields[name]))

        # Loading, and wiping what was there.
        wiring.connect(m, wiring.flipped(self.load), loader.i)
        wiring.connect(m, loader.table, controller.write)
        wiring.connect(m, loader.codes, encoder.table)
        wiring.connect(m, loader.slopes, requantiser.slopes)
        wiring.connect(m, loader.weights, weights.write)
        wiring.connect(m, loader.biases, arbiter.biases)
        wiring.connect(m, purge.o, guard.purge, membrane.purge, layer_map.purge)
        wiring.connect(m, guard.table, controller.check)
        wiring.connect(m, guard.layout, encoder.layout)
        m.d.comb += [
            loader.busy.eq(controller.busy),
            purge.changed.eq(loader.changing),
            purge.late.eq(controller.late),
            stop.eq(purge.stop),
            controller.forget.eq(loader.changing),
            encoder.forget.eq(purge.forget),
            guard.forget.eq(loader.changing),
            guard.late.eq(controller.late),
            guard.start.eq(stop),
            gate.forget.eq(stop),
            readout.forget.eq(stop),
            self.error.eq(guard.error),
        ]

        # Samples in.
        wiring.connect(m, wiring.flipped(self.i), encoder.i)
        wiring.connect(m, encoder.image, controller.image)
        m.d.comb += encoder.restart.eq(self.restart)

        # Accumulate: the source map, event by event, into the membrane.
        wiring.connect(m, source.input, encoder.map)
        wiring.connect(m, source.layers, layer_map.scan)
        wiring.connect(m, arbiter.membrane, membrane.operation)
        wiring.connect(m, arbiter.weights, weights.read)
        wiring.connect(m, arbiter.lanes, lanes.i)
        wiring.connect(m, membrane.lanes, lanes.memory)
        wiring.connect(m, sequencer.o, arbiter.updates)
        wiring.connect(m, sequencer.table, controller.descriptors)
        follow(sequencer.entry, entry)
        taken = scanner.o.valid & scanner.o.ready & ~scanner.o.p.end
        events, splitting = scanner.o, Const(0)
        if config.datapath == "serial":
            pulses = submodule("pulses", Pulses(config), restarted=True)
            wiring.connect(m, events, pulses.i)
            events, splitting = pulses.o, pulses.busy
        elif ramp:
            ordering = submodule("ordering", OrderingQueue(config), restarted=True)
            wiring.connect(m, events, ordering.i)
            wiring.connect(m, purge.o, ordering.purge)
            follow(ordering.entry, entry)
            events, splitting = ordering.o, ordering.run.busy
        wiring.connect(m, events, sequencer.i)
        m.d.comb += [
            scanner.start.eq(controller.rows.scan),
            scanner.last.eq(entry.source_last),
            scanner.row_last.eq(entry.row_last),
            *(getattr(scanner, name).eq(flat.get(name, entry[name])) for name in (
                "chunk_last", "slot_shift")),
            scanner.clears.eq(entry.clears),
            scanner.limited.eq(entry.follows & firing.previous),
            scanner.final.eq(final_rows.final),
            scanner.steal.eq(first_spike.claim & ~entry.source_input),
            source.from_input.eq(entry.source_input),
            source.scan.address.eq(scanner.map_address),
            source.scan.enable.eq(scanner.map_enable),
            scanner.map_data.eq(source.scan.data),
            layer_map.wipe.valid.eq(scanner.wipe),
            layer_map.wipe.word.eq(scanner.wipe_word),
            scanner.wiped.eq(layer_map.wipe.ready & scanner.wipe),
            accumulating.event.eq(taken),
            sequencer.run.start.eq(accumulating.start),
            sequencer.window.hold.eq(sweep.ask | sweep.rapid),
            sweep.quiet.eq(~sequencer.window.pending),
            arbiter.busy.eq(controller.busy),
            self.spikes.valid.eq(taken & ~entry.source_input),
            self.spikes.p.layer.eq(accumulating.layer),
            self.spikes.p.place.eq(scanner.o.p.place),
            self.spikes.p.code.eq(scanner.o.p.code),
        ]
        if ramp:
            m.d.comb += [
                ordering.run.start.eq(accumulating.start),
                scanner.seek.eq(accumulating.start),
                scanner.base.eq(entry.source_base),
                self.time.valid.eq(sequencer.time.valid),
                self.time.p.layer.eq(accumulating.layer),
                self.time.p.tick.eq(sequencer.time.p),
            ]
        else:
            m.d.comb += [
                # Rows of two maps take turns in a layer with a residual, each where it says.
                scanner.seek.eq(accumulating.start | (sequencer.row.begins & entry.residual)),
                scanner.base.eq(Mux(entry.residual, sequencer.row.map, entry.source_base)),
                scanner.single.eq(entry.residual),
                controller.rows.begins.eq(sequencer.row.begins),
                controller.rows.second.eq(sequencer.row.second),
                controller.rows.scanning.eq(scanner.busy),
                sequencer.window.swept.eq(sweep.left & firing.same),
            ]
        # Registered, because many flags meet here; the start is one of them, so that a half that
        # has not begun does not look ended.
        m.d.sync += accumulating.ended.eq(
            ~(accumulating.start | scanner.busy | splitting | sequencer.run.busy))

        # Fire: potentials to spike times in the layer's map, or to logits.
        wiring.connect(m, firing, final_rows.firing)
        wiring.connect(m, sweep.o, gate.i)
        wiring.connect(m, gate.candidates, requantiser.i)
        wiring.connect(m, gate.adder, requantiser.adder)
        wiring.connect(m, requantiser.o, first_spike.i)
        wiring.connect(m, first_spike.map, layer_map.compare)
        wiring.connect(m, first_spike.o, layer_map.codes)
        follow(requantiser.entry, firing.entry)
        m.d.comb += [
            sweep.start.eq(firing.start),
            *(getattr(sweep, name).eq(flat.get(name, firing.entry[name])) for name in (
                "membrane_base", "membrane_last", "sweep_last", "rows_last", "bias_base",
                "last_word", "pitch", "pool_last", "across_last", "halves",
                "destination_base", "destination_row", "spiking")),
            sweep.threshold.eq(firing.entry.fire_threshold.as_signed()),
            sweep.ready.eq(~firing.same | (sweep.row != sequencer.window.completed)),
            arbiter.sweep.valid.eq(sweep.ask),
            arbiter.sweep.word.eq(sweep.word),
            arbiter.sweep.bias.eq(sweep.bias),
            arbiter.sweep.stall.eq(sweep.stall),
            sweep.potentials.eq(arbiter.sweep.potentials),
            sweep.coming.eq(arbiter.sweep.coming),
            sweep.sweeping.eq(arbiter.sweep.sweeping),
            gate.spiking.eq(firing.entry.spiking),
            gate.settled.eq(firing.settled),
            first_spike.pooled.eq(sweep.pooled),
            layer_map.claim.eq(first_spike.claim),
            layer_map.pending.eq(first_spike.pending),
            final_rows.sweeping.eq(sweep.busy),
            final_rows.written.eq(sweep.written),
            final_rows.answered.eq(gate.answered),
        ]

        # Logits out.
        wiring.connect(m, gate.o, readout.i)
        wiring.connect(m, readout.o, wiring.flipped(self.o))
        wiring.connect(m, controller.statistics, wiring.flipped(self.statistics))
        m.d.comb += [
            controller.stalled.eq(self.o.valid & ~self.o.ready),
            self.busy.eq(controller.busy),
            self.cycles.eq(controller.statistics.p.clock),
        ]
        return m
