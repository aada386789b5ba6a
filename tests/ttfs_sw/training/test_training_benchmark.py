# SPDX-License-Identifier: Apache-2.0
"""The benchmark's count of cycles, against the connections of each layer one by one."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.networks import networks, random_images
from ttfs_sw import golden
from ttfs_sw.research import continuous

PATH = Path(__file__).parents[3] / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("training_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@given(network=networks(max_size=7, weight_bits=None), lanes=st.integers(1, 20))
@settings(max_examples=60)
def test_cycles(benchmark, network, lanes):
    trace = golden.run(network, random_images(np.random.default_rng(0), network, 3))
    maps = {-1: trace.input_codes, **dict(enumerate(trace.codes))}
    expected = np.zeros(len(trace.logits), int)
    for layer in network.layers:
        # Where each input acts: [inputs, positions, channels].
        ones = dataclasses.replace(layer, weight=np.ones_like(layer.weight))
        acts = continuous.matrix(ones).reshape(layer.inputs, -1, layer.out_shape[2]) != 0
        groups = np.arange(layer.out_shape[2]) // lanes
        for image, codes in enumerate(maps[layer.source]):
            for neuron in np.flatnonzero(codes):
                reached = [len(set(groups[position])) for position in acts[neuron]]
                expected[image] += max(1, sum(reached))
        expected += acts.shape[1] * (groups[-1] + 1)
    assert benchmark.cycles(network, trace, lanes).tolist() == expected.tolist()


def test_main(benchmark, tmp_path):
    (tmp_path / "tiny.toml").write_text(
        "[network]\nhidden = [8]\n[training]\nheldout = 300\nfloat_epochs = 1\nepochs = 1\n"
    )
    arguments = [str(tmp_path / "tiny.toml"), "--seeds", "1", "--json", str(tmp_path / "t.json")]
    assert benchmark.main(arguments) == 0
    found = json.loads((tmp_path / "t.json").read_text())
    (run,) = found["runs"]
    assert (found["images"], run["seed"]) == (450, 1)
    assert found["accuracy_worst"] == found["accuracy_mean"] == run["accuracy_network"]
    assert found["b1_changed"] == 0 and 0 <= run["b1_logits"] < 1e-12
    # One thread works; the clock on the wall may also wait for others.
    assert 0 < run["cpu_seconds"] == found["cpu_seconds_most"] <= 1.5 * run["seconds"] + 1
