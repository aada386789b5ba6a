# SPDX-License-Identifier: Apache-2.0
"""One layer of a network in integers, valid from the moment it is made."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ttfs_sw.artifact.kinds import KINDS, Kind
from ttfs_sw.artifact.rules import (
    ARRAYS,
    MAX_LAYERS,
    MAX_RESIDUAL_SHIFT,
    MAX_SIZE,
    NetworkError,
    integer,
    integers,
    read_only,
    real,
    text,
)

__all__ = ["Layer"]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One layer: where it reads, its shape, and its integers.

    The arrays are copied and read-only; anything integer is taken if no value is lost.

    Parameters
    ----------
    name : :class:`str`
        Unique in its network; appears in messages and reports.
    kind : :class:`str`
        ``"dense"``, ``"conv2d"`` or ``"depthwise"``, the name of its :attr:`form`.
    source : :class:`int`
        Index of the layer whose map is read; -1 is the network's input.
    second_source : :class:`int` or ``None``
        Residual: a map of shape ``out_shape``, added to the membrane as ``a << residual_shift``.
    residual_shift : :class:`int`
        Left shift of the residual's codes; 0 without a residual.
    in_shape, out_shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width and channels of what is read, and of the neurons before pooling. A dense layer
        has ``(1, 1, inputs)`` and ``(1, 1, outputs)`` and reads its source in raster order.
    kernel, stride, padding : (:class:`int`, :class:`int`)
        Along height and width; the padding is silent and the same on both sides.
    pool : :class:`int`
        The first spike of each ``pool`` x ``pool`` window wins, after firing; 1 is none. Rows and
        columns that do not fill a window are dropped.
    spiking : :class:`bool`
        False for the last layer only: its membrane potentials are the logits.
    ticks : :class:`int`
        T of the layer's own codes, 1 to 255; 0 when it does not spike.
    weight_bits : :class:`int`
        Declared width of a weight, 2 to 8, two's complement.
    weight : :class:`numpy.ndarray`
        int8 ``[ky, kx, c_in, c_out]``; dense ``[inputs, outputs]``; depthwise ``[ky, kx, c, 1]``.
    bias : :class:`numpy.ndarray`
        int32 ``[c_out]``: where the membrane starts.
    multiplier, shift : :class:`numpy.ndarray`
        uint16 and uint8 ``[c_out]``: m and s of the requantiser; empty when not spiking.
    weight_scale, output_scale : :class:`float`
        Real value of one step of a weight, and of one step of the layer's codes (of its logits,
        when it does not spike). They explain the integers; nothing computes with them.
    """

    name: str
    kind: str
    source: int
    second_source: int | None
    residual_shift: int
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    pool: int
    spiking: bool
    ticks: int
    weight_bits: int
    weight: np.ndarray = dataclasses.field(repr=False)
    bias: np.ndarray = dataclasses.field(repr=False)
    multiplier: np.ndarray = dataclasses.field(repr=False)
    shift: np.ndarray = dataclasses.field(repr=False)
    weight_scale: float
    output_scale: float

    def __post_init__(self) -> None:
        text(self.name, "the name of a layer", "[A-Za-z0-9_.-]{1,64}")
        where = f"layer {self.name!r}"
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise NetworkError(
                f"{where}: kind must be one of {', '.join(KINDS)}, not {self.kind!r}"
            )
        if not isinstance(self.spiking, bool | np.bool_):
            raise NetworkError(f"{where}: spiking must be true or false, not {self.spiking!r}")

        def put(check: Callable[..., Any], name: str, *limits: Any) -> None:
            object.__setattr__(self, name, check(getattr(self, name), f"{where}: {name}", *limits))

        put(integer, "source", -1, MAX_LAYERS)
        if self.second_source is not None:
            put(integer, "second_source", -1, MAX_LAYERS)
        put(integer, "residual_shift", 0, MAX_RESIDUAL_SHIFT)
        for name in ("in_shape", "out_shape"):
            put(integers, name, 3, 1, MAX_SIZE)
        for name in ("kernel", "stride"):
            put(integers, name, 2, 1, MAX_SIZE)
        put(integers, "padding", 2, 0, MAX_SIZE)
        put(integer, "pool", 1, MAX_SIZE)
        put(integer, "ticks", 0, 255)
        put(integer, "weight_bits", 2, 8)
        put(real, "weight_scale")
        put(real, "output_scale")
        for name, dtype in ARRAYS.items():
            put(read_only, name, dtype)
        object.__setattr__(self, "spiking", bool(self.spiking))
        _check(self)

    @property
    def form(self) -> Kind:
        """What its kind says of it."""
        return KINDS[self.kind]

    @property
    def inputs(self) -> int:
        """Neurons (or pixels) of the map that the layer reads."""
        return math.prod(self.in_shape)

    @property
    def outputs(self) -> int:
        """Neurons of the layer, before pooling."""
        return math.prod(self.out_shape)

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the layer's map, after pooling."""
        height, width, channels = self.out_shape
        return height // self.pool, width // self.pool, channels

    @property
    def neurons(self) -> int:
        """Neurons of the layer's map, after pooling."""
        return math.prod(self.map_shape)


def _check(layer: Layer) -> None:
    """Check what can be said of a layer without the rest of its network.

    Raises
    ------
    :exc:`NetworkError`
        If a shape does not follow from the others, or a value is out of its range.
    """
    where = f"layer {layer.name!r}"
    layer.form.check(layer)
    if layer.pool > min(layer.out_shape[:2]):
        raise NetworkError(
            f"{where}: pool {layer.pool} is larger than the {layer.out_shape[0]} x "
            f"{layer.out_shape[1]} map"
        )
    if layer.second_source is None and layer.residual_shift:
        raise NetworkError(
            f"{where}: residual_shift must be 0 without a second_source, not {layer.residual_shift}"
        )
    _check_spiking(layer, where)
    _check_arrays(layer, where)


def _check_spiking(layer: Layer, where: str) -> None:
    """Check that exactly the layers that fire have ticks, and that only they pool."""
    if layer.spiking and not layer.ticks:
        raise NetworkError(f"{where}: ticks must be from 1 to 255 in a spiking layer, not 0")
    if not layer.spiking and layer.ticks:
        raise NetworkError(f"{where}: ticks must be 0 in a layer that does not spike")
    if not layer.spiking and layer.pool != 1:
        raise NetworkError(f"{where}: pool must be 1 in a layer that does not spike")


def _check_arrays(layer: Layer, where: str) -> None:
    """Check shape and range of every array of a layer."""
    (_, _, c_in), (_, _, c_out) = layer.in_shape, layer.out_shape
    slopes = (c_out,) if layer.spiking else (0,)
    shapes = {
        "weight": layer.form.weight_shape(layer.kernel, c_in, c_out),
        "bias": (c_out,),
        "multiplier": slopes,
        "shift": slopes,
    }
    for name, shape in shapes.items():
        if getattr(layer, name).shape != shape:
            raise NetworkError(
                f"{where}: {name} must have shape {shape}, not {getattr(layer, name).shape}"
            )
    limit = 1 << (layer.weight_bits - 1)
    low, high = int(layer.weight.min()), int(layer.weight.max())
    if low < -limit or high >= limit:
        raise NetworkError(
            f"{where}: weight has values from {low} to {high}, but its weight_bits "
            f"{layer.weight_bits} allow {-limit} to {limit - 1}"
        )
    if layer.spiking and not layer.multiplier.all():
        raise NetworkError(f"{where}: multiplier must be from 1 to 65535, not 0")
    if layer.spiking and layer.shift.max() > 31:
        raise NetworkError(f"{where}: shift must be from 0 to 31, not {layer.shift.max()}")
