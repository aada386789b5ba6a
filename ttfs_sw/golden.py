"""The integer network: what every other form of it, in software or in hardware, must equal.

A silent neuron has code 0 and spike time T; a neuron that fires at tick k has code T - k. This
module is numpy only; :mod:`ttfs_sw.golden_torch` computes the same with torch.
"""

import dataclasses
import functools
import importlib.util
import sys
from collections.abc import Callable, Mapping

import numpy as np
from threadpoolctl import ThreadpoolController

from ttfs_sw.artifact.network import Layer, Network
from ttfs_sw.common.errors import InputError

__all__ = ["Trace", "chunks", "encode", "exact_float", "fire", "forward", "membrane", "pool",
           "potentials", "run", "thresholds"]

#: Elements of the matrix of windows that a convolution gathers at a time: what a cache holds.
WINDOW_ELEMENTS = 1 << 20


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


def thresholds(multiplier: int, shift: int, ticks: int) -> np.ndarray:
    """Return the falling threshold: entry k is the least potential that fires at tick k or before.

    The entries are int64, positive and never rise. A membrane that ramps with slope
    ``2**shift / multiplier`` per tick and reaches the top of its window fires at the first tick k
    with ``V >= thresholds[k]``, which is what :func:`fire` computes in one step.
    """
    # floor((V m + half) / 2^s) >= c  <=>  V m >= c 2^s - half  <=>  V >= ceil((c 2^s - half) / m)
    codes = np.arange(ticks, 0, -1, dtype=np.int64)
    half = (1 << shift) >> 1
    return -((half - (codes << shift)) // multiplier)


def fire(membrane: np.ndarray, layer: Layer) -> np.ndarray:
    """Return the uint8 codes of int64 potentials, whose last axis is the layer's channels."""
    shift = layer.shift.astype(np.int64)
    multiplier = layer.multiplier.astype(np.int64)
    half = np.left_shift(1, shift) >> 1
    # Potentials beyond the one that fires first change nothing, and without them V m stays small.
    first = -((half - (layer.ticks << shift)) // multiplier)
    scaled = np.clip(membrane, 0, first) * multiplier
    return np.minimum((scaled + half) >> shift, layer.ticks).astype(np.uint8)


def exact_float(layer: Layer, ticks: int) -> type[np.floating]:
    """Return the narrowest float in which the sums of ``w a`` of ``layer`` are exact integers.

    The products w a are integers, and whatever the order in which they are added, and whether
    multiplications are fused into additions, every intermediate value is a sum of some of them.
    That lies between ``ticks`` x the sum of a channel's negative weights and ``ticks`` x the sum of
    its positive ones, over all taps and inputs; windows at the border see fewer. Integers up to
    2^24 in magnitude are exact in float32, and up to 2^53 in float64, so a channel that stays
    within the limit is computed without rounding. Weights of 8 bits would need 2^38 of them in one
    channel to leave float64. Biases and residuals are added to integers, or in float64.
    """
    weight = _matrix(layer).astype(np.int64)
    reach = ticks * max(int(np.maximum(weight, 0).sum(axis=0).max()),
                        int(np.maximum(-weight, 0).sum(axis=0).max()))
    return np.float32 if reach <= 1 << 24 else np.float64


def _matrix(layer: Layer) -> np.ndarray:
    """Return the weights of any kind of layer with one column a channel."""
    return layer.weight.reshape(-1, layer.out_shape[2])


@functools.lru_cache(maxsize=64)
def _float_weight(layer: Layer, ticks: int) -> np.ndarray:
    """Return the weights as exact floats. A layer never changes, so batches may share them."""
    return _matrix(layer).astype(exact_float(layer, ticks))


def chunks(layer: Layer, images: int) -> list[slice]:
    """Cut a batch into parts whose windows, gathered into a matrix, fit a cache."""
    height, width, _ = layer.out_shape
    taps = layer.weight.size // layer.out_shape[2]
    step = max(1, WINDOW_ELEMENTS // (height * width * taps))
    return [slice(start, start + step) for start in range(0, images, step)]


def membrane(layer: Layer, codes: np.ndarray, ticks: int) -> np.ndarray:
    """Return the sums of ``w a``, int64 ``[images, height, width, channels]``, without the bias.

    Parameters
    ----------
    layer : :class:`ttfs_sw.artifact.network.Layer`
        Of any kind.
    codes : :class:`numpy.ndarray`
        Codes of the layer's source, ``[images, inputs]``.
    ticks : :class:`int`
        The largest code there may be.
    """
    weight = _float_weight(layer, ticks)
    shape = (len(codes), *layer.out_shape)
    if layer.kind == "dense":
        return (codes.astype(weight.dtype) @ weight).astype(np.int64).reshape(shape)
    (rows, columns), (down, right) = layer.padding, layer.stride
    maps = np.pad(
        codes.reshape(-1, *layer.in_shape).astype(weight.dtype),
        ((0, 0), (rows, rows), (columns, columns), (0, 0)),
    )
    # [images, height, width, channels, ky, kx]
    windows = np.lib.stride_tricks.sliding_window_view(maps, layer.kernel, axis=(1, 2))
    windows = windows[:, ::down, ::right]
    if layer.kind == "depthwise":
        taps = weight.reshape(*layer.kernel, -1)
        sums = np.zeros(shape, weight.dtype)
        for row, column in np.ndindex(layer.kernel):
            sums += windows[..., row, column] * taps[row, column]
        return sums.astype(np.int64)
    sums = np.empty(shape, np.int64)
    for part in chunks(layer, len(codes)):
        matrix = windows[part].transpose(0, 1, 2, 4, 5, 3).reshape(-1, len(weight))
        sums[part] = (matrix @ weight).reshape(-1, *layer.out_shape)
    return sums


def potentials(network: Network, layer: Layer, maps: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return a layer's potentials when its input window has closed, bias and residual included.

    They are int64 ``[images, height, width, channels]``; ``maps`` are the codes by the index of the
    layer that fired them, -1 for the input.
    """
    found = membrane(layer, maps[layer.source], network.map_ticks(layer.source))
    found += layer.bias
    if layer.second_source is not None:
        residual = maps[layer.second_source].reshape(found.shape).astype(np.int64)
        found += residual << layer.residual_shift
    return found


def pool(codes: np.ndarray, size: int) -> np.ndarray:
    """Return the first spike, the largest code, of each ``size`` x ``size`` window of maps.

    ``codes`` are ``[images, height, width, channels]``; rows and columns that do not fill a window
    are dropped.
    """
    if size == 1:
        return codes
    images, height, width, channels = codes.shape
    height, width = height // size, width // size
    codes = codes[:, :height * size, :width * size]
    return codes.reshape(images, height, size, width, size, channels).max(axis=(2, 4))


def encode(network: Network, pixels: np.ndarray) -> np.ndarray:
    """Return the input codes of uint8 pixels of any shape."""
    return np.take(network.input_codes, pixels)


def forward(
    network: Network, codes: np.ndarray, move: Callable[[np.ndarray, int], np.ndarray] | None = None
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Compute the codes of every spiking layer, and the logits, from input codes.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        Layers of any kind.
    codes : :class:`numpy.ndarray`
        uint8 ``[images, inputs]``, each at most ``network.input_ticks``.
    move : callable or ``None``
        Called as ``move(codes, T)`` with each map of spikes, the input's too; what it returns is
        what arrives (see :mod:`ttfs_sw.jitter`).
    """
    maps = {-1: codes if move is None else move(codes, network.input_ticks)}
    for index, layer in enumerate(network.layers):
        potential = potentials(network, layer, maps)
        found = pool(fire(potential, layer), layer.pool) if layer.spiking else potential
        found = found.reshape(-1, layer.neurons)
        maps[index] = move(found, layer.ticks) if move and layer.spiking else found
    *hidden, logits = (maps[index] for index in range(len(network.layers)))
    return tuple(hidden), logits


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


def _backend(name: str) -> Callable:
    """Return the function that makes, from a network, the function from input codes to results."""
    if name not in ("auto", "torch", "numpy"):
        raise InputError(f"backend must be auto, torch or numpy, not {name!r}")
    if name == "numpy" or (name == "auto" and "torch" not in sys.modules):
        return _numpy_model
    if importlib.util.find_spec("torch") is None:
        raise InputError("backend torch needs torch: pip install torch, or choose backend numpy")
    # Imported only here: hosts without torch run the numpy twin.
    from ttfs_sw.golden_torch import GoldenModel

    return lambda network: GoldenModel(network).run


def _numpy_model(network: Network) -> Callable:
    """Return :func:`forward` of ``network``, without the threads of BLAS.

    A layer of a batch takes about a millisecond. Threads that wait for each other that often gain
    little on an idle machine, and on a busy one they cost up to a factor of fifty.
    """
    libraries = ThreadpoolController()

    def compute(codes: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        with libraries.limit(limits=1, user_api="blas"):
            return forward(network, codes)

    return compute
