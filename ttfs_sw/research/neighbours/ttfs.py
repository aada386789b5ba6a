# SPDX-License-Identifier: Apache-2.0
"""This project's own network, for comparison: one spike a neuron, trained as the integers it is."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.research.neighbours.method import Method, Progress, Task, fit, integer
from ttfs_sw.research.neighbours.operations import Inference, Tally
from ttfs_sw.training.models import QuantisedNetwork, ReluNetwork
from ttfs_sw.training.topology import Topology

__all__ = ["TtfsNetwork", "of_network"]


class TtfsNetwork(Method):
    """The integer network of :mod:`ttfs_sw.training.models`, fine-tuned; run by the golden model.

    Its equation is the integer contract (Stanojevic et al., Nat. Commun. 15:6793, 2024, in ticks)::

        a = min(T, (max(V, 0) m + 2^(s-1)) >> s)      V = β + Σ w a

    Parameters
    ----------
    layers, shape, classes
        As :class:`ttfs_sw.research.neighbours.method.Method` has them.
    ticks : :class:`int`
        T of every hidden layer.
    weight_bits : :class:`int`
        2 to 8.
    """

    name = "ttfs"
    title = "this project: one spike, integers"
    source = "Stanojevic et al., Nat. Commun. 15:6793, arXiv 2306.08744"
    core = "mac, serial; ramp if dense"

    def __init__(
        self, layers: Sequence[str], shape: tuple[int, int, int], classes: int, *,
        ticks: int = 15, weight_bits: int = 4,
    ):
        super().__init__(layers, shape, classes)
        self._ticks = integer(ticks, "ticks", 1, 255)
        self._weight_bits = integer(weight_bits, "weight_bits", 2, 8)
        self._network: Network | None = None

    def fit(
        self, task: Task, reference: ReluNetwork, progress: Progress | None = None
    ) -> None:
        """Fine-tune ``reference`` in integers."""
        data, training = task.data(), task.config.training
        self._begin(task, data)
        plans = self.topology.layers
        bits = [self._weight_bits] * sum(plan.learned for plan in plans)
        ticks = (task.config.network.input_ticks, *[self._ticks] * (len(plans) - 1))
        model = QuantisedNetwork(self.topology, bits, ticks).to(task.device)
        model.start_from(reference, data.encode(data.x[:len(task.calibration())].float()))

        def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(
                model(data.encode(pixels)).logits, labels,
                label_smoothing=training.label_smoothing,
            )

        fit(model, loss, data, task.config, epochs=training.epochs, rate=training.learning_rate,
            progress=progress)
        self._network = data.export(model)

    def _run(self, pixels: np.ndarray) -> Inference:
        """Classify images in integers."""
        assert self._network is not None, "predict refuses what is not fitted"
        return of_network(self._network, self.topology, pixels)

    def network(self) -> Network | None:
        """What :meth:`ttfs_sw.research.neighbours.method.Method.predict` runs."""
        return self._network


def of_network(network: Network, topology: Topology, pixels: np.ndarray) -> Inference:
    """Return what an integer network does with images, each neuron firing once."""
    trace = golden.run(network, pixels)
    tally = Tally(topology, weighted=True)
    tally.add(-1, torch.from_numpy(trace.input_codes > 0))
    for index, codes in enumerate(trace.codes):
        height, width, channels = network.layers[index].map_shape
        fired = torch.from_numpy(codes > 0).view(-1, height, width, channels)
        tally.add(index, fired.permute(0, 3, 1, 2))
    return tally.inference(
        torch.from_numpy(trace.logits), network.input_ticks + sum(trace.ticks)
    )
