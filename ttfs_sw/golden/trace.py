# SPDX-License-Identifier: Apache-2.0
"""A batch of images through the golden model, and everything that the network did for them."""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable

import numpy as np

from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.golden.arithmetic import encode
from ttfs_sw.golden.numpy_model import numpy_model

__all__ = ["Trace", "run"]


@dataclasses.dataclass(frozen=True)
class Trace:
    """Everything that a network did for a batch of images.

    Parameters
    ----------
    codes : tuple of :class:`numpy.ndarray`
        One uint8 ``[images, neurons]`` a spiking layer, in raster order, after pooling.
    input_codes : :class:`numpy.ndarray`
        uint8 ``[images, inputs]``.
    logits : :class:`numpy.ndarray`
        int64 ``[images, classes]``.
    ticks : tuple of :class:`int`
        T of each spiking layer.
    """

    codes: tuple[np.ndarray, ...]
    input_codes: np.ndarray
    logits: np.ndarray
    ticks: tuple[int, ...]

    @property
    def winners(self) -> np.ndarray:
        """The class of each image: its largest logit, the lowest index among equals."""
        return self.logits.argmax(axis=1)

    def spike_times(self, layer: int) -> np.ndarray:
        """Spike ticks of a layer, uint8 ``[images, neurons]``; T stands for a silent neuron."""
        return np.uint8(self.ticks[layer]) - self.codes[layer]

    @property
    def events(self) -> np.ndarray:
        """Spikes of each map, int64 ``[images, 1 + spiking layers]``; the input comes first."""
        maps = (self.input_codes, *self.codes)
        return np.stack([np.count_nonzero(codes, axis=1) for codes in maps], axis=1)

    @property
    def spikes_per_neuron(self) -> float:
        """Mean spikes of a hidden neuron in one image; 0 for a network without hidden neurons."""
        neurons = sum(codes.size for codes in self.codes)
        return float(self.events[:, 1:].sum() / neurons) if neurons else 0.0


def run(
    network: Network,
    pixels: np.ndarray,
    *,
    encoded: bool = False,
    batch: int = 512,
    backend: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Run ``network`` on images.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        What to compute.
    pixels : :class:`numpy.ndarray`
        uint8 ``[images, inputs]``, raster order; activation codes when ``encoded``.
    encoded : :class:`bool`
        Whether ``pixels`` are input codes already, at most ``network.input_ticks``.
    batch : :class:`int`
        Images computed together; the result does not depend on it.
    backend : :class:`str`
        ``"torch"``, ``"numpy"``, or ``"auto"``: torch if this process has imported it already. The
        result is the same; torch is a little faster, but importing it takes as long as 200 000
        images of MNIST.
    progress : callable or ``None``
        Called as ``progress(done, total)`` with numbers of images after every batch.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If the images do not have the network's size.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim != 2 or pixels.shape[1] != network.inputs or pixels.dtype != np.uint8:
        raise InputError(
            f"the network reads images of {network.inputs} bytes, but these are {pixels.dtype} "
            f"{list(pixels.shape)}; choose a dataset of the network's size"
        )
    if batch < 1:
        raise InputError(f"batch must be at least 1, not {batch}")
    if encoded and pixels.max(initial=0) > network.input_ticks:
        raise InputError(f"input codes must be at most {network.input_ticks}, not {pixels.max()}")
    compute = _backend(backend)(network)

    images = len(pixels)
    spiking = network.layers[:-1]
    input_codes = pixels if encoded else np.empty_like(pixels)
    codes = tuple(np.empty((images, layer.neurons), np.uint8) for layer in spiking)
    logits = np.empty((images, network.classes), np.int64)
    for start in range(0, images, batch):
        part = slice(start, min(start + batch, images))
        if not encoded:
            input_codes[part] = encode(network, pixels[part])
        found, logits[part] = compute(input_codes[part])
        for whole, piece in zip(codes, found, strict=True):
            whole[part] = piece
        if progress is not None:
            progress(part.stop, images)
    return Trace(codes, input_codes, logits, tuple(layer.ticks for layer in spiking))


def _backend(
    name: str,
) -> Callable[[Network], Callable[[np.ndarray], tuple[tuple[np.ndarray, ...], np.ndarray]]]:
    """Return the function that makes, from a network, the function from input codes to results."""
    if name not in ("auto", "torch", "numpy"):
        raise InputError(f"backend must be auto, torch or numpy, not {name!r}")
    if name == "numpy" or (name == "auto" and "torch" not in sys.modules):
        return numpy_model
    if importlib.util.find_spec("torch") is None:
        raise InputError("backend torch needs torch: pip install torch, or choose backend numpy")
    # Imported only here: hosts without torch run the numpy twin.
    from ttfs_sw.golden.torch_model import GoldenModel

    return lambda network: GoldenModel(network).run
