"""The integer network as a batched :class:`torch.nn.Module`, whose floats carry integers.

BLAS multiplies floats many times faster than anything multiplies integers. Every float here holds
an integer small enough to be exact, so the results are those of :mod:`ttfs_sw.golden`, bit for bit.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from ttfs_sw.golden import exact_float, refuse_unsupported
from ttfs_sw.network import Layer, Network

__all__ = ["DenseLayer", "GoldenModel", "one_thread"]


class DenseLayer(torch.nn.Module):
    """One dense layer: from the codes of its source to its own codes, or to logits.

    Parameters
    ----------
    layer : :class:`ttfs_sw.network.Layer`
        The integers, which become buffers.
    ticks : :class:`int`
        T of the codes that the layer reads.
    """

    def __init__(self, layer: Layer, ticks: int) -> None:
        super().__init__()
        self.ticks = layer.ticks
        self.spiking = layer.spiking
        weight = torch.from_numpy(layer.weight.astype(exact_float(layer, ticks)))
        self.register_buffer("weight", weight)
        self.register_buffer("bias", _double(layer.bias))
        shift = layer.shift.astype(np.int64)
        self.register_buffer("multiplier", _double(layer.multiplier))
        self.register_buffer("half_step", _double(np.left_shift(1, shift) >> 1))
        self.register_buffer("step", _double(0.5**shift))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Return uint8 codes, or int64 logits of a layer that does not spike."""
        membrane = (codes.to(self.weight.dtype) @ self.weight).double().add_(self.bias)
        if not self.spiking:
            return membrane.long()
        # A dense layer reads at most 2^20 codes of at most 255, weights are at least -128 and a
        # bias is below 2^31, so V < 2^36 and V m + half < 2^53: an exact integer. Multiplying by
        # 2^-s only moves the exponent, so floor is the arithmetic shift to the right.
        scaled = membrane.clamp_(min=0).mul_(self.multiplier).add_(self.half_step)
        return scaled.mul_(self.step).floor_().clamp_(max=self.ticks).to(torch.uint8)

    def extra_repr(self) -> str:
        inputs, outputs = self.weight.shape
        return f"{inputs} -> {outputs}, ticks={self.ticks}, {self.weight.dtype}"


class GoldenModel(torch.nn.Module):
    """A network of dense layers, layer by layer.

    Parameters
    ----------
    network : :class:`ttfs_sw.network.Network`
        What to compute.

    Raises
    ------
    :exc:`ttfs_sw.network.NetworkError`
        If a layer is not plainly dense.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        refuse_unsupported(network)
        self.sources = tuple(layer.source for layer in network.layers)
        self.layers = torch.nn.ModuleList(
            DenseLayer(layer, network.map_ticks(layer.source)) for layer in network.layers
        )

    @torch.inference_mode()
    def forward(self, codes: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Compute every spiking layer's uint8 codes, and the int64 logits.

        Parameters
        ----------
        codes : :class:`torch.Tensor`
            Input codes ``[images, inputs]`` of any type.
        """
        maps = []
        for source, layer in zip(self.sources, self.layers, strict=True):
            maps.append(layer(codes if source == -1 else maps[source]))
        return tuple(maps[:-1]), maps[-1]

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


def _double(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float64))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
