# SPDX-License-Identifier: Apache-2.0
"""What a conversion cost, layer by layer: the artifact beside the network in real numbers."""

import dataclasses

import numpy as np
import torch

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.report import Report, absent
from ttfs_sw.convert.calibrate import activations, pooled
from ttfs_sw.convert.layers import Folded
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.golden import evaluation
from ttfs_sw.training.models import ReluNetwork

__all__ = [
    "Comparison", "Conversion", "CostReport", "Figures", "Finetuning", "LayerReport",
    "TrainingFigures", "compare", "figures",
]

#: Test images on which layers are compared, and images whose float logits are computed together.
COMPARED, BATCH = 1000, 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures(Report):
    """How many images float network and integers recognise.

    Parameters
    ----------
    images : :class:`int`
        How many were looked at.
    accuracy_float, accuracy_network : :class:`float`
        Share of them that the float network, and the integers, recognise.
    lost, gained : :class:`int`
        Images that the float network alone recognises, and the integers alone.
    """

    images: int
    accuracy_float: float
    accuracy_network: float
    lost: int
    gained: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingFigures(Figures):
    """Figures of the training images that calibrated.

    Parameters
    ----------
    recall_float : :class:`float` or ``None``
        Mean over the classes of the share that the float network recognises; ``None`` where it was
        not asked whether it knows its images.
    """

    recall_float: float | None = absent()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerReport(Report):
    """What became of one layer.

    Parameters
    ----------
    name, module : :class:`str`
        The artifact's name of it, and the user's.
    kind : :class:`str`
        As in :class:`ttfs_sw.training.topology.LayerPlan`.
    outputs, weight_bits, ticks : :class:`int`
        Neurons of its map, bits of its weights, T of its codes; 0 of a layer that does not fire.
    scale : :class:`float`
        Real value of one step of what it sends.
    clipped : :class:`float` or ``None``
        Share of the activations above the window; ``None`` of a layer that does not fire.
    spikes_per_neuron : :class:`float` or ``None``
        Mean spikes of a neuron in one image; likewise.
    error : :class:`float`
        Mean of the absolute difference of activations, as a share of the mean activation; the
        errors of the layers before are in it.
    """

    name: str
    module: str
    kind: str
    outputs: int
    weight_bits: int
    ticks: int
    scale: float
    clipped: float | None = absent()
    spikes_per_neuron: float | None = absent()
    error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison(Figures):
    """Both networks on the test images.

    Parameters
    ----------
    agreement : :class:`float`
        Share of the images with the same winner.
    spikes_per_neuron, events_input, events_hidden
        As in :class:`ttfs_sw.golden.evaluation.Summary`.
    layers : list of :class:`LayerReport`
        Compared on at most 1 000 images.
    """

    agreement: float
    spikes_per_neuron: float
    events_input: float
    events_hidden: list[float]
    layers: list[LayerReport]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetuning(Report):
    """What training as integers has brought.

    Parameters
    ----------
    epochs, epoch : :class:`int`
        How many there were, and which was kept.
    accuracy_heldout_before, accuracy_heldout : :class:`float`
        Share of the held-out images that the integers recognise.
    """

    epochs: int
    epoch: int
    accuracy_heldout_before: float
    accuracy_heldout: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostReport(Report):
    """A :class:`ttfs_sw.convert.blame.Cost` with the user's name of its layer."""

    module: str
    layer: int
    what: str
    lost: float
    error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion(Comparison):
    """The report of a conversion: what it cost, and how it was done.

    Parameters
    ----------
    model, weights : :class:`str`, :class:`str` or ``None``
        What was converted, and the file of its weights, if that is another one.
    finetune : :class:`Finetuning` or ``None``
        If the integers were trained.
    pixel_scale, pixel_scale_from, brightest_pixel
        :class:`ttfs_sw.convert.pixels.Pixels`: ``scale``, ``origin`` and ``brightest``.
    dataset : :class:`str`
        Name of the images.
    seed : :class:`int`
        Start of every random choice.
    calibrated_on : :class:`int`
        Training images.
    bounds : list of lists of :class:`int`
        The least and the greatest membrane of each layer.
    accumulator_bits : :class:`int`
        What they need.
    notes : list of :class:`str`
        What a reader of the result should know.
    sha256 : :class:`str`
        Of the artifact's contents.
    seconds : :class:`float`
        How long it took.
    training : :class:`TrainingFigures` or ``None``
        What the training images say.
    max_loss : :class:`float` or ``None``
        Points of accuracy that might be lost.
    costs : list of :class:`CostReport` or ``None``
        Which integers cost most, if too much was lost.
    files : list of :class:`str` or ``None``
        The artifact, if it was written.
    boards, refusals : list and :class:`dict` of :class:`str`, or ``None``
        The boards that take it, and why others do not, once that was asked.
    """

    model: str
    weights: str | None
    finetune: Finetuning | None = absent()
    pixel_scale: float
    pixel_scale_from: str
    brightest_pixel: int
    dataset: str
    seed: int
    calibrated_on: int
    bounds: list[list[int]]
    accumulator_bits: int
    notes: list[str]
    sha256: str
    seconds: float
    training: TrainingFigures | None = absent()
    max_loss: float | None = absent()
    costs: list[CostReport] | None = absent()
    files: list[str] | None = absent()
    boards: list[str] | None = absent()
    refusals: dict[str, str] | None = absent()


@torch.no_grad()
def compare(
    network: Network, relu: ReluNetwork, folded: Folded, dataset: Dataset, maximum: int
) -> Comparison:
    """Run both networks on the test images and say how they differ.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        The artifact, run by the golden model.
    relu, folded : :class:`ttfs_sw.training.models.ReluNetwork`,
    :class:`ttfs_sw.convert.layers.Folded`
        What it stands for.
    maximum : :class:`int`
        The byte of a pixel that is worth 1.
    """
    pixels = torch.from_numpy(dataset.x_test)
    logits = torch.cat([relu(part.float() / maximum) for part in pixels.split(BATCH)])
    winners = logits.argmax(dim=1).numpy()
    trace = golden.run(network, dataset.x_test)
    tested = evaluation.summary(trace, dataset.y_test)
    wanted = activations(relu, pixels[:COMPARED].float() / maximum)
    layers = []
    for index, layer in enumerate(network.layers):
        clipped = spikes = None
        if layer.spiking:
            real = pooled(wanted[index], layer.pool).double().numpy()
            codes = trace.codes[index]
            clipped = float((real > (layer.ticks + 0.5) * layer.output_scale).mean())
            spikes = float(np.count_nonzero(codes) / codes.size)
            found = codes[:COMPARED] * layer.output_scale
        else:
            real = wanted[index].double().numpy()
            found = trace.logits[:COMPARED] * layer.output_scale
        layers.append(LayerReport(
            name=layer.name, module=folded.names[index], kind=folded.topology.layers[index].kind,
            outputs=layer.neurons, weight_bits=layer.weight_bits, ticks=layer.ticks,
            scale=layer.output_scale, clipped=clipped, spikes_per_neuron=spikes,
            error=float(np.abs(found - real).mean() / max(np.abs(real).mean(), 1e-12)),
        ))
    return Comparison(
        **vars(figures(winners == dataset.y_test, trace.winners == dataset.y_test)),
        agreement=float((winners == trace.winners).mean()),
        spikes_per_neuron=tested.spikes_per_neuron,
        events_input=tested.events_input,
        events_hidden=tested.events_hidden,
        layers=layers,
    )


def figures(right: np.ndarray, network_right: np.ndarray) -> Figures:
    """How many images float network and integers recognise, and on how many just one of them."""
    return Figures(
        images=len(right),
        accuracy_float=float(right.mean()),
        accuracy_network=float(network_right.mean()),
        lost=int((right & ~network_right).sum()),
        gained=int((~right & network_right).sum()),
    )
