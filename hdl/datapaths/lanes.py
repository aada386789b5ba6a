# SPDX-License-Identifier: Apache-2.0
"""What the lanes of all datapaths have in common: their ports, and what operations mean to them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from amaranth.hdl import ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.ports import LanesPort, OperandPort
from ttfs_fpga.hdl.shapes import code_operand_shape, update_shape

__all__ = ["Lanes", "Use"]


class Use(NamedTuple):
    """What an operation is: to the lanes, and to the membrane memory."""

    #: How lanes make what they add, by the names in ``operand_shape``.
    operand: Mapping[str, ValueLike]
    #: The word is read for the last time.
    sweep: ValueLike = 0
    #: The word is only read.
    peek: ValueLike = 0


class Lanes(wiring.Component):
    """P lanes that add something to P potentials a cycle.

    In step with :class:`hdl.core.membrane.Membrane`: (0) an operation begins, and the weights'
    address is at the weight memory; (1) the weights are there; (2) what was made of them is added
    to the potentials. Additions wrap around; the compiler has shown that no final value does.

    Here is what datapaths have in common whose updates have a code. Others override it.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        Sizes.

    Members
    -------
    i : In(OperandPort(config, operand_shape(config)))
        What is added.
    memory : In(LanesPort(config))
        What the membrane memory has, and what it gets.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "i": In(OperandPort(config, self.operand_shape(config))),
            "memory": In(LanesPort(config)),
        })

    @classmethod
    def operand_shape(cls, config: CoreConfig) -> data.StructLayout:
        """How lanes are told what to add."""
        return code_operand_shape(config)

    @classmethod
    def update_shape(cls, config: CoreConfig) -> data.StructLayout:
        """What comes from the sequencer."""
        return update_shape(config)

    @classmethod
    def of_update(cls, valid: ValueLike, update: Any) -> Use:
        """What an update of :meth:`update_shape` is, if it is ``valid``."""
        return Use({"code": update.code})

    @classmethod
    def of_bias(cls, write: Any) -> Use:
        """What a write of :func:`hdl.shapes.membrane_write_shape` is."""
        return Use({"code": write.code})
