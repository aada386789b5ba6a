# SPDX-License-Identifier: Apache-2.0
"""The compiler: from a network of integers to the memories of a core, in three passes.

First every layer is measured, then it gets its place, then the words of all memories are written;
no pass asks a later one. Every width and every depth is checked here, once, so that the hardware
need not: what does not fit is refused with the layer, the memory and the amount.
"""

import math

from ttfs_fpga.hdl.compiler.inspection import check_table
from ttfs_fpga.hdl.compiler.limits import check_cycles, check_layers
from ttfs_fpga.hdl.compiler.measure import measure
from ttfs_fpga.hdl.compiler.place import place
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.compiler.refusal import DoesNotFit
from ttfs_fpga.hdl.compiler.write import write
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.protocols import Network
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import TooWide

__all__ = ["compile_network"]


def compile_network(network: Network, config: CoreConfig, *, spare: bool = True) -> Program:
    """Lay a network out in the memories of a core.

    Parameters
    ----------
    network : :class:`hdl.protocols.Network`
        Integers, shapes and slopes of every layer.
    config : :class:`hdl.CoreConfig`
        Sizes of the core.
    spare : :class:`bool`
        Whether windows get more rows than they need, where there is room.

    Raises
    ------
    :exc:`DoesNotFit`
        If a layer needs an operation, a width or a memory that the core does not have.
    :exc:`hdl.compiler.inspection.BadTable`
        Never, unless there is a fault in this package: what was compiled does not stay within the
        core's memories.
    """
    check_layers(network, config)
    measures = measure(network, config)
    placements = place(measures, config, spare=spare)
    check_cycles(placements, config)
    try:
        memories = write(network, config, placements)
    except TooWide as error:
        raise DoesNotFit(str(error)) from error
    # What this finds wrong is wrong with the compiler, and no reason to refuse a network.
    check_table(memories[Memory.TABLE], config, placements)
    return Program(config, math.prod(network.input_shape), network.input_ticks, tuple(placements),
                   memories)
