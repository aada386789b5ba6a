# SPDX-License-Identifier: Apache-2.0
"""The ``serial`` datapath: every lane shifts its weight by the place of a pulse and accumulates."""

from collections.abc import Iterator

import numpy as np
from amaranth.hdl import Module, Signal, signed

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.biases import multiples
from ttfs_fpga.hdl.datapaths.datapath import Datapath, DeviceNeeds
from ttfs_fpga.hdl.datapaths.lanes import Lanes
from ttfs_fpga.hdl.datapaths.pulses import Pulses
from ttfs_fpga.hdl.datapaths.sequencer import Sequencer
from ttfs_fpga.hdl.onehot import encode
from ttfs_fpga.hdl.shapes import Memory

__all__ = ["Serial", "SerialLanes"]

#: Set bits of every code.
_POPCOUNT = np.array([code.bit_count() for code in range(256)])


class SerialLanes(Lanes):
    """P lanes of ``V += w << n``, one word of P neurons a cycle: few-spike synapses, no multiplier.

    A code of which only bit n is set is a pulse of the few-spike train of an activation (see
    :class:`hdl.datapaths.pulses.Pulses`); the pulses of one event add up to ``w · a``.

    In step with :class:`hdl.core.membrane.Membrane`, as :class:`hdl.datapaths.mac.MacLanes` is: (0)
    the code comes, and the weights' address is at the weight memory; (1) the shifted weight is
    registered; (2) it is added to the potential. Additions wrap around; the compiler has shown that
    no final value does.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    i : In(OperandPort(config, code_operand_shape(config)))
        A pulse, stage 0: exactly one bit is set in the code of an update. P weights, stage 1.
    memory : In(LanesPort(config))
        What the membrane memory has, and what it gets, stage 2.
    """

    def elaborate(self, platform):
        m = Module()
        config = self._config
        place = Signal(range(config.tick_bits))
        m.d.sync += place.eq(encode(self.i.operand.code, len(place)))
        for lane in range(config.lanes):
            shifted = Signal(
                signed(config.weight_bits + config.tick_bits - 1), name=f"shifted{lane}")
            m.d.sync += shifted.eq(self.i.weights[lane] << place)
            m.d.comb += self.memory.sums[lane].eq(self.memory.potentials[lane] + shifted)
        return m


class Serial(Datapath):
    """An event is a pulse for each set bit of its code, each one update of a word."""

    name = "serial"
    summary = "shifts and adds, a pulse for each set bit"
    lanes = SerialLanes
    sequencer = Sequencer
    # Reached with one seed: 37.3 MHz.
    devices = {"iCE40UP5K": DeviceNeeds(most_hz=36_000_000)}

    def queue(self, config: CoreConfig) -> Pulses:
        """Makes pulses of events."""
        return Pulses(config)

    def bias_writes(
        self, config: CoreConfig, word: int, biases: np.ndarray
    ) -> Iterator[tuple[Memory, int, int]]:
        """Pulses times weights: of those below what would do, the one that reaches furthest."""
        return multiples(config, word, biases, lambda code: 1 << (code.bit_length() - 1))

    def additions(self, codes: np.ndarray) -> np.ndarray:
        """Once for each set bit."""
        return _POPCOUNT[codes]
