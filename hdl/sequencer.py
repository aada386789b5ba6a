"""The sequencer: from an event to the membrane updates of its whole fan-out."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import CoreConfig
from hdl.shapes import code_shape, update_shape

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Walks the fan-out of each event of a dense layer: all W words of the layer.

    Weights lie word-major: event ``j`` finds its weights for word ``u`` at
    ``weight_base + j + u * weight_stride``, so that neither a multiplication nor padding is needed.

    Bias at first touch: the updates of the first event read ``bias_base + u`` and write
    ``membrane_base + u``; all others read and write ``membrane_base + u``. No pass copies biases.

    Interleaved partial sums: in a layer of one word (W = 1) successive events would update the same
    word faster than it can be written back. So they take turns in two copies, the words
    ``membrane_base`` and ``membrane_base + 1``, and the sweep adds what they hold. The bases of
    such a layer are even; the word at ``bias_base + 1`` is 0.

    Throughput: W updates an event, one a cycle, no bubble between events. Latency: one cycle.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    start : In(1)
        A new layer begins: nothing of it is touched.
    last_word, weight_base, weight_stride, membrane_base, bias_base : In
        Fields of the layer table; must hold while events come.
    i : In(stream.Signature(code_shape(config)))
        Events.
    o : Out(stream.Signature(update_shape(config), always_ready=True))
        Updates.
    alone : Out(1)
        The layer has one word, in two copies.
    touched : Out(2)
        Either copy (the first, unless ``alone``) has had an event: its potentials are at
        ``membrane_base``, else at ``bias_base``.
    busy : Out(1)
        An event is being walked.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "last_word": In(config.membrane_address_bits),
            "weight_base": In(config.weight_address_bits),
            "weight_stride": In(config.weight_address_bits),
            "membrane_base": In(config.membrane_address_bits),
            "bias_base": In(config.membrane_address_bits),
            "i": In(stream.Signature(code_shape(config))),
            "o": Out(stream.Signature(update_shape(config), always_ready=True)),
            "alone": Out(1),
            "touched": Out(2),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        update = self.o.p
        left = Signal.like(self.last_word)  # words after this one
        final = Signal()  # there are none
        copy = Signal()
        m.d.sync += self.alone.eq(self.last_word == 0)
        m.d.comb += [
            self.o.valid.eq(self.busy),
            self.i.ready.eq(~self.busy | final),
        ]

        # One adder makes both the first weight address of an event and those that follow.
        take = Signal()
        m.d.comb += take.eq(self.i.valid & self.i.ready)
        with m.If(take | self.busy):
            m.d.sync += update.weight.eq(
                Mux(take, self.weight_base, update.weight)
                + Mux(take, self.i.p.neuron, self.weight_stride)
            )
        with m.If(take):
            m.d.sync += [
                self.busy.eq(1),
                self.touched.bit_select(copy, 1).eq(1),
                copy.eq(self.alone & ~copy),
                update.code.eq(self.i.p.code),
                update.read.eq(
                    Mux(self.touched.bit_select(copy, 1), self.membrane_base, self.bias_base)
                    | copy),
                update.write.eq(self.membrane_base | copy),
                left.eq(self.last_word),
                final.eq(self.alone),
            ]
        with m.Elif(self.busy):
            m.d.sync += [
                self.busy.eq(~final),
                update.read.eq(update.read + 1),
                update.write.eq(update.write + 1),
                left.eq(left - 1),
                final.eq(left == 1),
            ]
        with m.If(self.start):
            m.d.sync += [self.touched.eq(0), copy.eq(0)]
        return m
