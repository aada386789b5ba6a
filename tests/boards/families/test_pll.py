# SPDX-License-Identifier: Apache-2.0
"""PLL settings that the devices allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.boards.families.ecp5 import ECP5PLL
from ttfs_fpga.boards.families.ice40 import ICE40PLL
from ttfs_sw.common.errors import InputError


def test_settings_of_the_icebreaker():
    # As `icepll -i 12 -o 36` has it.
    assert ICE40PLL.find(12_000_000, 36_000_000) == ICE40PLL(0, 47, 4, 1)


def test_settings_of_the_hx8k():
    # As `icepll -i 12 -o 81` has it.
    assert ICE40PLL.find(12_000_000, 81_000_000) == ICE40PLL(0, 53, 3, 1)


def test_settings_of_the_ulx3s():
    assert ECP5PLL.find(25_000_000, 50_000_000) == ECP5PLL(25_000_000, 1, 2, 12)


@given(st.sampled_from([12_000_000, 25_000_000, 48_000_000, 100_000_000]),
       st.integers(16 * 8, 275 * 8).map(lambda eighths: eighths * 125_000))
def test_ice40_settings_are_within_the_limits(input_hz, output_hz):
    try:
        pll = ICE40PLL.find(input_hz, output_hz)
    except InputError:
        return
    detector = input_hz / (pll.divr + 1)
    oscillator = detector * (pll.divf + 1)
    assert 10e6 <= detector <= 133e6
    assert 533e6 <= oscillator <= 1066e6
    assert oscillator / 2**pll.divq == output_hz
    assert (pll.divr < 16, pll.divf < 128, pll.divq < 8, 1 <= pll.filter_range <= 6) == (True,) * 4


@given(st.sampled_from([12_000_000, 25_000_000, 100_000_000]),
       st.integers(4, 400).map(lambda mhz: mhz * 1_000_000))
def test_ecp5_settings_are_within_the_limits(input_hz, output_hz):
    try:
        pll = ECP5PLL.find(input_hz, output_hz)
    except InputError:
        return
    assert input_hz * pll.clkfb_div == output_hz * pll.clki_div
    assert input_hz / pll.clki_div >= 3.125e6
    assert 400e6 <= output_hz * pll.clkop_div <= 800e6
    assert (pll.clki_div <= 128, pll.clkfb_div <= 80, pll.clkop_div <= 128) == (True,) * 3


@pytest.mark.parametrize(("pll", "input_hz", "output_hz", "near"), [
    (ICE40PLL, 12_000_000, 40_000_000, "39750000 and 40500000"),
    (ICE40PLL, 12_000_000, 5_000_000, "16125000 and 16312500"),
    (ECP5PLL, 25_000_000, 77_777_777, "78125000 and 78571429"),
])
def test_unreachable_frequency_names_the_nearest(pll, input_hz, output_hz, near):
    with pytest.raises(InputError, match=f"the PLL cannot make .* MHz: the nearest .* {near}"):
        pll.find(input_hz, output_hz)
