# amaranth: UnusedElaboratable=no
"""Layer tables corrupted at random: the core never hangs, and the next network is exact."""

import numpy as np
import pytest
from amaranth.lib import memory

from hdl.compiler import compile_network
from hdl.config import CoreConfig
from hdl.core import Core
from hdl.guard import CoreError
from hdl.shapes import Memory
from hdl.table import COLUMN_FIELDS, ENTRY_WORDS, FIELDS, HEADER_FIELDS, ROW_FIELDS

#: A layer is given up after 2^9 to 2^10 cycles: no layer of these networks takes as many.
LATE_BITS = 9
CONFIG = CoreConfig(lanes=2, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=64,
                    membrane_words=32, input_words=8, map_words=8, slopes=8, layers=4,
                    table_words=96)
#: Cycles from a write until the table has been looked through.
LOOKED_THROUGH = 6 + CONFIG.table_words


@pytest.fixture
def plain_memories(monkeypatch):
    """A table that makes no sense may have a word read while it is written."""
    monkeypatch.setattr(memory, "Memory", memory.Memory.__base__)


def programs(bench):
    """Networks of all kinds of layers that the core holds."""
    rng = np.random.default_rng(30)
    networks = [
        bench.shaped_network(rng, (4, 4, 1), [
            {"kind": "conv2d", "channels": 2, "kernel": 3, "padding": 1, "pool": 2},
            {"kind": "depthwise", "kernel": 2},
            {"kind": "dense", "channels": 3}]),
        bench.shaped_network(rng, (1, 1, 9), [
            {"kind": "dense", "channels": 5}, {"kind": "dense", "channels": 4},
            {"kind": "dense", "channels": 2}]),
    ]
    return [(network, compile_network(network, CONFIG)) for network in networks]


def corrupted(bench, rng, program):
    """A program with a layer table in which something has changed; whether its checksum agrees."""
    table = program.memories[Memory.TABLE]
    layers = len(program.layers)
    changed: dict[int, int] = {}

    def change_field(word, field):
        mask = (1 << field.width) - 1
        value = int(rng.choice([0, 1, mask, rng.integers(mask + 1), rng.integers(mask + 1) & 7]))
        changed[word] = changed.get(word, table.get(word, 0)) & ~(mask << field.offset) | (
            value << field.offset)

    kind = rng.integers(5)
    for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
        if kind <= 1:
            field = FIELDS[str(rng.choice(sorted(FIELDS)))]
            change_field(ENTRY_WORDS * int(1 + rng.integers(layers)) + field.word, field)
        elif kind == 2:
            # Descriptors of rows lie behind the entries; these may be columns' as well.
            fields = (ROW_FIELDS, COLUMN_FIELDS)[int(rng.integers(2))]
            field = fields[str(rng.choice(sorted(fields)))]
            word = int(rng.integers(ENTRY_WORDS * (1 + layers), max(table)))
            change_field(word + field.word, field)
        elif kind == 3:
            field = HEADER_FIELDS[str(rng.choice(sorted(HEADER_FIELDS)))]
            change_field(field.word, field)
        else:
            change_field(int(rng.integers(1 + max(table))), HEADER_FIELDS["checksum"])
    sealed = bool(rng.integers(3))
    return bench.with_words(program, changed, sealed=sealed), sealed


def check(bench, seed, count):
    """Corrupt a network's table, offer it an image, load a good network: again and again."""
    rng = np.random.default_rng(seed)
    pairs = programs(bench)
    run = bench.CoreBench(Core(CONFIG, pairs[0][1], late_bits=LATE_BITS))
    core = run.core
    seen = dict.fromkeys(CoreError, 0) | {"answered": 0, "no image": 0}
    expected = []

    async def offered(ctx, samples):
        """Offer samples for as long as the core may take to look through its table."""
        ctx.set(core.i.valid, 1)
        waited = 0
        for value in samples:
            ctx.set(core.i.payload, {"value": int(value), "raw": 0})
            taken = False
            while not taken and waited < 2 * LOOKED_THROUGH:
                _, _, taken = await ctx.tick().sample(core.i.ready)
                waited += not taken
        ctx.set(core.i.valid, 0)

    async def testbench(ctx):
        for turn in range(count):
            _, program = pairs[turn % 2]
            bad, sealed = corrupted(bench, rng, program)
            same = bad.memories[Memory.TABLE] == program.memories[Memory.TABLE]
            header = bad.memories[Memory.TABLE].get(0, 0)
            answers = len(run.answers)
            await run.load(ctx, bad, skip=(Memory.ENCODER, Memory.WEIGHTS))
            await offered(ctx, rng.integers(0, 256, program.inputs))
            # However little sense it makes, an image comes to an end.
            for _ in range(2 * len(program.layers) * 2**LATE_BITS + LOOKED_THROUGH):
                if not ctx.get(core.busy) and len(run.answers) > answers:
                    break
                await ctx.tick()
            assert not ctx.get(core.busy), (seed, turn)
            error, complete = CoreError(ctx.get(core.error)), len(run.answers) > answers
            seen[error if error != CoreError.NONE else
                 "answered" if complete else "no image"] += 1
            if not sealed and not same:
                if header >> 16:
                    assert error not in (CoreError.NONE, CoreError.TIMEOUT), (seed, turn)
                assert not run.logits and not run.statistics and not complete, (seed, turn)
            if error not in (CoreError.NONE, CoreError.TIMEOUT):
                assert not run.logits and not run.statistics and not complete, (seed, turn)
            if same:
                assert error == CoreError.NONE and complete
            del run.answers[answers:]
            run.forget()

            network, program = pairs[int(rng.integers(2))]
            await run.load(ctx, program)
            assert ctx.get(core.error) == CoreError.NONE
            images = bench.some_images(rng, program.inputs)[[0, -1]]
            for image in images:
                await run.send(ctx, image)
            await run.answered(ctx, answers + len(images))
            expected.append((network, program, images, run.answers[answers:]))

    run.run(testbench, cycles=count * 10_000)
    for turn, (network, program, images, answers) in enumerate(expected):
        try:
            bench.check(network, program, images, answers)
        except AssertionError as error:
            raise AssertionError(f"after corruption {turn} of seed {seed}") from error
    return seen


def test_corrupted_tables(bench, plain_memories):
    seen = check(bench, 1, 30)
    assert seen[CoreError.CHECKSUM] and seen["answered"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 11))
def test_many_corrupted_tables(bench, plain_memories, seed):
    check(bench, seed, 60)
