# SPDX-License-Identifier: Apache-2.0
"""The inspection of layer tables: what the compiler makes passes, and what makes no sense not."""

import numpy as np
import pytest

from tests.support.integer_networks import shaped_network
from ttfs_fpga.hdl.compiler import compile as compiling_module
from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.compiler.inspection import BadTable, check_table
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import COLUMN_FIELDS, ENTRY_WORDS, FIELDS, ROW_FIELDS

#: Depths of all kinds.
CONFIG = CoreConfig(lanes=4, weight_words=1000, membrane_words=91, input_words=24, map_words=117,
                    slopes=50, layers=5, table_words=233)


@pytest.fixture(scope="module")
def program():
    """A network with all kinds of layers, and a window that wraps."""
    network = shaped_network(np.random.default_rng(4), (6, 6, 3), [
        {"kind": "conv2d", "channels": 5, "kernel": 3, "padding": 1},
        {"kind": "depthwise", "kernel": 3, "padding": 1},
        {"kind": "conv2d", "channels": 5, "kernel": 1, "pool": 2, "second": 0, "shift": 1},
        {"kind": "dense", "channels": 6},
        {"kind": "dense", "channels": 3}])
    return compile_network(network, CONFIG)


def refused(program, table=None):
    with pytest.raises(BadTable) as caught:
        check_table(table or program.memories[Memory.TABLE], program.config, program.layers)
    return str(caught.value)


def test_what_was_compiled_passes(bench, program):
    # With and without knowing what it is meant to be.
    check_table(program.memories[Memory.TABLE], CONFIG, program.layers)
    check_table(program.memories[Memory.TABLE], CONFIG)


@pytest.mark.parametrize("datapath", ["mac", "ramp"])
def test_what_was_compiled_for_the_smallest_core_passes(random_network, datapath):
    network = random_network(np.random.default_rng(5), (9, 17, 5, 3))
    program = compile_network(network, minimal_config(network, lanes=4, datapath=datapath))
    check_table(program.memories[Memory.TABLE], program.config)


@pytest.mark.parametrize(("layer", "values"), [
    (0, {"check": 0x7F00}), (1, {"operation": 0}), (2, {"operation": 3}), (3, {"last": 1}),
    (4, {"spiking": 1}), (0, {"window_rows": 0}), (1, {"membrane_last": 91}),
    (0, {"membrane_base": 0}), (2, {"source_base": 117}), (0, {"source_last": 24}),
    (1, {"row_table": 233}), (1, {"row_table": 0}), (1, {"column_table": 232}),
    (2, {"second_column_table": 232}), (2, {"second_row_last": 0}), (2, {"second_slot_shift": 0}),
    (2, {"second_chunk_last": 5}), (2, {"residual": 0}), (0, {"residual": 1}),
    (0, {"bias_base": 0}), (0, {"bias_base": 90}), (0, {"destination_base": 116}),
    (2, {"slope_base": 50}), (0, {"ticks": 0}), (0, {"wrap_step": 1}), (0, {"row_step": 2}),
    (0, {"last_word": 3}), (0, {"rows_last": 4}), (0, {"sweep_last": 1}), (2, {"pool_last": 3}),
    (1, {"weight_step": 900}), (1, {"weight_row_step": 900}), (0, {"membrane_step": 9}),
    (0, {"fire_threshold": 1 << 20}), (0, {"clears": 1}), (0, {"follows": 1}),
    (0, {"row_last": 4}), (1, {"slot_shift": 0}), (0, {"pitch": 200}), (0, {"final_step": 1}),
])
def test_an_entry_that_makes_no_sense(bench, program, layer, values):
    bad = bench.with_fields(program, layer, **values)
    assert refused(bad).startswith(f"layer layer{layer + 1} ")


@pytest.mark.parametrize("layer", range(5))
def test_first_behind_last(bench, program, layer):
    # Neither word is beyond its memory: the core does not see it.
    plan = program.layers[layer]
    first, last = plan.membrane_base, plan.membrane_base + plan.membrane_words - 1
    bad = bench.with_fields(program, layer, membrane_base=last + 1, membrane_last=first)
    assert "has a window of" in refused(bad)
    base = plan.source_base or 0
    bad = bench.with_fields(program, layer, source_base=base + 1, source_last=base)
    assert "reads the words" in refused(bad)


@pytest.mark.parametrize(("values", "reason"), [
    ({"magic": 1}, "another version"), ({"layers": 0}, "0 layers"), ({"layers": 6}, "6 layers"),
    ({"layers": 4}, "4 layers instead of 5"), ({"last_input": 24 * 8}, "samples up to place 192"),
    ({"run_last": 24 * 8}, "samples"),
])
def test_a_header_that_makes_no_sense(bench, program, values, reason):
    assert reason in refused(bench.with_fields(program, None, **values))


def test_damage(bench, program):
    for address, value in ((17, 5), (200, 1), (3, 0)):
        bad = bench.with_words(program, {address: value}, sealed=False)
        assert "checksum do not agree" in refused(bad)


@pytest.mark.parametrize("values", [
    {"membrane": 91}, {"membrane": 0}, {"taps": 7}, {"wrap": 7}, {"opens": 15}, {"completes": 15},
    {"second": 1}, {"last": 1}, {"weight": 1000},
])
def test_a_row_that_makes_no_sense(bench, program, values):
    # The fourth row of the first layer, where its window has wrapped.
    word = ENTRY_WORDS * 6 + 2 * 3
    assert refused(program_with(bench, program, word, ROW_FIELDS, values)).startswith(
        "layer layer1 ")


def test_a_row_of_a_map_that_is_not_there(bench, program):
    table = program.memories[Memory.TABLE]
    word = table[ENTRY_WORDS * 3 + FIELDS["row_table"].word] & 0x3FFF
    for number in range(2):
        bad = program_with(bench, program, word + 2 * number, ROW_FIELDS, {"map": 117})
        assert "says map word 117 of 117" in refused(bad)


@pytest.mark.parametrize("values", [{"membrane": 91}, {"taps": 7}, {"weight": 1000}])
def test_a_column_that_makes_no_sense(bench, program, values):
    table = program.memories[Memory.TABLE]
    for layer, name in ((0, "column_table"), (2, "second_column_table")):
        field = FIELDS[name]
        word = table[ENTRY_WORDS * (1 + layer) + field.word] >> field.offset
        bad = program_with(bench, program, word + 1, COLUMN_FIELDS, values)
        if (layer, *values) != (2, "taps"):
            assert refused(bad).startswith(f"layer layer{layer + 1} ")


def program_with(bench, program, address, fields, values):
    """The program with other fields in a descriptor."""
    words = {}
    for name, value in values.items():
        field = fields[name]
        word = address + field.word
        kept = words.get(word, program.memories[Memory.TABLE].get(word, 0))
        words[word] = kept & ~(((1 << field.width) - 1) << field.offset) | value << field.offset
    return bench.with_words(program, words)


def test_a_wrong_compiler_is_noticed(random_network, monkeypatch):
    network = random_network(np.random.default_rng(6), (9, 8, 3))
    write = compiling_module.write

    def wrong(*args):
        memories = write(*args)
        table = memories[Memory.TABLE]
        table[ENTRY_WORDS + FIELDS["bias_base"].word] += 1
        return memories

    monkeypatch.setattr(compiling_module, "write", wrong)
    with pytest.raises(BadTable, match="checksum"):
        compile_network(network, CONFIG)
