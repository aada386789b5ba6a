# SPDX-License-Identifier: Apache-2.0
"""Builds: the report, the files, what is refused before any tool runs; one real build a board."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.routed import shell
from ttfs_fpga.boards.build import (
    MissedTiming,
    build,
    latency_parts_us,
    latency_us,
    make_image,
)
from ttfs_fpga.boards.image import Image
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.boards.reports import Clock, Latency, Utilization
from ttfs_fpga.boards.toolchain import Tool, Toolchain, find_toolchain
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.common.errors import FailureError, InputError, ToolError
from ttfs_sw.common.report import Spread

#: Measured cycles an image.
CYCLES = Spread(min=700, median=1080, mean=1100.5, max=1801)

BOARD = dataclasses.replace(BOARDS["icebreaker"], clock_hz=36_000_000, seeds=())

# The higher the seed, the faster the routed design: 36 MHz are reached with seed 3.
TOOLS = {
    "yosys": "echo netlist > top.json; echo synthesised > top.rpt",
    "nextpnr-ice40": """
        while [ $# -gt 0 ]; do [ "$1" = --seed ] && seed=$2; shift; done
        echo routed > top.tim
        echo '{"utilization": {"LC": {"used": 1320, "available": 5280}}, "critical_paths": [],
               "fmax": {"cd_sync.clk": {"achieved": '$((33 + seed))', "constraint": 36}}}' \
            > top.report.json
    """ + shell("33 + seed"),
    "icepack": "echo bits > top.bin",
}


def network(inputs=12, hidden=20, seed=0):
    rng = np.random.default_rng(seed)
    # Small weights: potentials of 784 inputs stay within 16 bits.
    shapes = [(inputs, hidden), (hidden, 3)]
    return dense_network([rng.integers(-1, 2, shape) for shape in shapes], None, [300], [10], 15)


@pytest.fixture
def options(tmp_path):
    """Pretended tools, a cache and an output folder for :func:`build`."""
    tools = []
    for name, body in TOOLS.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/calls\n{body}\n")
        path.chmod(0o755)
        tools.append(Tool(name, str(path), "1.0"))
    return {
        "toolchain": Toolchain("system", tuple(tools)),
        "cache": tmp_path / "cache",
        "output_dir": tmp_path / "out",
    }


def test_report_and_files(options):
    some = network()
    report = build(some, BOARD, cycles=CYCLES, **options)
    assert report.board == "icebreaker"
    assert report.utilization == {"LC": Utilization(used=1320, available=5280, percent=25.0)}
    assert report.fmax_mhz == {
        "sync": Clock(achieved=36, constraint=36, nextpnr=36, all_paths=36)}
    assert report.slowest_path == {"sync": ["toggle"]}
    assert report.clock_mhz == 36.0 and report.timing_met is True
    assert report.latency_us == Latency(median=30.0, max=50.03)
    assert [trial.seed for trial in report.seeds] == [1, 2, 3] and report.seed == 3
    assert report.network_sha256 == some.sha256
    assert [step.step for step in report.steps][:2] == ["elaborate", "synthesis"]
    assert report.seconds > 0
    files = {name: Path(path) for name, path in report.files.items()}
    assert set(files) == {"bitstream", "image", "critical_path", "synthesis_log", "route_log"}
    assert files["bitstream"].name == "icebreaker.bin"
    assert files["bitstream"].read_text() == "bits\n"
    assert Image.parse(files["image"].read_bytes(), BOARD.config).inputs == 12
    assert files["synthesis_log"].read_text() == "synthesised\n"
    assert files["route_log"].read_text() == "routed\n"
    assert files["critical_path"].read_text().splitlines() == [
        " clk-to-q   1.39   1.39  toggle.O",
        "  routing  25.15  26.54  toggle.I0",
        "    setup   1.23  27.78  toggle.I0",
        "clock sync, all paths: 27.78 ns, of which routing 25.15: 36.0 MHz",
        "",
        "of the paths that nextpnr times:",
        "no path between registers",
    ]
    assert json.loads((options["output_dir"] / "build.json").read_text()) == report.as_dict()


def test_another_network_runs_on_the_same_bitstream(options, tmp_path):
    build(network(seed=0), BOARD, **options)
    calls = (tmp_path / "calls").read_text()
    first = (options["output_dir"] / "network.img").read_bytes()
    report = build(network(hidden=30, seed=1), BOARD, **options)
    assert (tmp_path / "calls").read_text() == calls
    assert all(step.cached for step in report.steps[1:])
    assert (options["output_dir"] / "network.img").read_bytes() != first
    assert report.latency_us is None


def test_missed_timing_keeps_the_report_and_no_bitstream(options):
    with pytest.raises(MissedTiming) as failure:
        build(network(), BOARD, seeds=(2, 1), **options)
    assert failure.value.exit_code == 1
    assert "every seed tried (2, 1): clock sync reaches 35 MHz of the 36 MHz" in str(failure.value)
    out = options["output_dir"]
    assert {path.name for path in out.iterdir()} == {
        "build.json", "critical_path.txt", "synthesis.log", "place_and_route.log",
    }
    report = failure.value.report
    assert json.loads((out / "build.json").read_text()) == report.as_dict()
    assert report.timing_met is False and report.seed == 2
    assert [trial.fmax_mhz["sync"].achieved for trial in report.seeds] == [35, 34]


def test_a_bitstream_of_an_earlier_build_does_not_pass_for_one_that_missed(options):
    build(network(), BOARD, **options)
    assert (options["output_dir"] / "icebreaker.bin").exists()
    with pytest.raises(FailureError):
        build(network(), BOARD, seeds=(1,), **options)
    assert not (options["output_dir"] / "icebreaker.bin").exists()


def test_network_too_big_is_refused_before_any_tool_runs(options, tmp_path):
    with pytest.raises(DoesNotFit, match="weight words"):
        build(network(inputs=784, hidden=400), BOARD, **options)
    assert not (tmp_path / "calls").exists() and not options["output_dir"].exists()


def test_missing_toolchain_is_told_before_anything_is_elaborated(monkeypatch, tmp_path):
    monkeypatch.setenv("TTFS_TOOLCHAIN", "system")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="system toolchain lacks"):
        build(network(), BOARD, output_dir=tmp_path / "out", cache=tmp_path / "cache")


def test_image_must_fit_the_flash():
    small = dataclasses.replace(BOARD, flash_bytes=BOARD.flash_offset + 1000)
    with pytest.raises(DoesNotFit, match=r"\d+ bytes and the flash of icebreaker has 1000"):
        make_image(network(), small)


def test_bitstream_must_end_before_the_image(options):
    low = dataclasses.replace(BOARD, flash_offset=2)
    with pytest.raises(FailureError, match="give its flash_offset a higher value"):
        build(network(), low, **options)


def test_output_folder_that_cannot_be_written(options, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to folder"):
        build(network(), BOARD, **{**options, "output_dir": tmp_path / "file" / "out"})


def test_latency_follows_from_cycles_and_clock():
    assert latency_us(None, 36.0) is None
    assert latency_us(Spread(min=0, median=1000, mean=1, max=1250), 50.0) == Latency(
        median=20.0, max=25.0)


def test_latency_is_split_into_core_image_and_link():
    board = dataclasses.replace(BOARD, clock_hz=50_000_000, baud=1_000_000)
    some = network()
    parts = latency_parts_us(some, board, Spread(min=0, median=1000, mean=1, max=1250))
    assert parts.core == 20.0
    assert parts.image_load == round(some.inputs / 50, 2)
    # A command, a tag, the pixels, a CRC and two flags; three bytes, 16-bit logits and six bytes.
    bytes_sent = (2 + some.inputs + 2 + 2) + (3 + 2 * some.classes + 6 + 2 + 1)
    # Some bytes of a CRC are escaped.
    assert 10 * bytes_sent <= parts.link <= 10 * (bytes_sent + 4)
    assert "core" not in latency_parts_us(some, board, None).as_dict()


@pytest.mark.synthesis
@pytest.mark.slow
@pytest.mark.parametrize(("name", "hidden"), [
    # An ECP5 takes minutes. The other boards take longer still: benchmarks/builds.py builds them.
    ("icebreaker", 128),
    ("ulx3s-25f", 128),
])
def test_board_builds_and_meets_its_clock(name, hidden, tmp_path):
    board = BOARDS[name]
    try:
        toolchain = find_toolchain(board.family)
    except ToolError as error:
        pytest.skip(str(error))
    assert [tool.name for tool in toolchain.tools] == list(board.family.tools)
    mnist = network(inputs=784, hidden=hidden)
    # The user's own cache: on a machine that has built the board already this takes seconds.
    report = build(mnist, board, output_dir=tmp_path, toolchain=toolchain)
    assert report.timing_met
    assert max(clock.constraint for clock in report.fmax_mhz.values()) >= board.clock_mhz
    assert all(cells.used <= cells.available for cells in report.utilization.values())
    image = Image.parse((tmp_path / "network.img").read_bytes(), board.config)
    assert image.writes == tuple(compile_network(mnist, board.config).writes())
