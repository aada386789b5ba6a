# SPDX-License-Identifier: Apache-2.0
"""Slopes and code tables: real numbers become the integers of a network."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_sw.artifact.network import linear_codes
from ttfs_sw.training import quantise


@given(st.floats(2.0**-15, 2.0**15))
def test_slope_has_sixteen_bits(ratio):
    multiplier, shift = quantise.slope(ratio)
    assert 1 <= multiplier <= 65535
    assert 0 <= shift <= 31
    assert multiplier * 2.0**-shift == pytest.approx(ratio, rel=2.0**-16)


@given(st.floats(1e-300, 1e300))
def test_slope_always_fits_its_fields(ratio):
    multiplier, shift = quantise.slope(ratio)
    assert 1 <= multiplier <= 65535
    assert 0 <= shift <= 31


def test_slope_at_the_limits():
    assert quantise.slope(1.0) == (32768, 15)
    assert quantise.slope(0.5) == (32768, 16)
    # Just below a power of two, m would round to 2^16.
    assert quantise.slope(1 - 2.0**-20) == (32768, 15)
    assert quantise.slope(2.0**-31) == (1, 31)
    assert quantise.slope(1e-12) == (1, 31)
    assert quantise.slope(65535.0) == (65535, 0)
    assert quantise.slope(1e6) == (65535, 0)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="ratio must be positive and finite"):
            quantise.slope(bad)


@given(st.integers(1, 255), st.integers(1, 255), st.integers(0, 255))
@settings(max_examples=50)
def test_code_table(ticks, maximum, dead_zone):
    table = quantise.code_table(ticks, maximum, dead_zone)
    assert table.dtype == np.uint8
    assert not table[:dead_zone].any()
    assert (table[dead_zone:] == linear_codes(ticks, maximum)[dead_zone:]).all()


def test_code_table_is_the_integer_rule():
    pixels = np.arange(256)
    assert (quantise.code_table(15) == (pixels * 15 + 127) // 255).all()
