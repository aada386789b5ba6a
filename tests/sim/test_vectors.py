# SPDX-License-Identifier: Apache-2.0
"""The bench by hand: the commands of docs/cosim.md work, and a wrong core fails them."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ttfs_fpga.boards.registry import find_board
from ttfs_fpga.sim import vectors
from ttfs_fpga.sim.expected import Expected
from ttfs_sw.common.errors import InputError
from ttfs_sw.data import datasets

DOCUMENT = Path(__file__).parents[2] / "docs" / "cosim.md"


@pytest.fixture
def digits(make_network, tmp_path):
    """A network for the digits, saved."""
    network = make_network((64, 16, 10), ticks=15, weight_bits=4, dataset="digits",
                           input_shape=(8, 8, 1))
    network.save(tmp_path / "network.npz")
    return network


def by_hand(folder: Path) -> subprocess.CompletedProcess:
    """Run the documented script in a folder that has vectors."""
    script = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]
    # pytest's own variables would change where the runner puts its results.
    environment = {
        name: value for name, value in os.environ.items()
        if name not in ("SIM", "PYTEST_CURRENT_TEST")
    }
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_documented_commands(icarus, digits, tmp_path):
    folder = tmp_path / "vectors"
    assert vectors.main([str(tmp_path / "network.npz"), str(folder), "--limit", "3"]) == 0
    assert Expected.load(folder / "expected.npz").images == 3
    done = by_hand(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = (tmp_path / "sim_build" / "results.xml").read_text()
    assert "events_are_golden" in results and "<failure" not in results
    assert (tmp_path / "sim_build" / "harness.fst").stat().st_size > 1000

    # One logit off by one, as if the core were wrong.
    expected = Expected.load(folder / "expected.npz")
    logits = expected.logits.copy()
    logits[1, 7] += 1
    dataclasses.replace(expected, logits=logits).save(folder / "expected.npz")
    done = by_hand(tmp_path)
    assert done.returncode == 1
    assert "AssertionError: image 1, layer output, class 7: golden gives" in done.stdout
    assert "<failure" in (tmp_path / "sim_build" / "results.xml").read_text()


def test_what_is_saved_is_what_is_loaded(digits, make_images, tmp_path):
    pixels = make_images(digits, 4)
    vectors.save(digits, pixels, find_board("icebreaker").config, tmp_path / "vectors")
    again = Expected.load(tmp_path / "vectors" / "expected.npz")
    trace = vectors.golden.run(digits, pixels)
    assert again.layers == ("hidden1", "output") and again.ticks == (15,)
    assert (again.codes[0] == trace.codes[0]).all() and (again.logits == trace.logits).all()
    assert (again.events == trace.events).all() and (again.winners == trace.winners).all()
    assert sorted(path.name for path in (tmp_path / "vectors").iterdir()) == [
        "config.json", "core.ports.json", "core.v", "core.vlt", "expected.npz", "harness.v",
        "sizes.vh", "stimulus.bin",
    ]


@pytest.mark.parametrize("content", [None, b"", b"not a file of numpy"])
def test_expectations_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "expected.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected\.npz holds no expected events"):
        Expected.load(path)
    np.savez(path, logits=np.zeros(3))
    with pytest.raises(InputError, match=r"expected\.npz holds no expected events"):
        Expected.load(path)


@pytest.mark.parametrize("arguments, why", [
    (["gone.npz", "out"], "gone.npz"),
    (["network.npz", "out", "--board", "etch-a-sketch"], "unknown board 'etch-a-sketch'"),
    (["network.npz", "network.npz"], "network.npz"),
])
def test_one_sentence_for_each_trouble(digits, tmp_path, capsys, monkeypatch, arguments, why):
    monkeypatch.chdir(tmp_path)
    assert vectors.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and why in message and message.count("\n") == 1


def test_the_default_is_the_network_s_own_dataset(digits, tmp_path):
    assert vectors.main([str(tmp_path / "network.npz"), str(tmp_path / "out"), "--limit", "2"]) == 0
    stimulus = (tmp_path / "out" / "stimulus.bin").read_bytes()
    assert datasets.load("digits").x_test[:2].tobytes() in stimulus
