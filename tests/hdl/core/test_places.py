# SPDX-License-Identifier: Apache-2.0
"""Places of a layer's pixels, and rows of its map, against loops."""

import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.places import PlaceCounter

CONFIG = CoreConfig(input_words=64, map_words=64)
SLOTS = CONFIG.codes_per_word


def rtl_places(bench, rows, columns, words, entry):
    """The place of every pixel, and how many words had been left when a row was written."""
    dut, places, written = PlaceCounter(CONFIG), [], []

    async def testbench(ctx):
        ctx.set(dut.entry, entry)
        for _ in range(2):
            places.clear()
            written.clear()
            count = 0
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(rows):
                for column in range(columns):
                    places.append(ctx.get(dut.pixel))
                    for word in range(words):
                        count += 1
                        assert not ctx.get(dut.written)
                        ends = int(word == words - 1)
                        ctx.set(dut.left, {"word": 1, "pixel_ends": ends,
                                           "row_ends": ends & (column == columns - 1)})
                        if ctx.get(dut.written):
                            written.append(count)
                        await ctx.tick()
                        # What it was the last of says nothing without a word.
                        ctx.set(dut.left, {"word": 0, "pixel_ends": 1, "row_ends": 1})
                        await ctx.tick()

    bench.run(dut, testbench)
    return places, written


@pytest.mark.parametrize(("pool", "packed"), [(1, 1), (2, 1), (3, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("words", [1, 3])
def test_a_window_of_pooling_has_one_place(bench, pool, packed, words):
    rows, columns, base, row_words, pitch = 12, 12 // packed, 2, 5, 3
    entry = {"pitch": pitch, "pool_last": pool - 1, "across_last": pool // packed - 1,
             "destination_base": base, "destination_row": row_words}
    places, written = rtl_places(bench, rows, columns, words, entry)
    across = pool // packed
    assert places == [
        (base + row // pool * row_words) * SLOTS + column // across * pitch
        for row in range(rows) for column in range(columns)
    ]
    assert written == [columns * words * (row + 1) for row in range(pool - 1, rows, pool)]


def test_without_rows_every_word_is_written(bench):
    entry = {"pitch": 0, "pool_last": 0, "across_last": 0, "destination_base": 1,
             "destination_row": 0}
    places, written = rtl_places(bench, 1, 1, 6, entry)
    assert places == [SLOTS] and written == [1, 2, 3, 4, 5, 6]
