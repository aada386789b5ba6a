# SPDX-License-Identifier: Apache-2.0
"""Random networks of every kind, loaded one after another into cores that run, are exact.

Continuous integration runs a few networks of each core. ``TTFS_RANDOM_NETWORKS=2000`` in the
environment makes it so many, shared out over all cores, with 20 images each.
"""

import collections
import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.cores import CORES, draw, shows
from ttfs_fpga.hdl.compiler.cycles import most_cycles
from ttfs_fpga.sim.compare import Comparison
from ttfs_fpga.sim.emit import emit
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.layers import layer_report
from ttfs_fpga.sim.netlist import emit_cells
from ttfs_fpga.sim.records import RECORD_BYTES, Ending, Kind, Records
from ttfs_fpga.sim.runner import build
from ttfs_fpga.sim.simulation import simulate
from ttfs_fpga.sim.stimulus import Stimulus
from ttfs_sw import golden

#: Networks of all cores together, if more than usual are asked for.
FULL = int(os.environ.get("TTFS_RANDOM_NETWORKS", "0"))
#: Networks of each core in the fast and in the slow tests, and of one simulation.
FAST, SLOW, TOGETHER = 8, -(-FULL // len(CORES)) or 16, 8
#: Images of a network; of these none on, all on.
IMAGES = 20 if FULL else 4

#: Cores of the fast test.
QUICK = ("2x4", "16x4", "64x4", "8x4 serial", "4x4 ramp")


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
        "fewer channels than lanes": any(layer.out_shape[2] < lanes for layer in layers),
        "lanes over": any(layer.out_shape[2] > lanes and layer.out_shape[2] % lanes
                          for layer in layers),
        "events without a tap": tapless,
        "a silent layer": any((codes == 0).all() for codes in trace.codes),
        "all neurons fire": any((codes > 0).all(axis=1).any() for codes in trace.codes),
        "T = 1": 1 in ticks,
        "T = 255": 255 in ticks,
        "residual": any(layer.second_source is not None for layer in layers),
        "two samples a transfer": program.pairs,
    }
    return shows(program) | {name for name, there in found.items() if there}


def check(name: str, drawn, stall: int, verilator) -> None:
    """Load networks one after another into one running core, and compare everything."""
    core = CORES[name]
    config = core.config
    stimulus, watchdog = Stimulus(), 0
    for each in drawn:
        stimulus.writes(each.program.writes()).images(each.images, pairs=each.program.pairs).wait()
        longest = max(most_cycles(layer, config) for layer in each.program.layers)
        watchdog = max(watchdog, 20_000 + 2 * longest)
    sources = (emit_cells if core.cells else emit)(config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stimulus.bin"
        stimulus.finish().write(path)
        with simulate(
            build(sources, verilator), path, stall=stall, watchdog=watchdog
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
    for number, each in enumerate(drawn):
        assert number < len(stops), f"{ended}, in the network of seed {each.key}"
        last = number == len(drawn) - 1
        stop = len(content) if last else stops[number]
        trace = golden.run(each.network, each.images)
        comparison = Comparison(Expected.from_trace(each.network, trace, each.program), config)
        comparison.feed(content[start:stop])
        if not last:
            comparison.feed(content[-RECORD_BYTES:])
        assert comparison.first is None, f"{name}, seed {each.key}: {comparison.first}"
        assert comparison.complete and not comparison.counts, f"{name}, seed {each.key}"
        late = layer_report(each.program, [comparison], held=stall > 0).first_over_limit
        assert late is None, f"{name}, seed {each.key}: {late}"
        start = stop
    assert end.reason is Ending.DONE, ended


def batches(name: str, seed: int, count: int):
    """So many networks of a core, a simulation's at a time."""
    networks = itertools.islice(draw(CORES[name], seed, IMAGES), count)
    while batch := list(itertools.islice(networks, TOGETHER)):
        yield batch


@pytest.mark.verilator
@pytest.mark.xdist_group("random networks")
@pytest.mark.parametrize("name", QUICK)
def test_random_networks(name, verilator):
    for batch in batches(name, 0, FAST):
        check(name, batch, 1, verilator)


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.timeout(7200 if FULL else 900)
@pytest.mark.parametrize("name", CORES)
def test_many_random_networks(name, verilator):
    checked, wants = 0, CORES[name].wants
    shown: collections.Counter[str] = collections.Counter()
    for number, batch in enumerate(batches(name, 1, SLOW)):
        # The first ones at full speed, all others with pauses on every stream.
        check(name, batch, number, verilator)
        checked += len(batch)
        for each in batch:
            shown.update(shows(each.program))
    assert checked == SLOW
    # Otherwise this test would not say much: most of what was asked for is there.
    for wanted in {"deep", "wraps", "packed", "pitch"} & set(wants) - CORES[name].cannot:
        assert shown[wanted] >= SLOW // len(wants) * 2 // 3, (wanted, shown)


@pytest.mark.slow
def test_all_that_may_go_wrong_is_among_them():
    shown: collections.Counter[str] = collections.Counter()
    for name in CORES:
        for batch in batches(name, 1, 16):
            for each in batch:
                shown.update(features(each.network, each.program, each.images))
    for feature in (
            "three layers", "wraps", "fewer channels than lanes", "lanes over",
            "events without a tap", "a silent layer", "all neurons fire", "T = 1", "T = 255",
            "residual", "packed", "pitch", "two samples a transfer"):
        assert shown[feature] >= len(CORES) // 2, (feature, shown)
