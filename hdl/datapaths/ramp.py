# SPDX-License-Identifier: Apache-2.0
"""The ``ramp`` datapath: spikes raise slopes, and at every tick slopes raise potentials."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from amaranth.hdl import Module, Mux, Signal, ValueLike, signed
from amaranth.lib import data

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.biases import shifted_digits
from ttfs_fpga.hdl.datapaths.datapath import Datapath, DeviceNeeds
from ttfs_fpga.hdl.datapaths.lanes import Lanes, Use
from ttfs_fpga.hdl.datapaths.ordering import OrderingQueue
from ttfs_fpga.hdl.datapaths.ramp_sequencer import RampSequencer
from ttfs_fpga.hdl.protocols import Layer
from ttfs_fpga.hdl.shapes import Memory, ramp_operand_shape, ramp_update_shape

__all__ = ["Ramp", "RampLanes"]


class RampLanes(Lanes):
    """P lanes of ``S += w`` and ``V += S`` (docs/theory.md, section 4): adders, no multiplier.

    In step with :class:`hdl.core.membrane.Membrane`: (0) an operation begins; (1) if it is an
    event's, the weights are taken as the operand; (2) the operand is added to the potential, and
    the sum may be kept as the operand of the next operation. The operand stays until it is
    replaced. So whoever updates a slope S and keeps it, and then updates a potential V, adds one to
    the other, however much later. Additions wrap around; the compiler has shown that no final value
    does.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    i : In(OperandPort(config, ramp_operand_shape()))
        What begins adds weights (``event``) or 0 (``zero``), otherwise what was kept, stage 0. With
        ``keep`` its sum is kept: then what begins in the next cycle must be neither an event nor
        ``zero``. P weights, stage 1.
    memory : In(LanesPort(config))
        What the membrane memory has, and what it gets, stage 2.
    """

    @classmethod
    def operand_shape(cls, config: CoreConfig) -> data.StructLayout:
        """How lanes are told what to add."""
        return ramp_operand_shape()

    @classmethod
    def update_shape(cls, config: CoreConfig) -> data.StructLayout:
        """What comes from the sequencer."""
        return ramp_update_shape(config)

    @classmethod
    def of_update(cls, valid: ValueLike, update: Any) -> Use:
        """What an update is, if it is ``valid``: if not, the operand stays."""
        return Use(
            {name: valid & update[name] for name in ("event", "zero", "keep")},
            sweep=valid & update.sweep, peek=valid & update.peek)

    @classmethod
    def of_bias(cls, write: Any) -> Use:
        """What a write of :func:`hdl.shapes.membrane_write_shape` is."""
        return Use(
            {"event": write.code[0], "zero": write.keep, "keep": write.keep}, peek=write.keep)

    def elaborate(self, platform):
        m = Module()
        config = self._config
        event, zero = Signal(), Signal()
        keep, keeps = Signal(), Signal()
        m.d.sync += [
            event.eq(self.i.operand.event), zero.eq(self.i.operand.zero),
            keep.eq(self.i.operand.keep), keeps.eq(keep),
        ]
        for lane in range(config.lanes):
            operand = Signal(signed(config.accumulator_bits), name=f"operand{lane}")
            with m.If(zero):
                m.d.sync += operand.eq(0)
            with m.Elif(event | keeps):
                m.d.sync += operand.eq(
                    Mux(keeps, self.memory.sums[lane], self.i.weights[lane]))
            m.d.comb += self.memory.sums[lane].eq(self.memory.potentials[lane] + operand)
        return m


class Ramp(Datapath):
    """Events come in the order of time and raise slopes; every tick, slopes raise potentials.

    What shares a walk and what comes before the first spike costs less than is reckoned here.
    """

    name = "ramp"
    summary = "adds only, dense layers"
    lanes = RampLanes
    sequencer = RampSequencer
    shows_time = True
    # Reached with one seed: 36.8 MHz. The ordering queue takes the block RAM that is left.
    devices = {"iCE40UP5K": DeviceNeeds(
        most_hz=36_000_000, in_registers=(("requantiser", "places"),))}

    def queue(self, config: CoreConfig) -> OrderingQueue:
        """Sorts events by their ticks."""
        return OrderingQueue(config)

    def queue_inputs(self, queue: Any, accumulating: Any, purge: Any) -> list[Any]:
        """The ticks of the layer; and a list for every code, which is emptied."""
        return [
            queue.entry.source_ticks.eq(accumulating.entry.source_ticks),
            *(getattr(queue.purge, name).eq(getattr(purge, name))
              for name in ("start", "active", "word")),
        ]

    def constants(self, config: CoreConfig) -> dict[str, int]:
        """Dense layers have no rows, windows, pools or runs of samples."""
        return {
            "chunk_last": -1, "slot_shift": config.slot_bits, "rows_last": 0, "pitch": 0,
            "pool_last": 0, "across_last": 0, "halves": 0, "destination_row": 0,
            "run_last": 0, "gap": 0, "residual": 0,
        }

    def purge_words(self, config: CoreConfig) -> int:
        """A list of events for every code."""
        return 1 << config.tick_bits

    def refusal(self, layer: Layer) -> str | None:
        """Convolutions and residuals."""
        if not layer.form.flat:
            return (
                f"is a convolution ({layer.kind}), and the ramp datapath runs dense layers only, "
                f"because it needs events in the order of time and a convolution needs them in "
                f"that of rows; choose the datapath mac or serial"
            )
        if layer.second_source is not None:
            return (
                "has a residual input, and the ramp datapath adds none; choose the datapath mac or "
                "serial"
            )
        return None

    def slope_words(self, row_words: int) -> int:
        """A slope for every potential."""
        return row_words

    def bias_writes(
        self, config: CoreConfig, word: int, biases: np.ndarray
    ) -> Iterator[tuple[Memory, int, int]]:
        """Weights added and doubled."""
        return shifted_digits(config, word, biases)

    def tick_updates(self, source_ticks: int, slope_words: int) -> int:
        """Every slope is read and every potential updated."""
        return (source_ticks + 1) * 2 * slope_words

    def queueing(self, codes: np.ndarray) -> np.ndarray | int:
        """No event leaves before all have been sorted."""
        return np.count_nonzero(codes, axis=1)

    def sizes(self, config: CoreConfig) -> dict[str, int]:
        """The queue has room for the largest map, and dense layers fire small ones."""
        return {"map_words": min(config.map_words, config.input_words)}
