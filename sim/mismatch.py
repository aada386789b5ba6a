# SPDX-License-Identifier: Apache-2.0
"""What differs between the core and the golden model: as arrays, and as sentences."""

import dataclasses

import numpy as np

__all__ = ["MISSING", "Finding", "Mismatch", "differing", "placed"]

#: Stands for a logit that never came; no accumulator is wide enough to hold it.
MISSING = -(1 << 62)


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """One thing that the core did and the golden model did not, or the other way round.

    Parameters
    ----------
    image : :class:`int`
        Number of the image.
    layer : :class:`str`
        Name of the layer.
    kind : :class:`str`
        ``"spike"``, ``"logit"``; ``"repeated spike"``, ``"repeated logit"``: given twice for one
        neuron; ``"stray spike"``, ``"stray logit"``, ``"stray end"``: of a neuron, tick, image or
        layer that does not exist; ``"event count"``: input events that the layer saw;
        ``"winner"``.
    neuron : :class:`int` or ``None``
        Neuron of the layer, in raster order; the class of a logit.
    expected, seen : :class:`int` or ``None``
        Spike ticks, logits, winners, or numbers of input events; ``None`` is silent or missing.
    cycle : :class:`int` or ``None``
        When the core gave what was seen, in cycles of the simulation.
    """

    image: int
    layer: str
    kind: str
    neuron: int | None
    expected: int | None
    seen: int | None
    cycle: int | None = None

    def __str__(self) -> str:
        where = f"image {self.image}, layer {self.layer}"
        if self.kind == "event count":
            return f"{where}: golden has {self.expected} input events, RTL saw {self.seen}"
        if self.kind == "stray end":
            return f"{where}: RTL reports its end once too often"
        if self.kind == "winner":
            return f"{where}: golden's winner is class {self.expected}, RTL's is {self.seen}"
        if self.kind.endswith("spike"):
            where += f", neuron {self.neuron}"
            expected, seen = (
                "is silent" if tick is None else f"fires at tick {tick}"
                for tick in (self.expected, self.seen)
            )
        else:
            where += f", class {self.neuron}"
            expected, seen = (
                "gives nothing" if logit is None else f"gives {logit}"
                for logit in (self.expected, self.seen)
            )
        if self.kind.startswith("repeated"):
            return f"{where}: RTL {seen}, and not for the first time"
        if self.kind.startswith("stray"):
            return f"{where}: RTL {seen}, and there is no such thing in the network"
        return f"{where}: golden {expected}, RTL {seen}"


@dataclasses.dataclass(frozen=True)
class Finding:
    """Mismatches of one kind in one layer, one entry each, in order of the image.

    Parameters
    ----------
    kind : :class:`str`
        As in :class:`Mismatch`.
    layer : :class:`int`
        Number of the layer.
    image, neuron, expected, seen : :class:`numpy.ndarray`
        int64. Spikes are activation codes here, 0 is silent.
    """

    kind: str
    layer: int
    image: np.ndarray
    neuron: np.ndarray
    expected: np.ndarray
    seen: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def first(self, name: str, ticks: int) -> Mismatch:
        """The first of them, in the words of a designer: a layer's name, ticks instead of codes."""

        def told(value: int) -> int | None:
            if self.kind.endswith("spike"):
                return None if value == 0 else ticks - value
            return None if value == MISSING else value

        whole = self.kind in ("event count", "stray end", "winner")
        return Mismatch(
            image=int(self.image[0]),
            layer=name,
            kind=self.kind,
            neuron=None if whole else int(self.neuron[0]),
            expected=told(int(self.expected[0])),
            seen=told(int(self.seen[0])),
        )


def differing(kind: str, layer: int, expected: np.ndarray, seen: np.ndarray) -> Finding:
    """Where two arrays ``[images, neurons]`` differ."""
    image, neuron = np.nonzero(expected != seen)
    return Finding(
        kind, layer, image, neuron,
        expected[image, neuron].astype(np.int64), seen[image, neuron].astype(np.int64),
    )


def placed(
    kind: str, layer: int, expected: np.ndarray, silent: int, valid: np.ndarray,
    image: np.ndarray, neuron: np.ndarray, value: np.ndarray,
) -> list[Finding]:
    """Put transfers in their places and compare with what is expected there.

    Parameters
    ----------
    kind : :class:`str`
        ``"spike"`` or ``"logit"``.
    layer : :class:`int`
        Number of the layer.
    expected : :class:`numpy.ndarray`
        ``[images, neurons]``.
    silent : :class:`int`
        What stands where no transfer went.
    valid : :class:`numpy.ndarray`
        For each transfer, whether its value is one that the layer can give.
    image, neuron, value : :class:`numpy.ndarray`
        The transfers, in the order in which they happened.
    """
    images, neurons = expected.shape
    stray = ~(valid & (image < images) & (neuron < neurons))
    strays = Finding(
        f"stray {kind}", layer, image[stray], neuron[stray],
        np.full(np.count_nonzero(stray), silent), value[stray],
    )
    place = (image * neurons + neuron)[~stray]
    order = np.argsort(place, kind="stable")
    again = order[1:][place[order[1:]] == place[order[:-1]]]
    value = value[~stray]
    repeats = Finding(
        f"repeated {kind}", layer, place[again] // neurons, place[again] % neurons,
        expected.reshape(-1)[place[again]].astype(np.int64), value[again],
    )
    seen = np.full(expected.shape, silent, np.int64)
    seen.reshape(-1)[place] = value
    return [differing(kind, layer, expected, seen), repeats, strays]
