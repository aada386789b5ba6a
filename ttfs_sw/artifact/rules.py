"""The rules that make a layer or a network valid, applied when one is made.

Each rule raises :exc:`NetworkError` with one sentence that names the layer and the field.
"""

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ttfs_sw.common.errors import InputError

if TYPE_CHECKING:
    from ttfs_sw.artifact.network import Layer, Network

__all__ = ["ARRAYS", "KINDS", "MAX_LAYERS", "NetworkError", "as_array", "check_layer",
           "check_network", "integer", "integers", "output_size", "real", "read_only", "text"]

#: What a layer may compute.
KINDS = ("dense", "conv2d", "depthwise")

#: The integer arrays of a layer and the type each is stored in.
ARRAYS = {
    "weight": np.dtype(np.int8),
    "bias": np.dtype(np.int32),
    "multiplier": np.dtype(np.uint16),
    "shift": np.dtype(np.uint8),
}

#: Layers a network may have.
MAX_LAYERS = 255

#: Largest height, width or number of channels of a map.
MAX_SIZE = 1 << 20

#: Largest left shift of a residual code: with 8-bit codes the product stays within 31 bits.
MAX_RESIDUAL_SHIFT = 23


class NetworkError(InputError):
    """A network, or the file it came from, breaks a rule of the format."""


def integer(value: Any, what: str, low: int, high: int) -> int:
    """Return ``value`` as an :class:`int`, which must lie in ``low`` to ``high``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise NetworkError(f"{what} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise NetworkError(f"{what} must be from {low} to {high}, not {value}")
    return int(value)


def integers(value: Any, what: str, count: int, low: int, high: int) -> tuple[int, ...]:
    """Return ``value`` as a tuple of ``count`` integers, each from ``low`` to ``high``."""
    if not isinstance(value, list | tuple) or len(value) != count:
        raise NetworkError(f"{what} must be {count} integers, not {value!r}")
    return tuple(integer(item, what, low, high) for item in value)


def real(value: Any, what: str) -> float:
    """Return the scale ``value`` as a :class:`float`, which must be finite and positive."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise NetworkError(f"{what} must be a number, not {value!r}")
    if not math.isfinite(value) or value <= 0:
        raise NetworkError(f"{what} must be finite and greater than 0, not {value!r}")
    return float(value)


def text(value: Any, what: str, pattern: str) -> str:
    """Return ``value``, which must be a string that matches ``pattern`` as a whole."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise NetworkError(f"{what} must match {pattern}, not {value!r}")
    return str(value)


def as_array(value: Any, what: str) -> np.ndarray:
    """Return ``value`` as an array, which takes rows of equal length."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise NetworkError(f"{what} must be an array: {error}") from error


def read_only(value: Any, what: str, dtype: np.dtype) -> np.ndarray:
    """Return a read-only copy of the integer array ``value`` as ``dtype``, without losing a bit."""
    array = as_array(value, what)
    if array.dtype.kind not in "iu" and array.size:
        raise NetworkError(f"{what} must be an array of integers, not {array.dtype}")
    limits = np.iinfo(dtype)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise NetworkError(
            f"{what} has values from {array.min()} to {array.max()}, which do not fit {dtype}"
        )
    copy = np.array(array, dtype=dtype, order="C")
    copy.flags.writeable = False
    return copy


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Positions of a window that slides over ``size`` positions padded on both sides."""
    return (size + 2 * padding - kernel) // stride + 1


def check_layer(layer: "Layer") -> None:
    """Check what can be said of a layer without the rest of its network.

    Raises
    ------
    :exc:`NetworkError`
        If a shape does not follow from the others, or a value is out of its range.
    """
    where = f"layer {layer.name!r}"
    geometry = (layer.kernel, layer.stride, layer.padding, layer.pool)
    if layer.kind == "dense":
        if geometry != ((1, 1), (1, 1), (0, 0), 1):
            raise NetworkError(
                f"{where}: a dense layer has kernel (1, 1), stride (1, 1), padding (0, 0) and "
                f"pool 1, not {geometry}"
            )
        for name in ("in_shape", "out_shape"):
            if getattr(layer, name)[:2] != (1, 1):
                raise NetworkError(
                    f"{where}: {name} of a dense layer must be (1, 1, neurons), not "
                    f"{getattr(layer, name)}"
                )
    else:
        _check_windows(layer, where)
    if layer.kind == "depthwise" and layer.out_shape[2] != layer.in_shape[2]:
        raise NetworkError(
            f"{where}: a depthwise layer keeps its {layer.in_shape[2]} channels, but out_shape is "
            f"{layer.out_shape}"
        )
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


def _check_windows(layer: "Layer", where: str) -> None:
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


def _check_spiking(layer: "Layer", where: str) -> None:
    """Check that exactly the layers that fire have ticks, and that only they pool."""
    if layer.spiking and not layer.ticks:
        raise NetworkError(f"{where}: ticks must be from 1 to 255 in a spiking layer, not 0")
    if not layer.spiking and layer.ticks:
        raise NetworkError(f"{where}: ticks must be 0 in a layer that does not spike")
    if not layer.spiking and layer.pool != 1:
        raise NetworkError(f"{where}: pool must be 1 in a layer that does not spike")


def _check_arrays(layer: "Layer", where: str) -> None:
    """Check shape and range of every array of a layer."""
    (_, _, c_in), (_, _, c_out) = layer.in_shape, layer.out_shape
    slopes = (c_out,) if layer.spiking else (0,)
    shapes = {
        "weight": {
            "dense": (c_in, c_out),
            "conv2d": (*layer.kernel, c_in, c_out),
            "depthwise": (*layer.kernel, c_in, 1),
        }[layer.kind],
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


def check_network(network: "Network") -> None:
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
    network: "Network", source: int, shape: tuple[int, int, int], layer: "Layer", name: str
) -> None:
    """Check that the map of ``source`` is what ``layer`` reads; dense layers read it flattened."""
    found = network.map_shape(source)
    if layer.kind == "dense":
        found = (1, 1, math.prod(found))
    if found != shape:
        raise NetworkError(
            f"layer {layer.name!r}: {name} {source} gives a map of shape {found}, but the layer "
            f"needs {shape}"
        )
