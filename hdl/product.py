"""A product with registers at its inputs and its output: in one DSP block where that is enough."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Product"]


class Product(wiring.Component):
    """``product = a · b`` of two cycles before, both without a sign.

    On an iCE40 UP5K, with factors of at most 16 bits, this is one SB_MAC16 whose registers are
    those of its inputs and that behind the whole product; the synthesis script needs the commands
    of :mod:`hdl.mac_dsp`. Yosys 0.66 would take the registers in front of the last sum instead,
    whose 3.5 ns then come on top of whatever follows. Everywhere else, simulators included, the
    same behaviour comes from plain arithmetic.

    Latency: 2 cycles. Throughput: one product a cycle. No register has a reset: those in DSP blocks
    have none, and each is loaded in every cycle.

    Parameters
    ----------
    a_bits, b_bits : :class:`int`
        Widths of the factors.

    Members
    -------
    a, b : In
        Factors.
    product : Out
        ``a · b``, as wide as both together.
    """

    #: Widest factor of a DSP block.
    LIMIT = 16

    def __init__(self, a_bits: int, b_bits: int):
        super().__init__({"a": In(a_bits), "b": In(b_bits), "product": Out(a_bits + b_bits)})

    def elaborate(self, platform):
        if (getattr(platform, "device", None) == "iCE40UP5K"
                and max(len(self.a), len(self.b)) <= self.LIMIT):
            return self._elaborate_dsp()
        return self._elaborate_inferred()

    def _elaborate_inferred(self):
        m = Module()
        a = Signal.like(self.a, reset_less=True)
        b = Signal.like(self.b, reset_less=True)
        product = Signal.like(self.product, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
        m.d.comb += self.product.eq(product)
        return m

    def _elaborate_dsp(self):
        m = Module()
        a, b, product = Signal(16), Signal(16), Signal(32)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(product)]
        halves = {}
        for half in "TOP", "BOT":
            halves |= {
                # The product itself to the output, past the adders.
                f"p_{half}OUTPUT_SELECT": Const(3, 2),
                **{f"i_{port}{half}": Const(0, 1)
                   for port in ("IRST", "ORST", "OLOAD", "OHOLD", "ADDSUB")},
            }
        m.submodules.dsp = Instance(
            "TTFS_MAC16",
            p_A_REG=Const(1, 1),
            p_B_REG=Const(1, 1),
            p_PIPELINE_16x16_MULT_REG2=Const(1, 1),
            **{f"i_{port}HOLD": Const(0, 1) for port in "ABCD"},
            **halves,
            i_CLK=ClockSignal(),
            i_CE=Const(1, 1),
            i_A=a,
            i_B=b,
            i_C=Const(0, 16),
            i_D=Const(0, 16),
            i_CI=Const(0, 1),
            i_ACCUMCI=Const(0, 1),
            i_SIGNEXTIN=Const(0, 1),
            o_O=product,
        )
        return m
