# SPDX-License-Identifier: Apache-2.0
"""A compiled network as the load port receives it, as initial contents, and as a report."""

import dataclasses
import json

import numpy as np
import pytest

from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network, minimal_config
from ttfs_fpga.hdl.compiler.cycles import most_cycles
from ttfs_fpga.hdl.config import DATAPATHS, CoreConfig
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import MAGIC

CORES = {
    "one part": CoreConfig(lanes=2, weight_bits=3, weight_words=700, membrane_words=64,
                           accumulator_bits=13, input_words=16, map_words=16, layers=4),
    "four parts": CoreConfig(lanes=16, weight_bits=8, weight_words=700, membrane_words=64,
                             accumulator_bits=16, input_words=16, map_words=16, layers=4),
}

SIZES = (13, 9, 18, 4)


def make_program(random_network, core, datapath="mac", **options):
    network = random_network(np.random.default_rng(2), SIZES, weight_bits=3, **options)
    return compile_network(network, dataclasses.replace(CORES[core], datapath=datapath))


def after(program, writes):
    """What the memories of the core hold after the writes, if they held noise before."""
    config, rng = program.config, np.random.default_rng(7)
    depths = {Memory.WEIGHTS: config.weight_words * config.weight_parts}
    held = {which: dict.fromkeys(range(depths.get(which, 0)), 0x5A5A5A5A) for which in Memory}
    part_bits = config.weight_width // config.weight_parts
    half, bits = 1 << (config.accumulator_bits - 1), config.weight_bits
    # Word 0 is the only one that has to be 0; no write may touch it.
    membrane = rng.integers(-half, half, (config.membrane_words, config.lanes))
    membrane[0] = 0
    kept = None
    for which, address, value in writes:
        if which != Memory.MEMBRANE:
            held[which][address] = value
            continue
        assert address
        word = address // config.weight_parts * config.weight_parts
        weights = sum(held[Memory.WEIGHTS][word + part] % (1 << part_bits) << part * part_bits
                      for part in range(config.weight_parts))
        lanes = np.array([((weights >> n * bits) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
                          for n in range(config.lanes)])
        code, add, keep = value & 0xFF, value >> 8 & 1, value >> 9
        base = membrane[address] if add else membrane[0]
        if config.datapath == "ramp":
            # Nothing multiplies: weights are added, or what was kept of the word.
            assert code + add + keep == 1 or (code, add, keep) == (1, 1, 0)
            if keep:
                kept = membrane[address].copy()
                continue
            added, kept = (lanes, None) if code else (kept, None)
        else:
            assert not keep and code <= config.max_ticks
            added = lanes * code
        membrane[address] = (base + added + half) % (2 * half) - half
    return held, membrane


@pytest.mark.parametrize("datapath", DATAPATHS)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("bias", [0, 1000])
def test_writes_leave_the_initial_contents(random_network, core, bias, datapath):
    program = make_program(random_network, core, datapath, per_channel=True, bias=bias)
    config, writes = program.config, list(program.writes())
    assert all(0 <= value < 1 << 32 and 0 <= address < 1 << 24 for _, address, value in writes)
    assert all(isinstance(value, int) for _, _, value in writes)
    # Until the last write the header is invalid, whatever was there before.
    assert writes[0] == (Memory.TABLE, 0, 0)
    assert writes[-1] == (Memory.TABLE, 0, MAGIC << 16 | len(SIZES) - 1)
    assert (Memory.TABLE, 0) not in [write[:2] for write in writes[1:-1]]
    held, membrane = after(program, writes)
    # All of the layer table is written, because its checksum covers all.
    table = program.memories[Memory.TABLE]
    assert held[Memory.TABLE] == {n: table.get(n, 0) for n in range(config.table_words)}
    assert program.memory_words(Memory.TABLE) == [
        held[Memory.TABLE][n] for n in range(1 + max(table))]
    for which in (Memory.ENCODER, Memory.SLOPES):
        assert held[which] == program.memories[which]
        assert program.memory_words(which) == [
            held[which].get(n, 0) for n in range(1 + max(held[which]))]
    weights = program.memories[Memory.WEIGHTS]
    assert {address: held[Memory.WEIGHTS][address] for address in weights} == weights
    mask = (1 << config.accumulator_bits) - 1
    words = program.memory_words(Memory.MEMBRANE)
    assert words[0] == 0
    for word in range(min(program.memories[Memory.MEMBRANE]) // config.lanes, len(words)):
        assert words[word] == sum((int(value) & mask) << n * config.accumulator_bits
                                  for n, value in enumerate(membrane[word]))


def test_roofline_and_target(random_network):
    program = make_program(random_network, "four parts")
    plans = program.layers
    assert [plan.words for plan in plans] == [1, 2, 1]
    assert [plan.map_words for plan in plans] == [2, 2, 3]
    codes = [np.ones((1, 13), int), np.arange(9)[None] % 2, np.zeros((1, 18), int)]
    rooflines = [plan.roofline(code) for plan, code in zip(plans, codes, strict=True)]
    assert [int(cycles[0]) for cycles in rooflines] == [13, 8, 0]
    targets = [plan.target(cycles)[0] for plan, cycles in zip(plans, rooflines, strict=True)]
    assert targets == pytest.approx([13.65 + 1 + 2 + 32, 8.4 + 2 + 2 + 32, 1 + 3 + 32])


def test_ramp_walks_slopes_and_potentials_at_every_tick(random_network):
    program = make_program(random_network, "four parts", "ramp", ticks=[7, 15, 3])
    plans = program.layers
    assert [plan.slope_words for plan in plans] == [plan.words for plan in plans] == [1, 2, 1]
    codes = [np.ones((1, 13), int), np.arange(9)[None] % 2, np.zeros((1, 18), int)]
    rooflines = [plan.roofline(code) for plan, code in zip(plans, codes, strict=True)]
    assert [int(cycles[0]) for cycles in rooflines] == [13 + 8 * 2, 8 + 16 * 4, 4 * 2]
    # Potentials and slopes of successive layers in turn, behind word 0 and the biases.
    assert [(plan.membrane_base, plan.membrane_words) for plan in plans] == [(5, 2), (7, 4), (5, 2)]


@pytest.mark.parametrize(("shape", "pairs"), [
    ((1, 1, 7), True), ((5, 5, 1), False), ((5, 6, 1), True), ((4, 5, 3), False), ((5, 4, 4), True),
])
def test_samples_go_in_pairs_where_no_run_ends_amid_one(bench, shape, pairs):
    # An image that only a dense layer reads is one run, of an odd number of samples or not.
    kind = {"kind": "conv2d", "kernel": 3} if shape[0] > 1 else {"kind": "dense"}
    network = bench.shaped_network(np.random.default_rng(5), shape, [
        {**kind, "channels": 4}, {"kind": "dense", "channels": 2}])
    for samples in (1, 2):
        program = compile_network(network, CoreConfig(lanes=4, samples=samples))
        assert program.pairs == (pairs and samples == 2)


@pytest.mark.parametrize("weight_bits", [2, 3, 8])
def test_biases_of_ramp_take_a_few_writes_for_every_bit(random_network, weight_bits):
    network = random_network(np.random.default_rng(2), (4, 3), weight_bits=2, bias=1 << 14)
    config = CoreConfig(lanes=4, weight_bits=weight_bits, accumulator_bits=16, datapath="ramp")
    writes = [which for which, *_ in compile_network(network, config).writes()]
    assert writes.count(Memory.MEMBRANE) <= 3 * 16


def test_updates_of_a_window(bench):
    # 3 x 3, three words a pixel: 4 taps in a corner, 6 at a border, 9 inside.
    network = bench.shaped_network(np.random.default_rng(4), (3, 4, 1), [
        {"kind": "conv2d", "channels": 5, "kernel": 3, "padding": 1},
        {"kind": "dense", "channels": 2}])
    plan = compile_network(network, CoreConfig(lanes=2)).layers[0]
    assert plan.updates.reshape(3, 4).tolist() == [
        [12, 18, 18, 12], [18, 27, 27, 18], [12, 18, 18, 12]]


def test_report_is_plain_data(random_network):
    program = make_program(random_network, "one part", per_channel=True)
    report = json.loads(json.dumps(program.report()))
    assert report["config"] == program.config.as_dict()
    used = {name: entry["used"] for name, entry in report["memories"].items()}
    # 5, 9 and 2 words of two neurons; biases behind word 0.
    assert used == {
        "weights": 13 * 5 + 9 * 9 + 18 * 2, "membrane": 1 + (5 + 9 + 2) + 5 + 9, "input_map": 2,
        "map": 2 + 3, "slopes": 9 + 18, "layers": 3, "table": 16 * 4 + 3 * 3,
    }
    assert [layer["name"] for layer in report["layers"]] == [plan.name for plan in program.layers]


def test_report_of_a_network_that_does_not_fire(random_network):
    network = random_network(np.random.default_rng(3), (5, 3))
    used = compile_network(network, CoreConfig()).report()["memories"]
    assert (used["map"]["used"], used["slopes"]["used"]) == (0, 0)


def test_refuses_a_layer_that_may_take_longer_than_the_core_waits(bench, monkeypatch):
    network = bench.shaped_network(np.random.default_rng(6), (8, 8, 4), [
        {"kind": "conv2d", "channels": 8, "kernel": 3, "padding": 1},
        {"kind": "dense", "channels": 2}])
    config = minimal_config(network, lanes=4)
    first, second = compile_network(network, config).layers
    cycles = most_cycles(first, config)
    # 22 taps of two words in each direction, for each of four channels, and a little more.
    assert 4 * 2 * 22 * 22 < cycles < 6000 and cycles > most_cycles(second, config)
    monkeypatch.setattr("ttfs_fpga.hdl.compiler.limits.LAYER_CYCLES_BITS", 11)
    with pytest.raises(DoesNotFit) as caught:
        compile_network(network, config)
    assert str(caught.value) == (
        f"layer layer1 may take {cycles} cycles, and the core gives up a layer that takes 2048; "
        "make the layer smaller or choose a core with more lanes")
