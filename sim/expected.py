# SPDX-License-Identifier: Apache-2.0
"""What the golden model says that the core must do, image by image: plain arrays in one file."""

import dataclasses
import os
import zipfile
from pathlib import Path

import numpy as np

from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.sim.spending import spending
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import atomic_write
from ttfs_sw.golden import Trace

__all__ = ["Expected"]


@dataclasses.dataclass(frozen=True)
class Expected:
    """The events and logits of some images.

    Parameters
    ----------
    layers : tuple of :class:`str`
        Name of every layer, the read-out last.
    ticks : tuple of :class:`int`
        T of every spiking layer, all but the last.
    codes : tuple of :class:`numpy.ndarray`
        Of every spiking layer: uint8 ``[images, neurons]``, the activation codes; 0 is silent.
    logits : :class:`numpy.ndarray`
        int64 ``[images, classes]``.
    events : :class:`numpy.ndarray`
        int64 ``[images, layers]``: input events that each layer must see.
    roofline : :class:`numpy.ndarray`
        int64 ``[images, layers]``: cycles of an ideal core for them.
    terms : :class:`numpy.ndarray`
        int64 ``[images, layers, terms]``: cycles that the core may take for them, by
        :data:`hdl.compiler.cycles.TERMS`.
    sources : tuple of :class:`int`
        The layer whose map each layer reads; -1 is the input.
    places : tuple of :class:`numpy.ndarray`
        For each layer, the neuron at each place of the map memory that it reads; -1 where there is
        none.
    seconds : tuple of :class:`int`, second_places : tuple of :class:`numpy.ndarray`
        The same of the map that a residual adds. Without one, a layer is said to add the input, and
        without any place: what it reads of that is not shown either.
    """

    layers: tuple[str, ...]
    ticks: tuple[int, ...]
    codes: tuple[np.ndarray, ...]
    logits: np.ndarray
    events: np.ndarray
    roofline: np.ndarray
    terms: np.ndarray
    sources: tuple[int, ...]
    places: tuple[np.ndarray, ...]
    seconds: tuple[int, ...]
    second_places: tuple[np.ndarray, ...]

    @classmethod
    def from_trace(cls, network: Network, trace: Trace, program: Program) -> "Expected":
        """What a run of the golden model says, for the core that ``program`` was compiled for."""

        def codes(source: int) -> np.ndarray:
            return trace.input_codes if source == -1 else trace.codes[source]

        events = []
        for layer in network.layers:
            read = [codes(layer.source)]
            if layer.second_source is not None:
                read.append(codes(layer.second_source))
            events.append(sum(np.count_nonzero(each, axis=1) for each in read))
        roofline, terms = spending(network, trace, program)
        residuals = [plan.residual for plan in program.layers]
        return cls(
            layers=tuple(layer.name for layer in network.layers),
            ticks=tuple(trace.ticks),
            codes=tuple(trace.codes),
            logits=trace.logits,
            events=np.stack(events, axis=1).astype(np.int64),
            roofline=roofline,
            terms=terms,
            sources=tuple(plan.source for plan in program.layers),
            places=tuple(plan.source_neurons for plan in program.layers),
            seconds=tuple(-1 if each is None else each.source for each in residuals),
            second_places=tuple(
                np.zeros(0, np.int64) if each is None or each.source < 0 else each.neurons
                for each in residuals),
        )

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.logits)

    @property
    def winners(self) -> np.ndarray:
        """The class with the largest logit, ties to the lowest, of every image."""
        return np.argmax(self.logits, axis=1)

    def slice(self, start: int, stop: int) -> "Expected":
        """The images from ``start`` up to ``stop``."""
        return dataclasses.replace(
            self,
            codes=tuple(codes[start:stop] for codes in self.codes),
            logits=self.logits[start:stop],
            events=self.events[start:stop],
            roofline=self.roofline[start:stop],
            terms=self.terms[start:stop],
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write everything to the ``.npz`` file ``path``, whole or not at all."""
        arrays = {
            "layers": np.array(self.layers), "ticks": np.array(self.ticks, np.int64),
            "logits": self.logits, "events": self.events, "roofline": self.roofline,
            "terms": self.terms, "sources": np.array(self.sources, np.int64),
            "seconds": np.array(self.seconds, np.int64),
        }
        arrays |= {f"codes{index}": codes for index, codes in enumerate(self.codes)}
        arrays |= {f"places{index}": places for index, places in enumerate(self.places)}
        arrays |= {f"second{index}": places for index, places in enumerate(self.second_places)}
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Expected":
        """Read what :meth:`save` wrote.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If the file is missing or not such a file.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as file:
                ticks = tuple(int(value) for value in file["ticks"])
                return cls(
                    layers=tuple(str(name) for name in file["layers"]),
                    ticks=ticks,
                    codes=tuple(file[f"codes{index}"] for index in range(len(ticks))),
                    logits=file["logits"],
                    events=file["events"],
                    roofline=file["roofline"],
                    terms=file["terms"],
                    sources=tuple(int(value) for value in file["sources"]),
                    places=tuple(
                        file[f"places{index}"] for index in range(len(file["layers"]))),
                    seconds=tuple(int(value) for value in file["seconds"]),
                    second_places=tuple(
                        file[f"second{index}"] for index in range(len(file["layers"]))),
                )
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} holds no expected events: {error}") from error
