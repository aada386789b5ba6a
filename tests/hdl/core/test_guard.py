# SPDX-License-Identifier: Apache-2.0
"""The guard: which tables are good, which are not, and why; and what it keeps of the header."""

import dataclasses

import numpy as np
import pytest

from tests.support.integer_networks import make_network
from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.guard import CoreError, Guard
from ttfs_fpga.hdl.ports import purge_words
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import ENTRY_WORDS, FIELDS, MAGIC, forbidden_bits
from ttfs_sw.link import protocol

#: Memories of all kinds of depths: powers of two, and others.
EVEN = CoreConfig(lanes=4, weight_words=256, membrane_words=64, input_words=8, map_words=16,
                  slopes=16, layers=4, table_words=128)
ODD = dataclasses.replace(EVEN, membrane_words=49, input_words=23, map_words=13, slopes=11,
                          table_words=117)


@pytest.fixture(scope="module", params=[EVEN, ODD], ids=["even", "odd"])
def program(request):
    network = make_network(np.random.default_rng(3), (9, 8, 7, 3))
    return compile_network(network, request.param)


def verdict(bench, config, words, *, pause=0, before=()):
    """What the guard says of a table, and the header that it keeps."""
    guard = Guard(config)
    count = purge_words(config)
    found = []

    async def testbench(ctx):
        async def give(table, length):
            ctx.set(guard.purge.start, 1)
            await ctx.tick()
            ctx.set(guard.purge.start, 0)
            ctx.set(guard.purge.active, 1)
            for word in range(length):
                ctx.set(guard.purge.word, word)
                reading = ctx.get(guard.table.request)
                assert reading == (word < config.table_words)
                await ctx.tick()
                ctx.set(guard.table.data, table.get(word, 0) if reading else 0x5A5A5A5A)
                assert not ctx.get(guard.layout.valid)

        await give(dict(enumerate(before)), len(before))
        await give(words, count)
        ctx.set(guard.purge.active, 0)
        await ctx.tick().repeat(3)
        found.append((ctx.get(guard.error), ctx.get(guard.layout.valid)))
        found.append([ctx.get(getattr(guard.layout, name)) for name in ("last", "run_last", "gap")])
        await ctx.tick().repeat(5)
        assert found[0] == (ctx.get(guard.error), ctx.get(guard.layout.valid))
        ctx.set(guard.late, 1)
        await ctx.tick()
        ctx.set(guard.late, 0)
        assert (ctx.get(guard.error), ctx.get(guard.layout.valid)) == (CoreError.TIMEOUT, 0)
        ctx.set(guard.forget, 1)
        await ctx.tick()
        assert (ctx.get(guard.error), ctx.get(guard.layout.valid)) == (CoreError.NONE, 0)

    bench.run(guard, testbench)
    return found


def changed(bench, program, layer, **values):
    """The program's table with other fields in a layer's entry, or in the header if it is None."""
    return bench.with_fields(program, layer, **values).memories[Memory.TABLE]


def test_good_tables(bench, program):
    table = program.memories[Memory.TABLE]
    for before in (), (0xFFFFFFFF,) * 40:
        error, header = verdict(bench, program.config, table, before=before)
        assert error == (CoreError.NONE, 1)
        assert header == [8, 8, 0]


def test_good_tables_of_smallest_cores(bench, random_network):
    for sizes in (2, 2), (9, 17, 5, 4, 3):
        network = random_network(np.random.default_rng(5), sizes)
        config = minimal_config(network, lanes=4)
        table = compile_network(network, config).memories[Memory.TABLE]
        assert verdict(bench, config, table)[0] == (CoreError.NONE, 1)


def test_no_table_is_no_error(bench):
    assert verdict(bench, EVEN, {})[0] == (CoreError.NONE, 0)


@pytest.mark.parametrize("magic", [MAGIC + 1, MAGIC ^ 0x8000, 1])
def test_unknown_version(bench, program, magic):
    table = changed(bench, program, None, magic=magic)
    assert verdict(bench, program.config, table)[0] == (CoreError.TABLE_VERSION, 0)
    for layer in range(3):
        table = changed(bench, program, layer, check=magic)
        assert verdict(bench, program.config, table)[0] == (CoreError.TABLE_VERSION, 0)


@pytest.mark.parametrize(("layer", "values"), [
    *((layer, {"operation": operation}) for layer in (0, 2) for operation in (0, 3, 4, 5, 9, 15)),
    (0, {"spiking": 0}), (0, {"last": 1}), (0, {"last": 1, "spiking": 0}),
    (2, {"last": 0}), (2, {"last": 0, "spiking": 1}), (2, {"spiking": 1}),
    (None, {"layers": 0}), (None, {"layers": 1}), (None, {"layers": 2}),
])
def test_unknown_operation_and_layers_out_of_order(bench, program, layer, values):
    table = changed(bench, program, layer, **values)
    assert verdict(bench, program.config, table)[0] == (CoreError.LAYER, 0)


def test_more_layers_than_entries(bench, program):
    # A descriptor has no version.
    table = changed(bench, program, None, layers=4)
    assert verdict(bench, program.config, table)[0][0] in (
        CoreError.TABLE_VERSION, CoreError.LAYER)


#: For each address and size of an entry, what its values must be below.
DEPTHS = {
    "source_base": "input_words", "source_last": "input_words", "row_table": "table_words",
    "column_table": "table_words", "second_column_table": "table_words",
    "bias_base": "membrane_words", "membrane_base": "membrane_words",
    "membrane_last": "membrane_words", "destination_base": "map_words", "slope_base": "slopes",
}


@pytest.mark.parametrize("name", DEPTHS)
def test_out_of_range_address(bench, program, name):
    depth = getattr(program.config, DEPTHS[name])
    for value in (depth, depth + 1, (1 << FIELDS[name].width) - 1):
        table = changed(bench, program, 0, **{name: value})
        assert verdict(bench, program.config, table)[0] == (CoreError.RANGE, 0), value
    table = changed(bench, program, 0, **{name: depth - 1})
    assert verdict(bench, program.config, table)[0] == (CoreError.NONE, 1)


@pytest.mark.parametrize("name", ["source_base", "source_last"])
def test_out_of_range_address_of_the_map_memory(bench, program, name):
    depth = program.config.map_words
    for layer, value, good in ((1, depth, False), (2, depth, False), (1, depth - 1, True)):
        found = verdict(bench, program.config, changed(bench, program, layer, **{name: value}))[0]
        assert found == ((CoreError.NONE, 1) if good else (CoreError.RANGE, 0))


@pytest.mark.parametrize("layer", range(3))
def test_zero_size(bench, program, layer):
    table = changed(bench, program, layer, window_rows=0)
    assert verdict(bench, program.config, table)[0] == (CoreError.RANGE, 0)


@pytest.mark.parametrize("layer", range(3))
def test_window_larger_than_the_memory(bench, program, layer):
    base = program.layers[layer].membrane_base
    table = changed(bench, program, layer, membrane_last=base + program.config.membrane_words - 1)
    assert verdict(bench, program.config, table)[0] == (CoreError.RANGE, 0)
    table = changed(bench, program, layer, window_rows=1 << 12)
    assert verdict(bench, program.config, table)[0] == (CoreError.RANGE, 0)


def test_bits_that_a_core_has_no_memory_for(bench, program):
    # Every one of them, in some layer.
    layer = 0
    for word, bits in enumerate(forbidden_bits(program.config)):
        for bit in range(32):
            if bits >> bit & 1:
                address = ENTRY_WORDS * (1 + layer) + word
                changed_word = program.memories[Memory.TABLE][address] ^ 1 << bit
                table = bench.with_words(program, {address: changed_word}).memories[Memory.TABLE]
                error = CoreError.LAYER if (word, bit) < (0, 4) else CoreError.RANGE
                assert verdict(bench, program.config, table)[0] == (error, 0), (word, bit)
                layer = (layer + 1) % 3


def test_a_truncated_table(bench, program):
    table = program.memories[Memory.TABLE]
    for length in (1, 3, 4, 5, 16, 17, 31, 40, max(table)):
        cut = {address: word for address, word in table.items() if address < length}
        assert cut | {0: 0} != table | {0: 0}
        error, valid = verdict(bench, program.config, cut)[0]
        # An entry of zeros is one of another version.
        assert (error, valid) == (
            CoreError.TABLE_VERSION if length <= 48 else CoreError.CHECKSUM, 0), length


def test_every_bit_counts(bench, program):
    rng = np.random.default_rng(8)
    table = program.memories[Memory.TABLE]
    for address in rng.permutation(program.config.table_words)[:40]:
        bit = int(rng.integers(32))
        if address % ENTRY_WORDS == 0 and address < 64:
            bit %= 16
        damaged = table | {int(address): table.get(address, 0) ^ 1 << bit}
        assert verdict(bench, program.config, damaged)[0] == (CoreError.CHECKSUM, 0), (address, bit)


def test_words_that_changed_places(bench, program):
    table = program.memories[Memory.TABLE]
    for one, other in ((17, 18), (18, 50), (19, 35), (64, 65), (1, 33)):
        swapped = table | {one: table.get(other, 0), other: table.get(one, 0)}
        if swapped != table:
            assert verdict(bench, program.config, swapped)[0] == (CoreError.CHECKSUM, 0)


def test_the_host_calls_errors_the_same():
    assert {error.name: error.value for error in CoreError} == {
        error.name: error.value for error in protocol.CoreError}
