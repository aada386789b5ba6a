# SPDX-License-Identifier: Apache-2.0
"""Where the cycles of a layer go: each term by hand, and the sum's worst case."""

import numpy as np
import pytest

from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.compiler.cycles import TERMS, cycle_terms, most_cycles


def terms(plan, config, codes, firing, second=None) -> dict[str, int]:
    """The terms of one image by name."""
    found = cycle_terms(
        plan, config, np.array([codes]), np.array([firing]),
        None if second is None else np.array([second]))
    assert found.shape == (1, len(TERMS)) and found.dtype == np.int64
    return dict(zip(TERMS, found[0].tolist(), strict=True))


def words_reached(layer, plan, lanes) -> np.ndarray:
    """Membrane words with an output that each input reaches, counted one by one."""
    found = []
    rows, columns = (size - size % layer.pool for size in layer.out_shape[:2])
    for y, x, channel in np.ndindex(layer.in_shape):
        words = set()
        for row, column in np.ndindex(rows, columns):
            inside = all(
                0 <= at + pad - out * step < size for at, pad, out, step, size in (
                    (y, layer.padding[0], row, layer.stride[0], layer.kernel[0]),
                    (x, layer.padding[1], column, layer.stride[1], layer.kernel[1])))
            if inside:
                own = [channel] if layer.kind == "depthwise" else range(layer.out_shape[2])
                words |= {(row, column // plan.packed, c // lanes) for c in own}
        found.append(len(words))
    return np.array(found)


def test_a_dense_layer_term_by_term(random_network):
    network = random_network(np.random.default_rng(0), (20, 3, 2))
    config = minimal_config(network, lanes=4)
    plan = compile_network(network, config).layers[0]
    codes = np.zeros(20, int)
    codes[[1, 5]] = 9
    # Two events in the first of three words, the last of which ends the map; one word of weights.
    assert plan.map_words == 3 and config.weight_latency == 2
    assert terms(plan, config, codes, 3) == {
        "updates": 2, "short events": 2, "repeats": 0, "scan": 1, "rows": 4, "residual": 0,
        "sweep": 4 + 4, "firing": 3, "start and end": 48}


@pytest.mark.parametrize("options", [
    {"kernel": 3, "padding": 1, "channels": 4},
    {"kernel": 3, "padding": 0, "channels": 9},
    {"kernel": 2, "stride": 2, "channels": 3},
    {"kernel": 1, "stride": 2, "channels": 3},
    {"kernel": 3, "padding": 1, "channels": 2},  # two pixels to a word
    {"kernel": 3, "padding": 1, "channels": 2, "pool": 2},
    {"kind": "depthwise", "kernel": 3, "padding": 1},
])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_a_convolution_against_a_count_of_its_taps(bench, options, density):
    rng = np.random.default_rng(7)
    network = bench.shaped_network(rng, (6, 8, 2), [
        {"kind": "conv2d", **options}, {"kind": "dense", "channels": 2}])
    config = minimal_config(network, lanes=4)
    layer, plan = network.layers[0], compile_network(network, config).layers[0]
    codes = rng.integers(1, 16, network.inputs) * (rng.random(network.inputs) < density)
    reached = words_reached(layer, plan, config.lanes)[codes > 0]
    found = terms(plan, config, codes, 5)
    assert found["updates"] == reached.sum()
    assert found["short events"] == np.maximum(2 - reached, 0).sum()
    assert found["rows"] == 4 * 6
    # The last word of a row ends it, with or without a spike.
    loud = np.unique(plan.source_map.places[np.flatnonzero(codes)] // config.codes_per_word)
    ends = np.arange(6) * plan.source_map.row_words + plan.source_map.row_words - 1
    assert found["scan"] == plan.source_map.words - len(np.union1d(loud, ends))
    words = plan.rows * plan.row_words
    assert found["sweep"] == 4 * words + 4 * plan.rows and found["firing"] == 5


@pytest.mark.parametrize(("lit", "repeats"), [
    ([0, 2, 4, 6], 3), ([0, 3, 6], 0), ([0, 1, 2], 0), ([2], 0), ([], 0)])
@pytest.mark.parametrize("kind", ["conv2d", "depthwise"])
def test_events_that_meet_in_a_word(bench, lit, repeats, kind):
    # Of a pixel three outputs in a row: those of the second next one begin where they end.
    network = bench.shaped_network(np.random.default_rng(3), (3, 9, 4), [
        {"kind": kind, "channels": 4, "kernel": 3}, {"kind": "dense", "channels": 2}])
    config = minimal_config(network, lanes=4)
    plan = compile_network(network, config).layers[0]
    codes = np.zeros((3, 9, 4), int)
    # Not the border pixel, which reaches one output only.
    codes[1, np.array(lit, int) + 1, 1] = 7
    assert plan.row_axis.taps == (1, 1, 1)
    assert terms(plan, config, codes.reshape(-1), 0)["repeats"] == repeats
    # Rows that reach several rows of outputs end in another row than they begin.
    padded = bench.shaped_network(np.random.default_rng(3), (3, 9, 4), [
        {"kind": kind, "channels": 4, "kernel": 3, "padding": 1},
        {"kind": "dense", "channels": 2}])
    plan = compile_network(padded, config := minimal_config(padded, lanes=4)).layers[0]
    assert plan.row_axis.taps == (2, 3, 2)
    assert terms(plan, config, codes.reshape(-1), 0)["repeats"] == 0


def test_a_residual_takes_turns(bench):
    network = bench.shaped_network(np.random.default_rng(2), (4, 4, 4), [
        {"kind": "conv2d", "channels": 4, "kernel": 3, "padding": 1},
        {"kind": "conv2d", "channels": 4, "kernel": 3, "padding": 1, "second": -1, "shift": 4},
        {"kind": "dense", "channels": 2}])
    config = minimal_config(network, lanes=4, weight_bits=4)
    plan = compile_network(network, config).layers[1]
    each = int(plan.residual.updates[0])
    assert each > 1 and (plan.residual.updates == each).all()
    second = np.zeros(64, int)
    second[[3, 17, 18]] = 4
    found = terms(plan, config, np.zeros(64, int), 0, second)
    assert found["updates"] == 3 * each
    assert found["residual"] == 3 * each + 16 * (4 + 4)


@pytest.mark.parametrize("datapath", ["serial", "ramp"])
def test_codes_cost_pulses_and_ticks(random_network, datapath):
    network = random_network(np.random.default_rng(4), (8, 12, 2))
    config = minimal_config(network, lanes=4, datapath=datapath)
    plan = compile_network(network, config).layers[0]
    found = terms(plan, config, [0, 1, 3, 15, 0, 0, 0, 8], 0)
    # Three words an event: eight pulses, or four events and two walks at each of sixteen ticks.
    assert found["updates"] == (8 * 3 if datapath == "serial" else 4 * 3 + 16 * 2 * 3)
    assert found["short events"] == 0
    # Sorted events wait for each other.
    assert found["scan"] == (0 if datapath == "serial" else 4)


@pytest.mark.parametrize("datapath", ["mac", "serial", "ramp"])
def test_no_image_may_take_longer_than_the_worst_one(random_network, datapath):
    rng = np.random.default_rng(5)
    for sizes in ((3, 4, 2), (40, 9, 5), (70, 30, 10)):
        network = random_network(rng, sizes)
        config = minimal_config(network, lanes=4, datapath=datapath)
        plan = compile_network(network, config).layers[0]
        most = most_cycles(plan, config)
        codes = rng.integers(0, 16, (20, sizes[0])) * (rng.random((20, 1)) < 0.8)
        firing = rng.integers(0, sizes[1] + 1, 20)
        assert (cycle_terms(plan, config, codes, firing).sum(axis=1) <= most).all()
        on = cycle_terms(plan, config, np.full((1, sizes[0]), 15), np.array([sizes[1]])).sum()
        assert on <= most <= on + config.lanes
