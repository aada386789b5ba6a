# SPDX-License-Identifier: Apache-2.0
"""The encoder: from samples to activation codes in one of two banks of the input map."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.maps import SpikeMap
from ttfs_fpga.hdl.ports import ImageLayoutPort, ImagePort, MapReadPort, WritePort
from ttfs_fpga.hdl.shapes import sample_shape

__all__ = ["Encoder"]


class Encoder(wiring.Component):
    """Takes the samples of an image in raster order and keeps their codes until they are used.

    The code table is the only encoder, whatever the dataset. Two banks: one image is received while
    another one is computed. Throughput: one transfer a cycle, which is one sample, or two where
    ``config.samples`` is 2. Singles and pairs may be mixed, if a pair begins at an even place of a
    run and does not go beyond its end; others are put in wrong places. Latency: an image is
    ``full`` two cycles after its last sample.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial code table.

    Members
    -------
    layout : In(ImageLayoutPort(config))
        Where samples lie in their bank; and whether there is a network to take them for.
    restart : In(1)
        Forget the samples of an unfinished image.
    forget : In(1)
        Forget finished images too.
    i : In(stream.Signature(sample_shape(config)))
        Samples.
    image : Out(ImagePort())
        The oldest image.
    map : In(MapReadPort(config))
        Reads the bank of it.
    table : In(WritePort(...))
        Writes one entry of the code table. No sample is taken meanwhile.
    """

    def __init__(self, config: CoreConfig, init=()):
        self._config = config
        self._init = list(init)
        super().__init__({
            "layout": In(ImageLayoutPort(config)),
            "restart": In(1),
            "forget": In(1),
            "i": In(stream.Signature(sample_shape(config))),
            "image": Out(ImagePort()),
            "map": In(MapReadPort(config)),
            "table": In(WritePort(8, config.tick_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        # A bank is a power of two deep, so that bank and address are put side by side.
        bank_bits = (config.input_words - 1).bit_length()
        m.submodules.table = table = memory.Memory(
            shape=config.tick_bits, depth=256, init=self._init
        )
        lookup, write = table.read_port(), table.write_port()
        pairs = config.samples == 2
        m.submodules.map = spikes = SpikeMap(config, depth=2 << bank_bits, pairs=pairs)

        filled = Signal(2)  # banks that hold a whole image
        write_bank, read_bank = Signal(), Signal()
        position = Signal.like(self.layout.last)  # place of the next sample
        run = Signal.like(self.layout.run_last)  # number of the sample within its run

        # Of the last sample of a transfer: a pair begins at an even place, and so one bit differs.
        ends_at, ends_in_run, samples = position, run, 1
        if pairs:
            pair = self.i.p.pair
            ends_at, ends_in_run, samples = position | pair, run | pair, 1 + pair

        take = Signal()
        last = Signal()  # the transfer offered is the last of its image
        m.d.comb += [
            self.i.ready.eq(
                self.layout.valid & ~filled.bit_select(write_bank, 1) & ~self.table.enable),
            take.eq(self.i.valid & self.i.ready),
            last.eq(ends_at == self.layout.last),
            lookup.addr.eq(self.i.p.value),
            lookup.en.eq(take),
            write.addr.eq(self.table.address),
            write.data.eq(self.table.data),
            write.en.eq(self.table.enable),
            self.image.full.eq(filled.bit_select(read_bank, 1)),
        ]

        # The code leaves the table one cycle after its sample: so does everything beside it.
        taken, taken_last, raw = Signal(), Signal(), Signal()
        code = Signal(config.tick_bits)
        place = Signal(len(spikes.write.place))
        bank_width = len(place) - 1
        m.d.sync += [
            taken.eq(take & ~self.restart & ~self.forget),
            taken_last.eq(last),
            raw.eq(self.i.p.raw),
            code.eq(self.i.p.value),
            place.eq(Cat(position[:bank_width], write_bank)),
        ]
        m.d.comb += [
            spikes.write.enable.eq(taken),
            # Nothing of an earlier, larger image stays behind the last sample.
            spikes.write.alone.eq(place[:config.slot_bits] == 0),
            spikes.write.place.eq(place),
            spikes.write.code.eq(Mux(raw, code, lookup.data)),
            spikes.read.address.eq(Cat(self.map.address[:bank_bits], read_bank)),
            spikes.read.enable.eq(self.map.enable),
            self.map.data.eq(spikes.read.data),
        ]

        if pairs:
            second = table.read_port()
            second_code = Signal.like(code)
            m.d.comb += [
                second.addr.eq(self.i.p.second),
                second.en.eq(take),
                spikes.write.second.eq(Mux(raw, second_code, second.data)),
            ]
            m.d.sync += [second_code.eq(self.i.p.second), spikes.write.pair.eq(pair)]

        with m.If(take):
            run_ends = ends_in_run == self.layout.run_last
            m.d.sync += [
                position.eq(position + samples + Mux(run_ends, self.layout.gap, 0)),
                run.eq(Mux(run_ends, 0, run + samples)),
            ]
            with m.If(last):
                m.d.sync += [position.eq(0), run.eq(0)]
        with m.If(taken & taken_last):
            m.d.sync += filled.bit_select(place[-1], 1).eq(1)
        with m.If(take & last & ~self.restart):
            m.d.sync += write_bank.eq(~write_bank)
        with m.If(self.image.release):
            m.d.sync += [filled.bit_select(read_bank, 1).eq(0), read_bank.eq(~read_bank)]
        with m.If(self.restart | self.forget):
            m.d.sync += [position.eq(0), run.eq(0)]
        with m.If(self.forget):
            m.d.sync += [filled.eq(0), write_bank.eq(0), read_bank.eq(0)]
        return m
