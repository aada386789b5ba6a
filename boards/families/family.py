# SPDX-License-Identifier: Apache-2.0
"""What a device family is to us: one record of everything that its devices have in common.

Whoever builds, times, reports, programs or clocks a board asks the board's record and knows no
family by name. docs/boards.md has the recipe for another one.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol, Self

from amaranth.build import Platform
from amaranth.hdl import Elaboratable, Signal
from amaranth.lib import io

from ttfs_fpga.boards.cell_timing import CellTable

__all__ = ["PLL", "Chip", "Family"]


class PLL(Protocol):
    """Settings of a family's PLL, and the cell that has them."""

    @classmethod
    def find(cls, input_hz: int, output_hz: int) -> Self:
        """Settings that give exactly ``output_hz``.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If there are none; the message has the nearest frequencies that there are.
        """
        ...

    def instance(
        self, clock: Signal, lock: Signal, *, pad: io.PortLike | None = None,
        reference: Signal | None = None,
    ) -> Elaboratable:
        """The PLL, which drives ``clock`` and ``lock``.

        It is fed by the ``pad`` of the chip that belongs to it (:attr:`Family.pll_pads`), or by any
        clock, ``reference``.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Chip:
    """One device of a family: where it is not like the others.

    Parameters
    ----------
    device : :class:`str`
        The device, as its platform in :mod:`amaranth_boards` names it.
    cells : :class:`boards.cell_timing.CellTable`
        What nextpnr does not time of its cells, or not long enough.
    short : :class:`str`
        What it is called in names of configurations.
    speed : :class:`str`
        What follows ``device`` in a board's name of it where ``cells`` are those of one speed.
    samples : :class:`int`
        Samples that its cores take at once: small networks take fewer cycles than an image has
        samples, and block RAM that feeds many lanes does too.
    before_synthesis, after_synthesis : :class:`str`
        Yosys commands around synthesis.
    """

    device: str
    cells: CellTable
    short: str
    speed: str = ""
    samples: int = 2
    before_synthesis: str = ""
    after_synthesis: str = ""

    @property
    def name(self) -> str:
        """How :attr:`boards.registry.Board.device` begins on boards that have it."""
        return self.device + self.speed


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """A family of devices that the same tools build for. There is one record of each.

    Parameters
    ----------
    name : :class:`str`
        Its name, as the tools have it.
    tools : mapping
        Tools that a build needs, in the order in which it runs them, and the Python package of
        each that has it in WebAssembly.
    bitstream_suffix : :class:`str`
        Ending of the file that programmers take.
    preamble : :class:`bytes`
        What a bitstream has near its start.
    is_platform : callable
        Whether a platform is of this family.
    chips : tuple of :class:`Chip`
        Its devices.
    pll : subclass of :class:`PLL`, optional
        Its PLL.
    pll_pads : mapping
        The pin that feeds the PLL directly, by device and package as the platform names them. Any
        other pin's clock comes to the PLL through the fabric.
    flash_clock : callable, optional
        Makes the cell that drives the clock of the flash that the device is configured from, where
        that is no ordinary pin.
    cell_marks : tuple of :class:`str`
        Kinds of cells that Yosys appends to the name of what it has made them from.
    cell_endings : tuple of :class:`str`
        What nextpnr's packer appends to the name of a cell.
    carry_pins : tuple of :class:`str`
        Ends of the dedicated wires between neighbouring cells of a carry chain.
    """

    name: str
    tools: Mapping[str, str]
    bitstream_suffix: str
    preamble: bytes
    is_platform: Callable[[Platform], bool]
    chips: tuple[Chip, ...]
    pll: type[PLL] | None = None
    pll_pads: Mapping[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    flash_clock: Callable[[Signal], Elaboratable] | None = None
    cell_marks: tuple[str, ...] = ()
    cell_endings: tuple[str, ...] = ()
    carry_pins: tuple[str, ...] = ()

    def at_pll_pad(self, platform: Platform) -> bool:
        """Whether the oscillator is at the pin that belongs to the PLL."""
        (pins,) = platform.lookup(platform.default_clk).ios
        return pins.names == [self.pll_pads.get((platform.device, platform.package))]
