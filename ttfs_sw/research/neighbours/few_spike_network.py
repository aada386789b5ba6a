# SPDX-License-Identifier: Apache-2.0
"""Few-spike networks: conversion of a ReLU network, and the bit-serial form of an integer one."""

import copy
from collections.abc import Sequence

import numpy as np
import torch

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.research.neighbours import export
from ttfs_sw.research.neighbours.few_spike import FewSpike, bits_of, pulses
from ttfs_sw.research.neighbours.method import Method, Progress, Task, integer, largest_activations
from ttfs_sw.research.neighbours.operations import Inference, Tally
from ttfs_sw.training.models import ReluNetwork

__all__ = ["FewSpikeNetwork", "bit_serial"]


class FewSpikeNetwork(Method):
    """A ReLU network whose neurons are replaced by few-spike ones; nothing is trained.

    Of each layer, ``α (1 - 2^-K)`` is its largest activation on training images (as ml_genn has
    it). The image is sent by few-spike neurons too. A layer begins when the one before has ended,
    so an image takes K steps a map.

    Parameters
    ----------
    layers, shape, classes
        As :class:`ttfs_sw.research.neighbours.method.Method` has them.
    steps : :class:`int`
        K, 1 to 16.
    half_step : :class:`bool`
        Whether potentials start half of the last step's threshold higher, so that values are
        rounded and not floored. Not part of the publication.
    weight_bits : :class:`int`
        Of the integers for our core, which rounds, and has K = 8 at most.
    """

    name = "few-spike"
    title = "few-spike neurons"
    source = "Stöckl & Maass, arXiv 2002.00860"
    core = "serial"

    def __init__(
        self, layers: Sequence[str], shape: tuple[int, int, int], classes: int, *,
        steps: int = 8, half_step: bool = False, weight_bits: int = 8,
    ):
        super().__init__(layers, shape, classes)
        self.steps = integer(steps, "steps", 1, 16)
        self.half_step = half_step
        self._weight_bits = integer(weight_bits, "weight_bits", 2, 8)

    def fit(
        self, task: Task, reference: ReluNetwork, progress: Progress | None = None
    ) -> None:
        """Convert ``reference``: find the α of each layer."""
        data = task.data()
        self._begin(task, data)
        self._task, self._model = task, copy.deepcopy(reference)
        share = 1 - 2.0**-self.steps
        values = data.x[:len(task.calibration())].float() / data.maximum
        self._windows = largest_activations(reference, values)
        self._neurons = [self._neuron(window / share) for window in (1.0, *self._windows)]

    def _neuron(self, alpha: float) -> FewSpike:
        return FewSpike.relu(self.steps, alpha, inclusive=self.half_step)

    @torch.no_grad()
    def _run(self, pixels: np.ndarray) -> Inference:
        """Classify images, step by step."""
        tally, logits = Tally(self.topology), []

        def send(index: int, received: torch.Tensor) -> torch.Tensor:
            neuron = self._neurons[index + 1]
            start = neuron.threshold[-1].item() / 2 if self.half_step else 0.0
            values, spikes = neuron(received + start)
            tally.add(index, spikes.sum(dim=0))
            return values

        for values in self._batches(pixels):
            logits.append(self._model(send(-1, values), send))
        return tally.inference(torch.cat(logits), self.steps * len(self._neurons))

    def network(self) -> Network | None:
        """The same levels as codes; what the core sends are the pulses of :func:`pulses`."""
        if self.steps > 8:
            return None
        levels = [(1 << self.steps) - 1] * len(self._windows)
        return export.integers(
            self._task, self.topology, self._model, self._windows, levels, self._weight_bits
        )


def bit_serial(
    network: Network, pixels: np.ndarray
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Run an integer network pulse by pulse: what the ``serial`` datapath of our core computes.

    Every code is sent as the spikes of a few-spike neuron, the most significant first, and a
    membrane takes them in with additions only: ``V = 2 V + Σ w``, over the neurons that spike in
    that step.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        Layers of any kind.
    pixels : :class:`numpy.ndarray`
        uint8 ``[images, inputs]``.

    Returns
    -------
    codes, logits, sent
        As :func:`ttfs_sw.golden.forward` returns them, and the pulses of each map, ``[images,
        maps]``, the image first.
    """
    maps, sent = {-1: golden.encode(network, pixels)}, []

    def steps(source: int) -> np.ndarray:
        return pulses(maps[source], bits_of(network.map_ticks(source)))

    for index, layer in enumerate(network.layers):
        potential = np.zeros((len(pixels), *layer.out_shape), np.int64)
        for fired in steps(layer.source):
            potential = 2 * potential + golden.membrane(layer, fired.astype(np.uint8), 1)
        potential += layer.bias
        if layer.second_source is not None:
            residual = np.zeros((len(pixels), layer.outputs), np.int64)
            for fired in steps(layer.second_source):
                residual = 2 * residual + (fired.astype(np.int64) << layer.residual_shift)
            potential += residual.reshape(potential.shape)
        found = potential
        if layer.spiking:
            found = golden.pool(golden.fire(potential, layer), layer.pool)
        maps[index] = found.reshape(-1, layer.neurons)
    *hidden, logits = (maps[index] for index in range(len(network.layers)))
    for source in range(-1, len(hidden)):
        sent.append(steps(source).sum(axis=(0, 2)))
    return tuple(hidden), logits, np.stack(sent, axis=1)
