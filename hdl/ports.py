"""What the core's components are wired with: bundles of ports that recur, each with its timing.

Every signature is seen from the side that asks: that side has it as ``Out``, the memory or
component that serves it as ``In``. Streams (``amaranth.lib.stream``) carry what :mod:`hdl.shapes`
names; here is what no stream can say: ports of memories, which answer a fixed number of cycles
later.
"""

from collections.abc import Iterable

from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.table import field_widths

__all__ = ["MapReadPort", "MembranePort", "TableReadPort", "WipePort", "WritePort", "entry_layout",
           "lanes_layout"]


def lanes_layout(config: CoreConfig) -> data.ArrayLayout:
    """One word of the membrane memory: a potential a lane."""
    return data.ArrayLayout(signed(config.accumulator_bits), config.lanes)


def entry_layout(config: CoreConfig, names: Iterable[str]) -> data.StructLayout:
    """Fields of an entry of the layer table, as wide as a core of this size keeps them.

    A component has one port ``entry`` of those that it reads; whoever has more of them connects the
    fields that both name.
    """
    widths = field_widths(config)
    return data.StructLayout({name: widths[name] for name in names})


class TableReadPort(wiring.Signature):
    """Reads a word of the layer table.

    ``data`` is what was at ``address`` in the last cycle with ``request`` and ``grant``. ``grant``
    may be withheld for a cycle, in which somebody else reads.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "request": Out(1),
            "address": Out(config.table_address_bits),
            "grant": In(1),
            "data": In(32),
        })


class MapReadPort(wiring.Signature):
    """Reads a word of a map.

    ``data`` is what was at ``address`` in the last cycle with ``enable``.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({
            "address": Out(config.map_address_bits),
            "enable": Out(1),
            "data": In(config.map_width),
        })


class WritePort(wiring.Signature):
    """Writes ``data`` to ``address`` of a memory, in each cycle with ``enable``."""

    def __init__(self, address, data):
        super().__init__({"enable": Out(1), "address": Out(address), "data": Out(data)})


class WipePort(wiring.Signature):
    """Makes a word of the map silent: ``word`` holds until ``ready`` takes it."""

    def __init__(self, config: CoreConfig):
        super().__init__({
            "valid": Out(1), "ready": In(1), "word": Out(config.map_address_bits),
        })


class MembranePort(wiring.Signature):
    """Operations on the membrane memory, and its answers ``Membrane.latency`` cycles later."""

    def __init__(self, config: CoreConfig):
        super().__init__({
            "valid": Out(1),
            "sweep": Out(1),
            "load": Out(1),
            "peek": Out(1),
            "word": Out(config.membrane_address_bits),
            "bias": Out(config.membrane_address_bits),
            "stall": Out(1),
            "potentials": In(lanes_layout(config)),
            "updating": In(1),
            "sweeping": In(1),
            "coming": In(1),
        })
