# SPDX-License-Identifier: Apache-2.0
"""The loader: a write to any memory of the network, from the core's one load port."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import WritePort
from ttfs_fpga.hdl.shapes import Memory, bias_shape, load_shape

__all__ = ["Loader"]


class Loader(wiring.Component):
    """Takes one write at a time, while no image is computed, and gives it to its memory.

    Throughput: a write takes two cycles. In the first one images are forgotten, so that none can
    begin; in the second one it is taken and written.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    i : In(stream.Signature(load_shape()))
        Writes.
    busy : In(1)
        An image is computed.
    changing : Out(1)
        A write is offered, and will be taken.
    table, codes, slopes : Out(WritePort(...))
        Of the layer table, of the encoder's table, and of the requantiser's.
    weights : Out(WritePort(...))
        A part of the weight word that ``biases`` says.
    biases : Out(stream.Signature(bias_shape(config), always_ready=True))
        Biases, which are made by membrane operations, because a second way into the membrane memory
        would cost a multiplexer of its whole width.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(load_shape())),
            "busy": In(1),
            "changing": Out(1),
            "table": Out(WritePort(config.table_address_bits, 32)),
            "codes": Out(WritePort(8, config.tick_bits)),
            "slopes": Out(WritePort(config.slope_address_bits, 21)),
            "weights": Out(WritePort(max(1, ceil_log2(config.weight_parts)), 32)),
            "biases": Out(stream.Signature(bias_shape(config), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        write = self.i.p
        second = Signal()  # the cycle in which a write is taken
        m.d.comb += [self.changing.eq(self.i.valid & ~self.busy), self.i.ready.eq(second)]
        m.d.sync += second.eq(self.changing & ~second)

        def written(memory):
            """The write is taken in this cycle, and it is one of that memory."""
            meant = Signal(name=f"meant_{memory.name.lower()}")
            m.d.sync += meant.eq(self.changing & ~second & (write.memory == memory))
            return self.i.valid & meant

        part_bits = exact_log2(self._config.weight_parts)
        for memory, port in (
            (Memory.TABLE, self.table), (Memory.ENCODER, self.codes), (Memory.SLOPES, self.slopes),
        ):
            m.d.comb += [
                port.enable.eq(written(memory)),
                port.address.eq(write.address),
                port.data.eq(write.data),
            ]
        m.d.comb += [
            self.weights.enable.eq(written(Memory.WEIGHTS)),
            self.weights.address.eq(write.address[:part_bits]),
            self.weights.data.eq(write.data),
            self.biases.valid.eq(written(Memory.MEMBRANE)),
            self.biases.p.word.eq(write.address),
            self.biases.p.weight.eq(write.address[part_bits:]),
            self.biases.p.write.as_value().eq(write.data),
        ]
        return m
