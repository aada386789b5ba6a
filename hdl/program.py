"""A compiled network: the contents of the core's memories, and what they are expected to cost."""

import dataclasses
from collections.abc import Iterator, Sequence

from hdl.config import CoreConfig
from hdl.shapes import Memory

__all__ = ["LayerPlan", "Program"]


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """Where a layer lies in the core's memories, in words of each, and how large it is.

    ``words`` is W, the membrane words of the layer; ``map_words`` those of the map it reads;
    ``bounds`` the exact smallest and largest potential that any input can give.
    """

    name: str
    inputs: int
    neurons: int
    spiking: bool
    words: int
    map_words: int
    weight_base: int
    weight_words: int
    bias_base: int
    membrane_base: int
    source_base: int | None
    destination_base: int | None
    destination_words: int
    slope_base: int | None
    fire_threshold: int
    bounds: tuple[int, int]

    @property
    def membrane_words(self) -> int:
        """Membrane words set aside for the layer: an even number, two copies where W = 1."""
        return self.words + self.words % 2

    def roofline(self, events: int) -> int:
        """Fewest cycles that this layer can take for so many input events (DESIGN, roofline)."""
        return events * self.words

    def bound(self, events: int) -> float:
        """Most cycles that we allow ourselves: 1.05 × roofline + W + map words read + 32."""
        return 1.05 * self.roofline(events) + self.words + self.map_words + 32


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
    layers : sequence of :class:`LayerPlan`
        One a layer.
    memories : :class:`dict`
        For each :class:`hdl.shapes.Memory`, the 32-bit values to be loaded, by address.
    """

    config: CoreConfig
    inputs: int
    input_ticks: int
    layers: tuple[LayerPlan, ...]
    memories: dict[Memory, dict[int, int]]

    def writes(self) -> Iterator[tuple[Memory, int, int]]:
        """What the load port must receive, in this order, as (memory, address, 32-bit data).

        The header of the layer table is made invalid first and valid last, so that a network of
        which only a part has arrived never runs.
        """
        table = self.memories[Memory.TABLE]
        yield Memory.TABLE, 0, 0
        for which, contents in self.memories.items():
            for address, value in sorted(contents.items()):
                if (which, address) != (Memory.TABLE, 0):
                    yield which, address, value
        yield Memory.TABLE, 0, table[0]

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

    def rooflines(self, events: Sequence[int]) -> list[int]:
        """Roofline of each layer for so many input events of each."""
        return [layer.roofline(count) for layer, count in zip(self.layers, events, strict=True)]

    def bounds(self, events: Sequence[int]) -> list[float]:
        """Cycles allowed to each layer for so many input events of each."""
        return [layer.bound(count) for layer, count in zip(self.layers, events, strict=True)]

    def report(self) -> dict:
        """The memory map and the exact bound of every membrane, as plain data."""
        config = self.config
        used = {
            "weights": (sum(layer.weight_words for layer in self.layers), config.weight_words),
            "membrane": (
                max(layer.membrane_base + layer.membrane_words for layer in self.layers),
                config.membrane_words,
            ),
            "input_map": (self.layers[0].map_words, config.input_words),
            "map": (
                max(
                    (layer.destination_base + layer.destination_words
                     for layer in self.layers if layer.destination_base is not None),
                    default=0,
                ),
                config.map_words,
            ),
            "slopes": (len(self.memories[Memory.SLOPES]), config.slopes),
            "layers": (len(self.layers), config.layers),
        }
        return {
            "config": config.as_dict(),
            "memories": {
                name: {"used": count, "available": depth} for name, (count, depth) in used.items()
            },
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
        }
