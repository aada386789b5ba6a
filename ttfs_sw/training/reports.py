# SPDX-License-Identifier: Apache-2.0
"""What training tells of itself: a record of each epoch, and the report of a run."""

import dataclasses

from ttfs_sw.common.report import Report, absent

__all__ = ["Epoch", "TrainingReport"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epoch(Report):
    """One epoch: an entry of ``history.json``.

    Parameters
    ----------
    stage : :class:`str`
        ``"float"``, of the ReLU network, or ``"network"``, of the quantised one.
    epoch : :class:`int`
        Number in its stage, from 1.
    loss : :class:`float`
        Mean over the training images, distorted as they were, with the cost of spikes; nats.
    seconds : :class:`float`
        That the epoch took.
    spikes_per_neuron : :class:`float` or ``None``
        Mean spikes of a hidden neuron for one held-out image; a ReLU network has none.
    loss_heldout : :class:`float`
        Mean over the held-out images; nats.
    accuracy_heldout : :class:`float`
        Share of the held-out images that got their label.
    """

    stage: str
    epoch: int
    loss: float
    seconds: float
    spikes_per_neuron: float | None = absent()
    loss_heldout: float
    accuracy_heldout: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingReport(Report):
    """What a training run reached: ``report.json``.

    Parameters
    ----------
    preset, dataset : :class:`str`
        Names of what was trained, and on what.
    seed : :class:`int`
        Start of every random choice.
    accuracy_float, accuracy_network : :class:`float`
        Share of the test images that the ReLU network, and the integers, get right.
    accuracy_heldout : :class:`float`
        Share of the held-out images that the integers get right.
    spikes_per_neuron : :class:`float`
        Mean spikes of a hidden neuron for one test image.
    events_input : :class:`float`
        Mean spikes of the input for one test image.
    events_hidden : list of :class:`float`
        Mean spikes of each spiking layer for one test image.
    images : :class:`int`
        Test images.
    epoch : :class:`int`
        The one of the network's stage that was kept.
    layers : list of :class:`str`
        Hidden layers, as the configuration writes them.
    sizes : list of :class:`int`
        Inputs, then the neurons of each layer's map.
    weight_bits : list of :class:`int`
        Of each layer that has learned weights.
    ticks : list of :class:`int`
        T of the input, then of each hidden layer.
    bounds : list of lists of :class:`int`
        Least and greatest membrane potential that each layer can reach.
    accumulator_bits : :class:`int`
        Width that they were held to.
    sha256 : :class:`str`
        Of the network's content.
    seconds : :class:`float`
        That the run took, before it was interrupted and since.
    """

    preset: str
    dataset: str
    seed: int
    accuracy_float: float
    accuracy_network: float
    accuracy_heldout: float
    spikes_per_neuron: float
    events_input: float
    events_hidden: list[float]
    images: int
    epoch: int
    layers: list[str]
    sizes: list[int]
    weight_bits: list[int]
    ticks: list[int]
    bounds: list[list[int]]
    accumulator_bits: int
    sha256: str
    seconds: float
