# SPDX-License-Identifier: Apache-2.0
"""Synthesises the core of a configuration alone, no board around it, and prints its size as JSON.

    python benchmarks/core_area.py                          up5k-16x4, fails above 3300 logic cells
    python benchmarks/core_area.py up5k-8x8 --limit 4000

Options of Yosys and what is done to the core before it are those of the iCEBreaker's builds. Cells
are counted by nextpnr when it has packed them, without placing anything.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

from amaranth.back import rtlil

from ttfs_fpga.boards.bitstream import NO_COLLISIONS
from ttfs_fpga.boards.configurations import CONFIGURATIONS
from ttfs_fpga.boards.families import ICE40
from ttfs_fpga.boards.registry import find_board
from ttfs_fpga.boards.toolchain import Toolchain, find_toolchain
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.datapaths.mac_dsp import AFTER_SYNTHESIS, BEFORE_SYNTHESIS
from ttfs_fpga.hdl.emit import verilog_ports
from ttfs_sw.common.errors import answered
from ttfs_sw.common.files import write_json
from ttfs_sw.common.process import run_tool

_USED = re.compile(r"Info:\s+(\w+):\s+(\d+)/\s*(\d+)")


def pack(config: CoreConfig, toolchain: Toolchain, folder: Path) -> dict[str, dict[str, int]]:
    """How many cells of each kind the core takes, and how many the device has."""
    board = find_board("icebreaker")
    core = Core(config)
    (folder / "core.il").write_text(rtlil.convert(
        core, name="core", platform=board.platform_factory(), ports=verilog_ports(core),
        emit_src=False))
    (folder / "core.ys").write_text("\n".join([
        "read_rtlil core.il",
        NO_COLLISIONS,
        BEFORE_SYNTHESIS,
        f"synth_ice40 {' '.join(board.synth_opts)} -top core",
        AFTER_SYNTHESIS,
        "write_json core.json",
    ]))
    run_tool([toolchain.path("yosys"), "-q", "core.ys"], folder=folder)
    run_tool(
        [toolchain.path("nextpnr-ice40"), "--up5k", "--package", "sg48", "--json", "core.json",
         "--pack-only", "--quiet", "--log", "core.tim"],
        folder=folder,
    )
    return {
        kind: {"used": int(used), "available": int(available)}
        for kind, used, available in _USED.findall((folder / "core.tim").read_text())
        if kind.startswith("ICESTORM") and int(used)
    }


@answered
def main() -> int:
    """Measure one core."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configuration", nargs="?", default="up5k-16x4", metavar="CONFIGURATION")
    parser.add_argument("--limit", type=int, default=3300, help="logic cells (default: 3300)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the report, to FILE too")
    options = parser.parse_args()
    if options.configuration not in CONFIGURATIONS:
        parser.error(f"unknown configuration: choose one of {', '.join(CONFIGURATIONS)}")
    config = CONFIGURATIONS[options.configuration].core
    toolchain = find_toolchain(ICE40)
    with tempfile.TemporaryDirectory() as folder:
        cells = pack(config, toolchain, Path(folder))
    used = cells["ICESTORM_LC"]["used"]
    report = {
        "configuration": options.configuration,
        "config": config.as_dict(),
        "toolchain": toolchain.identity,
        "cells": cells,
        "logic_cells": used,
        "limit": options.limit,
    }
    print(json.dumps(report, indent=2))
    if options.json:
        write_json(options.json, report)
    return 0 if used <= options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
