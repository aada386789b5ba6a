# amaranth: UnusedElaboratable=no
"""The clock: PLL settings that the devices allow, and a reset that is long enough."""

import re

import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.sim import Simulator
from amaranth_boards.ice40_hx8k_b_evn import ICE40HX8KBEVNPlatform
from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.ulx3s import ULX3S_25F_Platform
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.boards.clock import ECP5PLL, ICE40PLL, RESET_SECONDS, ClockGenerator, PowerOnReset
from ttfs_fpga.sim.pins import PinPlatform
from ttfs_sw.common.errors import InputError

#: The block RAM of the iCE40 reads as zeros for so long after configuration.
BLOCK_RAM_SECONDS = 3e-6


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


@pytest.mark.parametrize("clock_hz", [12_000_000, 36_000_000, 50_000_000])
@pytest.mark.parametrize("unstable", [1, 5, 700])
def test_reset_lasts_long_enough_after_the_clock_is_stable(clock_hz, unstable):
    dut = PowerOnReset(clock_hz)
    held = 0

    async def count(ctx):
        nonlocal held
        ctx.set(dut.stable, 1)
        await ctx.tick("power_on").repeat(unstable)
        ctx.set(dut.stable, 0)
        await ctx.tick("power_on").repeat(4)
        assert ctx.get(dut.rst)
        ctx.set(dut.stable, 1)
        while ctx.get(dut.rst):
            await ctx.tick("power_on")
            held += 1
        for _ in range(100):
            await ctx.tick("power_on")
            assert not ctx.get(dut.rst)

    m = Module()
    m.domains.power_on = ClockDomain(reset_less=True)
    m.submodules.dut = dut
    sim = Simulator(m)
    sim.add_clock(1 / clock_hz, domain="power_on")
    sim.add_testbench(count)
    sim.run()
    assert BLOCK_RAM_SECONDS < RESET_SECONDS <= held / clock_hz < 1.1 * RESET_SECONDS


def clock_tree(platform, clock_hz: int) -> str:
    """RTLIL of a clock generator that clocks one register."""
    m = Module()
    m.submodules.clock = clock = ClockGenerator(clock_hz)
    m.domains.sync = sync = ClockDomain()
    blink = Signal()
    m.d.comb += [sync.clk.eq(clock.clk), sync.rst.eq(clock.rst)]
    m.d.sync += blink.eq(~blink)
    return platform.build(m, do_build=False, emit_src=False).files["top.il"]


def parameters(text: str, cell: str) -> dict[str, str]:
    """Parameters of the only instance of ``cell``."""
    (body,) = re.findall(rf"^  cell \\{cell} .*?^  end$", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"parameter \\(\w+) (.*)", body))


def test_pll_of_the_icebreaker():
    found = parameters(clock_tree(ICEBreakerPlatform(), 36_000_000), "SB_PLL40_PAD")
    assert (found["DIVR"], found["DIVF"], found["DIVQ"], found["FILTER_RANGE"]) == (
        "4'0000", "7'0101111", "3'100", "3'001")


def test_pll_of_the_hx8k_is_not_at_its_pin():
    # The breakout board's oscillator is at J3, which belongs to no PLL.
    text = clock_tree(ICE40HX8KBEVNPlatform(), 81_000_000)
    found = parameters(text, "SB_PLL40_CORE")
    assert (found["DIVR"], found["DIVF"], found["DIVQ"], found["FILTER_RANGE"]) == (
        "4'0000", "7'0110101", "3'011", "3'001")
    assert "REFERENCECLK" in text and "PACKAGEPIN" not in text.replace("PACKAGE_PIN", "")
    assert "SB_PLL40_PAD" not in text


def test_pll_of_the_ulx3s():
    found = parameters(clock_tree(ULX3S_25F_Platform(), 50_000_000), "EHXPLLL")
    assert [int(found[name].split("'")[-1], 2) if "'" in found[name] else int(found[name])
            for name in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV")] == [1, 2, 12]


@pytest.mark.parametrize(("platform", "clock_hz"), [
    (ICEBreakerPlatform, 12_000_000), (ICE40HX8KBEVNPlatform, 12_000_000),
    (ULX3S_25F_Platform, 25_000_000),
])
def test_no_pll_where_the_oscillator_is_right(platform, clock_hz):
    text = clock_tree(platform(), clock_hz)
    assert "SB_PLL40" not in text
    assert "EHXPLLL" not in text


def test_no_pll_in_simulation():
    platform = PinPlatform(36_000_000)
    with pytest.raises(InputError, match="no PLL for PinPlatform: set clock_hz to the 36000000 Hz"):
        ClockGenerator(48_000_000).elaborate(platform)
