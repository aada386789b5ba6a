# SPDX-License-Identifier: Apache-2.0
"""The integer network in numpy: what every other form of it must equal.

:mod:`ttfs_sw.golden.torch_model` computes the same with torch.
"""

import functools
from collections.abc import Callable, Mapping

import numpy as np
from threadpoolctl import ThreadpoolController

from ttfs_sw.artifact.network import Layer, Network
from ttfs_sw.golden.arithmetic import chunks, exact_float, fire, matrix, pool

__all__ = ["forward", "membrane", "numpy_model", "potentials"]


@functools.lru_cache(maxsize=64)
def _float_weight(layer: Layer, ticks: int) -> np.ndarray:
    """Return the weights as exact floats. A layer never changes, so batches may share them."""
    return matrix(layer).astype(exact_float(layer, ticks))


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
    if layer.form.flat:
        return (codes.astype(weight.dtype) @ weight).astype(np.int64).reshape(shape)
    (rows, columns), (down, right) = layer.padding, layer.stride
    maps = np.pad(
        codes.reshape(-1, *layer.in_shape).astype(weight.dtype),
        ((0, 0), (rows, rows), (columns, columns), (0, 0)),
    )
    # [images, height, width, channels, ky, kx]
    windows = np.lib.stride_tricks.sliding_window_view(maps, layer.kernel, axis=(1, 2))
    windows = windows[:, ::down, ::right]
    if layer.form.own_channel:
        taps = weight.reshape(*layer.kernel, -1)
        sums = np.zeros(shape, weight.dtype)
        for row, column in np.ndindex(layer.kernel):
            sums += windows[..., row, column] * taps[row, column]
        return sums.astype(np.int64)
    sums = np.empty(shape, np.int64)
    for part in chunks(layer, len(codes)):
        gathered = windows[part].transpose(0, 1, 2, 4, 5, 3).reshape(-1, len(weight))
        sums[part] = (gathered @ weight).reshape(-1, *layer.out_shape)
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
        what arrives (see :mod:`ttfs_sw.golden.jitter`).
    """
    maps = {-1: codes if move is None else move(codes, network.input_ticks)}
    for index, layer in enumerate(network.layers):
        potential = potentials(network, layer, maps)
        found = pool(fire(potential, layer), layer.pool) if layer.spiking else potential
        found = found.reshape(-1, layer.neurons)
        maps[index] = move(found, layer.ticks) if move and layer.spiking else found
    *hidden, logits = (maps[index] for index in range(len(network.layers)))
    return tuple(hidden), logits


def numpy_model(
    network: Network,
) -> Callable[[np.ndarray], tuple[tuple[np.ndarray, ...], np.ndarray]]:
    """Return :func:`forward` of ``network``, without the threads of BLAS.

    A layer of a batch takes about a millisecond. Threads that wait for each other that often gain
    little on an idle machine, and on a busy one they cost up to a factor of fifty.
    """
    libraries = ThreadpoolController()

    def compute(codes: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        with libraries.limit(limits=1, user_api="blas"):
            return forward(network, codes)

    return compute
