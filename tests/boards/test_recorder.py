# SPDX-License-Identifier: Apache-2.0
"""Where the recorder keeps things: a power of two, nothing over anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.boards.recorder import RecordMap
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_sw.link.protocol import STATISTICS_BYTES, Identity, Result


@given(st.builds(CoreConfig, layers=st.integers(1, 63), accumulator_bits=st.integers(8, 32)))
def test_everything_has_its_place(config):
    places = RecordMap(config)
    assert places.counters >= Identity.SIZE
    # The counters' addresses are put together from bits, so they start at a multiple of their size.
    assert places.counters % (STATISTICS_BYTES << config.layer_bits) == 0
    assert places.counters + (STATISTICS_BYTES << config.layer_bits) <= places.result
    result = places.max_logits * places.logit_bytes + Result.TRAILER.size
    assert places.result + result <= places.depth
    assert places.max_logits >= 100
    assert 8 * places.logit_bytes >= config.accumulator_bits
    assert places.depth & (places.depth - 1) == 0


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_one_block_ram_where_logits_are_short(board):
    assert RecordMap(board.config).depth == 512 * RecordMap(board.config).logit_bytes // 2
