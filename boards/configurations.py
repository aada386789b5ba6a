# SPDX-License-Identifier: Apache-2.0
"""The cores we build: which sizes of a core each device carries, in one table.

``lanes`` times ``weight_bits`` is the width of a word of weights, and so what the device must give
in a cycle. Everything else is how the rest of its memory is shared out; ``docs/boards.md`` says how
full each device gets.
"""

import dataclasses
from typing import Any

from ttfs_fpga.boards.families import find_chip
from ttfs_fpga.hdl.config import DATAPATHS, CoreConfig

__all__ = ["CONFIGURATIONS", "Configuration"]


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One core for one device.

    Parameters
    ----------
    name : :class:`str`
        Device, lanes and bits of a weight.
    device : :class:`str`
        The FPGA, as its platform in :mod:`amaranth_boards` names it.
    core : :class:`hdl.config.CoreConfig`
        The sizes.
    datapaths : tuple of :class:`str`
        Datapaths that have been placed and routed on the device with all of a board around them.
        Others simulate, and may or may not fit.
    """

    name: str
    device: str
    core: CoreConfig
    datapaths: tuple[str, ...] = ("mac",)

    @property
    def weights(self) -> int:
        """Weights that the core holds."""
        return self.core.weight_words * self.core.lanes


def _configuration(
    device: str, lanes: int, weight_bits: int, datapaths: tuple[str, ...] = ("mac",),
    **sizes: Any,
) -> Configuration:
    chip = find_chip(device)
    if chip is None:
        raise ValueError(f"boards/families has no {device}")
    core = CoreConfig(
        lanes=lanes,
        weight_bits=weight_bits,
        tick_bits=4,
        **{
            # Bounds of trained networks: up to 22 110 with weights of 4 bits, and an 8-bit weight
            # is 16 times as large.
            "accumulator_bits": 16 if weight_bits <= 4 else 24,
            "input_words": 128, "map_words": 256, "slopes": 256, "layers": 15,
            "samples": chip.samples,
            **sizes,
        },
    )
    return Configuration(f"{chip.short}-{lanes}x{weight_bits}", device, core, datapaths)


#: The four single-port RAMs of the UP5K are exactly the weight memory, 64 bits wide.
_SPRAM: dict[str, Any] = {
    "weight_memory": "spram", "weight_words": 16384, "membrane_words": 256, "map_words": 512,
}

CONFIGURATIONS: dict[str, Configuration] = {
    configuration.name: configuration
    for configuration in (
        _configuration("iCE40UP5K", 16, 4, tuple(DATAPATHS), **_SPRAM),
        _configuration("iCE40UP5K", 8, 8, **_SPRAM),
        # 32 block RAMs: 20 of weights, 6 of potentials, 2 each of input map and layer table, one
        # each of code table and recorder. The map, the slopes and the potentials of two lanes are
        # small enough to become registers.
        _configuration(
            "iCE40HX8K", 8, 4, weight_words=2560, membrane_words=16, map_words=8, slopes=4,
        ),
        # 56 block RAMs, of which the weights take 36 here: a small VGG of 32 x 32 x 3 fits.
        _configuration(
            "LFE5U-25F", 16, 4, weight_words=9216, membrane_words=256, input_words=512,
            map_words=2560, accumulator_bits=18, table_words=512,
        ),
        # And 32 here.
        _configuration("LFE5U-25F", 32, 4, weight_words=4096, membrane_words=32),
        # All of them here: 784-256-10 fits. Everything else is small and made of LUTs.
        _configuration(
            "LFE5U-25F", 64, 4, weight_words=3584, membrane_words=32, map_words=64, slopes=16,
            table_words=64,
        ),
        # 208 block RAMs, of which the weights take 128.
        _configuration("LFE5U-85F", 64, 4, weight_words=8192, membrane_words=256),
        _configuration("LFE5U-85F", 32, 8, weight_words=8192, membrane_words=256),
    )
}

