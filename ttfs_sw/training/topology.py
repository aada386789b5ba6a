# SPDX-License-Identifier: Apache-2.0
"""The layers of a network to be trained: how a configuration writes them, and their shapes.

Each layer is a short text, from the input on; the read-out follows from the dataset::

    layers = ["8c5", "p2", "16c5", "p2", "64"]

==================  ============================================================================
``64``              dense, 64 neurons
``16c5``            convolution, 16 channels, kernel 5 x 5, padded so that the map keeps its size
``16c5s2``, ``p0``  with stride 2; ``16c5s2p0``: with padding 0
``d3``              depthwise convolution, kernel 3 x 3; stride and padding as above
``p2``              max-pool of 2 x 2: part of the convolution before it, no layer of its own
``a2``              average pool of 2 x 2: a layer, which the hardware runs as a depthwise one
``16c3+1``          adds the map of layer 1 to the membrane; 0 is the image, ``p2`` does not count
==================  ============================================================================
"""

import dataclasses
import math
import re
from collections.abc import Sequence

from ttfs_sw.artifact.kinds import KINDS, Kind
from ttfs_sw.artifact.rules import output_size
from ttfs_sw.common.errors import InputError

__all__ = ["FORMS", "Entry", "Form", "LayerPlan", "Topology", "parse", "plan"]

#: Largest number of neurons or channels, and largest kernel, stride or pool, that is taken.
MAX_NEURONS, MAX_WINDOW = 65535, 255

#: The windows of a convolution, and what any layer with weights may end with.
_WINDOW = r"(?P<kernel>\d+)(?:s(?P<stride>\d+))?(?:p(?P<padding>\d+))?"
_SECOND = r"(?:\+(?P<second>\d+))?"


@dataclasses.dataclass(frozen=True)
class Form:
    """A kind of layer as a configuration writes it.

    Parameters
    ----------
    kind : :class:`ttfs_sw.artifact.kinds.Kind`
        What it computes, and as what it is stored.
    head : :class:`str`
        What its text begins with; ``{}`` stands for the number of neurons or channels.
    learned : :class:`bool`
        Whether it has weights to learn. One that has none is no more than its head and its kernel,
        which is its stride too.
    """

    kind: Kind
    head: str
    learned: bool = True

    @property
    def pattern(self) -> str:
        """Of its texts."""
        head = self.head.replace("{}", r"(?P<neurons>\d+)")
        if not self.learned:
            return rf"{head}(?P<kernel>\d+)"
        return f"{head}{_SECOND}" if self.kind.flat else f"{head}{_WINDOW}{_SECOND}"

    @property
    def pools(self) -> bool:
        """Whether a max-pool may follow."""
        return self.learned and not self.kind.flat


#: Every kind of layer, by the name that plans and reports have for it.
FORMS = {
    "dense": Form(KINDS["dense"], "{}"),
    "conv2d": Form(KINDS["conv2d"], "{}c"),
    "depthwise": Form(KINDS["depthwise"], "d"),
    # The hardware knows no average: it is a depthwise layer whose weights are all 1.
    "average": Form(KINDS["depthwise"], "a", learned=False),
}

#: A max-pool, which is no layer of its own.
_POOL = r"p(?P<pool>\d+)"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One layer as it was written, before anything is known of the images.

    Parameters
    ----------
    text : :class:`str`
        What was written, without its pool.
    kind : :class:`str`
        ``"dense"``, ``"conv2d"``, ``"depthwise"`` or ``"average"``.
    neurons : :class:`int`
        Neurons, or channels; 0 where the source decides.
    kernel, stride, padding, pool : :class:`int`
        The same along both axes.
    second : :class:`int` or ``None``
        Number of the layer whose map is added; 0 is the image.
    """

    text: str
    kind: str
    neurons: int = 0
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    pool: int = 1
    second: int | None = None

    @property
    def learned(self) -> bool:
        """Whether the layer has weights to learn; an average has none."""
        return FORMS[self.kind].learned


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """One layer with all its shapes, in the terms of :class:`ttfs_sw.artifact.network.Layer`.

    Parameters
    ----------
    kind : :class:`str`
        As in :class:`Entry`.
    in_shape, out_shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width and channels; the output's before pooling.
    kernel, stride, padding, pool : :class:`int`
        The same along both axes.
    second_source : :class:`int` or ``None``
        Index of the layer whose map is added; -1 is the input.
    """

    kind: str
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    pool: int = 1
    second_source: int | None = None

    @property
    def learned(self) -> bool:
        """Whether the layer has weights to learn; an average has none."""
        return FORMS[self.kind].learned

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the layer's map, after pooling."""
        height, width, channels = self.out_shape
        return height // self.pool, width // self.pool, channels

    @property
    def fan_in(self) -> int:
        """Weights that one neuron has."""
        return self.form.fan_in(self.kernel**2, self.in_shape[2])

    @property
    def form(self) -> Kind:
        """What it computes."""
        return FORMS[self.kind].kind

    @property
    def text(self) -> str:
        """The text from which :func:`plan` makes it, without its pool."""
        head = FORMS[self.kind].head.format(self.out_shape[2])
        second = "" if self.second_source is None else f"+{self.second_source + 1}"
        if self.form.flat:
            return f"{head}{second}"
        if not self.learned:
            return f"{head}{self.kernel}"
        stride = f"s{self.stride}" if self.stride > 1 else ""
        padding = f"p{self.padding}" if self.padding != (self.kernel - 1) // 2 else ""
        return f"{head}{self.kernel}{stride}{padding}{second}"


@dataclasses.dataclass(frozen=True)
class Topology:
    """All layers of a network, each reading the one before it, and the shape of its images."""

    input_shape: tuple[int, int, int]
    layers: tuple[LayerPlan, ...]


def parse(texts: Sequence[str]) -> list[Entry]:
    """Read the hidden layers of a configuration.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If a text is no layer, or has no place where it stands.
    """
    entries: list[Entry] = []
    for text in texts:
        kind, fields = _read(text)
        if kind == "pool":
            if not entries or not FORMS[entries[-1].kind].pools:
                raise InputError(
                    f"{text!r} must follow a convolution such as '8c5', whose neurons it pools"
                )
            if entries[-1].pool > 1:
                raise InputError(f"{text!r} follows another max-pool; write one, of both together")
            entries[-1] = dataclasses.replace(entries[-1], pool=fields["pool"])
            continue
        if not FORMS[kind].learned:
            fields["stride"] = fields["kernel"]
        elif "kernel" in fields:
            fields.setdefault("padding", (fields["kernel"] - 1) // 2)
            if fields["padding"] >= fields["kernel"]:
                raise InputError(
                    f"{text!r} has padding {fields['padding']}, which must be less than its kernel "
                    f"{fields['kernel']}"
                )
        number = len(entries) + 1
        if fields.get("second", 0) >= number:
            raise InputError(
                f"{text!r} is layer {number} and adds the map of layer {fields['second']}, which "
                "must come before it"
            )
        entries.append(Entry(text, kind, **fields))
    return entries


def _read(text: str) -> tuple[str, dict[str, int]]:
    """Return the kind of a text and the numbers in it."""
    patterns = {kind: form.pattern for kind, form in FORMS.items()}
    for kind, pattern in {**patterns, "pool": _POOL}.items():
        match = re.fullmatch(pattern, text, re.ASCII)
        if match is None:
            continue
        fields = {name: int(value) for name, value in match.groupdict().items() if value}
        for name, value in fields.items():
            high = MAX_NEURONS if name == "neurons" else MAX_WINDOW
            low = 0 if name in ("padding", "second") else 1
            if not low <= value <= high:
                what = "number of neurons" if name == "neurons" else name
                raise InputError(f"{text!r}: the {what} must be from {low} to {high}, not {value}")
        return kind, fields
    raise InputError(
        f"{text!r} is no layer; write 64 (dense), 16c5 (convolution), d3 (depthwise), p2 "
        "(max-pool) or a2 (average pool)"
    )


def plan(
    texts: Sequence[str], input_shape: tuple[int, int, int], classes: int
) -> Topology:
    """Return the layers of a network for images of ``input_shape``; the last is the read-out.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If a text is no layer, or a layer does not fit the map that it reads or adds.
    """
    shapes, plans = [input_shape], []
    for entry in [*parse(texts), Entry("the read-out", "dense", classes)]:
        layer = _shaped(entry, shapes[-1])
        if entry.second is not None and shapes[entry.second] != layer.out_shape:
            raise InputError(
                f"{entry.text!r} makes a map of {_size(layer.out_shape)} and cannot add that of "
                f"layer {entry.second}, which is {_size(shapes[entry.second])}"
            )
        plans.append(layer)
        shapes.append(layer.map_shape)
    return Topology(input_shape, tuple(plans))


def _shaped(entry: Entry, source: tuple[int, int, int]) -> LayerPlan:
    """Return ``entry`` as a layer that reads a map of shape ``source``."""
    second = None if entry.second is None else entry.second - 1
    if FORMS[entry.kind].kind.flat:
        shapes = (1, 1, math.prod(source)), (1, 1, entry.neurons)
        return LayerPlan(entry.kind, *shapes, second_source=second)
    height, width = (
        output_size(size, entry.kernel, entry.stride, entry.padding) if
        size + 2 * entry.padding >= entry.kernel else 0 for size in source[:2]
    )
    if min(height, width) < entry.pool:
        raise InputError(
            f"{entry.text!r}" + (f" with its pool of {entry.pool}" if entry.pool > 1 else "")
            + f" does not fit the map of {_size(source)} that it reads"
        )
    return LayerPlan(
        entry.kind, source, (height, width, entry.neurons or source[2]), kernel=entry.kernel,
        stride=entry.stride, padding=entry.padding, pool=entry.pool, second_source=second,
    )


def _size(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
