# SPDX-License-Identifier: Apache-2.0
"""The layer table: where fields lie, and that what is written is what is read."""

import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.hdl.config import LAYOUT_VERSION, CoreConfig
from ttfs_fpga.hdl.core.guard import CoreError
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import (
    ACCUMULATE_FIELDS,
    ACCUMULATE_WORDS,
    COLUMN_FIELDS,
    ENTRY_WORDS,
    FIELDS,
    FIRE_FIELDS,
    FIRE_WORDS,
    HEADER_FIELDS,
    HEADER_WORDS,
    MAGIC,
    MAP_WORDS,
    MAX_KERNEL,
    MODULAR,
    ROW_FIELDS,
    ROW_WORDS,
    SECOND,
    SECOND_FIELDS,
    field_widths,
    pack,
)

#: Every table of fields with its words.
TABLES = {
    "header": (HEADER_FIELDS, HEADER_WORDS), "entry": (FIELDS, ENTRY_WORDS),
    "row": (ROW_FIELDS, ROW_WORDS), "column": (COLUMN_FIELDS, 1),
}

#: Any value for every field.
ENTRIES = st.sampled_from(sorted(TABLES)).flatmap(lambda name: st.tuples(
    st.just(name), st.fixed_dictionaries({
        field: st.integers(0, (1 << place.width) - 1) for field, place in TABLES[name][0].items()
    })))


@pytest.mark.parametrize("name", TABLES)
def test_fields_lie_in_their_words_without_overlap(name):
    fields, count = TABLES[name]
    places = sorted((f.word, f.offset, f.offset + f.width) for f in fields.values())
    assert all(end <= 32 for _, _, end in places)
    assert 1 + places[-1][0] <= count
    for (word, _, end), (next_word, start, _) in itertools.pairwise(places):
        assert word < next_word or end <= start


def test_either_half_of_a_layer_reads_all_its_fields():
    for words, names in (
            (ACCUMULATE_WORDS, ACCUMULATE_FIELDS), (FIRE_WORDS, FIRE_FIELDS)):
        assert {FIELDS[name].word for name in names} <= set(words)
        assert len(set(names)) == len(names)
    assert {*ACCUMULATE_FIELDS, *FIRE_FIELDS, *SECOND_FIELDS, "check"} == FIELDS.keys()
    # What describes the second map lies as what describes the first one does.
    first = ("row_last", "chunk_last", "slot_shift", "source_input", "follows", "clears",
             "column_table")
    for name, other in zip(first, SECOND_FIELDS, strict=True):
        assert FIELDS[name].word in ACCUMULATE_WORDS[-MAP_WORDS:]
        assert FIELDS[other].word == FIELDS[name].word | SECOND != FIELDS[name].word
        assert FIELDS[other] == dataclasses.replace(FIELDS[name], word=FIELDS[other].word)
    # Taps of the largest kernel can be counted.
    for fields in (ROW_FIELDS, COLUMN_FIELDS):
        assert 1 << fields["taps"].width > MAX_KERNEL


@given(ENTRIES)
def test_what_is_packed_reads_back(drawn):
    name, values = drawn
    fields, count = TABLES[name]
    words = pack(fields, count, **values)
    assert len(words) == count
    assert all(0 <= word < 1 << 32 for word in words)
    assert values == {
        field: words[place.word] >> place.offset & ((1 << place.width) - 1)
        for field, place in fields.items()
    }


def test_pack_needs_every_field_and_no_other():
    values = dict.fromkeys(FIELDS, 0)
    with pytest.raises(TypeError, match=r"^fields \['kernel'\] are unknown or missing$"):
        pack(FIELDS, ENTRY_WORDS, **values, kernel=3)
    del values["ticks"]
    with pytest.raises(TypeError, match=r"^fields \['ticks'\] are unknown or missing$"):
        pack(FIELDS, ENTRY_WORDS, **values)


def test_pack_refuses_what_this_core_has_no_bits_for():
    values = dict.fromkeys(FIELDS, 0)
    widths = field_widths(CoreConfig())
    with pytest.raises(ValueError, match=r"^membrane_base = 256 does not fit 8 bits$"):
        pack(FIELDS, ENTRY_WORDS, widths, **values | {"membrane_base": 256})
    # Steps are reckoned in as many bits as there are.
    for name in MODULAR:
        assert pack(FIELDS, ENTRY_WORDS, widths, **values | {name: (1 << FIELDS[name].width) - 1})


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_pack_refuses_what_does_not_fit(name):
    values = dict.fromkeys(FIELDS, 0)
    width = FIELDS[name].width
    for bad in (1 << width, -1):
        with pytest.raises(ValueError, match=f"^{name} = {bad} does not fit {width} bits$"):
            pack(FIELDS, ENTRY_WORDS, **values | {name: bad})


def test_magic_is_not_what_empty_memories_hold():
    assert MAGIC == 0x7F00 | LAYOUT_VERSION
    assert MAGIC not in (0, 0xFFFF)


@pytest.mark.parametrize("config", [
    CoreConfig(lanes=2, weight_bits=2, tick_bits=1, accumulator_bits=8, weight_words=2,
               membrane_words=2, input_words=2, map_words=2, slopes=2, layers=1),
    CoreConfig(),
    CoreConfig(lanes=256, weight_bits=8, tick_bits=8, accumulator_bits=32, weight_words=1 << 20,
               membrane_words=1 << 15, input_words=1 << 15, map_words=1 << 15, slopes=1 << 15,
               layers=63),
])
def test_every_core_keeps_no_more_of_a_field_than_the_table_has(config):
    widths = field_widths(config)
    assert widths.keys() == FIELDS.keys()
    assert all(widths[name] >= 1 for name in FIELDS)
    # The memories of the largest core are no deeper than the table's fields can say.
    assert all(widths[name] <= field.width for name, field in FIELDS.items())
    # What a field of this core may have to say at most.
    largest = {
        "ticks": config.max_ticks,
        "source_base": config.map_words - 1,
        "source_last": max(config.map_words, config.input_words) - 1,
        "last_word": config.membrane_words - 1,
        "weight_step": config.weight_words - 1,
        "rows_last": config.table_words // 2,
        "row_table": config.table_words - 1,
        "column_table": config.table_words - 1,
        "row_last": config.map_words - 1,
        "slot_shift": config.slot_bits,
        "membrane_base": config.membrane_words - 1,
        "bias_base": config.membrane_words - 1,
        "destination_base": config.map_words - 1,
        "membrane_last": config.membrane_words - 1,
        "fire_threshold": (1 << config.accumulator_bits) - 1,
        "slope_base": config.slopes - 1,
    }
    assert all(value < 1 << widths[name] for name, value in largest.items())


def documented_rows(columns):
    """Rows of the tables in docs/core.md with so many columns, cell by cell."""
    text = (Path(__file__).parents[2] / "docs" / "core.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if len(row) == columns]


def bits(field):
    last = field.offset + field.width - 1
    return str(field.offset) if field.width == 1 else f"{field.offset}-{last}"


def test_documentation_has_every_field_where_it_lies():
    documented = {
        row[2].strip("`"): (int(row[0]), row[1]) for row in documented_rows(4)
        if row[0].isdigit() and row[2].startswith("`")
    }
    assert documented == {name: (f.word, bits(f)) for name, f in FIELDS.items()}
    rows = {(row[0], row[3].strip("`")): (int(row[1]), row[2]) for row in documented_rows(5)
            if row[0] in TABLES}
    assert rows == {
        (name, field): (f.word, bits(f)) for name in ("header", "row", "column")
        for field, f in TABLES[name][0].items()
    }


def test_documentation_has_every_memory_and_error():
    memories = {row[1]: int(row[0]) for row in documented_rows(5) if row[0].isdigit()}
    assert memories == {memory.name: memory.value for memory in Memory}
    errors = {row[1]: int(row[0]) for row in documented_rows(3) if row[1].isupper()}
    assert errors == {error.name: error.value for error in CoreError}
