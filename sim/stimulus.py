# SPDX-License-Identifier: Apache-2.0
"""Stimulus: what the harness feeds to the core, as a file of blocks.

A block is eight bytes of header, big-endian - kind (8 bits), argument (24), count (32) - and
``count`` items. The stimulus of a run is: the writes of a network, its images, the end. Several
networks may follow one another, because nothing in the harness depends on a network's sizes.
"""

import enum
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import load_shape, sample_shape

__all__ = ["Block", "Stimulus"]


#: Where fields of a sample lie: at the same place whether or not a core takes pairs.
_SAMPLE = sample_shape(CoreConfig(samples=2))


class Block(enum.IntEnum):
    """Kinds of block."""

    #: Items of eight bytes, big-endian: payloads of the load port.
    WRITES = 1
    #: Items of one byte: the low byte of a sample. The argument has the payload's higher bits.
    SAMPLES = 2
    #: Forget the samples of a partly received image. No items.
    RESTART = 3
    #: Go on when ``count`` images have given their last logit. No items.
    WAIT = 4
    #: Write a waveform from here on. No items.
    WAVES = 5
    #: End when ``count`` images have given their last logit. No items.
    FINISH = 6
    #: Items of two bytes: two samples of one transfer. The argument has what lies between them.
    PAIRS = 7


class Stimulus:
    """A stimulus under construction. Each method adds one block, and returns the stimulus."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._images = 0

    def _block(self, kind: Block, argument: int, count: int) -> "Stimulus":
        self._parts.append(struct.pack(">II", kind << 24 | argument, count))
        return self

    def writes(self, writes: Iterable[tuple[Any, int, int]]) -> "Stimulus":
        """Load a network: (memory, address, data) of every write, as a compiled program gives."""
        shape = load_shape()
        memory, address, value = (shape[name].offset for name in ("memory", "address", "data"))
        words = np.array(
            [kind.value << memory | to << address | word << value for kind, to, word in writes],
            ">u8",
        )
        self._block(Block.WRITES, 0, len(words))
        self._parts.append(words.data)
        return self

    def images(
        self, samples: np.ndarray, *, raw: bool = False, pairs: bool = False
    ) -> "Stimulus":
        """Send whole images, uint8 ``[images, inputs]``: pixels, or codes if ``raw``.

        With ``pairs``, two samples a transfer (:attr:`hdl.compiler.program.Program.pairs` says
        where that may be); the last one of an odd number goes alone.
        """
        self._images += len(samples)
        if not pairs:
            return self.samples(samples, raw=raw)
        images = samples.reshape(len(samples), -1)
        if images.shape[1] % 2 == 0:
            return self.samples(images, raw=raw, pairs=True)
        for image in images:
            self.samples(image[:-1], raw=raw, pairs=True).samples(image[-1:], raw=raw)
        return self

    def samples(
        self, samples: np.ndarray, *, raw: bool = False, pairs: bool = False
    ) -> "Stimulus":
        """Send samples that need not make up whole images; with ``pairs``, an even number."""
        upper = (int(raw) << _SAMPLE["raw"].offset | int(pairs) << _SAMPLE["pair"].offset) >> 8
        kind, each = (Block.PAIRS, 2) if pairs else (Block.SAMPLES, 1)
        self._block(kind, upper, samples.size // each)
        self._parts.append(np.ascontiguousarray(samples, np.uint8).data)
        return self

    def restart(self) -> "Stimulus":
        """Forget the samples of a partly received image."""
        return self._block(Block.RESTART, 0, 0)

    def wait(self) -> "Stimulus":
        """Go on only when every image so far has given its last logit."""
        return self._block(Block.WAIT, 0, self._images)

    def waves(self) -> "Stimulus":
        """Write a waveform from here on, if the simulator was built for it."""
        return self._block(Block.WAVES, 0, 0)

    def finish(self) -> "Stimulus":
        """End the simulation when every image has given its last logit."""
        return self._block(Block.FINISH, 0, self._images)

    def write(self, path: Path) -> None:
        """Write the stimulus to ``path``."""
        with path.open("wb") as file:
            for part in self._parts:
                file.write(part)
