"""What a conversion cost, layer by layer: the artifact beside the network in real numbers."""

from typing import Any

import numpy as np
import torch

from ttfs_sw import golden
from ttfs_sw.artifact.network import Network
from ttfs_sw.convert.calibrate import activations, pooled
from ttfs_sw.convert.layers import Folded
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.golden import evaluation
from ttfs_sw.training.models import ReluNetwork

__all__ = ["compare", "figures"]

#: Test images on which layers are compared, and images whose float logits are computed together.
COMPARED, BATCH = 1000, 500


@torch.no_grad()
def compare(
    network: Network, relu: ReluNetwork, folded: Folded, dataset: Dataset, maximum: int
) -> dict[str, Any]:
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

    Returns
    -------
    :class:`dict`
        :func:`figures`, ``agreement`` (share of the images with the same winner), spikes and
        events, and ``layers``: for each, over at most 1 000 images, ``error`` (mean of the absolute
        difference of activations, as a share of the mean activation; the errors of the layers
        before are in it), ``clipped`` (share of the activations above the
        window) and ``spikes_per_neuron``.
    """
    pixels = torch.from_numpy(dataset.x_test)
    logits = torch.cat([relu(part.float() / maximum) for part in pixels.split(BATCH)])
    winners = logits.argmax(dim=1).numpy()
    trace = golden.run(network, dataset.x_test)
    tested = evaluation.summary(trace, dataset.y_test)
    wanted = activations(relu, pixels[:COMPARED].float() / maximum)
    layers = []
    for index, layer in enumerate(network.layers):
        row = {
            "name": layer.name, "module": folded.names[index],
            "kind": folded.topology.layers[index].kind,
            "outputs": layer.neurons, "weight_bits": layer.weight_bits, "ticks": layer.ticks,
            "scale": layer.output_scale,
        }
        if layer.spiking:
            real = pooled(wanted[index], layer.pool).double().numpy()
            codes = trace.codes[index]
            row["clipped"] = float((real > (layer.ticks + 0.5) * layer.output_scale).mean())
            row["spikes_per_neuron"] = float(np.count_nonzero(codes) / codes.size)
            found = codes[:COMPARED] * layer.output_scale
        else:
            real = wanted[index].double().numpy()
            found = trace.logits[:COMPARED] * layer.output_scale
        row["error"] = float(np.abs(found - real).mean() / max(np.abs(real).mean(), 1e-12))
        layers.append(row)
    return {
        **figures(winners == dataset.y_test, trace.winners == dataset.y_test),
        "agreement": float((winners == trace.winners).mean()),
        "spikes_per_neuron": tested.spikes_per_neuron,
        "events_input": tested.events_input,
        "events_hidden": tested.events_hidden,
        "layers": layers,
    }


def figures(right: np.ndarray, network_right: np.ndarray) -> dict[str, Any]:
    """How many images float network and integers recognise, and on how many just one of them."""
    return {
        "images": len(right),
        "accuracy_float": float(right.mean()),
        "accuracy_network": float(network_right.mean()),
        "lost": int((right & ~network_right).sum()),
        "gained": int((~right & network_right).sum()),
    }
