"""A time-to-first-spike network in integers: the only thing that crosses from software to hardware.

``docs/network-format.md`` describes the file field by field. A network that exists is valid: every
rule is applied when a :class:`Layer` or a :class:`Network` is made, whoever makes it.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ttfs_sw.artifact import file as network_file
from ttfs_sw.artifact.rules import (
    ARRAYS,
    KINDS,
    MAX_LAYERS,
    MAX_RESIDUAL_SHIFT,
    MAX_SIZE,
    NetworkError,
    as_array,
    check_layer,
    check_network,
    integer,
    integers,
    read_only,
    real,
    text,
)

__all__ = ["Layer", "Network", "NetworkError", "dense_network", "linear_codes"]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One layer: where it reads, its shape, and its integers.

    The arrays are copied and read-only; anything integer is taken if no value is lost.

    Parameters
    ----------
    name : :class:`str`
        Unique in its network; appears in messages and reports.
    kind : :class:`str`
        ``"dense"``, ``"conv2d"`` or ``"depthwise"``.
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
        if self.kind not in KINDS:
            raise NetworkError(
                f"{where}: kind must be one of {', '.join(KINDS)}, not {self.kind!r}"
            )
        if not isinstance(self.spiking, bool | np.bool_):
            raise NetworkError(f"{where}: spiking must be true or false, not {self.spiking!r}")

        def put(check, name, *limits):
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
        check_layer(self)

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


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """Layers, the input they read, and where they come from. Equal networks have equal content.

    Parameters
    ----------
    input_shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width and channels of an image; pixels arrive in raster order.
    input_ticks : :class:`int`
        T of the input codes, 1 to 255.
    input_codes : :class:`numpy.ndarray`
        uint8 ``[256]``: the activation code of every pixel byte, at most ``input_ticks``.
    input_scale : :class:`float`
        Real value of one step of an input code.
    layers : :class:`tuple` of :class:`Layer`
        In the order in which they are computed; the last one is the read-out.
    dataset, preset : :class:`str`
        What the network was trained on and with; may be empty.
    """

    input_shape: tuple[int, int, int]
    input_ticks: int
    input_codes: np.ndarray = dataclasses.field(repr=False)
    input_scale: float
    layers: tuple[Layer, ...]
    dataset: str = ""
    preset: str = ""

    def __post_init__(self) -> None:
        def put(check, name, *limits):
            object.__setattr__(self, name, check(getattr(self, name), name, *limits))

        put(integers, "input_shape", 3, 1, MAX_SIZE)
        put(integer, "input_ticks", 1, 255)
        put(read_only, "input_codes", np.dtype(np.uint8))
        put(real, "input_scale")
        for name in ("dataset", "preset"):
            put(text, name, r"[^\x00-\x1f]{0,200}")
        object.__setattr__(self, "layers", tuple(self.layers))
        if not all(isinstance(layer, Layer) for layer in self.layers):
            raise NetworkError("layers must be a sequence of Layer")
        check_network(self)

    @property
    def inputs(self) -> int:
        """Pixels of an image."""
        return math.prod(self.input_shape)

    @property
    def classes(self) -> int:
        """Logits of the read-out."""
        return self.layers[-1].outputs

    def map_shape(self, source: int) -> tuple[int, int, int]:
        """Shape of the map of layer ``source``, or of the input when it is -1."""
        return self.input_shape if source == -1 else self.layers[source].map_shape

    def map_ticks(self, source: int) -> int:
        """T of the codes in the map of layer ``source``, or of the input when it is -1."""
        return self.input_ticks if source == -1 else self.layers[source].ticks

    def bounds(self) -> list[tuple[int, int]]:
        """Smallest and largest membrane potential of every layer, over its neurons and all inputs.

        Exact over every combination of codes 0 to T in the two maps that a layer may read. Every
        partial sum, in whatever order events arrive, lies within these bounds too: it is the sum
        for an input in which the events to come are silent.
        """
        bounds = []
        for layer in self.layers:
            ticks = self.map_ticks(layer.source)
            low, high = _reach(layer)
            low, high = layer.bias + ticks * low, layer.bias + ticks * high
            if layer.second_source is not None:
                high = high + (self.map_ticks(layer.second_source) << layer.residual_shift)
            bounds.append((int(low.min()), int(high.max())))
        return bounds

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the content in hexadecimal; how the file was packed does not enter."""
        return network_file.sha256(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write the network to ``path``, whole or not at all; equal networks give equal bytes.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If the folder cannot be written or the disk is full.
        """
        network_file.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Network":
        """Read and validate the network at ``path``. Nothing in the file is ever executed.

        Raises
        ------
        :exc:`NetworkError`
            If the file is missing, damaged, foreign or breaks any rule of the format.
        """
        return network_file.load(cls, Layer, path)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Network) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


def _reach(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the negative and of the positive weights that some neuron of each channel sees."""
    weight = layer.weight.astype(np.int64)
    negative, positive = np.minimum(weight, 0), np.maximum(weight, 0)
    if layer.kind == "dense":
        return negative.sum(axis=0), positive.sum(axis=0)
    # Depthwise has its channels on the third axis and no sum over inputs.
    over = (0, 1, 2) if layer.kind == "conv2d" else (0, 1, 3)
    # Neurons at the border see fewer taps. More taps reach further, so only extremes over the
    # distinct windows matter; there are at most kernel x kernel of those.
    windows = [(rows, columns) for rows in _taps(layer, 0) for columns in _taps(layer, 1)]
    lows = [negative[rows, columns].sum(axis=over) for rows, columns in windows]
    highs = [positive[rows, columns].sum(axis=over) for rows, columns in windows]
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _taps(layer: Layer, axis: int) -> set[slice]:
    """The distinct ranges of kernel taps that fall inside the map along one axis."""
    ranges = set()
    for position in range(layer.out_shape[axis]):
        first = position * layer.stride[axis] - layer.padding[axis]
        ranges.add((max(0, -first), min(layer.kernel[axis], layer.in_shape[axis] - first)))
    return [slice(*taps) for taps in sorted(ranges)]


def linear_codes(ticks: int, maximum: int = 255) -> np.ndarray:
    """Code table of a linear encoder: pixel byte p to ``p * ticks / maximum``, rounded half up.

    Pixels above ``maximum`` get the code ``ticks``. For ``maximum`` 255 this is the integer rule
    ``(p * ticks + 127) // 255``.
    """
    pixels = np.arange(256)
    codes = (2 * pixels * ticks + maximum) // (2 * maximum)
    return np.minimum(codes, ticks).astype(np.uint8)


def dense_network(
    weights: Sequence[Any],
    biases: Sequence[Any] | None,
    multipliers: Sequence[Any],
    shifts: Sequence[Any],
    ticks: int | Sequence[int],
    *,
    weight_bits: int | None = None,
    input_shape: tuple[int, int, int] | None = None,
    input_ticks: int | None = None,
    input_codes: Any = None,
    input_scale: float | None = None,
    weight_scales: Sequence[float] | None = None,
    dataset: str = "",
    preset: str = "",
) -> Network:
    """Make a network of dense layers from plain arrays, one after another.

    Parameters
    ----------
    weights : sequence of array
        Integers ``[inputs, outputs]``, one array a layer; the last one is the read-out.
    biases : sequence of array or ``None``
        Integers ``[outputs]``, one array a layer; ``None`` is all zero.
    multipliers, shifts : sequence of :class:`int` or array
        m and s of each layer but the last: one for all its channels, or one a channel.
    ticks : :class:`int` or sequence of :class:`int`
        T of each layer but the last, or one for all of them and, by default, for the input.
    weight_bits : :class:`int` or ``None``
        Declared width of the weights; by default the least that holds each layer's.
    input_shape : (:class:`int`, :class:`int`, :class:`int`) or ``None``
        By default ``(1, 1, inputs)``.
    input_ticks : :class:`int` or ``None``
        T of the input; by default the first hidden layer's T, or 15 without a hidden layer.
    input_codes : array or ``None``
        Code of every pixel byte; by default :func:`linear_codes` of 0 to 255.
    input_scale : :class:`float` or ``None``
        By default ``1 / input_ticks``: an image is worth 0 to 1.
    weight_scales : sequence of :class:`float` or ``None``
        By default 1.0. Each layer's output scale follows: input scale x weight scale x 2^s / m.
    dataset, preset : :class:`str`
        Kept in the network.

    Raises
    ------
    :exc:`NetworkError`
        If the arrays do not fit together.
    """
    if not len(weights):
        raise NetworkError("weights must have an array for at least one layer")
    hidden = len(weights) - 1
    ticks = [ticks] * hidden if np.ndim(ticks) == 0 else list(ticks)
    for name, values, count in (
        ("biases", biases, hidden + 1),
        ("multipliers", multipliers, hidden),
        ("shifts", shifts, hidden),
        ("ticks", ticks, hidden),
        ("weight_scales", weight_scales, hidden + 1),
    ):
        if values is not None and len(values) != count:
            raise NetworkError(
                f"{name} has {len(values)} entries, but {hidden + 1} layers need {count}"
            )
    if input_ticks is None:
        input_ticks = ticks[0] if ticks else 15
    input_ticks = integer(input_ticks, "input_ticks", 1, 255)
    if input_scale is None:
        input_scale = 1 / input_ticks

    layers = []
    scale = input_scale
    for index, weight in enumerate(weights):
        spiking = index < hidden
        name = f"hidden{index + 1}" if spiking else "output"
        weight = as_array(weight, f"layer {name!r}: weight")
        if weight.ndim != 2 or not weight.size:
            raise NetworkError(
                f"layer {name!r}: weight must be [inputs, outputs], not {weight.shape}"
            )
        inputs, outputs = weight.shape
        weight_scale = 1.0 if weight_scales is None else weight_scales[index]
        scale *= weight_scale
        multiplier = shift = np.zeros(0, np.int64)
        if spiking:
            multiplier = _per_channel("multiplier", multipliers[index], outputs, name)
            shift = _per_channel("shift", shifts[index], outputs, name)
            scale *= float(np.mean(2.0**shift / np.maximum(multiplier, 1)))
        layers.append(Layer(
            name=name,
            kind="dense",
            source=index - 1,
            second_source=None,
            residual_shift=0,
            in_shape=(1, 1, inputs),
            out_shape=(1, 1, outputs),
            kernel=(1, 1),
            stride=(1, 1),
            padding=(0, 0),
            pool=1,
            spiking=spiking,
            ticks=ticks[index] if spiking else 0,
            weight_bits=_bits(weight) if weight_bits is None else weight_bits,
            weight=weight,
            bias=np.zeros(outputs, np.int32) if biases is None else biases[index],
            multiplier=multiplier,
            shift=shift,
            weight_scale=weight_scale,
            output_scale=scale,
        ))
    return Network(
        input_shape=(1, 1, layers[0].inputs) if input_shape is None else input_shape,
        input_ticks=input_ticks,
        input_codes=linear_codes(input_ticks) if input_codes is None else input_codes,
        input_scale=input_scale,
        layers=tuple(layers),
        dataset=dataset,
        preset=preset,
    )


def _per_channel(field: str, value: Any, channels: int, name: str) -> np.ndarray:
    """Return ``value`` once for each channel, unless it has an entry for each already."""
    array = read_only(value, f"layer {name!r}: {field}", ARRAYS[field])
    if array.shape not in ((), (channels,)):
        raise NetworkError(
            f"layer {name!r}: {field} must be one integer or {channels}, not {array.shape}"
        )
    return np.broadcast_to(array, channels)


def _bits(weight: np.ndarray) -> int:
    """The least width, at least 2, whose two's complement holds every weight; 8 if none does."""
    for bits in range(2, 8):
        if -(1 << bits - 1) <= weight.min(initial=0) <= weight.max(initial=0) < 1 << bits - 1:
            return bits
    return 8
