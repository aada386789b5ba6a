# SPDX-License-Identifier: Apache-2.0
"""What the experiment on equivalence finds."""

import dataclasses

from ttfs_sw.common.report import FLAT, Report, absent
from ttfs_sw.research.experiments import Claim

__all__ = ["Differences", "Compared", "ComparedRun", "Equivalence"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Differences(Report):
    """A network of spike times beside its ReLU network, over all test images.

    Parameters
    ----------
    logits : :class:`float`
        Largest difference of a logit, as a share of the largest logit.
    activations : :class:`float` or ``None``
        Of an activation of a hidden neuron likewise, where those are compared.
    changed : :class:`int`
        Images with another answer.
    images : :class:`int`
        How many there are.
    early : :class:`int`
        Spikes before their window opened.
    spikes_per_neuron : :class:`float`
        Mean of a hidden neuron and image.
    windows : list of :class:`float`
        Length of each hidden layer's window.
    """

    logits: float
    activations: float | None = absent()
    changed: int
    images: int
    early: int
    spikes_per_neuron: float
    windows: list[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared(Report):
    """One of the networks that the experiment trains.

    Parameters
    ----------
    network : :class:`str`
        What it is called.
    differences : :class:`Differences`
        From its ReLU network.
    returned : :class:`float` or ``None``
        Largest difference of a parameter, mapped there and back.
    followed : :class:`float` or ``None``
        Largest difference of a logit from a simulation from spike to spike, as a share.
    biases : :class:`int` or ``None``
        Most different biases of one channel.
    layers : list of :class:`str`
        Its hidden layers.
    model : :class:`str`
        ``"b1"`` or ``"alpha"``.
    place : :class:`str` or ``None``
        Of its batch-norm: ``"before"`` or ``"after"`` the ReLU.
    range : tuple of :class:`float` or ``None``
        Least and largest input.
    """

    network: str
    differences: Differences = dataclasses.field(metadata=FLAT)
    returned: float | None = absent()
    followed: float | None = absent()
    biases: int | None = absent()
    layers: list[str]
    model: str
    place: str | None = absent()
    range: tuple[float, float] | None = absent()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedRun(Report):
    """The float network of a finished training: its folder, differences, and dataset."""

    run: str
    differences: Differences = dataclasses.field(metadata=FLAT)
    dataset: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Equivalence(Report):
    """What was found: claims, the networks of the experiment, those of finished trainings."""

    claims: list[Claim]
    networks: list[Compared]
    runs: list[ComparedRun]
