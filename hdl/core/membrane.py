# SPDX-License-Identifier: Apache-2.0
"""The membrane memory: ``lanes`` potentials a word, biases beside them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import LanesPort, MembranePort, PurgePort

__all__ = ["Membrane"]


class Membrane(wiring.Component):
    """Memory of membrane potentials, updated or swept one word a cycle.

    Bias at first touch: beside every word a flag tells whether it was updated since it was last
    swept. A word that was not is read at ``bias`` instead, so no pass ever copies biases; sweeping
    a word clears its flag, and after an image all of them are clear again.

    Word 0 is never written, whatever a senseless layer table says: it is the 0 that biases are made
    from.

    Stages: (0) ``valid``, and the flag is read; (1) the flag is written, and tells which word is
    read: in the same cycle, or in the next one if weights take as long (``config.weight_latency``);
    last, ``potentials`` are there, with ``updating`` or ``sweeping``, and ``sums`` are written if
    ``updating``. Latency: what an operation of cycle t writes can be read by one of cycle t + 2. No
    two operations in succession may have the same word. Throughput: one operation a cycle.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial words, lane 0 in the low bits.

    Members
    -------
    operation : In(MembranePort(config))
        Operations, and what they have read.
    lanes : Out(LanesPort(config))
        What an update has read; its sums are written.
    purge : In(PurgePort(config))
        Clears flags; only while nothing is under way.
    busy : Out(1)
        An operation is between its first and its last cycle.
    """

    def __init__(self, config: CoreConfig, init=()):
        self._config = config
        #: Cycles from an operation to its ``potentials``.
        self.latency = config.weight_latency + 1
        self._init = list(init)
        super().__init__({
            "operation": In(MembranePort(config)),
            "lanes": Out(LanesPort(config)),
            "purge": In(PurgePort(config)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        # A memory for two lanes, which is what a block of an ECP5 has room for: and what a device
        # has too few block RAMs for can be made of registers.
        each = min(2, config.lanes)
        width = each * config.accumulator_bits
        storage = []
        for first in range(0, config.lanes, each):
            words = [word >> first * config.accumulator_bits & ((1 << width) - 1)
                     for word in self._init]
            storage.append(memory.Memory(shape=width, depth=config.membrane_words, init=words))
            m.submodules[f"lanes{first}"] = storage[-1]
        m.submodules.touched = touched = memory.Memory(
            shape=1, depth=config.membrane_words, init=[]
        )
        flag, mark = touched.read_port(), touched.write_port()

        # 0: the flag.
        operation = self.operation
        reading, sweep, load, peek = Signal(), Signal(), Signal(), Signal()
        word, bias = Signal.like(operation.word), Signal.like(operation.bias)
        moves = ~operation.stall
        m.d.comb += [flag.addr.eq(operation.word), flag.en.eq(operation.valid & moves)]
        with m.If(moves):
            m.d.sync += [
                reading.eq(operation.valid), sweep.eq(operation.sweep), load.eq(operation.load),
                peek.eq(operation.peek), word.eq(operation.word), bias.eq(operation.bias),
            ]

        # 1: which word.
        chosen = Signal.like(word)
        purge = self.purge
        m.d.comb += [
            chosen.eq(Mux(flag.data & ~load, word, bias)),
            mark.addr.eq(Mux(purge.active, purge.word, word)),
            mark.data.eq(~(sweep | load | purge.active)),
            mark.en.eq((reading & (sweep | ~peek)) | purge.active),
        ]
        bits = len(word)
        comes = data.StructLayout(
            {"read": 1, "update": 1, "sweep": 1, "word": bits, "address": bits})
        stage = Signal(comes)
        m.d.comb += [
            stage.read.eq(reading), stage.update.eq(reading & ~sweep & ~peek),
            stage.sweep.eq(reading & sweep & ~peek), stage.word.eq(word), stage.address.eq(chosen),
        ]
        busy = reading
        for _ in range(self._config.weight_latency - 1):
            waited = Signal(comes)
            with m.If(moves):
                m.d.sync += waited.eq(stage)
            stage = waited
            busy = busy | stage.update

        # The word is read, and then there are potentials, and sums.
        updated = Signal.like(word)
        writing = Signal()
        m.d.comb += [
            operation.coming.eq(stage.sweep),
            operation.potentials.eq(self.lanes.potentials),
            self.busy.eq(busy | operation.updating),
        ]
        with m.If(moves):
            m.d.sync += [
                writing.eq(stage.update & stage.word.any()),
                operation.updating.eq(stage.update), operation.sweeping.eq(stage.sweep),
                updated.eq(stage.word),
            ]
        for number, some in enumerate(storage):
            read, write = some.read_port(), some.write_port()
            lanes = range(number * each, (number + 1) * each)
            m.d.comb += [
                read.addr.eq(stage.address),
                read.en.eq(stage.read & moves),
                Cat(self.lanes.potentials[lane] for lane in lanes).eq(read.data),
                write.addr.eq(updated),
                write.data.eq(Cat(self.lanes.sums[lane] for lane in lanes)),
                write.en.eq(writing),
            ]
        return m
