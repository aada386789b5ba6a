# SPDX-License-Identifier: Apache-2.0
"""Random PyTorch models over the whole grammar of docs/convert.md.

A model is a list of operations, each of which reads what earlier ones have made. What may follow
what is written here as the page says it, not as the converter does it: a model that is refused is a
fault of the converter or a gap in the page. With ``wild`` nothing is ruled out but what PyTorch
itself forbids. :mod:`tests.support.relu_modules` makes modules of them.
"""

import dataclasses
import math
import random
from typing import Any

from hypothesis import strategies as st

__all__ = ["Description", "Operation", "models", "random_description"]

#: Shapes of images: height, width, channels.
SHAPES = [(8, 8, 1), (8, 8, 1), (6, 6, 3), (7, 5, 1), (5, 8, 3), (4, 4, 2), (1, 9, 1)]

#: Operations that no model of the grammar has, for wild ones.
WILD = ("sigmoid", "whole", "transpose", "floor", "product", "difference", "pad", "overlap",
        "oblong", "dilated", "groups", "rows", "stale", "softmax", "square", "halves", "sum")


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation: its name, the values that it reads (0 is the image), and in which form."""

    name: str
    source: int
    other: int | None = None
    form: int = 0
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Description:
    """A model; printed, it shows what a failing test has found."""

    shape: tuple[int, int, int]
    classes: int
    mean: list[float] | None
    std: list[float] | None
    flat: bool
    seed: int
    operations: list[Operation]

    def __repr__(self) -> str:
        lines = [f"images {self.shape}{' read flat' * self.flat}, mean {self.mean}, std {self.std},"
                 f" {self.classes} classes, seed {self.seed}"]
        for index, item in enumerate(self.operations):
            other = "" if item.other is None else f", v{item.other}"
            options = "".join(f", {key}={value}" for key, value in item.options.items())
            lines.append(f"v{index + 1} = {item.name}{item.form}(v{item.source}{other}{options})")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True, eq=False)
class _Value:
    """What the page says of a value, and so what may read it.

    Parameters
    ----------
    shape : tuple
        Height, width and channels.
    flat : :class:`bool`
        Flattened.
    fired : :class:`bool`
        Whether neurons send it; else it is sums before a ReLU.
    positive : :class:`bool`
        Certainly nowhere below zero.
    plain, turned, rising, even : :class:`bool`
        Not scaled; certainly scaled by a negative number; by none; the same at all positions.
    pooled, added : :class:`bool`
        Sums that are pooled already, or to which a map is added.
    """

    shape: tuple[int, int, int]
    flat: bool = False
    fired: bool = True
    positive: bool = True
    plain: bool = True
    turned: bool = False
    rising: bool = True
    even: bool = True
    pooled: bool = False
    added: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """Numbers of a batch-norm."""
        return self.size if self.flat else self.shape[2]

    @property
    def spread(self) -> bool:
        """Whether it is a flattened map of several positions."""
        return self.flat and self.shape[:2] != (1, 1)


def models(part: int = 0, *, wild: bool = False) -> st.SearchStrategy[Description]:
    """Random models for hypothesis, which looks for a short one that fails too.

    Each ``part`` has models of its own.
    """
    seeds, lengths = st.integers(0, 2**32 - 1), st.integers(1, 14)
    return st.builds(lambda seed, length: random_description(
        random.Random((part << 32) + seed), length, wild=wild), seeds, lengths)


def random_description(rng: random.Random, length: int, *, wild: bool = False) -> Description:
    """Return a random model.

    Parameters
    ----------
    rng : :class:`random.Random`
        Where all choices come from.
    length : :class:`int`
        Operations at most, before those that lead to the logits.
    wild : :class:`bool`
        Leave all rules of the page aside.
    """
    return _Writer(rng, wild).write(length)


class _Writer:
    """Writes one operation after another, and keeps in mind what each value is."""

    def __init__(self, rng: random.Random, wild: bool):
        self._rng, self._lawless = rng, wild
        self._shape = rng.choice(SHAPES)
        self._mean = self._std = None
        if rng.random() < 0.3:
            count = rng.choice([1, self._shape[2]])
            self._mean = [round(rng.uniform(0.1, 0.6), 2) for _ in range(count)]
            self._std = [round(rng.uniform(0.2, 1.5), 2) for _ in range(count)]
        plain = self._mean is None
        # A row of one channel would be taken for a map: nn.Linear reads its last axis.
        self._flat = self._shape[0] > 1 and rng.random() < 0.1
        self._operations: list[Operation] = []
        self._values = [_Value(self._shape, self._flat, positive=plain, plain=plain)]
        # Values that an added map may be.
        self._kept = {0}
        self._weighted = False

    def write(self, length: int) -> Description:
        """A whole model."""
        rng = self._rng
        for _ in range(length):
            self._any()
        classes = rng.choice([3, 10])
        self._end(classes)
        return Description(self._shape, classes, self._mean, self._std, self._flat,
                           rng.randint(0, 10**6), self._operations)

    @property
    def _now(self) -> _Value:
        return self._values[-1]

    def _add(
        self, name: str, value: _Value, other: int | None = None, forms: int = 1, **options: Any
    ) -> None:
        source = len(self._values) - 1
        self._operations.append(Operation(name, source, other, self._rng.randrange(forms), options))
        self._values.append(value)
        self._kept.add(len(self._values) - 1)

    @property
    def _wild(self) -> bool:
        """Whether to leave a rule aside now."""
        return self._lawless and self._chance(0.2)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _any(self) -> None:
        """Write one operation that may stand here."""
        if self._wild and self._chance(0.3):
            self._add(self._rng.choice(WILD), dataclasses.replace(self._now, fired=True))
            return
        now = self._now
        names = ["norm", "constant", "constant", "dropout", "identity", "residual", "residual"]
        if now.fired or now.positive or self._wild:
            names += ["linear"] * 3 if now.flat else ["conv"] * 6 + ["average"] * 2
            names += ["relu"]
        if not now.fired:
            names += ["relu"] * 6
        if not now.flat:
            names += ["maxpool"] * 2 + ["flatten"]
        else:
            names += ["unflatten"]
        getattr(self, f"_{self._rng.choice(names)}")()

    def _end(self, classes: int) -> None:
        for weights in ([] if self._weighted else [True]) + [False]:
            if not self._now.fired and not self._now.positive:
                self._relu()
            if weights:
                (self._linear if self._now.flat else self._conv)()
        if not self._now.flat:
            if self._now.shape[0] == self._now.shape[1] and self._chance(0.3):
                self._average(self._now.shape[0])
            if not self._now.flat:
                self._flatten()
        self._linear(classes)
        if self._chance(0.3):
            self._norm()
        if self._chance(0.2):
            self._constant()
        if self._chance(0.2):
            self._add("last", self._now, forms=3)

    # Weights.

    def _reads(self) -> _Value:
        """The value that weights read; sums that cannot be negative fire now."""
        now = self._now
        if not now.fired and now.positive:
            fired = _Value(now.shape, now.flat)
            self._values = [fired if value is now else value for value in self._values]
        return self._now

    def _conv(self) -> None:
        now, rng = self._reads(), self._rng
        height, width, channels = now.shape
        least = min(height, width)
        kernel = rng.choice([1, 2, 3, 3, 3, 4, 5])
        if kernel > least + 2 * (kernel - 1):
            kernel = 1
        padding = rng.choice([0, (kernel - 1) // 2, (kernel - 1) // 2, kernel - 1])
        stride = rng.choice([1, 1, 1, 2, 3])
        if least + 2 * padding < kernel:
            padding = kernel - 1
        if max(height, width) + 2 * padding - kernel >= 10 * stride:
            padding = (kernel - 1) // 2
        sizes = [(size + 2 * padding - kernel) // stride + 1 for size in (height, width)]
        if min(sizes) < 1:
            padding, stride, kernel, sizes = 0, 1, 1, [height, width]
        same = stride == 1 and 2 * padding == kernel - 1
        depthwise = channels > 1 and self._chance(0.25)
        # Mostly so many that some fire; as many as it reads where one may want to add them.
        outputs = (channels if depthwise or (channels > 1 and self._chance(0.4))
                   else rng.choice([1, 2, 3, 4, 5, 6, 8]))
        self._weighted = True
        self._add(
            "conv", _Value((*sizes, outputs), fired=False, positive=False), forms=2,
            inputs=channels, outputs=outputs, kernel=kernel, stride=stride,
            padding="same" if same and self._chance(0.3) else padding,
            groups=channels if depthwise else 1, bias=self._chance(0.7))

    def _linear(self, outputs: int | None = None) -> None:
        now, rng = self._reads(), self._rng
        outputs = outputs or rng.choice([now.size if now.size < 20 else 7, 9, 3])
        self._weighted = True
        self._add("linear", _Value((1, 1, outputs), flat=True, fired=False, positive=False),
                  forms=2, inputs=now.size, outputs=outputs, bias=self._chance(0.7))

    def _relu(self) -> None:
        now = self._now
        if now.fired and now.positive:
            value = now
        elif now.fired:
            if not (now.even or self._wild):
                return
            # Whether a layer is needed is a matter of numbers, unless one is surely negative.
            value = _Value(now.shape, now.flat, plain=now.turned or now.plain)
        else:
            value = _Value(now.shape, now.flat)
        self._add("relu", value, forms=4 if now.fired else 7)

    def _residual(self) -> None:
        now = self._now
        if not self._wild and (not now.even or now.added or (now.pooled and not now.fired)):
            return
        found = [
            index for index in sorted(self._kept) for value in [self._values[index]]
            if (value.shape, value.flat) == (now.shape, now.flat)
            and (self._wild or (value.fired and value.plain and value.even))
        ]
        # Rather one that is shifted: that has to go into the biases.
        found += 3 * [index for index in found if not self._values[index].positive]
        if found:
            other = self._rng.choice(found)
            positive = now.positive and self._values[other].positive
            self._add("residual", _Value(now.shape, now.flat, False, positive, added=True),
                      other, forms=4)

    # Scales and shifts.

    def _norm(self) -> None:
        self._scale("norm", 2, mixed=self._chance(0.5), affine=self._chance(0.8), eps=1e-5,
                    flavour=self._rng.choice(["", "", "", "steep", "zero", "steep zero"]))

    def _constant(self) -> None:
        kind = self._rng.choice(["add", "sub", "rsub", "mul", "div", "neg"])
        each, now = self._chance(0.5), self._now
        if now.spread and not now.fired and not self._wild:
            each = False
        if kind in ("add", "sub"):
            self._add("constant", dataclasses.replace(
                now, positive=False, turned=False, even=now.even and not (each and now.spread)),
                forms=5, kind=kind, each=each, count=now.count, flat=now.flat, mixed=False)
        else:
            mixed = kind in ("rsub", "neg") or self._chance(0.3)
            self._scale("constant", 5, kind=kind, each=each, mixed=mixed)

    def _scale(self, name: str, forms: int, mixed: bool, each: bool = True, **options: Any) -> None:
        """Multiply, by some negative number if ``mixed``."""
        now = self._now
        if not now.fired and not self._wild:
            uneven = each and now.spread
            if now.added or uneven or (now.pooled and mixed):
                return
        # Every channel of a map is turned where a neg or one negative factor is all there is.
        self._add(
            name, dataclasses.replace(
                now, positive=False, plain=False, turned=now.plain and now.positive and mixed,
                rising=now.rising and not mixed, even=now.even and not (each and now.spread)),
            forms=forms, mixed=mixed, each=each, count=now.count, flat=now.flat, **options)

    # Windows and shapes.

    def _maxpool(self) -> None:
        now = self._now
        size = self._rng.choice([2, 2, 3, 1])
        if size > min(now.shape[:2]):
            return
        if now.fired and not now.rising and not (self._lawless and self._chance(0.8)):
            return
        height, width, channels = now.shape
        whole = height % size == width % size == 0
        if size > 1:
            # Only the pooled map is kept.
            self._kept = set()
        self._add("maxpool", dataclasses.replace(
            now, shape=(height // size, width // size, channels),
            pooled=now.pooled or size > 1), forms=3, size=size, ceil=whole and self._chance(0.3))

    def _average(self, size: int | None = None) -> None:
        rng = self._rng
        size = size or rng.choice([2, 2, 3, 1])
        if size > min(self._now.shape[:2]):
            return
        now = self._reads()
        height, width, channels = now.shape
        kinds = ["window"]
        if height == width and height % size == 0:
            kinds.append("adaptive")
        if height == width == size:
            kinds += ["mean", "kept mean"]
        kind = rng.choice(kinds)
        self._add("average", dataclasses.replace(
            now, shape=(height // size, width // size, channels), flat=kind == "mean",
            pooled=False), forms=2, size=size, kind=kind)

    def _flatten(self) -> None:
        self._add("flatten", dataclasses.replace(self._now, flat=True), forms=5)

    def _unflatten(self) -> None:
        if self._now.even or self._wild:
            self._add("unflatten", dataclasses.replace(self._now, flat=False), forms=2,
                      shape=self._now.shape)

    def _dropout(self) -> None:
        self._add("dropout", self._now, forms=3)

    def _identity(self) -> None:
        self._add("identity", self._now, forms=4)
