# SPDX-License-Identifier: Apache-2.0
"""A compiled network: the contents of the core's memories, and what they are expected to cost."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ttfs_fpga.hdl.compiler.placement import Placement
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths import datapath_of
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import HEADER_FIELDS

__all__ = ["Program"]


@dataclasses.dataclass(frozen=True)
class Program:
    """Contents of every memory of a core for one network.

    Parameters
    ----------
    config : :class:`hdl.CoreConfig`
        The core that it was compiled for.
    inputs : :class:`int`
        Samples of one image.
    input_ticks : :class:`int`
        T of the input codes.
    layers : sequence of :class:`hdl.compiler.placement.Placement`
        One a layer.
    memories : :class:`dict`
        For each :class:`hdl.shapes.Memory`, its 32-bit values by load address; the biases in
        :attr:`~hdl.shapes.Memory.MEMBRANE` by ``word * lanes + lane``.
    """

    config: CoreConfig
    inputs: int
    input_ticks: int
    layers: tuple[Placement, ...]
    memories: dict[Memory, dict[int, int]] = dataclasses.field(repr=False)

    @property
    def pairs(self) -> bool:
        """Whether samples may go two a transfer: the core takes them, and runs are of even length.

        An image that is one run may be odd: its last sample goes alone.
        """
        field = HEADER_FIELDS["run_last"]
        run = 1 + (self.memories[Memory.TABLE][field.word] & ((1 << field.width) - 1))
        return self.config.samples == 2 and (run == self.inputs or run % 2 == 0)

    def writes(self) -> Iterator[tuple[Memory, int, int]]:
        """What the load port must receive, in this order, as (memory, address, 32-bit data).

        The header of the layer table is made invalid first and valid last, so that a network of
        which only a part has arrived never runs.
        """
        table = self.memories[Memory.TABLE]
        yield Memory.TABLE, 0, 0
        # Biases before weights, whose memory they use on their way.
        for word, biases in self._biases():
            yield from datapath_of(self.config).bias_writes(self.config, word, biases)
        for which, contents in self.memories.items():
            if which not in (Memory.MEMBRANE, Memory.TABLE):
                for address, value in sorted(contents.items()):
                    yield which, address, value
        # All of it, because the checksum covers what an earlier network may have left behind.
        for address in range(1, self.config.table_words):
            yield Memory.TABLE, address, table.get(address, 0)
        yield Memory.TABLE, 0, table[0]

    def _biases(self) -> Iterator[tuple[int, np.ndarray]]:
        """Every word of biases, and what its lanes must hold."""
        config = self.config
        sign = 1 << (config.accumulator_bits - 1)
        contents = self.memories[Memory.MEMBRANE]
        for word in range(min(contents) // config.lanes, 1 + max(contents) // config.lanes):
            biases = np.array([contents[word * config.lanes + n] for n in range(config.lanes)])
            yield word, (biases ^ sign) - sign

    def memory_words(self, which: Memory) -> list[int]:
        """Initial contents of a memory, one integer for each of its own words."""
        config = self.config
        parts, width = {
            Memory.WEIGHTS: (config.weight_parts, config.weight_width // config.weight_parts),
            Memory.MEMBRANE: (config.lanes, config.accumulator_bits),
        }.get(which, (1, 32))
        contents = self.memories[which]
        words = [0] * (1 + max(contents, default=-1) // parts)
        for address, value in contents.items():
            word, part = divmod(address, parts)
            words[word] |= (value & ((1 << width) - 1)) << (part * width)
        return words

    def report(self) -> dict:
        """The memory map and the exact bound of every membrane, as plain data."""
        config, layers = self.config, self.layers
        used = {
            "weights": (sum(layer.weight_words for layer in layers), config.weight_words),
            "membrane": (
                max(layer.membrane_base + layer.membrane_words for layer in layers),
                config.membrane_words,
            ),
            "input_map": (
                max(layer.source_map.words for layer in layers if layer.source < 0),
                config.input_words),
            "map": (
                max((layer.destination_base or 0) + layer.destination_words for layer in layers),
                config.map_words,
            ),
            "slopes": (len(self.memories[Memory.SLOPES]), config.slopes),
            "layers": (len(layers), config.layers),
            "table": (1 + max(self.memories[Memory.TABLE]), config.table_words),
        }
        return {
            "config": config.as_dict(),
            "memories": {
                name: {"used": count, "available": depth} for name, (count, depth) in used.items()
            },
            "layers": [layer.as_dict() for layer in layers],
        }
