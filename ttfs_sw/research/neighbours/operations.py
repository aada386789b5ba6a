# SPDX-License-Identifier: Apache-2.0
"""What an inference costs: spikes of every map, and the synapses that they go through.

A spike that arrives at a synapse costs one addition; where its worth depends on when it came, or
where what arrives is a real number, also a multiplication. Neurons themselves are not counted:
beside the synapses of a layer they are few.
"""

import dataclasses

import numpy as np
import torch
from torch.nn import functional

from ttfs_sw.training.topology import LayerPlan, Topology

__all__ = ["Inference", "Tally", "synapses"]


@dataclasses.dataclass(frozen=True)
class Inference:
    """What a method did with a batch of images.

    Parameters
    ----------
    logits : :class:`numpy.ndarray`
        ``[images, classes]``, of any type.
    spikes : :class:`numpy.ndarray`
        int64 ``[images, maps]``: spikes of the image, then of each hidden layer. An image that is
        given as real numbers sends none.
    neurons : :class:`int`
        Hidden neurons.
    time_steps : :class:`int`
        From the first step of the image to the answer.
    additions, multiplications : :class:`float`
        Of synapses, mean of an image.
    """

    logits: np.ndarray = dataclasses.field(repr=False)
    spikes: np.ndarray = dataclasses.field(repr=False)
    neurons: int
    time_steps: int
    additions: float
    multiplications: float

    @property
    def winners(self) -> np.ndarray:
        """The class of each image: its largest logit, the lowest index among equals."""
        return self.logits.argmax(axis=1)

    @property
    def spikes_per_neuron(self) -> float:
        """Mean spikes of a hidden neuron in one image."""
        return float(self.spikes[:, 1:].sum() / (self.neurons * len(self.spikes)))

    @property
    def spikes_per_inference(self) -> float:
        """Mean spikes of an image, its own included."""
        return float(self.spikes.sum(axis=1).mean())


def synapses(plan: LayerPlan, counts: torch.Tensor) -> float:
    """Return how many synapses of a layer are passed by so many spikes of its source.

    Taps beyond the edge of the map are none. For a convolution that is the sum over its outputs of
    a convolution of ``counts`` with ones.

    Parameters
    ----------
    plan : :class:`ttfs_sw.training.topology.LayerPlan`
        The layer.
    counts : :class:`torch.Tensor`
        Spikes of each neuron of the source, ``[channels, height, width]``, or ``[neurons]`` of a
        dense layer.
    """
    outputs = 1 if plan.form.own_channel else plan.out_shape[2]
    if plan.form.flat:
        return float(counts.sum()) * outputs
    maps = counts.double().sum(dim=0)[None, None]
    ones = torch.ones(1, 1, plan.kernel, plan.kernel, dtype=maps.dtype, device=maps.device)
    reached = functional.conv2d(maps, ones, stride=plan.stride, padding=plan.padding)
    return float(reached.sum()) * outputs


class Tally:
    """Counts the spikes of batches of images, and what they cost.

    Parameters
    ----------
    topology : :class:`ttfs_sw.training.topology.Topology`
        The network's layers.
    weighted : :class:`bool`
        Whether what a spike is worth depends on its time, so that each synapse multiplies.
    """

    def __init__(self, topology: Topology, *, weighted: bool = False):
        self._plans = topology.layers
        height, width, channels = topology.input_shape
        shapes = [(channels, height, width)]
        for plan in self._plans[:-1]:
            height, width, channels = plan.map_shape
            shapes.append((channels, height, width))
        self._counts = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
        self._analog = torch.zeros(shapes[0], dtype=torch.float64)
        self._weighted = weighted
        self._spikes: list[list[torch.Tensor]] = [[] for _ in shapes]

    def add(self, index: int, spikes: torch.Tensor) -> None:
        """Take the number of spikes of each neuron of layer ``index`` (-1: of the image).

        ``[images, channels, height, width]``, as maps are, or of the image ``[images, inputs]`` in
        raster order.
        """
        spikes = self._maps(index, spikes)
        self._counts[index + 1] += spikes.sum(dim=0)
        self._spikes[index + 1].append(spikes.flatten(1).sum(dim=1))

    def add_analog(self, values: torch.Tensor) -> None:
        """Take an image that is given as real numbers, once: ``[images, inputs]``."""
        present = self._maps(-1, values != 0)
        self._analog += present.sum(dim=0)
        self._spikes[0].append(torch.zeros(len(values), dtype=torch.float64))

    def _maps(self, index: int, values: torch.Tensor) -> torch.Tensor:
        shape = self._counts[index + 1].shape
        values = values.detach().double().cpu()
        if index == -1:
            return values.view(-1, *shape[1:], shape[0]).permute(0, 3, 1, 2)
        return values.view(-1, *shape)

    def inference(self, logits: torch.Tensor, time_steps: int) -> Inference:
        """Return all that was counted, with the logits of all images in the order of counting."""
        spikes = torch.stack([torch.cat(parts) for parts in self._spikes], dim=1)
        images = len(spikes)
        passed, analog = 0.0, 0.0
        for index, plan in enumerate(self._plans):
            passed += synapses(plan, self._read(self._counts[index], plan))
            if index == 0:
                analog += synapses(plan, self._read(self._analog, plan))
            if plan.second_source is not None:
                passed += float(self._counts[plan.second_source + 1].sum())
                analog += float(self._analog.sum()) if plan.second_source == -1 else 0.0
        return Inference(
            logits=logits.detach().cpu().numpy(), spikes=spikes.long().numpy(),
            neurons=sum(counts.numel() for counts in self._counts[1:]), time_steps=time_steps,
            additions=(passed + analog) / images,
            multiplications=(analog + (passed if self._weighted else 0.0)) / images,
        )

    @staticmethod
    def _read(counts: torch.Tensor, plan: LayerPlan) -> torch.Tensor:
        return counts.flatten() if plan.form.flat else counts
