# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The clock: the PLL of each device, and a reset that is long enough."""

import re

import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.sim import Simulator
from amaranth_boards.ice40_hx8k_b_evn import ICE40HX8KBEVNPlatform
from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.ulx3s import ULX3S_25F_Platform

from ttfs_fpga.boards.clock import RESET_SECONDS, ClockGenerator, PowerOnReset
from ttfs_fpga.sim.pins import PinPlatform
from ttfs_sw.common.errors import InputError

#: The block RAM of the iCE40 reads as zeros for so long after configuration.
BLOCK_RAM_SECONDS = 3e-6


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
