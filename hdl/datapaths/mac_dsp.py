# SPDX-License-Identifier: Apache-2.0
"""Two lanes of the ``mac`` datapath in one DSP block of the iCE40 UP5K."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import LanesPort, OperandPort
from ttfs_fpga.hdl.shapes import code_operand_shape

__all__ = ["AFTER_SYNTHESIS", "BEFORE_SYNTHESIS", "MacPair"]

#: Yosys commands around ``synth_ice40``. With ``-dsp`` it takes every SB_MAC16 for one that it has
#: inferred itself: YosysHQ/yosys#2922 is a crash, Yosys 0.66 ties C, D, CE and CLK to 0 without a
#: word. Under another name the cell is left alone, and forgetting these commands is an error.
BEFORE_SYNTHESIS = """\
read_verilog -lib -D ICE40_U +/ice40/cells_sim.v
rename SB_MAC16 TTFS_MAC16
"""
#:
#: Where a register follows a product of 16 x 16, Yosys takes the block's registers in front of its
#: last sum, which nextpnr does not time: 3.5 ns on top of whatever follows. The register behind the
#: sum holds the same value in the same cycle; a block has no reset here.
AFTER_SYNTHESIS = """\
chtype -set SB_MAC16 t:TTFS_MAC16
select -set products t:SB_MAC16 r:PIPELINE_16x16_MULT_REG1=1'1 %i r:PIPELINE_16x16_MULT_REG2=1'0 %i
setparam -set TOP_8x8_MULT_REG 1'0 -set BOT_8x8_MULT_REG 1'0 @products
setparam -set PIPELINE_16x16_MULT_REG1 1'0 -set PIPELINE_16x16_MULT_REG2 1'1 @products
"""


class MacPair(wiring.Component):
    """Two lanes of ``V += w · a`` with the timing of :class:`hdl.datapaths.mac.MacLanes`.

    On an iCE40 UP5K the pair is one SB_MAC16: two 8 x 8 multipliers, each followed by a register
    and a 16-bit adder; the synthesis script needs :data:`BEFORE_SYNTHESIS` and
    :data:`AFTER_SYNTHESIS`. Everywhere else, simulators included, the same behaviour comes from
    plain arithmetic.

    nextpnr 0.11 takes every port of a DSP block for a register: it neither reports nor improves the
    path from ``potentials`` through the adder to ``sums``, of which 4.3 ns are inside the block,
    nor counts the up to 4.9 ns from weights and code to the register. docs/timing.md says who does.

    Latency: ``sums`` are the ``potentials`` of this cycle plus the product of the cycle before.
    Throughput: two products a cycle. Additions wrap around.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes. A code has at most 7 bits and a potential at most 16.

    Members
    -------
    i : In(OperandPort(config, code_operand_shape(config), 2))
        Two weights, and the code that both are multiplied by in the same cycle.
    memory : In(LanesPort(config, 2))
        Two membrane potentials, and their new values.

    Raises
    ------
    :exc:`ValueError`
        If codes or potentials are too wide for the block.
    """

    #: Widest code and potential. The multipliers are signed on both sides, so that a code needs a 0
    #: above it.
    LIMITS = (("tick_bits", 7), ("accumulator_bits", 16))

    @classmethod
    def fits(cls, config: CoreConfig) -> bool:
        """Whether a DSP block is wide enough for lanes of these sizes."""
        return all(getattr(config, name) <= limit for name, limit in cls.LIMITS)

    def __init__(self, config: CoreConfig):
        for name, limit in self.LIMITS:
            value = getattr(config, name)
            if value > limit:
                raise ValueError(f"a DSP block takes {name} of at most {limit}, not {value}")
        self._config = config
        super().__init__({
            "i": In(OperandPort(config, code_operand_shape(config), 2)),
            "memory": In(LanesPort(config, 2)),
        })

    def elaborate(self, platform):
        if getattr(platform, "device", None) == "iCE40UP5K":
            return self._elaborate_dsp()
        return self._elaborate_inferred()

    def _elaborate_inferred(self):
        m = Module()
        config = self._config
        for lane in range(2):
            # The register in a DSP block has no reset either: it is loaded in every cycle.
            product = Signal(signed(config.weight_bits + config.tick_bits),
                             name=f"product{lane}", reset_less=True)
            m.d.sync += product.eq(self.i.weights[lane] * self.i.operand.code)
            m.d.comb += self.memory.sums[lane].eq(self.memory.potentials[lane] + product)
        return m

    def _elaborate_dsp(self):
        m = Module()
        low, high = 0, 1
        weights = [Signal(signed(8), name=f"weight{lane}") for lane in range(2)]
        potentials = [Signal(signed(16), name=f"potential{lane}") for lane in range(2)]
        sums = [Signal(signed(16), name=f"sum{lane}") for lane in range(2)]
        code = Signal(8)
        m.d.comb += code.eq(self.i.operand.code)
        for lane in low, high:
            m.d.comb += [
                weights[lane].eq(self.i.weights[lane]),
                potentials[lane].eq(self.memory.potentials[lane]),
                self.memory.sums[lane].eq(sums[lane]),
            ]

        # The upper half of the block is the top one. Each half: the product of its 8 bits of A and
        # B goes through a register (8x8_MULT_REG) to the adder's lower input, C or D straight to
        # its upper input, and the adder to the output without a register.
        halves: dict[str, Const] = {}
        for half in "TOP", "BOT":
            halves |= {
                f"p_{half}_8x8_MULT_REG": Const(1, 1),
                f"p_{half}ADDSUB_LOWERINPUT": Const(1, 2),
                f"p_{half}ADDSUB_UPPERINPUT": Const(1, 1),
                f"p_{half}ADDSUB_CARRYSELECT": Const(0, 2),
                f"p_{half}OUTPUT_SELECT": Const(0, 2),
                **{f"i_{port}{half}": Const(0, 1)
                   for port in ("IRST", "ORST", "OLOAD", "OHOLD", "ADDSUB")},
            }
        m.submodules.dsp = Instance(
            "TTFS_MAC16",
            p_MODE_8x8=Const(1, 1),
            p_A_SIGNED=Const(1, 1),
            p_B_SIGNED=Const(1, 1),
            **{f"p_{port}_REG": Const(0, 1) for port in "ABCD"},
            **{f"i_{port}HOLD": Const(0, 1) for port in "ABCD"},
            **halves,
            i_CLK=ClockSignal(),
            i_CE=Const(1, 1),
            i_A=Cat(weights[low], weights[high]),
            i_B=Cat(code, code),
            i_C=potentials[high],
            i_D=potentials[low],
            i_CI=Const(0, 1),
            i_ACCUMCI=Const(0, 1),
            i_SIGNEXTIN=Const(0, 1),
            o_O=Cat(sums[low], sums[high]),
        )
        return m
