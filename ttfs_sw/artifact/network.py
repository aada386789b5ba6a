# SPDX-License-Identifier: Apache-2.0
"""A time-to-first-spike network in integers: the only thing that crosses from software to hardware.

``docs/network-format.md`` describes the file field by field. A network that exists is valid: every
rule is applied when a :class:`Layer` or a :class:`Network` is made, whoever makes it.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ttfs_sw.artifact import file as network_file
from ttfs_sw.artifact.layer import Layer
from ttfs_sw.artifact.rules import (
    ARRAYS,
    MAX_LAYERS,
    MAX_SIZE,
    NetworkError,
    as_array,
    integer,
    integers,
    read_only,
    real,
    text,
)

__all__ = ["Layer", "Network", "NetworkError", "dense_network", "linear_codes"]


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
        def put(check: Callable[..., Any], name: str, *limits: Any) -> None:
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
        _check(self)

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
        bounds: list[tuple[int, int]] = []
        for layer in self.layers:
            ticks = self.map_ticks(layer.source)
            low, high = layer.form.reach(layer)
            low, high = layer.bias + ticks * low, layer.bias + ticks * high
            if layer.second_source is not None:
                high = high + (self.map_ticks(layer.second_source) << layer.residual_shift)
            bounds.append((int(low.min()), int(high.max())))
        return bounds

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the content in hexadecimal; how the file was packed does not enter."""
        return network_file.sha256(*self._parts())

    def save(self, path: str | os.PathLike) -> None:
        """Write the network to ``path``, whole or not at all; equal networks give equal bytes.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If the folder cannot be written or the disk is full.
        """
        network_file.save(*self._parts(), path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Network":
        """Read and validate the network at ``path``. Nothing in the file is ever executed.

        Raises
        ------
        :exc:`NetworkError`
            If the file is missing, damaged, foreign or breaks any rule of the format.
        """
        header, arrays = network_file.load(path)
        try:
            network = cls(
                **{name: header[name] for name in network_file.NETWORK_FIELDS},
                input_codes=arrays["input_codes"],
                layers=tuple(
                    Layer(**fields | {name: arrays[f"layer{index}_{name}"] for name in ARRAYS})
                    for index, fields in enumerate(header["layers"])
                ),
            )
            if network.sha256 != header["sha256"]:
                raise NetworkError(
                    f"sha256 does not match the content, which was changed; {network_file.ADVICE}"
                )
        except NetworkError as error:
            raise NetworkError(f"{path}: {error}") from error
        return network

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a file holds: every field that is no array, and every array by its name there."""
        fields = {name: getattr(self, name) for name in network_file.NETWORK_FIELDS}
        fields["layers"] = [
            {name: getattr(layer, name) for name in network_file.LAYER_FIELDS}
            for layer in self.layers
        ]
        arrays = {"input_codes": self.input_codes}
        for index, layer in enumerate(self.layers):
            arrays |= {f"layer{index}_{name}": getattr(layer, name) for name in ARRAYS}
        return fields, arrays

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Network) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


def _check(network: Network) -> None:
    """Check how the layers of a network fit together.

    Raises
    ------
    :exc:`NetworkError`
        If a name is taken twice, a source is not an earlier map of the right shape, or the layers
        that do not spike are not exactly the last one.
    """
    if network.input_codes.shape != (256,):
        raise NetworkError(f"input_codes must have 256 entries, not {network.input_codes.shape}")
    if network.input_codes.max() > network.input_ticks:
        raise NetworkError(
            f"input_codes has the code {network.input_codes.max()}, which is more than "
            f"input_ticks {network.input_ticks}"
        )
    if not 1 <= len(network.layers) <= MAX_LAYERS:
        raise NetworkError(f"layers must be 1 to {MAX_LAYERS}, not {len(network.layers)}")
    names = [layer.name for layer in network.layers]
    for index, layer in enumerate(network.layers):
        where = f"layer {layer.name!r}"
        if layer.name in names[:index]:
            raise NetworkError(f"{where}: the name is taken by an earlier layer")
        last = index == len(network.layers) - 1
        if last and layer.spiking:
            raise NetworkError(f"{where}: spiking must be false in the last layer, the read-out")
        if not last and not layer.spiking:
            raise NetworkError(f"{where}: spiking must be true in every layer but the last")
        for name in ("source", "second_source"):
            source = getattr(layer, name)
            if source is not None and source >= index:
                raise NetworkError(
                    f"{where}: {name} must be -1 (the input) or an earlier layer, not {source}"
                )
        _check_map(network, layer.source, layer.in_shape, layer, "source")
        if layer.second_source is not None:
            _check_map(network, layer.second_source, layer.out_shape, layer, "second_source")


def _check_map(
    network: Network, source: int, shape: tuple[int, int, int], layer: Layer, name: str
) -> None:
    """Check that the map of ``source`` is what ``layer`` reads; dense layers read it flattened."""
    found = network.map_shape(source)
    if layer.form.flat:
        found = (1, 1, math.prod(found))
    if found != shape:
        raise NetworkError(
            f"layer {layer.name!r}: {name} {source} gives a map of shape {found}, but the layer "
            f"needs {shape}"
        )


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
    # An array will do for a sequence too, so it is the number of axes that tells one T from many.
    given: Any = ticks
    layer_ticks: list[int] = [given] * hidden if np.ndim(given) == 0 else list(given)
    for name, values, count in (
        ("biases", biases, hidden + 1),
        ("multipliers", multipliers, hidden),
        ("shifts", shifts, hidden),
        ("ticks", layer_ticks, hidden),
        ("weight_scales", weight_scales, hidden + 1),
    ):
        if values is not None and len(values) != count:
            raise NetworkError(
                f"{name} has {len(values)} entries, but {hidden + 1} layers need {count}"
            )
    if input_ticks is None:
        input_ticks = layer_ticks[0] if layer_ticks else 15
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
            ticks=layer_ticks[index] if spiking else 0,
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
