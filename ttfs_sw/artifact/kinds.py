# SPDX-License-Identifier: Apache-2.0
"""Kinds of layers: what a layer computes of the map that it reads, one object each."""

import dataclasses
from typing import Protocol

import numpy as np

from ttfs_sw.artifact.rules import NetworkError, output_size

__all__ = ["KINDS", "Kind", "Shaped"]


class Shaped(Protocol):
    """What a kind must know of a layer: its shapes, and its weights as they are stored."""

    @property
    def name(self) -> str: ...
    @property
    def in_shape(self) -> tuple[int, int, int]: ...
    @property
    def out_shape(self) -> tuple[int, int, int]: ...
    @property
    def kernel(self) -> tuple[int, int]: ...
    @property
    def stride(self) -> tuple[int, int]: ...
    @property
    def padding(self) -> tuple[int, int]: ...
    @property
    def pool(self) -> int: ...
    @property
    def weight(self) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of layer: everything that differs between kinds.

    Whoever treats layers of any kind asks this object. A kind is added in four files: an object
    here, its text in the table of ``ttfs_sw/training/topology.py``, a test, and a row in
    ``docs/network-format.md``. One that says of both flags what another says is computed by
    everything there is: training, the golden models, the compiler and the core. A subclass may say
    the rest in another way.

    Parameters
    ----------
    name : :class:`str`
        As it is in files.
    flat : :class:`bool`
        It reads its source as one row of neurons, in raster order; others have windows that slide
        over rows and columns.
    own_channel : :class:`bool`
        Each of its channels reads the channel of the same number and no other.
    """

    name: str
    flat: bool = False
    own_channel: bool = False

    def groups(self, channels: int) -> int:
        """Sets of channels that do not meet, of a layer of so many."""
        return channels if self.own_channel else 1

    def fan_in(self, taps: int, c_in: int) -> int:
        """Weights of one neuron whose window has so many positions."""
        return taps if self.own_channel else taps * c_in

    def weight_shape(self, kernel: tuple[int, int], c_in: int, c_out: int) -> tuple[int, ...]:
        """Shape of the weights as they are stored.

        ``[inputs, outputs]``, ``[ky, kx, c_in, c_out]`` or, of own channels, ``[ky, kx, c, 1]``.
        """
        if self.flat:
            return c_in, c_out
        return (*kernel, c_in, 1) if self.own_channel else (*kernel, c_in, c_out)

    @property
    def order(self) -> tuple[int, ...]:
        """Axes in the order of storage, of weights ``[c_out, c_in of a group, ky, kx]``.

        So torch has them; ``[outputs, inputs]`` where there is no kernel.
        """
        if self.flat:
            return 1, 0
        return (2, 3, 0, 1) if self.own_channel else (2, 3, 1, 0)

    def reach(self, layer: Shaped) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the negative and of the positive weights that some neuron of each channel sees.
        """
        weight = layer.weight.astype(np.int64)
        negative, positive = np.minimum(weight, 0), np.maximum(weight, 0)
        if self.flat:
            return negative.sum(axis=0), positive.sum(axis=0)
        # With own channels they are on the third axis, and there is no sum over inputs.
        over = (0, 1, 3) if self.own_channel else (0, 1, 2)
        # Neurons at the border see fewer taps. More taps reach further, so only extremes over the
        # distinct windows matter; there are at most kernel x kernel of those.
        windows = [(rows, columns) for rows in _taps(layer, 0) for columns in _taps(layer, 1)]
        lows = [negative[rows, columns].sum(axis=over) for rows, columns in windows]
        highs = [positive[rows, columns].sum(axis=over) for rows, columns in windows]
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def check(self, layer: Shaped) -> None:
        """Check the shapes of a layer against each other.

        Raises
        ------
        :exc:`NetworkError`
            If one does not follow from the others.
        """
        where = f"layer {layer.name!r}"
        if self.flat:
            self._check_flat(layer, where)
        else:
            _check_windows(layer, where)
        if self.own_channel and layer.out_shape[2] != layer.in_shape[2]:
            raise NetworkError(
                f"{where}: a {self.name} layer keeps its {layer.in_shape[2]} channels, but "
                f"out_shape is {layer.out_shape}"
            )

    def _check_flat(self, layer: Shaped, where: str) -> None:
        geometry = (layer.kernel, layer.stride, layer.padding, layer.pool)
        if geometry != ((1, 1), (1, 1), (0, 0), 1):
            raise NetworkError(
                f"{where}: a {self.name} layer has kernel (1, 1), stride (1, 1), padding (0, 0) "
                f"and pool 1, not {geometry}"
            )
        for name in ("in_shape", "out_shape"):
            if getattr(layer, name)[:2] != (1, 1):
                raise NetworkError(
                    f"{where}: {name} of a {self.name} layer must be (1, 1, neurons), not "
                    f"{getattr(layer, name)}"
                )


#: What a layer may compute, by name.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("dense", flat=True),
        Kind("conv2d"),
        Kind("depthwise", own_channel=True),
    )
}


def _check_windows(layer: Shaped, where: str) -> None:
    """Check kernel, stride and padding of a convolution against its shapes."""
    for axis, name in enumerate(("height", "width")):
        size, kernel = layer.in_shape[axis], layer.kernel[axis]
        stride, padding = layer.stride[axis], layer.padding[axis]
        # With less padding than kernel, every window sees at least one input position.
        if padding >= kernel:
            raise NetworkError(f"{where}: padding {padding} must be less than the kernel {kernel}")
        if kernel > size + 2 * padding:
            raise NetworkError(
                f"{where}: kernel {kernel} is larger than the padded {name} {size + 2 * padding}"
            )
        expected = output_size(size, kernel, stride, padding)
        if layer.out_shape[axis] != expected:
            raise NetworkError(
                f"{where}: out_shape is {layer.out_shape}, but its {name} follows from in_shape, "
                f"kernel, stride and padding as {expected}"
            )


def _taps(layer: Shaped, axis: int) -> list[slice]:
    """The distinct ranges of kernel taps that fall inside the map along one axis."""
    ranges = set()
    for position in range(layer.out_shape[axis]):
        first = position * layer.stride[axis] - layer.padding[axis]
        ranges.add((max(0, -first), min(layer.kernel[axis], layer.in_shape[axis] - first)))
    return [slice(*taps) for taps in sorted(ranges)]
