# SPDX-License-Identifier: Apache-2.0
"""Records of the core against what the golden model expects, event by event."""

import collections
import dataclasses

import numpy as np

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.mismatch import MISSING, Finding, Mismatch, differing, placed
from ttfs_fpga.sim.records import RECORD_BYTES, End, Kind, RecordLayout, Records

__all__ = ["Comparison"]


class Comparison:
    """Takes records as they come and compares every image as soon as it is complete.

    The core shows a spike when a layer reads it, so every map is compared as often as it is read. A
    spike belongs to the image whose end the layer that reads it has not yet reported, a logit to
    the image that has not yet had its last logit: this stays right when the core works on two
    layers or two images at a time.

    Parameters
    ----------
    expected : :class:`sim.expected.Expected`
        What the images must give.
    config : :class:`hdl.CoreConfig`
        Sizes of the core that is simulated.
    first_image : :class:`int`
        Number of the first image, for messages.

    Attributes
    ----------
    first_image : :class:`int`
        Number of the first image.
    done : :class:`int`
        Images compared.
    counts : :class:`collections.Counter`
        Mismatches by kind.
    mismatched : :class:`numpy.ndarray`
        Mismatches of each image.
    first : :class:`Mismatch` or ``None``
        The first mismatch, in the order of the data, of the first image that has one.
    end : :class:`sim.records.End` or ``None``
        How the simulation ended, once it has.
    now : :class:`int`
        Cycles simulated so far, loading and all.
    winners, cycles, answered_at : :class:`numpy.ndarray`
        The core's answer and its cycle counter, for each image, and when it came.
    events, layer_cycles : :class:`numpy.ndarray`
        Input events and cycles of each layer, ``[images, layers]``.
    roofline, terms : :class:`numpy.ndarray`
        Cycles of an ideal core for the events of each layer, ``[images, layers]``, and those that
        the core may take, by term, ``[images, layers, terms]``.
    """

    def __init__(self, expected: Expected, config: CoreConfig, first_image: int = 0):
        self._expected = expected
        self.roofline, self.terms = expected.roofline, expected.terms
        self._layout = RecordLayout(config)
        self.first_image = first_image
        images, layers = expected.events.shape
        self.done = 0
        self.counts: collections.Counter[str] = collections.Counter()
        self.mismatched = np.zeros(images, np.int64)
        self.first: Mismatch | None = None
        self.end: End | None = None
        self.now = 0
        self.winners = np.full(images, -1, np.int64)
        self.cycles = np.zeros(images, np.int64)
        self.answered_at = np.zeros(images, np.int64)
        self._ends = np.zeros((images, layers), np.int64)  # of each layer
        self.events = np.zeros((images, layers), np.int64)
        # For how many images we have had each layer's report, the last logit, the cycle counter.
        self._reported = [0] * layers
        self._answered = 0
        self._timed = 0
        # Transfers of images that are not complete: rows of image, reading layer, neuron, code,
        # cycle, whether it is read as a residual; and of image, class, logit, cycle.
        self._spikes = np.zeros((6, 0), np.int64)
        self._logits = np.zeros((4, 0), np.int64)
        self._cut = b""

    def feed(self, content: bytes) -> None:
        """Take more of what the harness handed out; it may be cut anywhere."""
        content = self._cut + content
        whole = len(content) - len(content) % RECORD_BYTES
        self._cut = content[whole:]
        records = Records.from_bytes(content[:whole])
        self._take_layers(records)
        self._take_answers(records)
        self.end = records.end() or self.end
        self.now = int(records.cycle.max(initial=self.now))
        done = min(self._answered, self._timed, *self._reported, self._expected.images)
        # What is left at the end, when every image is complete, belongs to none of them.
        over = records.end() is not None and done == self._expected.images
        if done > self.done or over:
            self._compare(self.done, done, over)
            self.done = done

    @property
    def layer_cycles(self) -> np.ndarray:
        """Cycles from the end of the layer before, int64 ``[images, layers]``."""
        return np.diff(self._ends, axis=1, prepend=0)

    @property
    def complete(self) -> bool:
        """Every image was compared."""
        return self.done == self._expected.images

    def waits_for(self) -> str:
        """What the first image that is not complete still lacks, for a message."""
        for name, images in zip(self._expected.layers, self._reported, strict=True):
            if images <= self.done:
                return f"layer {name} has not ended"
        return "the last logit has not come"

    def _take_layers(self, records: Records) -> None:
        """Give spikes their images, and keep what the layers report of themselves."""
        ends, report = self._layout.unpack(records, Kind.STATISTICS)
        places, spike = self._layout.unpack(records, Kind.SPIKE)
        # What is of no layer at all is taken for the read-out's, which cannot fire and ends once an
        # image, and so is found out.
        for fields in (report, spike):
            fields["layer"] = np.minimum(fields["layer"], len(self._reported) - 1)
        image = np.zeros(len(places), np.int64)
        for layer, reported in enumerate(self._reported):
            mine, chosen = report["layer"] == layer, spike["layer"] == layer
            image[chosen] = reported + np.searchsorted(ends[mine], places[chosen])
            _append(self.events[:, layer], reported, report["events"][mine])
            self._reported[layer] = _append(
                self._ends[:, layer], reported, report["clock"][mine]
            )
        neuron, second = np.full(len(places), -1), np.zeros(len(places), np.int64)
        for layer in range(len(self._reported)):
            # The input map's places are not of the map memory.
            if self._expected.sources[layer] >= 0:
                inside, neurons = _at(spike, layer, self._expected.places[layer])
                neuron[inside] = neurons
            inside, neurons = _at(spike, layer, self._expected.second_places[layer])
            second[inside] = neuron[inside] < 0
            neuron[inside] = np.where(second[inside], neurons, neuron[inside])
        taken = [image, spike["layer"], neuron, spike["code"], records.cycle[places], second]
        self._spikes = np.concatenate([self._spikes, taken], axis=1)

    def _take_answers(self, records: Records) -> None:
        """Give logits their images, and keep winners and cycle counters."""
        places, logit = self._layout.unpack(records, Kind.LOGIT)
        last = logit["last"] == 1
        image = self._answered + np.cumsum(last) - last
        taken = [image, logit["index"], logit["value"], records.cycle[places]]
        self._logits = np.concatenate([self._logits, taken], axis=1)
        _append(self.answered_at, self._answered, records.cycle[places][last])
        self._answered = _append(self.winners, self._answered, logit["winner"][last])
        _, counter = self._layout.unpack(records, Kind.CYCLES)
        self._timed = _append(self.cycles, self._timed, counter["cycles"])

    def _compare(self, start: int, stop: int, over: bool) -> None:
        """Compare images ``start`` up to ``stop``, and, if ``over``, what belongs to none."""
        golden = self._expected.slice(start, stop)
        due = np.iinfo(np.int64).max if over else stop
        spikes, self._spikes = _split(self._spikes, due)
        logits, self._logits = _split(self._logits, due)

        findings = []
        output = len(golden.layers) - 1
        for layer in range(len(golden.layers)):
            if golden.sources[layer] == golden.seconds[layer] >= 0:
                self._part(spikes, layer)
            for second, source in enumerate((golden.sources[layer], golden.seconds[layer])):
                image, _, neuron, code, _, _ = spikes[
                    :, (spikes[1] == layer) & (spikes[5] == second)]
                fires = source >= 0
                codes = golden.codes[source] if fires else np.zeros((stop - start, 0), np.uint8)
                ticks = golden.ticks[source] if fires else 0
                findings += placed(
                    "spike", source if fires else layer, codes, 0,
                    (code >= 1) & (code <= ticks) & (neuron >= 0), image - start, neuron, code,
                )
            # Behind the spikes that it counts: they say more.
            findings.append(differing(
                "event count", layer,
                golden.events[:, layer, None], self.events[start:stop, layer, None],
            ))
            # Ends beyond the last image; those before it would have given spikes to wrong images.
            extra = np.full(over * max(0, self._reported[layer] - stop), stop - start)
            findings.append(Finding("stray end", layer, extra, extra, extra, extra))
        image, index, value, _ = logits
        findings += placed(
            "logit", output, golden.logits, MISSING, index >= 0, image - start, index, value
        )
        findings.append(differing(
            "winner", output, golden.winners[:, None], self.winners[start:stop, None]
        ))
        self._note([finding for finding in findings if len(finding)], start, spikes, logits)

    @staticmethod
    def _part(spikes: np.ndarray, layer: int) -> None:
        """Where a map is added to what is made of it: what comes again is read as a residual."""
        mine = np.flatnonzero(spikes[1] == layer)
        first = np.unique(spikes[[0, 2]][:, mine], axis=1, return_index=True)[1]
        spikes[5, np.delete(mine, first)] = 1

    def _note(
        self, findings: list[Finding], start: int, spikes: np.ndarray, logits: np.ndarray
    ) -> None:
        """Count what was found, and keep the first of it."""
        if not findings:
            return
        for finding in findings:
            self.counts[finding.kind] += len(finding)
            image = np.minimum(start + finding.image, len(self.mismatched) - 1)
            np.add.at(self.mismatched, image, 1)
        # Findings are in the order of the data: the earliest layer of the earliest image is first.
        earliest = min(findings, key=lambda finding: finding.image[0])
        if self.first is None:
            layer, ticks = earliest.layer, (*self._expected.ticks, 0)
            first = earliest.first(self._expected.layers[layer], ticks[layer])
            sources = np.array([self._expected.sources, self._expected.seconds])
            of_layer = spikes[:, sources[spikes[5], spikes[1]] == layer]
            rows = logits if earliest.kind.endswith("logit") else of_layer[[0, 2, 3, 4]]
            image, neuron, _, cycle = rows
            when = cycle[(image == start + first.image) & (neuron == first.neuron)]
            self.first = dataclasses.replace(
                first,
                image=self.first_image + start + first.image,
                cycle=int(when[-1]) if len(when) else None,
            )


def _at(
    spike: dict[str, np.ndarray], layer: int, neurons: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which spikes a layer reads within a map, and of which neurons."""
    inside = (spike["layer"] == layer) & (spike["place"] < len(neurons))
    return inside, neurons[spike["place"][inside]]


def _append(column: np.ndarray, had: int, values: np.ndarray) -> int:
    """Put ``values``, one an image, behind the ``had`` that a column has; return how many it has.

    The core may give more than there are images; those that have no place are only counted.
    """
    kept = values[:max(0, len(column) - had)]
    column[had:had + len(kept)] = kept
    return had + len(values)


def _split(rows: np.ndarray, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Transfers of images before ``stop``, and the others."""
    chosen = rows[0] < stop
    return rows[:, chosen], rows[:, ~chosen]
