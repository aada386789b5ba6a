# SPDX-License-Identifier: Apache-2.0
"""The sweep against loops over the rows, words and lanes of a layer's window."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.membrane import Membrane
from ttfs_fpga.hdl.core.sweep import Sweep

CONFIG = CoreConfig(lanes=4, accumulator_bits=12, membrane_words=64, input_words=32, map_words=32)


class Quick(CoreConfig):
    """Weights, and so potentials, come as fast as from SPRAM, which needs more lanes than these."""

    weight_latency = 1


QUICK = Quick(**CONFIG.as_dict())
LOWEST = -2048


@dataclasses.dataclass(frozen=True)
class Layer:
    """What is swept: ``window_rows`` of ``rows`` lie at ``base`` at a time."""

    rows: int = 1
    columns: int = 1
    channels: int = 4
    window_rows: int = 1
    base: int = 8
    bias_base: int = 2
    pool: int = 1
    pitch: int = 0
    destination: int = 1
    destination_row: int = 0
    spiking: bool = True
    threshold: int = 100
    packed: int = 1  # columns of a word, channel by channel

    @property
    def pixel_words(self):
        return -(-self.channels // CONFIG.lanes)

    @property
    def row_words(self):
        return self.columns // self.packed * self.pixel_words


LAYERS = {
    "dense": Layer(channels=30),
    "one word": Layer(channels=3),
    "window wraps": Layer(rows=7, columns=4, channels=4, window_rows=3, pitch=4, destination_row=2),
    "pooled": Layer(rows=6, columns=4, channels=6, window_rows=4, pool=2, pitch=8,
                    destination_row=2),
    "pooled 3": Layer(rows=6, columns=6, channels=1, window_rows=6, pool=3, pitch=1,
                      destination_row=1, destination=9),
    "halves": Layer(rows=4, columns=6, channels=2, window_rows=3, pool=2, pitch=2,
                    destination_row=1, packed=2),
    "halves of four": Layer(rows=4, columns=8, channels=1, window_rows=4, pool=4, pitch=1,
                            destination_row=1, packed=2),
    "all fire": Layer(rows=4, columns=2, channels=5, window_rows=2, pool=2, pitch=8,
                      destination_row=1, threshold=LOWEST),
    "none fires": Layer(rows=4, columns=3, channels=5, window_rows=2, pitch=8, destination_row=3,
                        threshold=2047),
    "logits": Layer(channels=10, spiking=False, threshold=LOWEST),
    "one logit": Layer(channels=1, spiking=False, threshold=LOWEST),
    "logits in rows": Layer(rows=3, columns=2, channels=5, window_rows=3, spiking=False,
                            threshold=LOWEST, pitch=8, destination_row=2),
}


class Harness(wiring.Component):
    """A sweep and the membrane memory that it reads; untouched words are read where they are."""

    def __init__(self, potentials, config):
        mask = (1 << CONFIG.accumulator_bits) - 1
        self.sweep = Sweep(config)
        self.membrane = Membrane(config, [
            sum((value & mask) << (n * CONFIG.accumulator_bits) for n, value in enumerate(word))
            for word in potentials.tolist()
        ])
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sweep, m.submodules.membrane = sweep, membrane = self.sweep, self.membrane
        asks, operation = sweep.membrane, membrane.operation
        m.d.comb += [
            *(getattr(operation, name).eq(getattr(asks, name))
              for name in ("valid", "sweep", "load", "peek", "word", "stall")),
            operation.bias.eq(asks.word),
            *(getattr(asks, name).eq(getattr(operation, name))
              for name in ("potentials", "updating", "sweeping", "coming")),
        ]
        return m


@dataclasses.dataclass
class Seen:
    """``emitted`` are (place, channel, above, last); ``asked`` are (word, bias).

    ``written`` says for each row how much had been emitted, ``left`` how much had been asked for.
    """

    emitted: list
    asked: list
    written: list
    left: list
    cycles: int = 0
    rapid: int = 0


def rtl_sweeps(bench, potentials, layers, *, quiet=1.0, pause=0.0, late=0.0, config=CONFIG):
    """Sweep ``layers``, one after another.

    ``quiet`` is how often nobody else wants the memory, ``pause`` how often the output is not
    taken, ``late`` how often the next row is not complete yet.
    """
    dut = Harness(potentials, config)
    window, memory = dut.sweep.window, dut.sweep.membrane
    sweep, results, rng = dut.sweep, [], np.random.default_rng(11)

    async def testbench(ctx):
        for layer in layers:
            for name, value in {
                "membrane_base": layer.base,
                "membrane_last": layer.base + layer.window_rows * layer.row_words - 1,
                "sweep_last": layer.row_words - 1, "rows_last": layer.rows - 1,
                "bias_base": layer.bias_base, "last_word": layer.pixel_words - 1,
                "pitch": layer.pitch, "pool_last": layer.pool - 1,
                "across_last": layer.pool // layer.packed - 1, "halves": layer.packed - 1,
                "destination_base": layer.destination,
                "destination_row": layer.destination_row, "spiking": int(layer.spiking),
                "fire_threshold": layer.threshold & (2 * -LOWEST - 1),
            }.items():
                ctx.set(sweep.entry[name], value)
            assert not ctx.get(sweep.run.busy)
            ctx.set(sweep.accumulating, 1)
            ctx.set(sweep.window.completed, 0)
            ctx.set(sweep.run.start, 1)
            await ctx.tick()
            ctx.set(sweep.run.start, 0)
            seen, complete, offered = Seen([], [], [], []), 0, None
            while ctx.get(sweep.run.busy):
                complete = min(layer.rows, complete + int(rng.random() >= late))
                ctx.set(window.completed, complete)
                ctx.set(window.pending, int(rng.random() >= quiet))
                ready = layer.spiking or bool(rng.random() >= pause)
                ctx.set(sweep.o.ready, int(ready))
                shown = ctx.get(sweep.o.valid)
                asks = ctx.get(memory.valid)
                if asks and not ctx.get(memory.stall):
                    seen.asked.append((ctx.get(memory.word), ctx.get(memory.bias)))
                    # A row is not touched before it is complete.
                    assert len(seen.asked) <= complete * layer.row_words
                if ctx.get(sweep.written):
                    # With its last candidate, which may be at the output now.
                    seen.written.append(len(seen.emitted) + shown)
                if ctx.get(window.swept):
                    seen.left.append(len(seen.asked))
                # Where a word is asked for updates are held anyway.
                seen.rapid += ctx.get(window.hold) and not asks
                assert ctx.get(window.hold) or not asks
                _, _, o = await ctx.tick().sample(sweep.o.payload)
                if offered is not None:
                    assert shown and o == offered
                offered = o if shown and not ready else None
                if shown and ready:
                    seen.emitted.append((o.place, o.channel, o.above, o.last))
                seen.cycles += 1
            assert ctx.get(sweep.pooled) == (layer.pool > 1)
            assert not ctx.get(sweep.o.valid)
            results.append(seen)

    bench.run(dut, testbench)
    return results


def reference_sweep(potentials, layer):
    """(place, channel, above), words with biases, and what rows and words have emitted."""
    emitted, asked, written, each = [], [], [], []
    slots = CONFIG.codes_per_word
    for row in range(layer.rows):
        for n in range(layer.row_words):
            column, part = divmod(n, layer.pixel_words)
            column *= layer.packed
            word = layer.base + row % layer.window_rows * layer.row_words + n
            asked.append((word, layer.bias_base + part))
            before = len(emitted)
            for lane in range(CONFIG.lanes):
                channel, potential = part * CONFIG.lanes + lane, int(potentials[word, lane])
                if potential >= layer.threshold:
                    place = ((layer.destination + row // layer.pool * layer.destination_row) * slots
                             + column // layer.pool * layer.pitch + channel // layer.packed)
                    emitted.append((place, channel, potential - layer.threshold))
            each.append(len(emitted) - before)
            if not layer.pitch:
                written.append(len(emitted))
        if layer.pitch and row % layer.pool == layer.pool - 1:
            written.append(len(emitted))
    return emitted, asked, written, each


def check(potentials, layer, seen, *, spare=None):
    """Compare everything; ``spare`` are cycles of a word without candidates, if they are bound."""
    emitted, asked, written, _ = reference_sweep(potentials, layer)
    assert [found[:3] for found in seen.emitted] == emitted
    assert seen.asked == asked
    if layer.spiking:
        assert seen.written == written
    else:
        assert [last for *_, last in seen.emitted] == [0] * (len(emitted) - 1) + [1]
    assert len(seen.left) == layer.rows
    assert all(count >= (n + 1) * layer.row_words for n, count in enumerate(seen.left))
    if spare is not None:
        assert len(emitted) <= seen.cycles <= len(emitted) + spare * len(asked) + 2 * layer.rows + 8


def random_potentials():
    size = (CONFIG.membrane_words, CONFIG.lanes)
    return np.random.default_rng(12).integers(LOWEST, -LOWEST, size)


@pytest.mark.parametrize("config", [CONFIG, QUICK])
@pytest.mark.parametrize("late", [0.0, 0.9])
@pytest.mark.parametrize("quiet", [1.0, 0.5, 0.0])
def test_equals_loops(bench, quiet, late, config):
    potentials = random_potentials()
    results = rtl_sweeps(bench, potentials, LAYERS.values(), quiet=quiet, late=late, config=config)
    # A word takes two cycles more than its candidates while nobody else wants the memory, or four,
    # or five if the memory's answer waits too.
    spare = {1.0: 2, 0.0: 3 + config.weight_latency}.get(quiet)
    for layer, seen in zip(LAYERS.values(), results, strict=True):
        check(potentials, layer, seen, spare=None if late else spare)
        if not quiet:
            assert not seen.rapid
    if quiet == 1.0:
        assert all(seen.rapid for seen, layer in zip(results, LAYERS.values(), strict=True)
                   if layer.row_words > 2)


@pytest.mark.parametrize("config", [CONFIG, QUICK])
@pytest.mark.parametrize("quiet", [1.0, 0.5, 0.0])
def test_logits_wait_until_they_are_taken(bench, quiet, config):
    potentials = random_potentials()
    layers = [layer for layer in LAYERS.values() if not layer.spiking]
    results = rtl_sweeps(bench, potentials, layers, quiet=quiet, pause=0.7, config=config)
    for layer, seen in zip(layers, results, strict=True):
        check(potentials, layer, seen)
        assert seen.cycles > 2 * len(seen.emitted)


@pytest.mark.parametrize("value", [-2048, -1, 0, 1, 2047])
def test_equal_potentials_meet_an_inclusive_threshold(bench, value):
    potentials = np.full((CONFIG.membrane_words, CONFIG.lanes), value)
    layers = [Layer(channels=12, threshold=threshold) for threshold in (value - 1, value, value + 1)
              if LOWEST <= threshold < -LOWEST]
    results = rtl_sweeps(bench, potentials, layers)
    for layer, seen in zip(layers, results, strict=True):
        check(potentials, layer, seen)
        assert len(seen.emitted) == (12 if value >= layer.threshold else 0)


@pytest.mark.parametrize("channels", range(1, 9))
def test_lanes_below_the_threshold_stay_out_of_the_logits(bench, channels):
    # So the compiler keeps lanes beyond the last channel out.
    layer = Layer(channels=channels, spiking=False, threshold=LOWEST + 1)
    potentials = np.full((CONFIG.membrane_words, CONFIG.lanes), 2047)
    lanes = np.arange(layer.row_words * CONFIG.lanes).reshape(layer.row_words, CONFIG.lanes)
    potentials[layer.base:layer.base + layer.row_words][lanes >= channels] = LOWEST
    seen, = rtl_sweeps(bench, potentials, [layer])
    check(potentials, layer, seen)
    assert [channel for _, channel, _, _ in seen.emitted] == list(range(channels))


def test_pooled_codes_of_one_place_are_three_cycles_apart(bench):
    # What ttfs_fpga.hdl.core.first_spike relies on.
    potentials = np.full((CONFIG.membrane_words, CONFIG.lanes), LOWEST)
    potentials[:, 0] = 2047
    layer = Layer(rows=4, columns=4, channels=1, window_rows=4, pool=2, pitch=1, destination_row=1)
    seen, = rtl_sweeps(bench, potentials, [layer])
    assert len(seen.emitted) == 16
    assert seen.cycles >= 3 * 15
