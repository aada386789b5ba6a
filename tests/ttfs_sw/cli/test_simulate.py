# SPDX-License-Identifier: Apache-2.0
"""What ``ttfs cosim`` says of cycles: where they went, why a layer is slow, and when that is wrong.
"""

import json

import numpy as np
import pytest

from tests.support.cosimulations import cosimulation, layer, mismatch
from ttfs_fpga.hdl.compiler.cycles import TERMS
from ttfs_fpga.sim.reports import OverLimit
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.cli import main


@pytest.fixture
def cosim(tmp_path, monkeypatch, capsys):
    """Run the verb on a simulation that found what is given: the exit code, its words, its data."""
    rng = np.random.default_rng(1)
    network = tmp_path / "network.npz"
    dense_network([rng.integers(-7, 8, (64, 12)), rng.integers(-7, 8, (12, 10))], None, [900], [15],
                  15, weight_bits=4, input_shape=(8, 8, 1), dataset="digits").save(network)

    def run(**found):
        report = cosimulation(**found)
        monkeypatch.setattr("ttfs_fpga.sim.cosim.run", lambda *_, **__: report)
        code = main(["cosim", str(network), "-o", str(tmp_path / "out"), "-q"])
        said = capsys.readouterr()
        return code, said.out, said.err, json.loads((tmp_path / "out" / "cosim.json").read_text())

    return run


def test_where_the_cycles_go_is_said_and_nothing_else(cosim):
    code, rows, errors, data = cosim()
    assert code == 0 and not errors
    assert "mean cycles, hidden1" in rows and "100: updates 1 100, overlapped -1 000" in rows
    assert "above" not in rows and "bound" not in rows
    assert data["layers"][0]["spent_cycles"]["updates"] == 1100.4


def test_a_slow_layer_is_explained(cosim):
    slow = layer("conv2", over_target=12, worst_over_target=1.0834,
                 over_target_because="short events", over_target_why=TERMS["short events"])
    code, rows, errors, _ = cosim(layers=[layer("conv1"), slow], over_target=12)
    assert code == 0 and not errors
    line = next(line for line in rows.splitlines() if line.startswith("above target"))
    assert line.split(maxsplit=2) == [
        "above", "target,", "conv2        12 of 450 images, at most 1.08 times: short events "
        "(an event that reaches one membrane word or none takes two cycles)"]
    assert "above target, conv1" not in rows


def test_a_layer_beyond_its_limit_fails(cosim):
    late = OverLimit(image=17, layer="conv2", cycles=321, limit=300)
    code, rows, errors, data = cosim(over_limit=3, first_over_limit=late)
    assert code == 1
    assert errors.strip() == (
        "ttfs cosim: layer conv2 took 321 cycles for image 17, and no image may take more than "
        "300 there: the answers agree, but the core, or the formula of docs/core.md (\"Cycles of "
        "a layer\"), is wrong; please report it")
    assert "images compared" in rows and data["first_over_limit"] == late.as_dict()


def test_a_wrong_answer_is_told_first(cosim):
    late = OverLimit(image=17, layer="conv2", cycles=321, limit=300)
    wrong = mismatch("image 4, layer hidden1: wrong")
    code, _, errors, _ = cosim(
        over_limit=3, first_over_limit=late, mismatched_images=2, mismatched_events=9,
        first_mismatch=wrong)
    assert code == 1
    assert "2 of 450 images differ" in errors and "conv2" not in errors
