# SPDX-License-Identifier: Apache-2.0
"""Co-simulation: random networks are exact, and whatever is not is found, told and traced."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.support.networks import random_images, random_network
from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.hdl.compiler import minimal_config
from ttfs_fpga.sim import cosim
from ttfs_sw import golden
from ttfs_sw.artifact.network import dense_network

#: Of each kind of network, how many the fast and the slow tests draw.
FAST, SLOW = 5, 40


def draw(generator, make_network, make_images, config):
    """A random network that fits the small core, and images; its kind goes round with the seed."""
    layers = int(generator.integers(1, 5))
    sizes = [int(generator.integers(1, 60))]
    sizes += [int(generator.integers(1, 30)) for _ in range(layers)]
    ticks = [int(generator.choice([1, 2, 15, 100, config.max_ticks])) for _ in range(layers - 1)]
    network = make_network(
        sizes, ticks=ticks, weight_bits=int(generator.integers(2, 9)),
        input_ticks=int(generator.choice([1, 15, config.max_ticks])),
        per_channel=bool(generator.integers(2)), seed=int(generator.integers(1 << 30)),
    )
    density = float(generator.choice([0.0, 0.1, 0.5, 1.0]))
    images = make_images(network, 6, density=density, seed=int(generator.integers(1 << 30)))
    # And the brightest image there is: every input fires at the first tick.
    images[0] = 255
    return network, images


def exact(report):
    """Whether nothing differed at all."""
    return (
        report.mismatched_images == report.mismatched_events == 0
        and not report.mismatches and report.first_mismatch is None
    )


@pytest.mark.parametrize("seed", [
    *range(FAST), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(FAST, SLOW)),
])
def test_random_networks_are_exact_under_back_pressure(
    config, simulator, make_network, make_images, seed
):
    network, images = draw(np.random.default_rng(seed), make_network, make_images, config)
    report = cosim.run(
        network, images, golden.run(network, images).winners, config=config,
        simulator=simulator.name, stall=1 + seed, jobs=1,
    )
    assert exact(report), report.first_mismatch.message
    assert report.images == 6 and report.accuracy == 1.0


@pytest.mark.parametrize("sizes", [(7, 3), (5, 1, 1), (64, 16, 4), (33, 17, 13, 5)])
@pytest.mark.parametrize("firing", ["silent", "all", "some"])
def test_extremes_are_exact(config, icarus, make_images, sizes, firing):
    # Widths below, at and beside multiples of the four lanes, at T = 1, 15 and 255.
    generator = np.random.default_rng(len(sizes))
    hidden = len(sizes) - 2
    weights = [generator.integers(-3, 4, shape) for shape in itertools.pairwise(sizes)]
    bias = {"silent": -30_000, "all": 30_000, "some": 0}[firing]
    biases = [np.full(size, bias) for size in sizes[1:]]
    for ticks in (1, 15, 255):
        network = dense_network(
            weights, biases, [9] * hidden, [4] * hidden, ticks, weight_bits=8, input_ticks=255
        )
        images = make_images(network, 3)
        for codes in golden.run(network, images).codes:
            assert firing == "some" or (codes == {"silent": 0, "all": ticks}[firing]).all()
        report = cosim.run(network, images, config=config, simulator="icarus", jobs=1)
        assert exact(report), report.first_mismatch.message
        assert report.accuracy is None


@pytest.mark.parametrize("datapath", ["serial", "ramp"])
def test_other_datapaths_are_exact(config, icarus, make_network, make_images, datapath):
    network = make_network((33, 17, 5), ticks=15)
    config = dataclasses.replace(config, datapath=datapath)
    report = cosim.run(
        network, make_images(network, 3), config=config, simulator="icarus", jobs=1)
    assert exact(report), report.first_mismatch.message
    assert report.config["datapath"] == datapath


@pytest.mark.parametrize("datapath", ["mac", "serial"])
def test_residuals_are_exact(icarus, datapath):
    rng = np.random.default_rng(5)
    drawn = (random_network(rng, lanes=4, max_size=6, max_neurons=200) for _ in range(200))
    network = next(
        network for network in drawn
        if any(layer.second_source is not None for layer in network.layers))
    config = dataclasses.replace(minimal_config(network, lanes=4), datapath=datapath)
    report = cosim.run(
        network, random_images(rng, network, 3), config=config, simulator="icarus", jobs=1)
    assert exact(report), report.first_mismatch.message


@pytest.mark.slow
@pytest.mark.verilator
def test_the_core_of_every_board_runs_its_networks(verilator, make_images):
    generator = np.random.default_rng(0)
    for board in BOARDS.values():
        # Block RAM of an HX8K holds no more weights than that.
        hidden = 24 if board.name.startswith("hx8k") else 128
        weights = [generator.integers(-8, 8, shape) for shape in ((784, hidden), (hidden, 10))]
        biases = [generator.integers(200, 400, size) for size in (hidden, 10)]
        # About a quarter of the hidden neurons fire, as in a trained network.
        network = dense_network(weights, biases, [256], [15], 15, weight_bits=4)
        images = make_images(network, 200, density=0.2)
        report = cosim.run(network, images, config=board.config, jobs=2)
        assert exact(report) and report.images == 200, board.name
        assert report.config == board.config.as_dict()
        # One neuron fires a cycle: with more lanes, that is what a layer of few events waits for.
        if board.config.lanes <= 16:
            assert report.over_target == 0, board.name


def test_the_next_image_is_received_two_samples_a_cycle(
    config, icarus, make_network, make_images
):
    network = make_network((240, 3))
    report = cosim.run(
        network, make_images(network, 5, density=0.0), config=config, simulator="icarus", jobs=1)
    assert exact(report)
    # A silent image takes a cycle for each of the input map's 60 words, and a few more.
    assert 60 < report.cycles.max < 115
    assert 0.5 < report.stream_efficiency < 1


def test_the_report(config, icarus, make_images, pair):
    network, _ = pair
    images = make_images(network, 7)
    labels = golden.run(network, images).winners.copy()
    labels[:2] = (labels[:2] + 1) % 4
    calls = []
    report = cosim.run(
        network, images, labels, config=config, simulator="icarus", jobs=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert exact(report) and report.over_target >= 0
    assert report.accuracy == pytest.approx(5 / 7)
    assert (report.images, report.jobs, report.stall) == (7, 2, 0)
    assert report.simulator == icarus.title
    assert report.network_sha256 == network.sha256 and report.against_sha256 is None
    assert calls[-1] == (7, 7) and sorted(calls) == calls
    cycles, roofline = report.cycles, report.roofline_cycles
    assert 0 < roofline.min <= roofline.median <= roofline.max
    assert all(least < vars(cycles)[key] for key, least in vars(roofline).items())
    assert [layer.name for layer in report.layers] == ["hidden1", "hidden2", "output"]
    events = golden.run(network, images).events
    for index, layer in enumerate(report.layers):
        assert layer.events.max == events[:, index].max()
        # Four lanes: each event costs as many cycles as there are words of four neurons.
        words = -(-network.layers[index].neurons // 4)
        assert layer.roofline_cycles.max == words * events[:, index].max()
    assert report.simulated_cycles_per_second > 0 and report.seconds > 0


def test_the_number_of_simulators_changes_nothing(config, icarus, make_images, pair):
    network, other = pair
    images = make_images(network, 5)
    reports = [
        cosim.run(network, images, config=config, simulator="icarus", jobs=jobs, against=other)
        for jobs in (1, 2, 9)
    ]
    assert [report.jobs for report in reports] == [1, 2, 5]
    for report in reports[1:]:
        # Not the cycles: the first image after a load takes a few more.
        for key in ("images", "mismatches", "mismatched_images", "roofline_cycles"):
            assert getattr(report, key) == getattr(reports[0], key), key
        assert report.first_mismatch.message == reports[0].first_mismatch.message


@pytest.mark.parametrize("simulator", [
    pytest.param("icarus", marks=pytest.mark.icarus),
    # Verilator is compiled once more, to write waveforms.
    pytest.param("verilator", marks=[pytest.mark.verilator, pytest.mark.slow]),
], indirect=True)
def test_against_another_network_every_difference_is_counted(
    config, simulator, make_images, pair, tmp_path
):
    network, other = pair
    images = make_images(network, 12)
    ours, theirs = golden.run(network, images), golden.run(other, images)
    differs = [a != b for a, b in zip(ours.codes, theirs.codes, strict=True)]
    expected = {
        "spike": sum(int(each.sum()) for each in differs),
        "logit": int((ours.logits != theirs.logits).sum()),
        "winner": int((ours.winners != theirs.winners).sum()),
        "event count": int((ours.events != theirs.events).sum()),
    }
    report = cosim.run(
        network, images, config=config, simulator=simulator.name, against=other,
        waves_dir=tmp_path,
    )
    assert report.mismatches == {kind: count for kind, count in expected.items() if count}
    assert report.mismatched_events == sum(expected.values()) > 0
    touched = np.any([each.any(axis=1) for each in differs], axis=0)
    touched |= (ours.logits != theirs.logits).any(axis=1)
    assert report.mismatched_images == touched.sum()
    assert report.against_sha256 == other.sha256

    first = report.first_mismatch
    image = int(np.argmax(touched))
    layer = next(n for n, each in enumerate(differs) if each[image].any())
    neuron = int(np.argmax(differs[layer][image]))
    assert (first.image, first.neuron) == (image, neuron)
    assert first.layer == network.layers[layer].name
    tick = [int(trace.spike_times(layer)[image, neuron]) for trace in (theirs, ours)]
    assert [first.expected, first.seen] == [None if k == 7 else k for k in tick]

    wave = Path(first.wave)
    assert wave == tmp_path / f"image{image}.vcd" and first.wave_alone
    assert f"(wave: {wave}" in first.message
    assert list(tmp_path.iterdir()) == [wave]
    text = wave.read_text()
    assert "spikes__valid" in text and "controller" in text
    if first.wave_place:
        # The core's spike is where the message says: at a rising edge of the clock.
        nanoseconds = int(first.wave_place.split()[1])
        assert nanoseconds % 10 == 5 and f"#{nanoseconds * 1000}\n" in text


def test_a_network_against_itself_is_exact(config, icarus, make_images, pair):
    network, _ = pair
    images = make_images(network, 3)
    assert exact(cosim.run(network, images, config=config, simulator="icarus", against=network))


def test_stopping_at_the_first_mismatch(config, icarus, make_images, pair):
    network, other = pair
    # More than the pipe between simulator and comparison holds.
    images = make_images(network, 20_000)
    report = cosim.run(
        network, images, config=config, simulator="icarus", against=other, fail_fast=True, jobs=1
    )
    assert report.first_mismatch.image == 0
    assert 0 < report.images < 20_000


def test_a_limit(config, icarus, make_images, pair):
    network, _ = pair
    images = make_images(network, 9)
    labels = np.zeros(9, np.int64)
    report = cosim.run(network, images, labels, config=config, simulator="icarus", limit=4)
    assert report.images == 4
    assert report.accuracy == np.mean(golden.run(network, images[:4]).winners == 0)


def test_a_mismatch_that_needs_the_images_before_it(
    config, icarus, make_images, pair, monkeypatch, tmp_path
):
    # As if the core had kept something of the images before: alone, image 2 is right.
    network, _ = pair
    images = make_images(network, 4)
    program = cosim.compile_network(network, config)
    right = cosim.Expected.from_trace(network, golden.run(network, images), program)
    logits = right.logits.copy()
    logits[2, 1] -= 1
    wrong = dataclasses.replace(right, logits=logits)
    monkeypatch.setattr(cosim.Expected, "from_trace", lambda *_: wrong)
    traced = cosim.Regression.trace
    calls = []

    def trace(self, build, image, since, waves):
        calls.append((image, since))
        if image == since:
            self = dataclasses.replace(self, expected=right)
        return traced(self, build, image, since, waves)

    monkeypatch.setattr(cosim.Regression, "trace", trace)
    report = cosim.run(
        network, images, config=config, simulator="icarus", jobs=1, waves_dir=tmp_path
    )
    first = report.first_mismatch
    assert calls == [(2, 2), (2, 0)] and not first.wave_alone
    assert first.message.startswith("image 2, layer output, class 1: golden gives ")
    # The waveform begins with the image, not with the load.
    lines = Path(first.wave).read_text().splitlines()
    start = next(int(line[1:]) for line in lines if line[:1] == "#" and line != "#0")
    assert start > 1000 * 10 * len(list(cosim.compile_network(network, config).writes()))
