# SPDX-License-Identifier: Apache-2.0
"""Where neurons and taps lie: layouts of spike-time maps, and windows of layers.

Hardware never multiplies or divides to find an address: all of that happens here, once.
"""

import dataclasses

import numpy as np

from ttfs_fpga.hdl.config import CoreConfig

__all__ = ["Axis", "MapPlan", "axis_of", "plan_map"]


@dataclasses.dataclass(frozen=True)
class MapPlan:
    """How the codes of a map lie in memory.

    A map that a dense layer fires, and only dense layers read, is one row of codes without gaps.
    Any other begins every row with a new word, and gives every pixel ``pitch`` places: a power of
    two, so that a word has whole pixels, or whole words.

    Parameters
    ----------
    shape : tuple of :class:`int`
        Height, width and channels.
    pitch : :class:`int`
        Places from a pixel to the next.
    row_words, words : :class:`int`
        Map words of a row, and of the map.
    codes_per_word : :class:`int`
        Places of a word.
    """

    shape: tuple[int, int, int]
    pitch: int
    row_words: int
    words: int
    codes_per_word: int

    @property
    def slot_shift(self) -> int:
        """Places of a pixel within a word, as a power of two."""
        return min(self.pitch, self.codes_per_word).bit_length() - 1

    @property
    def chunk_last(self) -> int:
        """Words of a pixel, less one."""
        return -(-self.pitch // self.codes_per_word) - 1

    @property
    def places(self) -> np.ndarray:
        """Place of every neuron, in raster order."""
        height, width, channels = self.shape
        rows, columns, channel = np.ix_(range(height), range(width), range(channels))
        return (rows * self.row_words * self.codes_per_word + columns * self.pitch
                + channel).reshape(-1)

    @property
    def neurons(self) -> np.ndarray:
        """Neuron of every place, -1 where there is none."""
        neurons = np.full(self.words * self.codes_per_word, -1)
        places = self.places
        neurons[places] = np.arange(len(places))
        return neurons


def plan_map(shape: tuple[int, int, int], flat: bool, config: CoreConfig, *, runs: bool) -> MapPlan:
    """Choose the layout of a map.

    Parameters
    ----------
    shape : tuple of :class:`int`
        Height, width and channels.
    flat : :class:`bool`
        Only dense layers read it.
    runs : :class:`bool`
        It is the input map, which is filled in runs of samples with one gap behind each: the gap is
        behind every pixel or behind every row, not both.
    """
    height, width, channels = shape
    slots = config.codes_per_word
    if flat:
        words = -(-height * width * channels // slots)
        return MapPlan((1, 1, height * width * channels), words * slots, words, words, slots)
    pitch = 1 << (channels - 1).bit_length() if channels < slots else -(-channels // slots) * slots
    if runs and pitch != channels and width * pitch % slots:
        pitch = slots
    row_words = -(-width * pitch // slots)
    return MapPlan((height, width, channels), pitch, row_words, height * row_words, slots)


@dataclasses.dataclass(frozen=True)
class Axis:
    """Along rows or along columns: which outputs each input position reaches, and by which taps.

    Parameters
    ----------
    first : tuple of :class:`int`
        Lowest output position that each input position reaches.
    taps : tuple of :class:`int`
        How many it reaches.
    start : tuple of :class:`int`
        Where its first tap is in :attr:`order`.
    order : tuple of :class:`int`
        All taps of the kernel, in the order in which they are walked: outputs ascend, so taps
        descend, ``stride`` apart.
    opens, completes : tuple of :class:`int`
        Outputs that each input position is the first, and the last, to reach.
    """

    first: tuple[int, ...]
    taps: tuple[int, ...]
    start: tuple[int, ...]
    order: tuple[int, ...]
    opens: tuple[int, ...]
    completes: tuple[int, ...]

    @property
    def live(self) -> int:
        """Most outputs that are open and not complete at a time."""
        opened = np.cumsum(self.opens)
        completed = np.cumsum((0, *self.completes[:-1]))
        return int((opened - completed).max())


def axis_of(size: int, outputs: int, kernel: int, stride: int, padding: int) -> Axis:
    """Work out one axis of a convolution; ``outputs`` may be fewer than the kernel could reach."""
    order = [tap for phase in range(stride) for tap in range(kernel - 1, -1, -1)
             if tap % stride == phase]
    first, taps, start, opens, completes = [], [], [], [], []
    opened = completed = 0
    for position in range(size):
        low = max(0, -((kernel - 1 - position - padding) // stride))
        high = min(outputs - 1, (position + padding) // stride)
        count = max(0, high - low + 1)
        first.append(low if count else 0)
        taps.append(count)
        start.append(order.index(position + padding - low * stride) if count else 0)
        opens.append(max(0, high + 1 - opened))
        opened += opens[-1]
        done = outputs if position == size - 1 else sum(
            output * stride - padding + kernel - 1 <= position for output in range(outputs))
        completes.append(done - completed)
        completed = done
    return Axis(*map(tuple, (first, taps, start, order, opens, completes)))

