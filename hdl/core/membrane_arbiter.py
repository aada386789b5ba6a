# SPDX-License-Identifier: Apache-2.0
"""Who uses the membrane memory, and the weights with it: updates, the sweep, and the loader."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import MembranePort, OperandPort, WeightReadPort
from ttfs_fpga.hdl.shapes import bias_shape

__all__ = ["MembraneArbiter"]


class MembraneArbiter(wiring.Component):
    """Puts operations on the membrane memory one behind the other, each in the cycle it comes.

    Nobody waits here: the sequencer holds its updates in the cycles that the sweep takes, and the
    loader writes only while no image is computed. A bias is made by an update: of word 0, which is
    always 0, or of the word itself, to which it is added.

    Latency: none. What lanes are told is in step with the weights, which may come a cycle later
    than the potentials' flags (``config.weight_latency``).

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.
    lanes : type
        The datapath's lanes: the shape of updates, and how lanes make of them what they add.

    Members
    -------
    busy : In(1)
        An image is computed, so that the weights are those of updates.
    biases : In(stream.Signature(bias_shape(config), always_ready=True))
        From the loader.
    updates : In(stream.Signature(lanes.update_shape(config), always_ready=True))
        From the sequencer.
    sweep : In(MembranePort(config))
        From the sweep, the only one who gets answers.
    membrane : Out(MembranePort(config))
        To the membrane memory.
    weights : Out(WeightReadPort(config))
        To the weight memory.
    lanes : Out(OperandPort(config, ...))
        To the lanes.
    """

    def __init__(self, config: CoreConfig, lanes):
        self._config = config
        self._lanes = lanes
        super().__init__({
            "busy": In(1),
            "biases": In(stream.Signature(bias_shape(config), always_ready=True)),
            "updates": In(stream.Signature(lanes.update_shape(config), always_ready=True)),
            "sweep": In(MembranePort(config)),
            "membrane": Out(MembranePort(config)),
            "weights": Out(WeightReadPort(config)),
            "lanes": Out(OperandPort(config, lanes.operand_shape(config))),
        })

    def elaborate(self, platform):
        m = Module()
        update, bias, write = self.updates.p, self.biases.p, self.biases.p.write
        updating, making, sweep = self.updates.valid, self.biases.valid, self.sweep
        of_update = self._lanes.of_update(updating, update)
        of_bias = self._lanes.of_bias(write)
        m.d.comb += [
            self.membrane.valid.eq(making | sweep.valid | updating),
            self.membrane.load.eq(making),
            self.membrane.sweep.eq(sweep.valid | of_update.sweep),
            self.membrane.peek.eq((making & of_bias.peek) | of_update.peek),
            self.membrane.word.eq(
                Mux(making, bias.word, Mux(sweep.valid, sweep.word, update.word))),
            self.membrane.bias.eq(
                Mux(making, Mux(write.add | of_bias.peek, bias.word, 0),
                    Mux(sweep.valid, sweep.bias, update.bias))),
            self.membrane.stall.eq(sweep.stall),
            sweep.potentials.eq(self.membrane.potentials),
            sweep.updating.eq(self.membrane.updating),
            sweep.sweeping.eq(self.membrane.sweeping),
            sweep.coming.eq(self.membrane.coming),
            self.weights.address.eq(Mux(self.busy, update.weight, bias.weight)),
            self.lanes.weights.eq(self.weights.data),
        ]
        domain = m.d.comb if self._config.weight_latency == 1 else m.d.sync
        for name in self.lanes.operand.shape().members:
            domain += self.lanes.operand[name].eq(
                Mux(making, of_bias.operand[name], of_update.operand[name]))
        return m
