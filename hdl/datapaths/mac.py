# SPDX-License-Identifier: Apache-2.0
"""The ``mac`` datapath: every lane multiplies its weight by the event's code and accumulates."""

from collections.abc import Iterator

import numpy as np
from amaranth.hdl import Module, Signal, signed

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.biases import multiples
from ttfs_fpga.hdl.datapaths.datapath import Datapath
from ttfs_fpga.hdl.datapaths.lanes import Lanes
from ttfs_fpga.hdl.datapaths.mac_dsp import MacPair
from ttfs_fpga.hdl.datapaths.sequencer import Sequencer
from ttfs_fpga.hdl.shapes import Memory

__all__ = ["Mac", "MacLanes"]

#: Lanes that share a DSP block of the iCE40 UP5K, in pairs: it has eight, and the requantiser's
#: multiplier takes one of them.
PAIRS = 7


class MacLanes(Lanes):
    """P lanes of ``V += w · a`` (docs/theory.md, section 4), one word of P neurons a cycle.

    In step with :class:`hdl.core.membrane.Membrane`: (0) the code comes, and the weights' address
    is at the weight memory; (1) the product of weight and code is registered; (2) it is added to
    the potential. Additions wrap around; the compiler has shown that no final value does.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    i : In(OperandPort(config, code_operand_shape(config)))
        Activation code of an update, stage 0; P weights, stage 1.
    memory : In(LanesPort(config))
        What the membrane memory has, and what it gets, stage 2.
    """

    def elaborate(self, platform):
        m = Module()
        config = self._config
        code = Signal(config.tick_bits)
        m.d.sync += code.eq(self.i.operand.code)
        pairs = min(config.lanes // 2, PAIRS) if MacPair.fits(config) else 0
        for pair in range(pairs):
            m.submodules[f"pair{pair}"] = both = MacPair(config)
            m.d.comb += both.i.operand.code.eq(code)
            for n in range(2):
                m.d.comb += [
                    both.i.weights[n].eq(self.i.weights[2 * pair + n]),
                    both.memory.potentials[n].eq(self.memory.potentials[2 * pair + n]),
                    self.memory.sums[2 * pair + n].eq(both.memory.sums[n]),
                ]
        for lane in range(2 * pairs, config.lanes):
            product = Signal(signed(config.weight_bits + config.tick_bits), name=f"product{lane}")
            m.d.sync += product.eq(self.i.weights[lane] * code)
            m.d.comb += self.memory.sums[lane].eq(self.memory.potentials[lane] + product)
        return m


class Mac(Datapath):
    """An event is one update of a word, times its code."""

    name = "mac"
    summary = "multiplies"
    multipliers = "one a lane"
    lanes = MacLanes
    sequencer = Sequencer

    def bias_writes(
        self, config: CoreConfig, word: int, biases: np.ndarray
    ) -> Iterator[tuple[Memory, int, int]]:
        """Codes times weights."""
        return multiples(config, word, biases)
