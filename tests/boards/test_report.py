# SPDX-License-Identifier: Apache-2.0
"""Reading nextpnr's report: names of clocks, missed timing, and the path that limits it."""

import pytest

from ttfs_fpga.boards import report
from ttfs_fpga.boards.reports import Frequency, Utilization
from ttfs_sw.common.errors import FailureError


@pytest.mark.parametrize("net, name", [
    ("$glbnet$cd_sync.clk", "sync"),
    ("cd_sync.clk", "sync"),
    ("top.pll.cd_fast_clock.clk", "fast_clock"),
    ("$glbnet$clk25_0__io$TRELLIS_IO_IN", "clk25_0__io$TRELLIS_IO_IN"),
    ("clk", "clk"),
])
def test_clock_has_the_designers_name(net, name):
    assert report.clock_name(net) == name


def test_only_clock_is_that_of_the_sync_domain():
    fast, slow = {"achieved": 40.123, "constraint": 36}, {"achieved": 80, "constraint": 12}
    assert report.clocks({"fmax": {"boot.clk": fast}}) == {
        "sync": Frequency(achieved=40.12, constraint=36)
    }
    assert list(report.clocks({"fmax": {"$glbnet$cd_sync.clk": fast, "pin": slow}})) == [
        "sync", "pin",
    ]


def test_utilization_leaves_out_what_the_device_has_not():
    cells = {"LC": {"used": 1320, "available": 5280}, "DCU": {"used": 0, "available": 0}}
    assert report.utilization({"utilization": cells}) == {
        "LC": Utilization(used=1320, available=5280, percent=25.0),
    }


def fmax(**clocks):
    return {
        name: Frequency(achieved=achieved, constraint=constraint)
        for name, (achieved, constraint) in clocks.items()
    }


def test_timing_is_met_only_when_every_clock_is():
    assert report.missed(fmax(sync=(36.0, 36.0), slow=(80.0, 12.0)), 36.0) is None
    assert report.missed(fmax(sync=(40.1, 36.0), slow=(11.9, 12.0)), 36.0) == (
        "clock slow reaches 11.9 MHz of the 12 MHz asked for, 0.10 MHz too slow"
    )


def test_the_worst_clock_is_named():
    both = fmax(sync=(30.0, 36.0), slow=(11.9, 12.0))
    assert report.missed(both, 36.0).startswith("clock sync reaches 30 MHz of the 36 MHz")
    assert report.slack(both) == pytest.approx(30 / 36)


def test_a_design_whose_clock_nobody_constrained_does_not_pass():
    with pytest.raises(FailureError, match=r"36 MHz, only sync to 12 MHz: the board's top must"):
        report.missed(fmax(sync=(80.0, 12.0)), 36.0)
    with pytest.raises(FailureError, match="none at all"):
        report.missed({}, 36.0)


def hop(kind, delay, cell, port, net=None):
    pin = {"cell": cell, "port": port, "loc": [3, 4]}
    return {"type": kind, "delay": delay, "from": pin, "to": pin} | ({"net": net} if net else {})


def path(source, target, *hops):
    return {"from": f"posedge {source}", "to": f"posedge {target}", "path": list(hops)}


def test_critical_path_names_origins_and_folds_carry_chains():
    slowest = path(
        "$glbnet$cd_sync.clk", "$glbnet$cd_sync.clk",
        hop("clk-to-q", 1.0, "core.sweep.word_SB_DFFE_Q_3_D_SB_LUT4_O_LC", "O"),
        hop("routing", 2.0, "$nextpnr_ICESTORM_LC_0", "I1", "core.sweep.word[3]"),
        hop("logic", 0.5, "$nextpnr_ICESTORM_LC_0", "COUT"),
        hop("routing", 0.25, "core.sum_SB_LUT4_O_LC", "CIN", "carry"),
        hop("logic", 0.25, "core.sum_SB_LUT4_O_LC", "COUT"),
        hop("routing", 0.5, "core.sum_SB_LUT4_O_1_LC", "I3", "carry"),
        hop("setup", 0.5, "core.sum_SB_LUT4_O_1_LC", "I3"),
    )
    shorter = path("clk", "clk", hop("clk-to-q", 4.0, "a", "O"))
    # A path between clocks is longer, and no measure of either.
    crossing = path("clk", "other", hop("routing", 9.0, "a", "O"))
    assert report.critical_path({"critical_paths": [shorter, slowest, crossing]}).splitlines() == [
        " clk-to-q   1.00   1.00  core.sweep.word.O (3,4)",
        "  routing   2.00   3.00  $nextpnr_ICESTORM_LC_0.I1 (3,4)",
        "    carry   1.00   4.00",
        "  routing   0.50   4.50  core.sum.I3 (3,4)",
        "    setup   0.50   5.00  core.sum.I3 (3,4)",
        "clock sync: 5.00 ns, of which routing 2.75: 200.0 MHz",
    ]


def test_design_without_registers_has_no_critical_path():
    assert report.critical_path({"critical_paths": []}) == "no path between registers\n"
