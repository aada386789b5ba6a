# SPDX-License-Identifier: Apache-2.0
"""What a datapath is: everything that differs from one to another, as one object."""

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from amaranth.lib import wiring

from ttfs_fpga.hdl.config import DATAPATHS, CoreConfig
from ttfs_fpga.hdl.datapaths.lanes import Lanes
from ttfs_fpga.hdl.protocols import Layer
from ttfs_fpga.hdl.shapes import Memory

__all__ = ["Datapath", "DeviceNeeds", "datapath_named", "datapath_of", "register"]


@dataclasses.dataclass(frozen=True)
class DeviceNeeds:
    """What the design around a core must give a datapath, on one family of devices.

    ``most_hz`` is the fastest clock that is reached; ``in_registers`` are memories of the core to
    be made of registers: the part of the core, and the memory's name in it.
    """

    most_hz: int | None = None
    in_registers: tuple[tuple[str, str], ...] = ()


class Datapath(abc.ABC):
    """One way from events to potentials. All give the same spikes and logits.

    The core, the compiler, the boards and the command line ask this object and know no datapath's
    name. To add one: a module of :mod:`hdl.datapaths` with its lanes and its object, a line in that
    package's ``__init__``, a test, and a row of the table in ``docs/core.md``.

    **In the core**, events go ``scanner -> queue -> sequencer -> lanes``. Where there is no
    :meth:`queue`, the sequencer takes what the scanner gives.

    ``lanes``
        A :class:`hdl.datapaths.lanes.Lanes`.
    ``sequencer``
        Called with the sizes, a component with the ports of
        :class:`hdl.datapaths.sequencer.Sequencer`, whose stream ``i`` has the payload of the
        queue's ``o``, and ``o`` that of ``lanes.update_shape``. Where no layer has rows, none ever
        begins at its port ``row``.
    ``shows_time``
        The sequencer has a stream ``time`` of ticks, which the core shows at its own port of that
        name.
    ``summary``, ``multipliers``
        What a lane does, and what it multiplies with, in words for people.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    multipliers: ClassVar[str] = "none"
    lanes: ClassVar[type[Lanes]]
    sequencer: ClassVar[type[wiring.Component]]
    shows_time: ClassVar[bool] = False
    #: By the beginning of a device's name.
    devices: ClassVar[Mapping[str, DeviceNeeds]] = {}

    # What the core asks.

    def queue(self, config: CoreConfig) -> wiring.Component | None:
        """What stands between scanner and sequencer, if anything does.

        A component with ``i``, a stream of :func:`hdl.shapes.event_shape`; ``o``, a stream for the
        sequencer; and ``run``, a :class:`hdl.ports.RunPort`, which is busy while anything that
        was taken has not been given on.
        """
        return None

    def queue_inputs(self, queue: Any, accumulating: Any, purge: Any) -> list[Any]:
        """Assignments to what the queue must know besides events and the start of a layer.

        ``accumulating`` is an :class:`hdl.ports.AccumulatingPort`, ``purge`` an
        :class:`hdl.ports.PurgePort`.
        """
        return []

    def constants(self, config: CoreConfig) -> dict[str, int]:
        """Fields of the layer table that are the same for all layers that it runs, and of what.

        The core has them as constants, which cost no logic.
        """
        return {}

    def purge_words(self, config: CoreConfig) -> int:
        """Words of the queue's memory that are to be forgotten with those of other memories."""
        return 0

    # What the compiler asks.

    def refusal(self, layer: Layer) -> str | None:
        """Why it does not run a layer: the rest of a sentence that begins with the layer's name."""
        return None

    def slope_words(self, row_words: int) -> int:
        """Membrane words that it needs behind the window of a layer whose row has so many."""
        return 0

    @abc.abstractmethod
    def bias_writes(
        self, config: CoreConfig, word: int, biases: np.ndarray
    ) -> Iterator[tuple[Memory, int, int]]:
        """What the load port must receive to make a word of biases, one a lane.

        Memory, address and data, in order. Biases are made by updates; what must be in the weight
        memory for them is written first, and the weights of the network only when all biases are
        made.
        """

    def additions(self, codes: np.ndarray) -> np.ndarray:
        """How often an event with each of ``codes`` updates a word, 0 where there is no spike."""
        return (codes != 0).astype(np.int64)

    def tick_updates(self, source_ticks: int, slope_words: int) -> int:
        """Updates of a layer that no event causes."""
        return 0

    def queueing(self, codes: np.ndarray) -> np.ndarray | int:
        """Cycles of each image ``[images, inputs]`` for which events wait for later ones."""
        return 0

    def worst_code(self, config: CoreConfig) -> int:
        """The code whose event takes longest."""
        return config.max_ticks

    # What boards ask.

    def sizes(self, config: CoreConfig) -> dict[str, int]:
        """Sizes of a core that must be others than in ``config``, for it to fit the same device."""
        return {}

    def needs(self, device: str) -> DeviceNeeds:
        """What it needs on a device."""
        for family, needs in self.devices.items():
            if device.startswith(family):
                return needs
        return DeviceNeeds()


def register(datapath: Datapath) -> None:
    """Make a datapath known by its name, from when on a core may have it."""
    DATAPATHS[datapath.name] = datapath


def datapath_named(name: str) -> Datapath:
    """The datapath of that name."""
    found = DATAPATHS[name]
    assert isinstance(found, Datapath)
    return found


def datapath_of(config: CoreConfig) -> Datapath:
    """The datapath of a core."""
    return datapath_named(config.datapath)
