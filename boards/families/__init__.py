# SPDX-License-Identifier: Apache-2.0
"""The device families that we build for: a record each, in one table."""

import re

from amaranth.build import Platform

from ttfs_fpga.boards.cell_timing import CellTable
from ttfs_fpga.boards.families.ecp5 import ECP5
from ttfs_fpga.boards.families.family import PLL, Chip, Family
from ttfs_fpga.boards.families.ice40 import ICE40
from ttfs_sw.common.errors import FailureError

__all__ = ["ECP5", "FAMILIES", "ICE40", "PLL", "Chip", "Family", "device_timing", "family_of",
           "find_chip", "is_carry_pin", "origin"]

FAMILIES: dict[str, Family] = {family.name: family for family in (ICE40, ECP5)}


def family_of(platform: Platform) -> Family | None:
    """The family of a platform's device; None in a simulation."""
    return next((one for one in FAMILIES.values() if one.is_platform(platform)), None)


def find_chip(device: str) -> Chip | None:
    """The device that a platform or a board names; None if we have no record of it."""
    return next((chip for family in FAMILIES.values() for chip in family.chips
                 if device == chip.device or device.startswith(chip.name)), None)


def device_timing(device: str) -> CellTable:
    """What nextpnr does not time of a device's cells.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If there is no record of the device.
    """
    chip = find_chip(device)
    if chip is None:
        known = ", ".join(chip.name for family in FAMILIES.values() for chip in family.chips)
        raise FailureError(
            f"the delays of a {device} are in no table, so that no clock can be promised: add them "
            f"to boards/families, which has {known}"
        )
    return chip.cells


def origin(pin: str) -> str:
    """What a pin's cell was made from: Yosys appends the kinds of cells that it passed through."""
    marks = "|".join(mark for family in FAMILIES.values() for mark in family.cell_marks)
    endings = "|".join(ending for family in FAMILIES.values() for ending in family.cell_endings)
    name = re.split(rf"_(?:{marks})_", pin)[0]
    return re.sub(rf"_(?:{endings})$", "", name.rpartition("/")[0] or name)


def is_carry_pin(port: str) -> bool:
    """Whether a port is an end of the dedicated wire between cells of a carry chain."""
    return any(port in family.carry_pins for family in FAMILIES.values())
