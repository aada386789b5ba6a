# SPDX-License-Identifier: Apache-2.0
"""What the searches for a PLL's settings have in common."""

import math
from collections.abc import Mapping
from typing import TypeVar

from ttfs_sw.common.errors import InputError

__all__ = ["exactly"]

Settings = TypeVar("Settings")


def exactly(found: Mapping[float, Settings], input_hz: int, output_hz: int) -> Settings:
    """The settings in ``found``, by frequency, that give ``output_hz``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If there are none; the message has the nearest frequencies that there are.
    """
    for frequency, settings in found.items():
        if math.isclose(frequency, output_hz, rel_tol=1e-9):
            return settings
    near = sorted(found, key=lambda frequency: abs(frequency - output_hz))[:2]
    raise InputError(
        f"the PLL cannot make {output_hz / 1e6:g} MHz from {input_hz / 1e6:g} MHz: the nearest "
        f"clock_hz are {' and '.join(f'{frequency:.0f}' for frequency in sorted(near))}"
    )
