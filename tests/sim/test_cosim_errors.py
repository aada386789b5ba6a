# SPDX-License-Identifier: Apache-2.0
"""Co-simulation that cannot be: each trouble gives one sentence, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, until
from ttfs_fpga.hdl.compiler import DoesNotFit
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.sim import cosim
from ttfs_fpga.sim.regression import Stuck
from ttfs_sw.common.errors import InputError, ToolError


def spoil(monkeypatch, change):
    """Have the network compiled wrongly: ``change`` gets every word of the layer table."""
    compiled = cosim.compile_network

    def compile_wrongly(network, config):
        program = compiled(network, config)
        table = program.memories[Memory.TABLE]
        program.memories[Memory.TABLE] = {word: change(word, table[word]) for word in table}
        return program

    monkeypatch.setattr(cosim, "compile_network", compile_wrongly)


def test_a_core_that_hangs_is_told_and_traced(
    config, icarus, make_images, pair, monkeypatch, tmp_path
):
    # Without a header there is no table, and no error: the core takes no samples.
    spoil(monkeypatch, lambda word, value: 0 if word == 0 else value)
    network, _ = pair
    with pytest.raises(Stuck) as caught:
        cosim.run(
            network, make_images(network, 1), config=config, simulator="icarus",
            waves_dir=tmp_path,
        )
    wave = tmp_path / "image0.vcd"
    assert caught.value.exit_code == 1 and caught.value.image == 0
    assert str(caught.value).startswith("image 0: the core gave nothing for ")
    assert str(caught.value).endswith(f"and layer hidden1 has not ended (wave: {wave})")
    assert wave.stat().st_size > 1000


def test_a_core_that_gives_an_error_is_told(config, icarus, make_images, pair, monkeypatch):
    spoil(monkeypatch, lambda word, value: 0 if 32 <= word < 40 else value)
    network, _ = pair
    why = r"image 0: the core gave error \d \([A-Z_]+\), and layer hidden\d has not ended"
    with pytest.raises(Stuck, match=why):
        cosim.run(network, make_images(network, 2), config=config, simulator="icarus", jobs=1)


@pytest.mark.parametrize("option, value, why", [
    ("limit", 0, "--limit must be at least 1, not 0"),
    ("jobs", -1, "--jobs must be at least 1, not -1"),
    ("simulator", "ghdl", "unknown simulator 'ghdl'"),
])
def test_options_that_make_no_sense(config, make_images, pair, option, value, why):
    network, _ = pair
    with pytest.raises(InputError, match=why):
        cosim.run(network, make_images(network, 2), config=config, **{option: value})


def test_images_that_do_not_suit(config, icarus, make_images, make_network, pair):
    network, _ = pair
    with pytest.raises(InputError, match="there are no images"):
        cosim.run(network, make_images(network, 0), config=config, simulator="icarus")
    other = make_network((13, 9, 8, 4))
    with pytest.raises(InputError, match="12 bytes"):
        cosim.run(network, make_images(other, 2), config=config, simulator="icarus")


@pytest.mark.parametrize("sizes, ticks, why", [
    ((12, 9, 4), 7, "it has 2 layers, and the network 3"),
    ((13, 9, 8, 4), 7, r"it reads images of \(1, 1, 13\), and the network \(1, 1, 12\)"),
    ((12, 9, 7, 4), 7, r"its layer hidden2 is \(1, 1, 7\) with T = 7"),
    ((12, 9, 8, 4), [7, 15], r"hidden2 is \(1, 1, 8\) with T = 15, and the network's hidden2"),
])
def test_networks_that_cannot_be_compared(
    config, make_images, make_network, pair, sizes, ticks, why
):
    network, _ = pair
    other = make_network(sizes, ticks=ticks)
    with pytest.raises(InputError, match=f"--against needs a network of the same shape: .*{why}"):
        cosim.run(network, make_images(network, 2), config=config, against=other)


def test_a_network_that_does_not_fit(config, icarus, make_images, make_network):
    network = make_network((300, 9, 3))
    with pytest.raises(DoesNotFit):
        cosim.run(network, make_images(network, 2), config=config, simulator="icarus")


def test_a_simulator_that_is_missing(config, make_images, pair, monkeypatch):
    network, _ = pair
    monkeypatch.setenv("TTFS_ICARUS", "/nowhere")
    with pytest.raises(ToolError, match="sudo apt install iverilog"):
        cosim.run(network, make_images(network, 2), config=config, simulator="icarus")


def test_a_folder_that_cannot_be_written(config, icarus, make_images, pair, tmp_path):
    network, _ = pair
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write to folder"):
        cosim.run(
            network, make_images(network, 2), config=config, simulator="icarus",
            waves_dir=tmp_path / "file",
        )


INTERRUPTED = """
import sys
from pathlib import Path
import numpy as np
from ttfs_fpga.hdl.config import CoreConfig
from sim import cosim
from ttfs_sw.artifact.network import dense_network

rng = np.random.default_rng(0)
network = dense_network([rng.integers(-3, 4, (64, 16)), rng.integers(-3, 4, (16, 4))], None,
                        [9], [4], 15, weight_bits=4)
config = CoreConfig(lanes=4, weight_words=1024, membrane_words=64, input_words=64, map_words=64)
images = rng.integers(0, 256, (100_000, 64)).astype(np.uint8)
def progress(done, total):
    print("running", flush=True)
print("started", flush=True)
try:
    cosim.run(network, images, config=config, simulator="icarus", cache=Path(sys.argv[1]), jobs=2,
              progress=progress)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("after", ["started", "running"])
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_ctrl_c_leaves_nothing_behind(icarus, tmp_path, monkeypatch, descendants, after):
    scratch, cache = tmp_path / "scratch", tmp_path / "cache"
    scratch.mkdir()
    if after == "started":
        # A compiler that takes its time, so that the signal comes while it works.
        slow = 'case "$1" in -V) echo version 11.0;; *) exec sleep 77777;; esac'
        for name, script in (("iverilog", slow), ("vvp", "exit 1")):
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("TTFS_ICARUS", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(cache)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(scratch)}, start_new_session=True,
    )
    try:
        while (line := process.stdout.readline().strip()) != after:
            assert line, "it ended"
        if after == "started":
            until(lambda: any("sleep 77777" in line for line in descendants()), "the compiler")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.stdout.close()
    assert descendants() == []
    assert not list(scratch.iterdir())
    made = [path.name for path in cache.iterdir() if path.name != "locks"]
    assert len(made) == (after == "running") and not any(name.startswith(".") for name in made)
