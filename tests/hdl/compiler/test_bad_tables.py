# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""Corrupted layer tables: the core never hangs, and the next network is exact."""

import dataclasses

import numpy as np
import pytest
from amaranth.lib import memory
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.integer_networks import shaped_network
from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.core.guard import CoreError
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import COLUMN_FIELDS, ENTRY_WORDS, FIELDS, HEADER_FIELDS, ROW_FIELDS, Field

#: A layer is given up after 2^9 to 2^10 cycles: no layer of these networks takes as many.
LATE_BITS = 9
CONFIG = CoreConfig(lanes=2, weight_bits=4, tick_bits=4, accumulator_bits=16, weight_words=64,
                    membrane_words=32, input_words=8, map_words=8, slopes=8, layers=4,
                    table_words=96)
#: Cycles from a write until the table has been looked through.
LOOKED_THROUGH = 6 + CONFIG.table_words
#: What both networks have: fewer memories to load.
SHARED = (Memory.ENCODER,)


@pytest.fixture(scope="module", autouse=True)
def plain_memories():
    """A table that makes no sense may have a word read while it is written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "Memory", memory.Memory.__base__)
        yield


@pytest.fixture(scope="module")
def pairs():
    """Networks of all kinds of layers that the core holds, and their programs."""
    rng = np.random.default_rng(30)
    networks = [
        shaped_network(rng, (4, 4, 1), [
            {"kind": "conv2d", "channels": 2, "kernel": 3, "padding": 1, "pool": 2},
            {"kind": "depthwise", "kernel": 2},
            {"kind": "dense", "channels": 3}]),
        shaped_network(rng, (1, 1, 9), [
            {"kind": "dense", "channels": 5}, {"kind": "dense", "channels": 4},
            {"kind": "dense", "channels": 2}]),
    ]
    return [(network, compile_network(network, CONFIG)) for network in networks]


@dataclasses.dataclass(frozen=True)
class Corruption:
    """Fields of one table that are changed, of so many words or descriptors behind a first one."""

    #: (kind of word, its number among those there are, name of the field, value)
    changes: tuple[tuple[str, int, str, int], ...]
    sealed: bool  # the checksum agrees with what it is then
    image: int  # seed of the image that is offered

    def words(self, program) -> dict[int, int]:
        """The words of the program's table that it changes."""
        table, layers = program.memories[Memory.TABLE], len(program.layers)
        behind = ENTRY_WORDS * (1 + layers)
        changed: dict[int, int] = {}
        for kind, number, name, value in self.changes:
            field = FIELDS_OF[kind][name]
            word = field.word + {
                "header": 0,
                "entry": ENTRY_WORDS * (1 + number % layers),
                # Descriptors of rows lie behind the entries; these may be columns' as well.
                "row": behind + number % (max(table) - behind),
                "column": behind + number % (1 + max(table) - behind),
                "any": number % (1 + max(table)),
            }[kind]
            mask = (1 << field.width) - 1
            kept = changed.get(word, table.get(word, 0)) & ~(mask << field.offset)
            changed[word] = kept | (value & mask) << field.offset
        return changed


FIELDS_OF = {
    "header": HEADER_FIELDS, "entry": FIELDS, "row": ROW_FIELDS, "column": COLUMN_FIELDS,
    "any": {"word": Field(0, 0, 32)},
}
#: Values that are likely to matter in a field of any width, and any others.
VALUES = st.sampled_from([0, 1, 0xFFFFFFFF]) | st.integers(0, 7) | st.integers(0, 0xFFFFFFFF)
CHANGES = st.sampled_from(["entry", "entry", "entry", "row", "column", "header", "any"]).flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.integers(0, 127), st.sampled_from(sorted(FIELDS_OF[kind])), VALUES))
#: Two in three have a checksum that agrees: others are seen by it alone.
CORRUPTIONS = st.builds(
    Corruption, st.lists(CHANGES, min_size=1, max_size=4).map(tuple),
    st.sampled_from([True, True, False]), st.integers(0, 255))


def check(bench, pairs, corruptions):
    """Corrupt a network's table, offer it an image, load a good network: again and again."""
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
        for turn, corruption in enumerate(corruptions):
            rng = np.random.default_rng(corruption.image)
            _, program = pairs[turn % 2]
            bad = bench.with_words(program, corruption.words(program), sealed=corruption.sealed)
            same = bad.memories[Memory.TABLE] == program.memories[Memory.TABLE]
            header = bad.memories[Memory.TABLE].get(0, 0)
            answers = len(run.answers)
            await run.load(ctx, bad, skip=(*SHARED, Memory.WEIGHTS))
            await offered(ctx, rng.integers(0, 256, program.inputs))
            # However little sense it makes, an image comes to an end; a table that is refused takes
            # none.
            for _ in range(2 * len(program.layers) * 2**LATE_BITS + LOOKED_THROUGH):
                refused = ctx.get(core.error) not in (CoreError.NONE, CoreError.TIMEOUT)
                if not ctx.get(core.busy) and (refused or len(run.answers) > answers):
                    break
                await ctx.tick()
            assert not ctx.get(core.busy), turn
            error, complete = CoreError(ctx.get(core.error)), len(run.answers) > answers
            seen[error if error != CoreError.NONE else
                 "answered" if complete else "no image"] += 1
            if not corruption.sealed and not same:
                if header >> 16:
                    assert error not in (CoreError.NONE, CoreError.TIMEOUT), turn
                assert not run.logits and not run.statistics and not complete, turn
            if error not in (CoreError.NONE, CoreError.TIMEOUT):
                assert not run.logits and not run.statistics and not complete, turn
            if same:
                assert error == CoreError.NONE and complete
            del run.answers[answers:]
            run.forget()

            network, program = pairs[corruption.image % 2]
            await run.load(ctx, program, skip=SHARED)
            assert ctx.get(core.error) == CoreError.NONE
            # Everything that the table could have spoilt is used by one with many spikes.
            images = bench.some_images(rng, program.inputs)[[0]]
            for image in images:
                await run.send(ctx, image)
            await run.answered(ctx, answers + len(images))
            expected.append((network, program, images, run.answers[answers:]))

    run.run(testbench, cycles=len(corruptions) * 10_000)
    for turn, (network, program, images, answers) in enumerate(expected):
        try:
            bench.check(network, program, images, answers)
        except AssertionError as error:
            raise AssertionError(f"after corruption {turn}") from error
    return seen


def turns(count):
    """So many corruptions for one simulation; none at all are the simplest, which comes first."""
    return st.just([]) | st.lists(CORRUPTIONS, min_size=count, max_size=count)


#: The same examples every time. One is a simulation of many turns, because making a core takes as
#: long as some of them; so nothing is shrunk, and what fails names its turn.
EXPLORING = settings(derandomize=True, database=None, phases=(Phase.generate,))


def test_corrupted_tables(bench, pairs):
    # The same mix in which every way out of it happens.
    changes = {
        "checksum": ((("entry", 1, "weight_step", 3),), False),
        "range": ((("entry", 2, "window_rows", 0),), True),
        "layer": ((("entry", 0, "operation", 5),), True),
        "version": ((("entry", 1, "check", 1),), True),
        "timeout": ((("entry", 0, "source_last", 2),), True),
        "answered": ((("entry", 2, "weight_step", 2),), True),
        "nothing": ((("header", 0, "magic", 0),), True),
    }
    seen = check(bench, pairs, [Corruption(*change, image=n)
                                for n, change in enumerate(changes.values())])
    assert all(seen[error] for error in CoreError if error != CoreError.NONE), seen
    assert seen["answered"] and seen["no image"]


def test_random_corrupted_tables(bench, pairs):
    @settings(EXPLORING, max_examples=2)
    @given(turns(12))
    def explore(corruptions):
        if corruptions:
            check(bench, pairs, corruptions)

    explore()


@pytest.mark.slow
def test_many_corrupted_tables(bench, pairs):
    @settings(EXPLORING, max_examples=4)
    @given(turns(20))
    def explore(corruptions):
        if corruptions:
            check(bench, pairs, corruptions)

    explore()
