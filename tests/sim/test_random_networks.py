"""Random networks of every kind, loaded one after another into cores that run, are exact."""

import collections
import tempfile
from pathlib import Path

import numpy as np
import pytest
from networks import random_images, random_network

from hdl.compiler import DoesNotFit, compile_network
from hdl.config import CoreConfig
from hdl.cycles import most_cycles
from sim.compare import Comparison
from sim.emit import emit
from sim.expected import Expected
from sim.records import RECORD_BYTES, Ending, Kind, Records
from sim.runner import build
from sim.simulation import simulate
from sim.stimulus import Stimulus
from ttfs_sw import golden

#: Networks of each core in the fast and in the slow tests, and of one simulation.
FAST, SLOW, TOGETHER = 8, 80, 16
#: Images of a network: two drawn, none on, all on.
IMAGES = 4

#: Cores, each with what networks are drawn for it. Their membrane memories are too small for all
#: rows of most convolutions, so that windows wrap.
CORES = {
    "16x4": (
        CoreConfig(lanes=16, weight_bits=4, tick_bits=4, accumulator_bits=20, weight_words=8192,
                   membrane_words=64, input_words=256, map_words=256, slopes=128, layers=4,
                   samples=2),
        {"max_ticks": 15},
    ),
    "8x8": (
        CoreConfig(lanes=8, weight_bits=8, tick_bits=8, accumulator_bits=32, weight_words=16384,
                   membrane_words=96, input_words=512, map_words=512, slopes=128, layers=4),
        {"weight_bits": None},
    ),
    "4x4": (
        CoreConfig(lanes=4, weight_bits=4, tick_bits=8, accumulator_bits=24, weight_words=16384,
                   membrane_words=128, input_words=512, map_words=512, slopes=128, layers=4),
        {},
    ),
    "2x4": (
        CoreConfig(lanes=2, weight_bits=4, tick_bits=2, accumulator_bits=18, weight_words=16384,
                   membrane_words=192, input_words=128, map_words=128, slopes=128, layers=4),
        {"max_ticks": 3},
    ),
    "serial": (
        CoreConfig(lanes=8, weight_bits=4, tick_bits=5, accumulator_bits=20, weight_words=8192,
                   membrane_words=64, input_words=256, map_words=256, slopes=128, layers=4,
                   datapath="serial"),
        {"max_ticks": 31},
    ),
    "ramp": (
        CoreConfig(lanes=4, weight_bits=4, tick_bits=5, accumulator_bits=20, weight_words=8192,
                   membrane_words=64, input_words=256, map_words=32, slopes=128, layers=4,
                   datapath="ramp"),
        {"max_ticks": 31, "kinds": ("dense",)},
    ),
    "ramp, eight bits": (
        CoreConfig(lanes=8, weight_bits=8, tick_bits=8, accumulator_bits=32, weight_words=16384,
                   membrane_words=64, input_words=256, map_words=256, slopes=128, layers=4,
                   datapath="ramp"),
        {"weight_bits": None, "kinds": ("dense",), "max_channels": 90},
    ),
}


def features(network, program, images) -> set[str]:
    """What a network shows of what may go wrong."""
    trace = golden.run(network, images)
    lanes = program.config.lanes
    plans, layers = program.layers, network.layers
    # A dense layer reads its source as one pixel.
    tapless = any(0 in plan.row_axis.taps or 0 in plan.column_axis.taps for plan in plans)
    ticks = {layer.ticks for layer in layers if layer.spiking}
    found = {
        "three layers": len(layers) >= 3,
        "wraps": any(plan.window_rows < plan.rows for plan in plans),
        "fewer channels than lanes": any(layer.out_shape[2] < lanes for layer in layers),
        "lanes over": any(layer.out_shape[2] > lanes and layer.out_shape[2] % lanes
                          for layer in layers),
        "events without a tap": tapless,
        "a silent layer": any((codes == 0).all() for codes in trace.codes),
        "all neurons fire": any((codes > 0).all(axis=1).any() for codes in trace.codes),
        "T = 1": 1 in ticks,
        "T = 255": 255 in ticks,
        "residual": any(layer.second_source is not None for layer in layers),
        "packed": any(plan.packed > 1 for plan in plans),
    }
    return {name for name, there in found.items() if there}


def draw(name: str, seed: int, count: int):
    """So many networks that fit, each with its seed, program and images.

    Half of them have three layers or more, and windows that wrap, where there are windows.
    A quarter has pixels that share a membrane word, where lanes are enough for it.
    """
    config, options = CORES[name]
    dense = options.get("kinds") == ("dense",)
    drawn, tries = [], 0
    while len(drawn) < count:
        assert tries < 40 * count, f"{name}: only {len(drawn)} of {tries} networks will do"
        key = (seed, tries)
        rng = np.random.default_rng(key)
        tries += 1
        network = random_network(
            rng, lanes=config.lanes, max_neurons=800, blocks=tries % 2 == 0, **options)
        try:
            program = compile_network(network, config)
        except DoesNotFit:
            continue
        wraps = any(layer.window_rows < layer.rows for layer in program.layers)
        if len(drawn) % 2 and not (len(program.layers) >= 3 and (wraps or dense)):
            continue
        # And a quarter have few channels, where lanes are many.
        packed = dense or config.lanes < 8 or any(layer.packed > 1 for layer in program.layers)
        if len(drawn) % 4 == 2 and not packed:
            continue
        drawn.append((key, network, program, random_images(rng, network, IMAGES - 2)))
    return drawn


def check(name: str, seed: int, count: int, verilator) -> collections.Counter[str]:
    """Load networks one after another into one running core, and compare everything.

    Returns how many networks show each of :func:`features`.
    """
    config, _ = CORES[name]
    drawn = draw(name, seed, count)
    stimulus, watchdog = Stimulus(), 0
    for _, _, program, images in drawn:
        stimulus.writes(program.writes()).images(images, pairs=program.pairs).wait()
        longest = max(most_cycles(layer, config) for layer in program.layers)
        watchdog = max(watchdog, 20_000 + 2 * longest)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stimulus.bin"
        stimulus.finish().write(path)
        with simulate(
            build(emit(config), verilator), path, stall=1 + seed, watchdog=watchdog
        ) as simulation:
            content = b"".join(iter(simulation.read, b""))
            if Records.from_bytes(content).end() is None:
                raise simulation.failure()
    records = Records.from_bytes(content)
    # The answers to a network's images end with their last cycle counter.
    counters = np.flatnonzero(records.kind == Kind.CYCLES)
    stops = ((counters[IMAGES - 1::IMAGES] + 1) * RECORD_BYTES).tolist()
    end = records.end()
    ended = f"{name}: {end.reason.name} {end.error} after {end.images} images"
    start = 0
    for number, (key, network, program, images) in enumerate(drawn):
        assert number < len(stops), f"{ended}, in the network of seed {key}"
        last = number == len(drawn) - 1
        stop = len(content) if last else stops[number]
        expected = Expected.from_trace(network, golden.run(network, images), program)
        comparison = Comparison(expected, config)
        comparison.feed(content[start:stop])
        if not last:
            comparison.feed(content[-RECORD_BYTES:])
        assert comparison.first is None, f"{name}, seed {key}: {comparison.first}"
        assert comparison.complete and not comparison.counts, f"{name}, seed {key}"
        start = stop
    assert end.reason is Ending.DONE, ended
    return collections.Counter(
        feature for _, network, program, images in drawn
        for feature in features(network, program, images))


@pytest.mark.verilator
@pytest.mark.xdist_group("random networks")
@pytest.mark.parametrize("name", CORES)
def test_random_networks(name, verilator):
    check(name, 0, FAST, verilator)


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.parametrize("name", CORES)
def test_many_random_networks(name, verilator):
    shown = collections.Counter()
    for seed in range(1, 1 + SLOW // TOGETHER):
        shown += check(name, seed, TOGETHER, verilator)
    # Otherwise this test would not say much.
    config, options = CORES[name]
    wanted = {"a silent layer", "all neurons fire", "T = 1"}
    wanted |= {"T = 255"} if config.max_ticks == 255 else set()
    wanted |= {"lanes over"} if config.lanes < options.get("max_channels", 20) else set()
    wanted |= {"fewer channels than lanes"}
    if options.get("kinds") != ("dense",):
        wanted |= {"events without a tap", "residual"}
        wanted |= {"packed"} if config.lanes >= 8 else set()
        assert shown["wraps"] >= SLOW // 2
    assert wanted <= shown.keys(), wanted - shown.keys()
    assert shown["three layers"] >= SLOW // 2
