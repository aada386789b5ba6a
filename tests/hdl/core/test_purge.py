# SPDX-License-Identifier: Apache-2.0
"""The purge: its words, and what is told to whom in which cycle."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.purge import Purge
from ttfs_fpga.hdl.ports import purge_words


def rtl_purge(bench, config, causes):
    """(forget, start, the word that is wiped or None) a cycle; ``causes``: (changing, late)."""
    dut = Purge(config)
    seen = []

    async def testbench(ctx):
        for changing, late in causes:
            ctx.set(dut.changing, changing)
            ctx.set(dut.late, late)
            word = ctx.get(dut.o.word) if ctx.get(dut.o.active) else None
            seen.append((ctx.get(dut.forget), ctx.get(dut.o.start), word))
            await ctx.tick()

    bench.run(dut, testbench)
    return seen


def reference_purge(words, causes):
    seen, left, before = [], list(range(words)), 0
    for changing, late in causes:
        seen.append((int(changing or late), before, left[0] if left else None))
        left = list(range(words)) if before else left[1:]
        before = int(changing or late)
    return seen


@pytest.mark.parametrize("depths", [
    {"membrane_words": 40, "map_words": 8, "table_words": 32},
    {"membrane_words": 9, "map_words": 37, "table_words": 32},
    {"membrane_words": 9, "map_words": 8, "table_words": 33},
])
@pytest.mark.parametrize("rare", [0.005, 0.03])
def test_every_word_after_a_reset_and_after_every_cause(bench, depths, rare):
    config = CoreConfig(input_words=64, **depths)
    words = purge_words(config)
    assert words == max(depths.values())
    rng = np.random.default_rng(words)
    causes = [(0, 0)] * (words + 5)
    causes += [(int(rng.random() < rare), int(rng.random() < rare)) for _ in range(400)]
    # A load is many writes; only behind the last one all words are counted.
    causes += [(1, 0)] * 30 + [(0, 0)] * (words + 5)
    seen = rtl_purge(bench, config, causes)
    assert seen == reference_purge(words, causes)
    assert [word for *_, word in seen[:words + 1]] == [*range(words), None]
    assert [word for *_, word in seen[-words - 4:]] == [*range(words), *[None] * 4]


def test_buckets_of_ticks_are_wiped_too():
    sizes = {"membrane_words": 40, "map_words": 8, "table_words": 32, "tick_bits": 7}
    assert purge_words(CoreConfig(datapath="ramp", **sizes)) == 128
    assert purge_words(CoreConfig(**sizes)) == 40
