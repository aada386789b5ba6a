# SPDX-License-Identifier: Apache-2.0
"""What the experiment on membranes finds."""

import dataclasses

from ttfs_sw.common.report import Report
from ttfs_sw.research.experiments import Claim

__all__ = ["Count", "Lif", "PascalOfSeed", "Pascal", "Membrane"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Count(Report):
    """Trains of so many steps: from a start at 0, and from any."""

    steps: int
    zero: int
    any: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lif(Report):
    """A LIF network, or the means of several: share of the test images that each step's own logits
    and the answer have right, and where potentials start."""

    steps: list[float]
    answer: float
    start: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PascalOfSeed(Report):
    """PASCAL's network, of one seed; ``levels`` are those of each hidden layer."""

    accuracy: float
    accuracy_core: float
    time_steps: float
    mean_levels: float
    spikes_per_neuron: float
    levels: list[int]
    different: int
    logits: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pascal(Report):
    """PASCAL's networks of some seeds: means, but where it says otherwise.

    Parameters
    ----------
    accuracy, accuracy_core : :class:`float`
        Share of the test images that the trains, and the integers on our core, get right.
    time_steps : :class:`float`
        From the first step of the image to the answer.
    mean_levels : :class:`float`
        Over hidden layers.
    spikes_per_neuron : :class:`float`
        Of a hidden neuron and image.
    levels : list of lists of :class:`int`
        Of each hidden layer, seed by seed.
    different : :class:`int`
        Images with another answer than the QCFS network, most of any seed.
    logits : :class:`float`
        Largest difference of a logit from the QCFS network's, of any seed.
    """

    accuracy: float
    accuracy_core: float
    time_steps: float
    mean_levels: float
    spikes_per_neuron: float
    levels: list[list[int]]
    different: int
    logits: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Membrane(Report):
    """What was found.

    Parameters
    ----------
    time_steps, seeds, images_test : :class:`int`
        Steps of LIF networks, seeds that are meaned over, test images.
    lif_layers, pascal_layers : list of :class:`str`
        Hidden layers of the networks of both parts.
    most : :class:`int`
        Levels that adaptive ones start from.
    counts : list of :class:`Count`
    lif : dict of :class:`Lif`
        By the names of :data:`ttfs_sw.research.experiments.membrane.STARTS`.
    accuracy_relu : :class:`float`
        Of the ReLU network that PASCAL's start from.
    pascal : dict of :class:`Pascal`
        By their levels, or the tolerance of adaptive ones.
    claims : list of :class:`ttfs_sw.research.experiments.Claim`
    """

    time_steps: int
    seeds: int
    images_test: int
    lif_layers: list[str]
    pascal_layers: list[str]
    most: int
    counts: list[Count]
    lif: dict[str, Lif]
    accuracy_relu: float
    pascal: dict[str, Pascal]
    claims: list[Claim]
