# SPDX-License-Identifier: Apache-2.0
"""The requantiser: from a membrane potential to the activation code of its spike time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import AdderPort, WritePort, entry_layout
from ttfs_fpga.hdl.shapes import candidate_shape, code_shape

__all__ = ["Requantiser"]


class Requantiser(wiring.Component):
    """``a = min(T, (V · m + 2^(s-1)) >> s)`` of V > 0, the only multiplier of full width.

    In words of spike times: the membrane ramps with slope ``2^s / m`` a tick and fires at tick
    ``T - a``; a neuron with ``a = 0`` stays silent and gives no event. The half step is added
    after shifting by ``s - 1``: ``(x + 2^(s-1)) >> s = ((2x >> s) + 1) >> 1``, which holds for
    ``s = 0`` too, where the half step is 0.

    Latency: 6 cycles, or 7 where the product is made of two halves (``config.split_product``).
    Throughput: one potential a cycle.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    init : iterable of :class:`int`
        Initial slopes, ``m | s << 16``.

    Members
    -------
    entry : In(...)
        Of the layer table: where the slope lies, whether each channel has its own, T, and the
        threshold that candidates are above of: at least 1, because a potential of 0 never fires.
    adder : In(AdderPort(config))
        The potential of the candidate at ``i``.
    i : In(stream.Signature(candidate_shape(config), always_ready=True))
        Candidates.
    o : Out(stream.Signature(code_shape(config), always_ready=True))
        Neurons that fire, in the order of ``i``.
    busy : Out(1)
        A potential is under way.
    slopes : In(WritePort(...))
        Writes one slope.
    """

    def __init__(self, config: CoreConfig, init=()):
        self._config = config
        #: Cycles from ``i`` to ``o``.
        self.latency = 7 if config.split_product else 6
        self._init = list(init)
        super().__init__({
            "entry": In(entry_layout(
                config, ("slope_base", "per_channel", "ticks", "fire_threshold"))),
            "i": In(stream.Signature(candidate_shape(config), always_ready=True)),
            "adder": In(AdderPort(config)),
            "o": Out(stream.Signature(code_shape(config), always_ready=True)),
            "busy": Out(1),
            "slopes": In(WritePort(config.slope_address_bits, 21)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.slopes = storage = memory.Memory(
            shape=21, depth=config.slopes, init=self._init
        )
        read, write = storage.read_port(), storage.write_port()
        m.d.comb += [
            write.addr.eq(self.slopes.address),
            write.data.eq(self.slopes.data),
            write.en.eq(self.slopes.enable),
            read.en.eq(self.i.valid),
            read.addr.eq(
                self.entry.slope_base + Mux(self.entry.per_channel, self.i.p.channel, 0)),
        ]

        valid = [self.i.valid, *(Signal(name=f"valid{n}") for n in range(1, self.latency))]
        m.d.sync += [valid[n].eq(valid[n - 1]) for n in range(1, self.latency)]
        # Places wait for their codes in a memory: registers would be more than all of the shifts.
        m.submodules.places = places = memory.Memory(shape=len(self.i.p.place), depth=8, init=[])
        enter, leave = places.write_port(), places.read_port()
        number = Signal(3)
        m.d.sync += number.eq(number + 1)
        m.d.comb += [
            enter.addr.eq(number), enter.data.eq(self.i.p.place), enter.en.eq(1),
            leave.addr.eq(number - (self.latency - 2)),
        ]

        # 1: the slope comes out of its memory. A candidate's potential is positive.
        potential_bits = config.accumulator_bits - 1
        potential = self.adder.potential
        with m.If(~self.adder.hold):
            m.d.sync += potential.eq(self.i.p.above + self.entry.fire_threshold)

        # 2: registers at the multiplier's inputs, which DSP blocks have inside, as they have the
        # product's: not with a reset.
        factor = Signal(potential_bits, reset_less=True)
        slope = Signal(16, reset_less=True)
        shift = Signal(5)
        m.d.sync += [factor.eq(potential), slope.eq(read.data[:16]), shift.eq(read.data[16:])]

        # 3: the product, in two steps if that is too much for one.
        multiplied = Signal(potential_bits + 16, reset_less=True)
        shift_product = Signal(5)
        if config.split_product:
            low, high = (Signal(potential_bits + 8, reset_less=True, name=name)
                         for name in ("low", "high"))
            shift_halves = Signal(5)
            m.d.sync += [
                low.eq(factor * slope[:8]), high.eq(factor * slope[8:]), shift_halves.eq(shift),
                multiplied.eq(low + (high << 8)), shift_product.eq(shift_halves),
            ]
        else:
            m.d.sync += [multiplied.eq(factor * slope), shift_product.eq(shift)]
        # One bit to the left for the half step.
        product = Cat(Const(0, 1), multiplied)

        # 4: the coarse half of the shift. Of the bits above those that the fine half can still
        # bring down into the result, only whether one is set matters.
        result_bits = config.tick_bits + 1
        coarse_bits = result_bits + 7
        shifted = (product >> (shift_product & 0b11000))[:len(product)]
        coarse = Signal(coarse_bits)
        over = Signal()
        shift_fine = Signal(3)
        m.d.sync += [
            coarse.eq(shifted[:coarse_bits]),
            over.eq(shifted[coarse_bits:].any()),
            shift_fine.eq(shift_product[:3]),
        ]

        # 5: the fine half, and again what lies above the result.
        fine = Signal(coarse_bits)
        result = Signal(result_bits)
        over_result = Signal()
        m.d.comb += fine.eq(coarse >> shift_fine)
        m.d.sync += [result.eq(fine), over_result.eq(over | fine[result_bits:].any())]

        # 6: rounding and the clamp to the window. A result of 0 is silence.
        rounded = Signal(result_bits)
        ticks = self.entry.ticks
        m.d.comb += rounded.eq((result + 1) >> 1)
        m.d.sync += [
            self.o.valid.eq(valid[-1] & (over_result | rounded.any())),
            self.o.p.place.eq(leave.data),
            self.o.p.code.eq(Mux(over_result | (rounded > ticks), ticks, rounded)),
        ]
        m.d.comb += self.busy.eq(self.o.valid)
        for flag in valid[1:]:
            with m.If(flag):
                m.d.comb += self.busy.eq(1)
        return m
