"""The layer table: where fields lie, and that what is written is what is read."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdl.config import LAYOUT_VERSION, CoreConfig
from hdl.controller import CoreError
from hdl.shapes import Memory
from hdl.table import (
    ACCUMULATE_WORDS,
    ENTRY_WORDS,
    FETCHED_WORDS,
    FIELDS,
    HEADER_WORDS,
    MAGIC,
    entry_words,
    field_widths,
    header_words,
)

#: Any value for every field that a caller says.
ENTRIES = st.fixed_dictionaries({
    name: st.integers(0, (1 << field.width) - 1)
    for name, field in FIELDS.items() if name != "check"
})


def read(words, name):
    field = FIELDS[name]
    return words[field.word] >> field.offset & ((1 << field.width) - 1)


def test_fields_lie_in_their_words_without_overlap():
    places = sorted((f.word, f.offset, f.offset + f.width) for f in FIELDS.values())
    assert all(width_end <= 32 for _, _, width_end in places)
    for (word, _, end), (next_word, start, _) in itertools.pairwise(places):
        assert word < next_word or end <= start
    assert FETCHED_WORDS == 1 + places[-1][0] <= ENTRY_WORDS
    assert HEADER_WORDS <= ENTRY_WORDS


def test_accumulation_begins_when_all_that_it_needs_has_come():
    late = {name for name, field in FIELDS.items() if field.word >= ACCUMULATE_WORDS}
    assert late == {"fire_threshold", "slope_base"}


@given(ENTRIES)
def test_entry_reads_back(values):
    words = entry_words(**values)
    assert len(words) == ENTRY_WORDS
    assert all(0 <= word < 1 << 32 for word in words)
    assert {name: read(words, name) for name in values} == values
    assert read(words, "check") == MAGIC


def test_entry_needs_every_field_and_no_other():
    values = dict.fromkeys(FIELDS, 0)
    del values["check"]
    entry_words(**values)
    with pytest.raises(TypeError, match=r"^fields \['kernel'\] are unknown or missing$"):
        entry_words(**values, kernel=3)
    del values["ticks"]
    with pytest.raises(TypeError, match=r"^fields \['ticks'\] are unknown or missing$"):
        entry_words(**values)


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"check"}))
def test_entry_refuses_what_does_not_fit(name):
    values = dict.fromkeys(FIELDS.keys() - {"check"}, 0)
    width = FIELDS[name].width
    for bad in (1 << width, -1):
        with pytest.raises(ValueError, match=f"^{name} = {bad} does not fit {width} bits$"):
            entry_words(**values | {name: bad})


def test_header():
    assert header_words(3, 784) == [(0x7F00 | LAYOUT_VERSION) << 16 | 3, 783]
    # Neither an erased flash nor an empty memory looks like a header.
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
    assert all(1 <= widths[name] <= field.width for name, field in FIELDS.items())
    # What a field of this core may have to say at most.
    largest = {
        "ticks": config.max_ticks,
        "source_base": config.map_words - 1,
        "source_last": max(config.map_words, config.input_words) - 1,
        "last_lane": config.lanes - 1,
        "last_word": config.membrane_words - 1,
        "weight_base": config.weight_words - 1,
        "membrane_base": config.membrane_words - 1,
        "bias_base": config.membrane_words - 1,
        "destination_base": config.map_words - 1,
        "destination_last": config.map_words - 1,
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


def test_documentation_has_every_field_where_it_lies():
    documented = {
        row[2].strip("`"): (int(row[0]), row[1]) for row in documented_rows(4)
        if row[0].isdigit() and row[2].startswith("`")
    }
    assert documented == {
        name: (f.word, str(f.offset) if f.width == 1 else f"{f.offset}-{f.offset + f.width - 1}")
        for name, f in FIELDS.items()
    }


def test_documentation_has_every_memory_and_error():
    memories = {row[1]: int(row[0]) for row in documented_rows(5) if row[0].isdigit()}
    assert memories == {memory.name: memory.value for memory in Memory}
    errors = {row[1]: int(row[0]) for row in documented_rows(3) if row[1].isupper()}
    assert errors == {error.name: error.value for error in CoreError}
