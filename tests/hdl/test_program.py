"""A compiled network as the load port receives it, as initial contents, and as a report."""

import json

import numpy as np
import pytest

from hdl.compiler import compile_network
from hdl.config import CoreConfig
from hdl.program import LayerPlan
from hdl.shapes import Memory
from hdl.table import MAGIC

CORES = {
    "one part": CoreConfig(lanes=2, weight_bits=3, weight_words=700, membrane_words=64,
                           accumulator_bits=13, input_words=16, map_words=16, layers=4),
    "four parts": CoreConfig(lanes=16, weight_bits=8, weight_words=700, membrane_words=64,
                             accumulator_bits=16, input_words=16, map_words=16, layers=4),
}

SIZES = (13, 9, 18, 4)


def make_program(random_network, core, **options):
    network = random_network(np.random.default_rng(2), SIZES, weight_bits=3, **options)
    return compile_network(network, CORES[core])


@pytest.mark.parametrize("core", CORES)
def test_writes_make_the_network_valid_with_the_last_one(random_network, core):
    program = make_program(random_network, core, per_channel=True)
    writes = list(program.writes())
    assert all(0 <= value < 1 << 32 and 0 <= address < 1 << 24 for _, address, value in writes)
    assert all(isinstance(value, int) for _, _, value in writes)
    # Until the last write the header is invalid, whatever was there before.
    assert writes[0] == (Memory.TABLE, 0, 0)
    assert writes[-1] == (Memory.TABLE, 0, MAGIC << 16 | len(SIZES) - 1)
    between = [(which, address) for which, address, _ in writes[1:-1]]
    assert (Memory.TABLE, 0) not in between
    assert len(set(between)) == len(between)
    written = {which: {} for which in Memory}
    for which, address, value in writes:
        written[which][address] = value
    assert written == program.memories


@pytest.mark.parametrize("core", CORES)
def test_initial_words_are_what_the_writes_leave(random_network, core):
    program = make_program(random_network, core)
    config = program.config
    for which, parts, width in (
        (Memory.TABLE, 1, 32), (Memory.ENCODER, 1, config.tick_bits), (Memory.SLOPES, 1, 21),
        (Memory.MEMBRANE, config.lanes, config.accumulator_bits),
        (Memory.WEIGHTS, config.weight_parts, config.weight_width // config.weight_parts),
    ):
        contents = program.memories[which]
        words = program.memory_words(which)
        assert len(words) == 1 + max(contents) // parts
        for address, value in contents.items():
            found = words[address // parts] >> (address % parts * width) & ((1 << width) - 1)
            assert found == value & ((1 << width) - 1)
        # Nothing but what was written.
        bits = sum((value & ((1 << width) - 1)).bit_count() for value in contents.values())
        assert sum(word.bit_count() for word in words) == bits


def test_roofline_and_bound(random_network):
    program = make_program(random_network, "four parts")
    words = [plan.words for plan in program.layers]
    assert words == [1, 2, 1]
    assert [plan.map_words for plan in program.layers] == [2, 2, 3]
    assert program.rooflines([10, 5, 18]) == [10, 10, 18]
    assert program.bounds([10, 5, 18]) == pytest.approx(
        [10.5 + 1 + 2 + 32, 10.5 + 2 + 2 + 32, 18.9 + 1 + 3 + 32])
    assert program.rooflines([0, 0, 0]) == [0, 0, 0]
    for wrong in ([1, 2], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="zip"):
            program.rooflines(wrong)
        with pytest.raises(ValueError, match="zip"):
            program.bounds(wrong)


def test_report_is_plain_data(random_network):
    program = make_program(random_network, "one part", per_channel=True)
    report = json.loads(json.dumps(program.report()))
    assert report["config"] == program.config.as_dict()
    # 5, 9 and 2 words of two neurons; in the membrane memory an even number of each.
    assert report["memories"] == {
        "weights": {"used": 13 * 5 + 9 * 9 + 18 * 2, "available": 700},
        "membrane": {"used": (6 + 10 + 2) + 6 + 10, "available": 64},
        "input_map": {"used": 2, "available": 16},
        "map": {"used": 2 + 3, "available": 16},
        "slopes": {"used": 9 + 18, "available": 256},
        "layers": {"used": 3, "available": 4},
    }
    for found, plan in zip(report["layers"], program.layers, strict=True):
        assert LayerPlan(**found | {"bounds": tuple(found["bounds"])}) == plan


def test_report_of_a_network_that_does_not_fire(random_network):
    network = random_network(np.random.default_rng(3), (5, 3))
    used = compile_network(network, CoreConfig()).report()["memories"]
    assert (used["map"]["used"], used["slopes"]["used"]) == (0, 0)
