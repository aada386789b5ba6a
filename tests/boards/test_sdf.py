# SPDX-License-Identifier: Apache-2.0
"""Reading nextpnr's delays."""

import pytest

from tests.support.routed import cell, sdf, wire
from ttfs_fpga.boards.sdf import Arc, Cell, Check, read_sdf
from ttfs_sw.common.errors import FailureError


def read(text):
    return read_sdf(text.splitlines(keepends=True))


def test_wires_cells_and_checks():
    routed = read(sdf(
        wire("a_LC/O", "b_LC/I3", 1761),
        cell("ICESTORM_LC", "a_LC", {("I0", "O"): 1284}),
        cell("ICESTORM_LC", "b_LC", {("CLK", "O"): 1390}, {("I3", "CLK"): 824}, edge="neg"),
    ))
    assert routed.wires == [Arc("a_LC/O", "b_LC/I3", 1761)]
    assert routed.cells == {
        "a_LC": Cell("ICESTORM_LC", [Arc("I0", "O", 1284)], []),
        "b_LC": Cell("ICESTORM_LC", [Arc("CLK", "O", 1390)], [Check("I3", "CLK", "neg", 824)]),
    }


def test_the_greatest_of_all_values_counts():
    # An ECP5 has three different ones, and edges may differ.
    routed = read(sdf(
        "  (INTERCONNECT m1/P0 q/A (10:20:30) (11:21:1e+06))\n",
        '  (CELL (CELLTYPE "MULT18X18D")\n',
        "  (INSTANCE m1)\n",
        "  (IOPATH (posedge A0) P0 (2909:3418:3927) (2909.5:3418:3927.5))\n",
        "  (SETUPHOLD (negedge A0) (posedge CLK0) (-5:-3:-2) (900:900:900))\n",
    ))
    assert routed.wires == [Arc("m1/P0", "q/A", 1e6)]
    assert routed.cells["m1"].arcs == [Arc("A0", "P0", 3927.5)]
    # Of a check the first triple is the setup, the second the hold.
    assert routed.cells["m1"].checks == [Check("A0", "CLK0", "pos", -2)]


def test_names_are_those_of_the_netlist():
    routed = read(sdf(
        wire(r"\$gbuf_clk/O", r"core.word\[3\]_LC/CLK", 927),
        cell("ICESTORM_LC", r"core.word\[3\]_LC"),
    ))
    assert routed.wires[0].end == "core.word[3]_LC/CLK" and list(routed.cells) == [
        "core.word[3]_LC"]


@pytest.mark.parametrize("line", [
    "  (INTERCONNECT a/O b/I)", "  (IOPATH CLK O (COND x))", "  (SETUPHOLD I CLK (1:1:1) (0:0:0))",
])
def test_a_delay_that_is_not_understood_is_no_delay_left_out(line):
    with pytest.raises(FailureError, match="wrote a delay that is not understood"):
        read(line)


def test_other_units_are_refused():
    with pytest.raises(FailureError, match="not in picoseconds"):
        read("  (TIMESCALE 1ns)\n")
