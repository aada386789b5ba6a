# SPDX-License-Identifier: Apache-2.0
"""The harness around the real core: every block of a stimulus, and every way to end."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable

import numpy as np
import pytest

from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.sim.compare import Comparison
from ttfs_fpga.sim.emit import Sources, emit
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.records import RECORD_BYTES, Ending, Kind, Records
from ttfs_fpga.sim.regression import Regression
from ttfs_fpga.sim.runner import build
from ttfs_fpga.sim.simulation import simulate
from ttfs_fpga.sim.stimulus import Stimulus
from ttfs_sw import golden
from ttfs_sw.common.errors import FailureError


@pytest.fixture(scope="module")
def network(make_network):
    """A small network with two hidden layers."""
    return make_network((12, 10, 7, 3), ticks=[15, 7], input_ticks=3, seed=1)


@pytest.fixture
def play(config, simulator, tmp_path) -> Callable[..., bytes]:
    """Simulate a stimulus and give every record: ``play(stimulus, **options)``."""

    def run(stimulus: Stimulus, **options) -> bytes:
        path = tmp_path / "stimulus.bin"
        stimulus.write(path)
        with simulate(build(emit(config), simulator), path, **options) as simulation:
            content = b"".join(iter(simulation.read, b""))
            if Records.from_bytes(content).end() is None:
                raise simulation.failure()
        return content

    return run


@pytest.fixture
def check(config):
    """Compare records with what a network must give: ``check(content, network, pixels)``."""

    def run(content: bytes, network, pixels, **options) -> Comparison:
        program = compile_network(network, config)
        expected = Expected.from_trace(network, golden.run(network, pixels, **options), program)
        comparison = Comparison(expected, config)
        comparison.feed(content)
        assert comparison.first is None, str(comparison.first)
        assert comparison.complete and comparison.end.reason is Ending.DONE
        return comparison

    return run


def writes(network, config):
    return compile_network(network, config).writes()


def test_images(play, check, network, config, make_images):
    pixels = make_images(network, 5)
    content = play(Stimulus().writes(writes(network, config)).images(pixels).finish())
    comparison = check(content, network, pixels)
    # The next image is sent while one is computed, and the clock of the core runs all the time.
    assert comparison.cycles.sum() < comparison.now
    assert (comparison.layer_cycles.sum(axis=1) <= comparison.cycles + 3).all()


def test_codes_instead_of_pixels(play, check, network, config):
    codes = np.random.default_rng(0).integers(0, 4, (4, 12)).astype(np.uint8)
    content = play(Stimulus().writes(writes(network, config)).images(codes, raw=True).finish())
    check(content, network, codes, encoded=True)


@pytest.mark.parametrize("inputs", [12, 13])
def test_two_samples_a_transfer(play, check, config, make_network, make_images, inputs):
    network = make_network((inputs, 10, 3), seed=4)
    pixels = make_images(network, 9)
    stimulus = Stimulus().writes(writes(network, config)).images(pixels[:4], pairs=True)
    # Alone, in pairs and forgotten, and the rest in pairs again.
    stimulus.images(pixels[4:6]).samples(pixels[0, :6], pairs=True).restart()
    check(play(stimulus.images(pixels[6:], pairs=True).finish(), stall=inputs), network, pixels)


def test_codes_in_pairs(play, check, network, config):
    codes = np.random.default_rng(1).integers(0, 4, (4, 12)).astype(np.uint8)
    stimulus = Stimulus().writes(writes(network, config)).images(codes, raw=True, pairs=True)
    check(play(stimulus.finish()), network, codes, encoded=True)


def test_pairs_for_a_core_that_takes_none(config, icarus, network, make_images, tmp_path):
    files = emit(config).files
    sizes, count = re.subn("SAMPLE_SECOND = [0-9]+", "SAMPLE_SECOND = 0", files["sizes.vh"])
    assert count == 1
    path = tmp_path / "stimulus.bin"
    stimulus = Stimulus().writes(writes(network, config))
    stimulus.images(make_images(network, 1), pairs=True).finish().write(path)
    with simulate(build(Sources({**files, "sizes.vh": sizes}), icarus), path) as simulation:
        content = b"".join(iter(simulation.read, b""))
    assert Records.from_bytes(content).end().reason is Ending.BAD_STIMULUS


def test_a_restart_forgets_part_of_an_image(play, check, network, config, make_images):
    pixels = make_images(network, 4)
    stimulus = Stimulus().writes(writes(network, config)).images(pixels[:2]).samples(pixels[3, :7])
    content = play(stimulus.restart().images(pixels[2:]).finish(), stall=5)
    check(content, network, pixels)


def test_one_core_runs_networks_one_after_another(
    play, check, config, make_network, make_images, network
):
    others = [make_network((30, 3), ticks=1, seed=2), make_network((9, 8, 8, 8, 2), seed=3)]
    networks = [network, *others, network]
    stimulus = Stimulus()
    images = []
    for number, each in enumerate(networks):
        images.append(make_images(each, 3, seed=number))
        stimulus.writes(writes(each, config)).images(images[-1]).wait()
    content = play(stimulus.finish())
    # The answers to a network's three images end with the third cycle counter.
    counters = np.flatnonzero(Records.from_bytes(content).kind == Kind.CYCLES)
    stops = ((counters[2::3] + 1) * RECORD_BYTES).tolist()
    end = content[stops[-1]:]
    assert len(end) == RECORD_BYTES
    for each, pixels, start, stop in zip(networks, images, [0, *stops[:-1]], stops, strict=True):
        check(content[start:stop] + end, each, pixels)


def test_stalls_change_cycles_and_nothing_else(play, check, network, config, make_images):
    pixels = make_images(network, 20)
    stimulus = Stimulus().writes(writes(network, config)).images(pixels).finish()
    straight = check(play(stimulus), network, pixels)
    stalled = [check(play(stimulus, stall=seed), network, pixels) for seed in (1, 2)]
    assert straight.now < min(each.now for each in stalled)
    assert stalled[0].now != stalled[1].now
    # All layers but the last work at full speed whatever the streams do.
    for each in stalled:
        assert (each.layer_cycles[:, :-1] == straight.layer_cycles[:, :-1]).all()


def test_nothing_to_do(play):
    end = Records.from_bytes(play(Stimulus().finish())).end()
    assert (end.reason, end.images, end.error) == (Ending.DONE, 0, 0)


def test_a_core_that_waits_for_ever_is_given_up(play, network, make_images):
    # No network was loaded, so no sample is taken.
    content = play(Stimulus().images(make_images(network, 1)).finish(), watchdog=500)
    end = Records.from_bytes(content).end()
    assert (end.reason, end.images) == (Ending.HANG, 0)
    assert 500 <= end.cycles < 600


def test_a_core_that_gives_an_error(play, network, config, make_images):
    # The second layer's first words are wiped out.
    spoilt = [
        (memory, address, 0 if memory == Memory.TABLE and 32 <= address < 40 else value)
        for memory, address, value in writes(network, config)
    ]
    content = play(Stimulus().writes(spoilt).images(make_images(network, 2)).finish())
    end = Records.from_bytes(content).end()
    assert end.reason is Ending.CORE_ERROR and end.error in (1, 2) and end.images == 0


@pytest.mark.parametrize("bytes_left", [0, 3, 8, 20])
def test_a_damaged_stimulus(play, network, make_images, bytes_left, tmp_path):
    class Cut(Stimulus):
        def write(self, path):
            super().write(path)
            os.truncate(path, bytes_left)

    stimulus = Cut()
    stimulus.samples(make_images(network, 1)).finish()
    assert Records.from_bytes(play(stimulus, watchdog=500)).end().reason in (
        Ending.BAD_STIMULUS, Ending.HANG,
    )


def test_a_missing_stimulus(config, simulator, tmp_path):
    built = build(emit(config), simulator)
    with simulate(built, tmp_path / "gone.bin") as simulation:
        content = b"".join(iter(simulation.read, b""))
    assert Records.from_bytes(content).end().reason is Ending.BAD_STIMULUS


def test_a_simulator_that_dies_is_quoted(config, simulator, tmp_path, monkeypatch):
    Stimulus().finish().write(tmp_path / "stimulus.bin")
    monkeypatch.setenv("COCOTB_TEST_FILTER", "no such test")
    with simulate(build(emit(config), simulator), tmp_path / "stimulus.bin") as simulation:
        assert simulation.read() == b""
        error = simulation.failure()
    assert isinstance(error, FailureError)
    assert f"{simulator.title} ended too early; it said:\n" in str(error)


def test_a_simulation_ends_with_its_block(config, simulator, network, make_images, tmp_path):
    path = tmp_path / "stimulus.bin"
    Stimulus().images(make_images(network, 1)).finish().write(path)
    with simulate(build(emit(config), simulator), path, watchdog=1 << 38):
        time.sleep(0.2)
        assert running(path)
    assert not running(path)


def running(path) -> bool:
    """Whether a process was started with this path."""
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    return str(path) in listed.stdout


def test_a_core_that_is_wrong_is_found(config, icarus, network, make_images):
    # The real core in a wrapper that flips the lowest bit of the codes of one neuron.
    files = emit(config).files
    ports = json.loads(files["core.ports.json"])
    fields = next(port["fields"] for port in ports if port["name"] == "spikes__payload")
    names = ", ".join(port["name"] for port in ports)
    declared = "; ".join(
        f"{port['direction']} [{port['width'] - 1}:0] {port['name']}" for port in ports
    )
    connected = ", ".join(
        f".{port['name']}({'spike' if port['name'] == 'spikes__payload' else port['name']})"
        for port in ports
    )
    layer, place, code = (fields[name] for name in ("layer", "place", "code"))
    program = compile_network(network, config)
    # The output layer reads, and so shows, what the second hidden layer fires.
    third = int(np.flatnonzero(program.layers[2].source_neurons == 3)[0])
    chosen = (
        f"spike[{layer['offset']} +: {layer['width']}] == 2 && "
        f"spike[{place['offset']} +: {place['width']}] == {third}"
    )
    wrapper = f"""
        module core({names}); {declared};
            wire [{sum(each['width'] for each in fields.values()) - 1}:0] spike;
            real_core inner({connected});
            assign spikes__payload = {chosen} ? spike ^ (1 << {code['offset']}) : spike;
        endmodule
    """
    real = re.sub(r"\bmodule core\(", "module real_core(", files["core.v"])
    broken = Sources({**files, "core.v": real + wrapper})
    pixels = make_images(network, 8)
    trace = golden.run(network, pixels)
    regression = Regression(program, pixels, Expected.from_trace(network, trace, program))
    (comparison,) = regression.run(build(broken, icarus))
    codes = trace.codes[1][:, 3]
    fired = np.flatnonzero(codes)
    # A code of 1 becomes 0, which no spike has: golden's is missing, and RTL's cannot be.
    strays = np.count_nonzero(codes == 1)
    assert strays and comparison.counts == {"spike": len(fired), "stray spike": strays}
    assert (np.flatnonzero(comparison.mismatched) == fired).all()
    first = comparison.first
    assert (first.image, first.layer, first.neuron) == (fired[0], "hidden2", 3)
