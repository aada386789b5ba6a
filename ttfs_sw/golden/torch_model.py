# SPDX-License-Identifier: Apache-2.0
"""The integer network as a batched :class:`torch.nn.Module`, whose floats carry integers.

BLAS multiplies floats many times faster than anything multiplies integers. Every float here holds
an integer small enough to be exact, so the results are those of :mod:`ttfs_sw.golden`, bit for bit.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from ttfs_sw.artifact.network import Layer, Network
from ttfs_sw.common.modules import Modules
from ttfs_sw.golden.arithmetic import chunks, exact_float, first_potential, matrix

__all__ = ["GoldenLayer", "GoldenModel", "one_thread"]


class GoldenLayer(torch.nn.Module):
    """One layer of any kind: from the codes of its source to its own codes, or to logits.

    Convolutions are matrix products over gathered windows: what torch picks for a convolution may
    be Winograd's algorithm, whose intermediate values are no integers.

    Parameters
    ----------
    layer : :class:`ttfs_sw.artifact.network.Layer`
        The integers, which become buffers.
    ticks : :class:`int`
        T of the codes that the layer reads.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    multiplier: torch.Tensor
    half_step: torch.Tensor
    step: torch.Tensor
    first: torch.Tensor

    def __init__(self, layer: Layer, ticks: int) -> None:
        super().__init__()
        self.layer = layer
        weight = matrix(layer).astype(exact_float(layer, ticks))
        self.register_buffer("weight", torch.from_numpy(weight))
        self.register_buffer("bias", _double(layer.bias))
        shift, multiplier = layer.shift.astype(np.int64), layer.multiplier.astype(np.int64)
        half = np.left_shift(1, shift) >> 1
        self.register_buffer("multiplier", _double(multiplier))
        self.register_buffer("half_step", _double(half))
        self.register_buffer("step", _double(0.5**shift))
        # The potential from which on a neuron fires at the first tick.
        if layer.spiking:
            self.register_buffer("first", _double(first_potential(layer)))

    def forward(self, codes: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Return uint8 codes, or int64 logits of a layer that does not spike.

        ``codes`` and ``residual`` are ``[images, neurons]`` of the maps that the layer reads.
        """
        layer = self.layer
        membrane = self._sums(codes.to(self.weight.dtype)).double().add_(self.bias)
        if residual is not None:
            membrane += residual.view(membrane.shape).double() * 2.0**layer.residual_shift
        if not layer.spiking:
            return membrane.long().view(-1, layer.outputs)
        # Above `first` nothing changes, so V m + half < 2^40: an exact integer. Multiplying by
        # 2^-s only moves the exponent, so floor is the arithmetic shift to the right.
        membrane = torch.minimum(membrane.clamp_(min=0), self.first)
        scaled = membrane.mul_(self.multiplier).add_(self.half_step)
        found = scaled.mul_(self.step).floor_().clamp_(max=layer.ticks).to(torch.uint8)
        return _pool(found, layer.pool).reshape(-1, layer.neurons)

    def _sums(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the sums of ``w a``, ``[images, height, width, channels]``, exact floats."""
        layer = self.layer
        if layer.form.flat:
            return (codes @ self.weight).view(-1, *layer.out_shape)
        (rows, columns), (down, right) = layer.padding, layer.stride
        maps = codes.view(-1, *layer.in_shape)
        maps = functional.pad(maps, (0, 0, columns, columns, rows, rows))
        # [images, height, width, channels, ky, kx]
        windows = maps.unfold(1, layer.kernel[0], down).unfold(2, layer.kernel[1], right)
        if layer.form.own_channel:
            taps = self.weight.view(*layer.kernel, -1)
            sums = windows.new_zeros(windows.shape[:4])
            for row, column in np.ndindex(layer.kernel):
                sums += windows[..., row, column] * taps[row, column]
            return sums
        sums = self.weight.new_empty(len(codes), *layer.out_shape)
        for part in chunks(layer, len(codes)):
            matrix = windows[part].permute(0, 1, 2, 4, 5, 3).reshape(-1, len(self.weight))
            sums[part] = (matrix @ self.weight).view(-1, *layer.out_shape)
        return sums

    def extra_repr(self) -> str:
        layer = self.layer
        return (
            f"{layer.kind}, {layer.in_shape} -> {layer.map_shape}, ticks={layer.ticks}, "
            f"{self.weight.dtype}"
        )


class GoldenModel(torch.nn.Module):
    """A network, layer by layer.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`
        What to compute.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.layers = Modules(
            GoldenLayer(layer, network.map_ticks(layer.source)) for layer in network.layers
        )

    @torch.inference_mode()
    def forward(self, codes: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Compute every spiking layer's uint8 codes, and the int64 logits.

        Parameters
        ----------
        codes : :class:`torch.Tensor`
            Input codes ``[images, inputs]`` of any type.
        """
        maps = {-1: codes}
        for index, module in enumerate(self.layers):
            source, second = module.layer.source, module.layer.second_source
            maps[index] = module(maps[source], None if second is None else maps[second])
        *hidden, logits = (maps[index] for index in range(len(self.layers)))
        return tuple(hidden), logits

    def run(self, codes: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Compute the same from and to arrays: what :func:`ttfs_sw.golden.forward` returns."""
        # A copy: torch warns of read-only memory, and `codes` may be a slice of any layout.
        with one_thread():
            found, logits = self(torch.from_numpy(np.array(codes)))
        return tuple(map(_array, found)), _array(logits)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread, and give them back.

    Networks this small gain nothing from more, and where something else keeps the other cores busy
    the threads wait for each other: training was twenty times slower then.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _pool(codes: torch.Tensor, size: int) -> torch.Tensor:
    """Return the largest code of each ``size`` x ``size`` window; what fills none is dropped."""
    if size == 1:
        return codes
    images, height, width, channels = codes.shape
    height, width = height // size, width // size
    codes = codes[:, :height * size, :width * size]
    return codes.reshape(images, height, size, width, size, channels).amax(dim=(2, 4))


def _double(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float64))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
