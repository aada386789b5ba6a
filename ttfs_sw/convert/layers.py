# SPDX-License-Identifier: Apache-2.0
"""Layers as they come to be while a graph is read, and the two kinds of values between them.

Everything a graph computes is either a :class:`Map` - what the neurons of a layer send, perhaps
scaled and shifted, as a batch-norm after a ReLU does - or :class:`Sums`, which no neuron has fired
on yet. Scales and shifts wait until the next weights take them in.
"""

import dataclasses

import numpy as np

from ttfs_sw.convert.operations import refuse
from ttfs_sw.convert.program import Computation, Node
from ttfs_sw.training.topology import FORMS, LayerPlan, Topology

__all__ = ["Folded", "Layers", "Map", "Sums"]


@dataclasses.dataclass(frozen=True)
class Map:
    """What a layer's neurons send: ``scale a + offset`` of their activations ``a``.

    Parameters
    ----------
    layer : :class:`int`
        Index of the layer; -1 is the image.
    shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width, channels.
    scale, offset : :class:`numpy.ndarray`
        One a channel; where ``flat``, one a neuron, in the order of the flattened map.
    flat : :class:`bool`
        Whether the map has been flattened, which torch does channel by channel.
    """

    layer: int
    shape: tuple[int, int, int]
    scale: np.ndarray
    offset: np.ndarray
    flat: bool = False

    @property
    def plain(self) -> bool:
        """Whether the values are the activations themselves."""
        return bool((self.scale == 1).all() and (self.offset == 0).all())

    @property
    def positive(self) -> bool:
        """Whether no value is below zero."""
        return bool((self.scale >= 0).all() and (self.offset >= 0).all())

    def affine(self, scale: np.ndarray, offset: np.ndarray) -> "Map":
        """The values, scaled and then shifted."""
        return dataclasses.replace(
            self, scale=self.scale * scale, offset=self.offset * scale + offset
        )

    def flattened(self) -> "Map":
        """The same values in one row, channel by channel."""
        if self.flat:
            return self
        positions = self.shape[0] * self.shape[1]
        return dataclasses.replace(
            self, scale=self.scale.repeat(positions), offset=self.offset.repeat(positions),
            flat=True,
        )


@dataclasses.dataclass(frozen=True)
class Sums:
    """What the neurons of a layer to be receive.

    Parameters
    ----------
    plan : :class:`ttfs_sw.training.topology.LayerPlan`
        What they compute.
    source : :class:`Map`
        What they read.
    weight, bias : :class:`numpy.ndarray`
        As torch has them, but a dense layer's in raster order of what it reads.
    name : :class:`str`
        Of the module whose weights they are.
    flat : :class:`bool`
        As in :class:`Map`.
    positive : :class:`bool`
        Whether they cannot be below zero, so that a ReLU would change nothing.
    """

    plan: LayerPlan
    source: Map
    weight: np.ndarray
    bias: np.ndarray
    name: str
    flat: bool = False
    positive: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels, after pooling."""
        return self.plan.map_shape

    def affine(self, scale: np.ndarray, offset: np.ndarray) -> "Sums":
        """The sums of a layer whose weights and biases have taken a scale and a shift in."""
        by_channel = scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return dataclasses.replace(
            self, weight=self.weight * by_channel, bias=self.bias * scale + offset, positive=False
        )


@dataclasses.dataclass(frozen=True)
class Folded:
    """A network of layers that the hardware has, equal to the model that it was read from.

    Parameters
    ----------
    topology : :class:`ttfs_sw.training.topology.Topology`
        The layers.
    weights : list of (:class:`numpy.ndarray`, :class:`numpy.ndarray`) or ``None``
        Weights and biases of each; ``None`` for an average.
    names : list of :class:`str`
        The user's name of each layer.
    constants : list of :class:`int`
        Layers whose last channel is a constant that the next layer's padding must not have.
    notes : list of :class:`str`
        What a reader of the result should know.
    program : :class:`ttfs_sw.convert.program.Computation` or ``None``
        What it was read from.
    """

    topology: Topology
    weights: list[tuple[np.ndarray, np.ndarray] | None]
    names: list[str]
    constants: list[int] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    program: Computation | None = None


class Layers:
    """The layers found so far, each of which reads the one before it.

    Parameters
    ----------
    input_shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width and channels of the images.
    """

    def __init__(self, input_shape: tuple[int, int, int]):
        self.input_shape = input_shape
        self.plans: list[LayerPlan] = []
        self.weights: list[tuple[np.ndarray, np.ndarray] | None] = []
        self.names: list[str] = []
        self.constants: list[int] = []
        # Layers whose map somebody has read: it cannot be pooled any more.
        self._read: set[int] = set()

    @property
    def last(self) -> int:
        """Index of the last layer."""
        return len(self.plans) - 1

    def shape(self, layer: int) -> tuple[int, int, int]:
        """Shape of a layer's map."""
        return self.input_shape if layer == -1 else self.plans[layer].map_shape

    def check(self, values: Map, node: Node) -> None:
        """Refuse a map that has been pooled since."""
        if values.shape != self.shape(values.layer):
            raise refuse(node, f"it reads the map of {self._called(values.layer)} as it was before "
                         "its max-pool; only the pooled map is kept, so read that")

    def check_chain(self, values: Map, node: Node) -> None:
        """Refuse a map that is not the last one."""
        self.check(values, node)
        if values.layer != self.last:
            raise refuse(
                node, f"it reads the map of {self._called(values.layer)} although "
                f"{self._called(self.last)} comes in between; layers follow one another, and an "
                "earlier map can only be added, unchanged, before a ReLU"
            )

    def add(self, sums: Sums, node: Node) -> Map:
        """Make a layer that fires; give its map."""
        self.check_chain(sums.source, node)
        self.close(sums)
        return self.sent(sums.flat)

    def close(self, sums: Sums) -> None:
        """Make the last layer, which does not fire, or one that does."""
        self._append(sums.plan, (sums.weight, sums.bias), sums.name)

    def average(self, values: Map, kernel: int, node: Node) -> Map:
        """Make a layer of means; a scale and a shift pass through it."""
        self.check_chain(values, node)
        height, width, channels = values.shape
        out = height // kernel, width // kernel, channels
        plan = LayerPlan("average", values.shape, out, kernel=kernel, stride=kernel)
        self._append(plan, None, node.module or node.name)
        return dataclasses.replace(self.sent(False), scale=values.scale, offset=values.offset)

    def sent(self, flat: bool) -> Map:
        """The map of the last layer."""
        shape = self.plans[-1].map_shape
        count = int(np.prod(shape)) if flat else shape[2]
        return Map(self.last, shape, np.ones(count), np.zeros(count), flat)

    def can_pool(self, values: Map) -> bool:
        """Whether the layer of a map can take a max-pool in: nobody has read it unpooled."""
        return (values.layer == self.last >= 0 and values.layer not in self._read
                and FORMS[self.plans[values.layer].kind].pools)

    def pool(self, values: Map, size: int) -> Map:
        """Pool the map of the last layer."""
        plan = self.plans[-1]
        self.plans[-1] = dataclasses.replace(plan, pool=plan.pool * size)
        return dataclasses.replace(values, shape=self.plans[-1].map_shape)

    def read(self, values: Map) -> None:
        """Note that somebody reads a map as it is."""
        self._read.add(values.layer)

    def _append(
        self, plan: LayerPlan, weights: tuple[np.ndarray, np.ndarray] | None, name: str
    ) -> None:
        self.plans.append(plan)
        self.weights.append(weights)
        self.names.append(name)

    def _called(self, layer: int) -> str:
        return "the image" if layer == -1 else f"layer {layer + 1} ({self.names[layer]})"
