"""The controller: order and timing of the layers, statistics, and what it refuses to run."""

import dataclasses

import numpy as np
import pytest

from hdl.config import CoreConfig
from hdl.controller import Controller, CoreError
from hdl.table import (
    ACCUMULATE_WORDS,
    ENTRY_WORDS,
    FIELDS,
    FIRE_FIELDS,
    MAGIC,
    Operation,
    entry_words,
    field_widths,
    header_words,
)

CONFIG = CoreConfig(lanes=4, weight_words=512, membrane_words=64, input_words=16, map_words=16,
                    slopes=128, layers=4)


def random_entries(rng, layers, config=CONFIG):
    """Fields of the entries of a network that makes sense, everything else at random."""
    widths = field_widths(config)
    entries = []
    for layer in range(layers):
        entry = {name: int(rng.integers(1 << widths[name])) for name in FIELDS if name != "check"}
        last = layer == layers - 1
        entries.append(entry | {"operation": Operation.DENSE, "last": last, "spiking": not last})
    return entries


def table_words(entries, inputs=10):
    """The whole layer table, header first."""
    words = [*header_words(len(entries), inputs), *[0] * (ENTRY_WORDS - 2)]
    for entry in entries:
        words += entry_words(**entry)
    return words


#: Cycles from the release of an image to the next one.
BETWEEN = 5


@dataclasses.dataclass
class Half:
    """What a layer's datapath is made to do: cycles of both halves, and its input events."""

    accumulate: int
    fire: int
    events: int


@dataclasses.dataclass
class Seen:
    """What one image did to the controller's outputs; cycles count from the one that is idle."""

    entries: list
    firing: list
    accumulates: list
    fires: list
    statistics: list
    released: int | None = None
    error: CoreError | None = None


def rtl_control(bench, table, images, *, load=False, config=CONFIG):
    """Run ``images``, each a list of :class:`Half`, one a layer. Gives a :class:`Seen` for each."""
    dut = Controller(config, () if load else table)
    results = []
    names = [name for name in FIELDS if name != "check"]

    async def write(ctx, words):
        ctx.set(dut.load, 1)
        ctx.set(dut.forget, 1)
        for address, word in enumerate(words):
            ctx.set(dut.load_address, address)
            ctx.set(dut.load_data, word)
            await ctx.tick()
        ctx.set(dut.load, 0)
        ctx.set(dut.forget, 0)

    async def testbench(ctx):
        if load:
            assert not ctx.get(dut.valid)
            await write(ctx, table)
        for halves in images:
            seen = Seen([], [], [], [], [])
            assert not ctx.get(dut.busy)
            ctx.set(dut.full, 1)
            cycle, ends, events = 0, None, 0
            while cycle == 0 or ctx.get(dut.busy) or ctx.get(dut.statistics.valid):
                # The end of a half is a level: it holds until the next half begins.
                ended = ends is not None and cycle >= ends
                ctx.set(dut.accumulated, int(ended and len(seen.fires) < len(seen.accumulates)))
                ctx.set(dut.fired, int(ended and len(seen.fires) == len(seen.accumulates)))
                ctx.set(dut.event, int(events > 0))
                events -= events > 0
                if ctx.get(dut.statistics.valid):
                    p = dut.statistics.p
                    seen.statistics.append(
                        (ctx.get(p.layer), ctx.get(p.events), ctx.get(p.cycles), cycle))
                if seen.fires and cycle == seen.fires[-1] + 1:
                    seen.firing.append({name: ctx.get(dut.firing[name]) for name in FIRE_FIELDS})
                if ctx.get(dut.accumulate):
                    half = halves[len(seen.accumulates)]
                    seen.accumulates.append(cycle)
                    ends, events = cycle + half.accumulate, half.events
                if ctx.get(dut.fire):
                    assert ctx.get(dut.layer) == len(seen.fires)
                    seen.fires.append(cycle)
                    seen.entries.append({name: ctx.get(dut.entry[name]) for name in names})
                    ends = cycle + halves[ctx.get(dut.layer)].fire
                assert ctx.get(dut.clock) == cycle or cycle == 0 or not ctx.get(dut.busy)
                released = ctx.get(dut.release)
                if released:
                    assert seen.released is None
                    seen.released = cycle
                await ctx.tick()
                if released:
                    ctx.set(dut.full, 0)
                cycle += 1
            seen.error = ctx.get(dut.error)
            results.append(seen)
            await ctx.tick().repeat(BETWEEN - 2)
            assert not ctx.get(dut.busy)

    bench.run(dut, testbench)
    return results


def reference_control(entries, images):
    """What a network that makes sense must give."""
    results = []
    # The first layer's entry is asked for with the first image; any other while a layer fires.
    fetched = 0
    for halves in images:
        seen, before = Seen([], [], [], [], [], error=CoreError.NONE), 0
        for layer, (entry, half) in enumerate(zip(entries, halves, strict=True)):
            begin = max(before + 1, fetched + ACCUMULATE_WORDS + 2)
            fetched = fire = begin + half.accumulate
            end = fire + half.fire
            seen.entries.append(entry)
            seen.firing.append({name: entry[name] for name in FIRE_FIELDS})
            seen.accumulates.append(begin)
            seen.fires.append(fire)
            # The first layer counts the cycle in which the image was seen, too.
            seen.statistics.append((layer, half.events, end - before + (layer == 0), end + 1))
            before = end
        seen.released = before
        results.append(seen)
        fetched -= before + BETWEEN
    return results


def random_halves(rng, layers):
    halves = []
    for _ in range(layers):
        accumulate = int(rng.integers(2, 40))
        halves.append(Half(accumulate, int(rng.integers(1, 20)), int(rng.integers(accumulate))))
    return halves


@pytest.mark.parametrize("load", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_runs_every_layer_in_order_and_on_time(bench, layers, load):
    rng = np.random.default_rng(layers)
    entries = random_entries(rng, layers)
    images = [random_halves(rng, layers) for _ in range(4)]
    found = rtl_control(bench, table_words(entries), images, load=load)
    assert found == reference_control(entries, images)


def test_shortest_halves(bench):
    rng = np.random.default_rng(5)
    entries = random_entries(rng, 2)
    # The last words of an entry come while the layer accumulates, which takes two cycles at least.
    images = [[Half(2, 1, 0), Half(2, 1, 1)]] * 2
    assert rtl_control(bench, table_words(entries), images) == (
        reference_control(entries, images))


def test_smallest_core(bench):
    config = CoreConfig(lanes=2, weight_bits=2, tick_bits=1, accumulator_bits=8, weight_words=2,
                        membrane_words=2, input_words=2, map_words=2, slopes=2, layers=1)
    rng = np.random.default_rng(6)
    entries = random_entries(rng, 1, config)
    images = [random_halves(rng, 1) for _ in range(2)]
    found = rtl_control(bench, table_words(entries, inputs=2), images, config=config)
    assert found == reference_control(entries, images)


def test_header_is_looked_at_as_it_is_written(bench):
    dut = Controller(CONFIG)

    async def testbench(ctx):
        async def write(address, value):
            ctx.set(dut.load, 1)
            ctx.set(dut.load_address, address)
            ctx.set(dut.load_data, value)
            await ctx.tick()
            ctx.set(dut.load, 0)

        assert not ctx.get(dut.valid)
        for word, valid in (
            (MAGIC << 16 | 3, True), (0, False), (MAGIC << 16, True), (0xFFFFFFFF, False),
            ((MAGIC + 1) << 16 | 3, False), (MAGIC << 16 | 4, True),
        ):
            await write(0, word)
            assert ctx.get(dut.valid) == valid
        await write(1, 99)
        assert ctx.get(dut.last_input) == 99
        # Another word of the table says nothing of the header.
        await write(ENTRY_WORDS, 0)
        assert ctx.get(dut.valid)
        assert ctx.get(dut.last_input) == 99

    bench.run(dut, testbench)


def spoilt(entries, layer, word, value):
    """The table with one word of an entry replaced."""
    words = table_words(entries)
    words[(1 + layer) * ENTRY_WORDS + word] = value
    return words


def spoilt_fields(entries, layer, **fields):
    return table_words([
        entry | (fields if n == layer else {}) for n, entry in enumerate(entries)])


BAD_TABLES = {
    "foreign entry": (0, CoreError.TABLE_VERSION, lambda e: spoilt(
        e, 0, 0, entry_words(**e[0])[0] ^ 1 << 16)),
    "empty entry": (0, CoreError.TABLE_VERSION, lambda e: spoilt(e, 0, 0, 0)),
    "foreign entry later": (2, CoreError.TABLE_VERSION, lambda e: spoilt(e, 2, 0, 0x7FFF0021)),
    "no layers": (0, CoreError.TABLE_VERSION, lambda e: [MAGIC << 16, *table_words(e)[1:]]),
    "no operation": (0, CoreError.LAYER, lambda e: spoilt_fields(e, 0, operation=0)),
    "unknown operation": (1, CoreError.LAYER, lambda e: spoilt_fields(e, 1, operation=2)),
    "last too early": (0, CoreError.LAYER, lambda e: spoilt_fields(e, 0, last=1, spiking=0)),
    "last too late": (2, CoreError.LAYER, lambda e: spoilt_fields(e, 2, last=0, spiking=1)),
    "output fires": (2, CoreError.LAYER, lambda e: spoilt_fields(e, 2, spiking=1)),
    "hidden does not": (1, CoreError.LAYER, lambda e: spoilt_fields(e, 1, spiking=0)),
    "more layers than entries": (
        2, CoreError.LAYER, lambda e: [MAGIC << 16 | 4, *table_words(e)[1:]]),
    "fewer layers than entries": (
        1, CoreError.LAYER, lambda e: [MAGIC << 16 | 2, *table_words(e)[1:]]),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_gives_up_a_bad_table_and_recovers(bench, name):
    good_layers, error, spoil = BAD_TABLES[name]
    rng = np.random.default_rng(7)
    entries = random_entries(rng, 3)
    halves = random_halves(rng, 3)
    bad, good = spoil(entries), table_words(entries)

    seen, = rtl_control(bench, bad, [halves])
    expected, = reference_control(entries, [halves])
    assert seen.error == error
    assert seen.accumulates == expected.accumulates[:good_layers]
    assert seen.fires == expected.fires[:good_layers]
    assert seen.statistics == expected.statistics[:good_layers]
    # The image is released where the layer would have begun.
    assert seen.released == expected.accumulates[good_layers]

    dut = Controller(CONFIG, bad)

    async def testbench(ctx):
        ctx.set(dut.accumulated, 1)
        ctx.set(dut.fired, 1)
        assert ctx.get(dut.valid)
        ctx.set(dut.full, 1)
        await ctx.tick().until(dut.release)
        ctx.set(dut.full, 0)
        # Nothing more is taken, and the reason stays, until memories are written.
        for _ in range(20):
            assert not ctx.get(dut.valid)
            assert not ctx.get(dut.busy)
            assert ctx.get(dut.error) == error
            await ctx.tick()
        ctx.set(dut.forget, 1)
        ctx.set(dut.load, 1)
        for address, word in enumerate(good):
            ctx.set(dut.load_address, address)
            ctx.set(dut.load_data, word)
            await ctx.tick()
        ctx.set(dut.load, 0)
        ctx.set(dut.forget, 0)
        assert ctx.get(dut.valid)
        assert ctx.get(dut.error) == CoreError.NONE
        ctx.set(dut.full, 1)
        await ctx.tick().until(dut.release)
        ctx.set(dut.full, 0)
        assert ctx.get(dut.statistics.valid)
        assert ctx.get(dut.statistics.p.layer) == 2
        assert ctx.get(dut.error) == CoreError.NONE
        assert ctx.get(dut.valid)

    bench.run(dut, testbench)


def test_does_not_start_while_memories_are_written(bench):
    rng = np.random.default_rng(8)
    dut = Controller(CONFIG, table_words(random_entries(rng, 1)))

    async def testbench(ctx):
        ctx.set(dut.full, 1)
        ctx.set(dut.forget, 1)
        for _ in range(5):
            await ctx.tick()
            assert not ctx.get(dut.busy)
        ctx.set(dut.forget, 0)
        await ctx.tick()
        assert ctx.get(dut.busy)

    bench.run(dut, testbench)


def test_error_numbers():
    # Host and board report them by number.
    assert {error.name: error.value for error in CoreError} == {
        "NONE": 0, "TABLE_VERSION": 1, "LAYER": 2}


@pytest.mark.parametrize("wait", range(0, 12, 2))
def test_what_was_fetched_ahead_is_forgotten_with_a_load(bench, wait):
    # The entry for the next image is read while the last layer fires, and perhaps longer.
    rng = np.random.default_rng(wait)
    old, new = random_entries(rng, 1), random_entries(rng, 1)
    dut = Controller(CONFIG, table_words(old))

    async def testbench(ctx):
        async def image():
            ctx.set(dut.full, 1)
            await ctx.tick().until(dut.accumulate)
            ctx.set(dut.full, 0)
            await ctx.tick().repeat(4)
            ctx.set(dut.accumulated, 1)
            await ctx.tick().until(dut.fire)
            ctx.set(dut.accumulated, 0)
            fields = {name: ctx.get(dut.firing[name]) for name in FIRE_FIELDS}
            ctx.set(dut.fired, 1)
            await ctx.tick().until(dut.release)
            ctx.set(dut.fired, 0)
            return fields

        assert await image() == {name: old[0][name] for name in FIRE_FIELDS}
        for _ in range(wait):
            await ctx.tick()
        ctx.set(dut.forget, 1)
        ctx.set(dut.load, 1)
        for address, word in enumerate(table_words(new)[ENTRY_WORDS:], ENTRY_WORDS):
            ctx.set(dut.load_address, address)
            ctx.set(dut.load_data, word)
            await ctx.tick()
        ctx.set(dut.load, 0)
        ctx.set(dut.forget, 0)
        assert await image() == {name: new[0][name] for name in FIRE_FIELDS}

    bench.run(dut, testbench)
