"""The core: one image in, spikes and logits out, driven by the layer table."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ttfs_fpga.hdl.config import LAYER_CYCLES_BITS, CoreConfig
from ttfs_fpga.hdl.core.controller import Controller
from ttfs_fpga.hdl.core.encoder import Encoder
from ttfs_fpga.hdl.core.first_spike import FirstSpike
from ttfs_fpga.hdl.core.guard import CoreError, Guard
from ttfs_fpga.hdl.core.maps import SpikeMap
from ttfs_fpga.hdl.core.membrane import Membrane
from ttfs_fpga.hdl.core.readout import Readout
from ttfs_fpga.hdl.core.requantiser import Requantiser
from ttfs_fpga.hdl.core.scanner import Scanner
from ttfs_fpga.hdl.core.sweep import Sweep
from ttfs_fpga.hdl.core.weights import WeightMemory
from ttfs_fpga.hdl.datapaths.mac import MacLanes
from ttfs_fpga.hdl.datapaths.ordering import OrderingQueue
from ttfs_fpga.hdl.datapaths.pulses import Pulses
from ttfs_fpga.hdl.datapaths.ramp import RampLanes
from ttfs_fpga.hdl.datapaths.ramp_sequencer import RampSequencer
from ttfs_fpga.hdl.datapaths.sequencer import Sequencer
from ttfs_fpga.hdl.datapaths.serial import SerialLanes
from ttfs_fpga.hdl.ports import purge_words
from ttfs_fpga.hdl.shapes import (
    Memory,
    load_shape,
    logit_shape,
    membrane_write_shape,
    sample_shape,
    spike_shape,
    statistics_shape,
    time_shape,
)
from ttfs_fpga.hdl.table import Operation

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

        def init(which):
            return () if self._program is None else self._program.memory_words(which)

        # Whatever may wait for something is brought back to where it began when memories change and
        # when an image is given up; the rest has nothing left to do a few cycles later.
        stop = Signal()
        startable = ResetInserter(stop)
        controller = Controller(config, init(Memory.TABLE), self._late_bits)
        ramp = config.datapath == "ramp"
        scanner, sweep = Scanner(config), Sweep(config)
        sequencer = (RampSequencer if ramp else Sequencer)(config)
        m.submodules.controller = startable(controller)
        m.submodules.encoder = encoder = Encoder(config, init(Memory.ENCODER))
        m.submodules.map = spike_map = SpikeMap(config, config.map_words)
        m.submodules.scanner = startable(scanner)
        m.submodules.sequencer = startable(sequencer)
        m.submodules.weights = weights = WeightMemory(config, init(Memory.WEIGHTS))
        m.submodules.lanes = lanes = LANES[config.datapath](config)
        m.submodules.membrane = membrane = Membrane(config, init(Memory.MEMBRANE))
        m.submodules.sweep = startable(sweep)
        m.submodules.requantiser = requantiser = Requantiser(config, init(Memory.SLOPES))
        m.submodules.first_spike = first_spike = FirstSpike(config)
        m.submodules.readout = readout = Readout(config)
        entry, firing = controller.entry, controller.firing

        # Dense layers have no rows, windows or pools: what the table says of them is the same for
        # all, and as constants it costs no logic.
        flat = {
            "chunk_last": -1, "slot_shift": config.slot_bits, "rows_last": 0, "pitch": 0,
            "pool_last": 0, "across_last": 0, "halves": 0, "destination_row": 0,
        } if ramp else {}

        # Samples in, logits out.
        wiring.connect(m, wiring.flipped(self.i), encoder.i)
        wiring.connect(m, readout.o, wiring.flipped(self.o))
        wiring.connect(m, controller.statistics, wiring.flipped(self.statistics))
        m.d.comb += [
            encoder.restart.eq(self.restart),
            encoder.image.release.eq(controller.release),
            self.busy.eq(controller.busy),
        ]

        # Accumulate: the source map, event by event, into the membrane. Which map that is, is known
        # long before its first word comes: a copy for the data alone is not far from them.
        from_input = Signal()
        m.d.sync += from_input.eq(entry.source_input)
        taken = scanner.o.valid & scanner.o.ready & ~scanner.o.p.end
        operation = sequencer.o
        events, splitting = scanner.o, Const(0)
        if config.datapath == "serial":
            pulses = Pulses(config)
            m.submodules.pulses = startable(pulses)
            wiring.connect(m, events, pulses.i)
            events, splitting = pulses.o, pulses.busy
        elif ramp:
            ordering = OrderingQueue(config)
            m.submodules.ordering = startable(ordering)
            wiring.connect(m, events, ordering.i)
            events, splitting = ordering.o, ordering.busy
        wiring.connect(m, events, sequencer.i)
        m.d.comb += [
            *(getattr(sequencer, name).eq(entry[name]) for name in sequencer.FIELDS),
            scanner.start.eq(controller.scan),
            scanner.last.eq(entry.source_last),
            scanner.row_last.eq(entry.row_last),
            *(getattr(scanner, name).eq(flat.get(name, entry[name])) for name in (
                "chunk_last", "slot_shift")),
            scanner.clears.eq(entry.clears),
            scanner.limited.eq(entry.follows & controller.previous),
            scanner.steal.eq(first_spike.claim & ~entry.source_input),
            encoder.map.address.eq(scanner.map_address),
            encoder.map.enable.eq(scanner.map_enable),
            spike_map.read.address.eq(
                Mux(first_spike.claim, first_spike.map.address, scanner.map_address)),
            spike_map.read.enable.eq(
                first_spike.map.enable | (scanner.map_enable & ~entry.source_input)),
            scanner.map_data.eq(Mux(from_input, encoder.map.data, spike_map.read.data)),
            controller.event.eq(taken),
            sequencer.start.eq(controller.accumulate),
            controller.ask.eq(sequencer.ask),
            controller.address.eq(sequencer.address),
            sequencer.words.eq(controller.words),
            sequencer.hold.eq(sweep.ask | sweep.rapid),
            sweep.quiet.eq(~sequencer.walking),
            membrane.operation.stall.eq(sweep.stall),
            # The sweep's reads go between the updates, one each.
            lanes.i.weights.eq(weights.read.data),
            self.spikes.valid.eq(taken & ~entry.source_input),
            self.spikes.p.layer.eq(controller.layer),
            self.spikes.p.place.eq(scanner.o.p.place),
            self.spikes.p.code.eq(scanner.o.p.code),
        ]
        if ramp:
            m.d.comb += [
                ordering.start.eq(controller.accumulate),
                ordering.ticks.eq(entry.source_ticks),
                membrane.operation.sweep.eq(sweep.ask | (operation.valid & operation.p.sweep)),
                scanner.seek.eq(controller.accumulate),
                scanner.base.eq(entry.source_base),
                self.time.valid.eq(sequencer.ticked),
                self.time.p.layer.eq(controller.layer),
                self.time.p.tick.eq(sequencer.tick),
            ]
        else:
            m.d.comb += [
                # Rows of two maps take turns in a layer with a residual, each where it says.
                scanner.seek.eq(controller.accumulate | (sequencer.begins & entry.residual)),
                scanner.base.eq(Mux(entry.residual, sequencer.row_map, entry.source_base)),
                scanner.single.eq(entry.residual),
                controller.row.eq(sequencer.begins),
                controller.second.eq(sequencer.second),
                controller.scanning.eq(scanner.busy),
                sequencer.depthwise.eq(entry.operation == Operation.DEPTHWISE),
                sequencer.stolen.eq(controller.own),
                sequencer.swept.eq(sweep.left & controller.same),
                membrane.operation.sweep.eq(sweep.ask),
            ]
        # Registered, because many flags meet here; the start is one of them, so that a half that
        # has not begun does not look ended.
        m.d.sync += controller.accumulated.eq(
            ~(controller.accumulate | scanner.busy | splitting | sequencer.busy))

        # Maps are silent before they are written, because whoever reads them last wipes them. After
        # a load, a reset, or when an image was given up, all of the memory is wiped, and the flags
        # of the membrane memory with it. Meanwhile the layer table is looked through.
        slot_bits = config.slot_bits
        purging = Signal(init=1)
        last_word = purge_words(config) - 1
        purge_word = Signal(range(purge_words(config)))
        m.submodules.guard = guard = Guard(config)
        wiring.connect(m, guard.layout, encoder.layout)
        wiring.connect(m, membrane.lanes, lanes.memory)
        written = self.load.valid & ~controller.busy
        m.d.sync += [
            stop.eq(written | controller.late),
            controller.full.eq(
                encoder.image.full & ~(controller.release | written | controller.late)),
        ]
        m.d.comb += [
            controller.forget.eq(written),
            controller.waits.eq(self.o.valid & ~self.o.ready),
            controller.check.eq(guard.table.request),
            controller.check_address.eq(purge_word),
            readout.forget.eq(stop),
            membrane.purge.active.eq(purging),
            membrane.purge.word.eq(purge_word),
            guard.forget.eq(written),
            guard.late.eq(controller.late),
            guard.start.eq(stop),
            guard.purge.active.eq(purging),
            guard.purge.word.eq(purge_word),
            guard.table.data.eq(controller.words),
            encoder.forget.eq(written | controller.late),
            self.error.eq(guard.error),
        ]
        if ramp:
            m.d.comb += [ordering.forget.eq(purging), ordering.forget_code.eq(purge_word)]
        with m.If(stop):
            m.d.sync += [purging.eq(1), purge_word.eq(0)]
        with m.Elif(purging):
            m.d.sync += [
                purge_word.eq(purge_word + 1), purging.eq(purge_word != last_word),
            ]

        # Fire: potentials to spike times in the layer's map, or to logits. These go through the
        # requantiser's adder, and so are there a cycle later. The last one ends the image: it waits
        # there for rows of the source that reach no output.
        added, added_last, passes = Signal(), Signal(), Signal()
        m.d.comb += passes.eq(readout.i.ready & (~added_last | controller.settled))
        with m.If(passes):
            m.d.sync += [
                added.eq(sweep.o.valid & ~firing.spiking),
                added_last.eq(sweep.o.valid & ~firing.spiking & sweep.o.p.last),
            ]
        with m.If(stop):
            m.d.sync += [added.eq(0), added_last.eq(0)]
        m.d.comb += [
            sweep.start.eq(controller.fire),
            *(getattr(sweep, name).eq(flat.get(name, firing[name])) for name in (
                "membrane_base", "membrane_last", "sweep_last", "rows_last", "bias_base",
                "last_word", "pitch", "pool_last", "across_last", "halves",
                "destination_base", "destination_row", "spiking")),
            sweep.threshold.eq(firing.fire_threshold.as_signed()),
            sweep.ready.eq(~controller.same | (sweep.row != sequencer.completed)),
            sweep.potentials.eq(membrane.operation.potentials),
            sweep.coming.eq(membrane.operation.coming),
            sweep.sweeping.eq(membrane.operation.sweeping),
            requantiser.entry.slope_base.eq(firing.slope_base),
            requantiser.entry.per_channel.eq(firing.per_channel),
            requantiser.entry.ticks.eq(firing.ticks),
            requantiser.i.p.eq(sweep.o.p),
            requantiser.i.valid.eq(sweep.o.valid & firing.spiking),
            requantiser.entry.fire_threshold.eq(firing.fire_threshold),
            requantiser.adder.hold.eq(~firing.spiking & ~passes),
            readout.i.p.potential.eq(requantiser.adder.potential),
            readout.i.p.last.eq(added_last),
            readout.i.valid.eq(added & (~added_last | controller.settled)),
            sweep.o.ready.eq(firing.spiking | readout.i.ready),
            first_spike.pooled.eq(sweep.pooled),
            first_spike.i.valid.eq(requantiser.o.valid),
            first_spike.i.p.eq(requantiser.o.p),
            first_spike.map.data.eq(spike_map.read.data),
            spike_map.write.enable.eq(first_spike.o.valid),
            scanner.wiped.eq(scanner.wipe & ~first_spike.pending),
            spike_map.write.clear.eq(scanner.wiped | purging),
            spike_map.write.code.eq(first_spike.o.p.code),
            spike_map.write.place.eq(Mux(
                purging, purge_word[:config.map_address_bits] << slot_bits,
                Mux(first_spike.pending, first_spike.o.p.place, scanner.wipe_word << slot_bits))),
        ]

        # A row of the map is final when its last candidate has gone all the way.
        way = Signal(requantiser.latency + 4)
        m.d.sync += way.eq(Cat(sweep.written, way))
        # Until its map is known none of it may be read.
        with m.If(controller.attach):
            m.d.sync += scanner.final.eq(0)
        with m.Elif(controller.fire):
            m.d.sync += scanner.final.eq(firing.destination_base)
        with m.Elif(way[-1]):
            m.d.sync += scanner.final.eq(scanner.final + firing.final_step)

        answered = readout.i.valid & readout.i.ready & readout.i.p.last
        quiet = Signal()
        m.d.sync += quiet.eq(~(controller.fire | sweep.busy | way.any()))
        m.d.comb += [
            controller.fired.eq(Mux(firing.spiking, quiet, answered)),
            self.cycles.eq(controller.statistics.p.clock),
        ]

        self._elaborate_load(
            m, controller, encoder, requantiser, membrane, weights, sequencer, sweep, lanes
        )
        return m

    def _elaborate_load(
        self, m, controller, encoder, requantiser, membrane, weights, sequencer, sweep, lanes
    ):
        config = self._config
        load = self.load
        write = load.p
        # A write is taken in its second cycle. In its first one images are forgotten, so that none
        # can begin.
        wanted, second = Signal(), Signal()
        m.d.comb += wanted.eq(load.valid & ~controller.busy)
        m.d.sync += second.eq(wanted & ~second)
        which = {memory: Signal(name=f"load_{memory.name.lower()}") for memory in Memory}
        for memory, chosen in which.items():
            meant = Signal(name=f"meant_{memory.name.lower()}")
            m.d.sync += meant.eq(wanted & ~second & (load.p.memory == memory))
            m.d.comb += chosen.eq(load.valid & meant)
        part_bits = exact_log2(config.weight_parts)
        making = which[Memory.MEMBRANE]
        operation = sequencer.o
        ramp = config.datapath == "ramp"
        made = membrane_write_shape()(write.data[:membrane_write_shape().size])
        keep = made.keep if ramp else 0
        m.d.comb += [
            load.ready.eq(second),
            controller.load.eq(which[Memory.TABLE]),
            controller.load_address.eq(write.address),
            controller.load_data.eq(write.data),
            encoder.table.enable.eq(which[Memory.ENCODER]),
            encoder.table.address.eq(write.address),
            encoder.table.data.eq(write.data),
            requantiser.slopes.enable.eq(which[Memory.SLOPES]),
            requantiser.slopes.address.eq(write.address),
            requantiser.slopes.data.eq(write.data),
            # Biases are made by updates, because a second way into the membrane memory would cost a
            # multiplexer of its whole width.
            membrane.operation.valid.eq(making | sweep.ask | operation.valid),
            membrane.operation.load.eq(making),
            membrane.operation.word.eq(Mux(
                making, write.address, Mux(sweep.ask, sweep.word, operation.p.word))),
            membrane.operation.bias.eq(Mux(
                making, Mux(made.add | keep, write.address, 0),
                Mux(sweep.ask, sweep.bias, operation.p.bias))),
            weights.write.enable.eq(which[Memory.WEIGHTS]),
            weights.write.address.eq(write.address[:part_bits] if part_bits else 0),
            weights.write.data.eq(write.data),
            weights.read.address.eq(Mux(
                controller.busy, operation.p.weight, write.address[part_bits:])),
        ]
        if ramp:
            m.d.comb += membrane.operation.peek.eq(
                (making & keep) | (operation.valid & operation.p.peek))
            begins = {
                "event": Mux(making, made.code[0], operation.valid & operation.p.event),
                "zero": Mux(making, keep, operation.valid & operation.p.zero),
                "keep": Mux(making, keep, operation.valid & operation.p.keep),
            }
        else:
            begins = {"code": Mux(making, made.code, operation.p.code)}
        # In step with the weights, which may come a cycle later.
        domain = m.d.comb if config.weight_latency == 1 else m.d.sync
        for name, value in begins.items():
            domain += getattr(lanes.i.operand, name).eq(value)
