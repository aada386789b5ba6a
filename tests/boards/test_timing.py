# SPDX-License-Identifier: Apache-2.0
"""Following paths: by hand, over the cells that nextpnr takes for registers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.routed import cell, one_register, sdf, wire
from ttfs_fpga.boards.cell_timing import CellTable
from ttfs_fpga.boards.families import device_timing, origin
from ttfs_fpga.boards.sdf import read_sdf
from ttfs_fpga.boards.timing import Hop, Timing
from ttfs_sw.common.errors import FailureError

UP5K = device_timing("iCE40UP5K-SG48")
ECP5 = device_timing("LFE5U-25F-6BG381")


def follow(text, device=UP5K, dsp=None):
    return Timing(read_sdf(text.splitlines()), device, dsp or {})


def flip_flop(name, edge="pos"):
    return cell("ICESTORM_LC", name, {("CLK", "O"): 1000}, {("I0", "CLK"): 500}, edge)


def lut(name):
    return cell("ICESTORM_LC", name, {("I0", "O"): 300})


def pair(*, first_clock=900, second_clock=900, edge="pos"):
    """a > lut > b, on clocks that come after so long."""
    return sdf(
        wire("pll/OUT", "a/CLK", first_clock), wire("pll/OUT", "b/CLK", second_clock),
        wire("a/O", "lut/I0", 20), wire("lut/O", "b/I0", 4),
        cell("ICESTORM_PLL", "pll"), flip_flop("a"), lut("lut"), flip_flop("b", edge),
    )


def test_a_path_is_the_sum_of_its_hops():
    path, = follow(pair()).paths()
    assert (path.clock, path.ps) == ("pll/OUT", 1000 + 20 + 300 + 4 + 500)
    assert path.hops == (
        Hop("clk-to-q", 1000, "a/O"), Hop("routing", 20, "lut/I0"), Hop("logic", 300, "lut/O"),
        Hop("routing", 4, "b/I0"), Hop("setup", 500, "b/I0"),
    )
    assert path.cells() == ["a", "lut", "b"]


def test_a_clock_that_comes_late_to_the_end_is_no_help_and_to_the_start_costs():
    assert next(follow(pair(first_clock=0)).paths()).ps == 1824
    late = next(follow(pair(second_clock=0)).paths())
    assert late.ps == 1824 + 900 and late.hops[0] == Hop("skew", 900, "a/CLK")


def test_half_a_period_is_half_a_period():
    assert next(follow(pair(edge="neg")).paths()).ps == 2 * 1824


def test_another_clock_is_no_path():
    other = pair().replace("pll/OUT b/CLK", "osc/OUT b/CLK")
    assert list(follow(other).paths()) == []


def test_clocks_are_traced_through_their_buffers():
    text = sdf(
        wire("osc/OSC", "buffer/CLKI", 7), wire("buffer/CLKO", "a/CLK", 0),
        wire("osc/OSC", "b/CLK", 7), wire("a/Q", "b/DI", 40),
        cell("OSCG", "osc"), cell("DCCA", "buffer", {("CLKI", "CLKO"): 0}),
        *(cell("TRELLIS_FF", name, {("CLK", "Q"): 525}, {("DI", "CLK"): 0}) for name in "ab"),
    )
    path, = follow(text, ECP5).paths()
    assert path.clock == "osc/OSC" and path.ps == 525 + 40


def test_the_slowest_of_two_ways_is_followed():
    text = sdf(
        wire("pll/OUT", "a/CLK", 9), wire("pll/OUT", "b/CLK", 9),
        wire("a/O", "lut/I0", 20), wire("a/O", "lut/I1", 700), wire("lut/O", "b/I0", 4),
        cell("ICESTORM_PLL", "pll"), flip_flop("a"), flip_flop("b"),
        cell("ICESTORM_LC", "lut", {("I0", "O"): 300, ("I1", "O"): 200}),
    )
    slowest = follow(text).slowest()
    assert list(slowest) == ["pll/OUT"] and slowest["pll/OUT"].ps == 1000 + 700 + 200 + 4 + 500


def test_a_way_from_an_early_clock_is_not_hidden_by_a_later_arrival():
    # The SPRAM's clock has no delay, so that what starts there arrives first and takes longest.
    def text(*more):
        return sdf(
            wire("pll/OUT", "ram/CLOCK", 0), wire("pll/OUT", "b/CLK", 900),
            wire("ram/DATAOUT_0", "lut/I1", 8000), wire("lut/O", "b/I0", 0), *more,
            cell("ICESTORM_PLL", "pll"), flip_flop("b"),
            cell("ICESTORM_SPRAM", "ram", {("CLOCK", "DATAOUT_0"): 1800}),
            cell("ICESTORM_LC", "lut", {("I0", "O"): 300, ("I1", "O"): 300}),
        )

    late = wire("pll/OUT", "a/CLK", 900), wire("a/O", "lut/I0", 8100), flip_flop("a")
    for more in (), late:
        path = follow(text(*more)).slowest()["pll/OUT"]
        assert path.ps == 1800 + 8000 + 300 + 500 == sum(hop.ps for hop in path.hops)
        assert path.hops[0].pin == "ram/DATAOUT_0"


@settings(max_examples=60)
@given(st.data())
def test_any_network_of_luts_against_every_path_written_out(data):
    count = data.draw(st.integers(1, 7))
    delays = st.integers(0, 5000)
    # Each LUT, and the end, reads the start or LUTs before it.
    reads = [data.draw(st.lists(st.tuples(st.integers(0, n), delays), min_size=1, max_size=3))
             for n in range(count + 1)]
    pins = ["start/O", *(f"lut{n}/O" for n in range(count))]
    # A second start, whose clock comes at another time, reaches any of the LUTs.
    other, late, way = data.draw(st.tuples(st.integers(0, count - 1), st.integers(0, 1800), delays))
    parts = [wire("pll/OUT", "start/CLK", 900), wire("pll/OUT", "end/CLK", 900),
             wire("pll/OUT", "other/CLK", late), wire("other/O", f"lut{other}/I9", way),
             cell("ICESTORM_PLL", "pll"), *map(flip_flop, ("start", "other", "end"))]

    def slowest(node, start):
        """To the output of LUT ``node - 1``, or the start's: written out from behind."""
        if node == 0:
            return 1000 if start == "start" else -math.inf
        ways = [slowest(source, start) + ps for source, ps in reads[node - 1]]
        if start == "other" and node - 1 == other:
            ways.append(1000 + way)
        return 300 + max(ways)

    for n, sources in enumerate(reads[:-1]):
        parts.append(cell("ICESTORM_LC", f"lut{n}",
                          {(f"I{i}", "O"): 300 for i in (*range(len(sources)), 9)}))
    for n, sources in enumerate(reads):
        name = f"lut{n}" if n < count else "end"
        parts += [wire(pins[source], f"{name}/I{i if n < count else 0}", ps)
                  for i, (source, ps) in enumerate(sources)]
    found = follow(sdf(*parts)).slowest()["pll/OUT"]
    assert found.ps == 500 + max(
        slowest(source, start) + ps + skew for source, ps in reads[-1]
        for start, skew in (("start", 0), ("other", max(0, late - 900))))
    assert found.ps == sum(hop.ps for hop in found.hops)


def test_a_clock_in_a_circle_is_refused():
    text = sdf(wire("one/O", "two/I0", 1), wire("two/O", "one/I0", 1), wire("one/O", "a/CLK", 1),
               flip_flop("a"), lut("one"), lut("two"))
    with pytest.raises(FailureError, match="path in a circle"):
        follow(text)


def test_a_circle_is_refused():
    text = sdf(
        wire("a/O", "one/I0", 1), wire("one/O", "two/I0", 1), wire("two/O", "one/I1", 1),
        flip_flop("a"), lut("two"), cell("ICESTORM_LC", "one", {("I0", "O"): 1, ("I1", "O"): 1}),
    )
    with pytest.raises(FailureError, match=r"path in a circle.*it passes (one|two)"):
        follow(text)


def test_a_cell_that_nobody_knows_is_refused_by_name():
    # nextpnr 0.11 has no delays of it at all.
    with pytest.raises(FailureError, match="cell sum is a ALU54B, whose delays neither nextpnr"):
        follow(sdf(cell("ALU54B", "sum")), ECP5)


def test_a_device_that_nobody_knows_is_refused():
    with pytest.raises(FailureError, match="delays of a iCE40LP384 are in no table"):
        device_timing("iCE40LP384")


#: nextpnr's view of every DSP block: ports are registers of 100 ps.
def dsp(name, inputs, outputs):
    return cell("ICESTORM_DSP", name, {("CLK", port): 100 for port in outputs},
                {(port, "CLK"): 100 for port in inputs})


def chain(count):
    """a > block > ... > b, wires of 1000."""
    names = ["a/O", *(pin for n in range(count) for pin in (f"m{n}_DSP/A_3", f"m{n}_DSP/O_20")),
             "b/I0"]
    return sdf(
        wire("pll/OUT", "a/CLK", 900), wire("pll/OUT", "b/CLK", 900),
        *(wire("pll/OUT", f"m{n}_DSP/CLK", 900) for n in range(count)),
        *(wire(start, end, 1000) for start, end in zip(names[::2], names[1::2], strict=True)),
        cell("ICESTORM_PLL", "pll"), flip_flop("a"), flip_flop("b"),
        *(dsp(f"m{n}_DSP", ["A_3"], ["O_20"]) for n in range(count)),
    )


BARE = {"TOPOUTPUT_SELECT": 3, "BOTOUTPUT_SELECT": 3}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_chained_blocks_without_registers_add_up(count):
    text = chain(count)
    # As nextpnr sees it, no path is longer than one wire.
    plain = Timing(read_sdf(text.splitlines()), _AsNextpnr(UP5K.clocks), {})
    assert next(plain.paths()).ps == 1000 + 1000 + 100
    path = follow(text, dsp={f"m{n}": BARE for n in range(count)}).slowest()["pll/OUT"]
    assert path.ps == 1000 + count * (4305 + 3535 + 1737) + (count + 1) * 1000 + 500
    assert path.cells() == ["a", *(f"m{n}" for n in range(count)), "b"]


class _AsNextpnr(CellTable):
    def completed(self, name, cell, ports, parameters):
        return cell


def test_a_register_in_a_block_ends_the_path():
    registered = BARE | {"A_REG": 1, "PIPELINE_16x16_MULT_REG2": 1}
    path = follow(chain(1), dsp={"m0": registered}).slowest()["pll/OUT"]
    # Inside the block, from its input register to that behind the product.
    assert path.ps == 861 + 4305 + 3535
    assert all(hop.pin.startswith("m0_DSP/(") for hop in path.hops)


def test_a_block_that_is_not_in_the_netlist_is_refused():
    with pytest.raises(FailureError, match="DSP block m0_DSP of the routed design is not in the"):
        follow(chain(1))


def test_setup_of_memories_and_resets_is_icestorms():
    text = sdf(
        wire("pll/OUT", "a/CLK", 9), wire("pll/OUT", "m_RAM/WCLK", 9), wire("pll/OUT", "b/CLK", 9),
        wire("a/O", "m_RAM/WADDR_3", 50), wire("a/O", "b/SR", 60),
        cell("ICESTORM_PLL", "pll"), flip_flop("a"),
        cell("ICESTORM_RAM", "m_RAM", {}, {("WADDR_3", "WCLK"): 100}),
        cell("ICESTORM_LC", "b", {}, {("SR", "CLK"): 100}),
    )
    assert {path.hops[-1].pin: path.ps for path in follow(text).paths()} == {
        "m_RAM/WADDR_3": 1000 + 50 + 424, "b/SR": 1000 + 60 + 530}
    hx8k = follow(text, device_timing("iCE40HX8K-CT256"))
    assert {path.hops[-1].ps for path in hx8k.paths()} == {225, 204}


def test_what_is_written_to_ram_in_luts_comes_out_after_the_write_clock():
    text = sdf(
        wire("osc/OSC", "m/WCK", 0), wire("osc/OSC", "b/CLK", 0), wire("m/F", "b/DI", 40),
        cell("OSCG", "osc"), cell("TRELLIS_COMB", "m", {("A", "F"): 236}, {("WD", "WCK"): 0}),
        cell("TRELLIS_FF", "b", {("CLK", "Q"): 525}, {("DI", "CLK"): 0}),
    )
    path, = follow(text, ECP5).paths()
    assert path.ps == 929 + 40
    # A LUT that is no RAM does not start anything.
    assert not list(follow(text.replace("osc/OSC m/WCK", "osc/OSC n/WCK"), ECP5).paths())


@pytest.mark.parametrize("clocked", [False, True])
def test_signs_of_a_multiplier_reach_its_product(clocked):
    arcs = {("A0", "P3"): 3927}
    checks = {("SIGNEDA", "CLK0"): 10} if clocked else {}
    text = sdf(
        wire("osc/OSC", "a/CLK", 0), wire("osc/OSC", "m/CLK0", 0),
        wire("a/Q", "m/SIGNEDA", 50), wire("m/P3", "a/DI", 40),
        cell("OSCG", "osc"), cell("MULT18X18D", "m", arcs, checks),
        cell("TRELLIS_FF", "a", {("CLK", "Q"): 525}, {("DI", "CLK"): 0}),
    )
    found = [path.ps for path in follow(text, ECP5).paths()]
    assert found == ([525 + 50 + 10] if clocked else [525 + 50 + 3728 + 40])


def test_names_are_the_designers():
    assert origin("core.lanes.pair3.dsp_DSP/O_1") == "core.lanes.pair3.dsp"
    assert origin("core.over_SB_DFFSR_Q_D_SB_LUT4_O_LC/I3") == "core.over"
    assert origin("core.map.memory.0.0_RAM/RDATA_2") == "core.map.memory.0.0"
    assert origin("pll/OUT") == origin("pll") == "pll"


def test_the_pretended_design_takes_as_long_as_it_says():
    assert follow(one_register(25_000)).slowest()["pll/PLLOUT_A"].ps == 25_000
