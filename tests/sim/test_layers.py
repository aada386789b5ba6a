# SPDX-License-Identifier: Apache-2.0
"""The report of where cycles went: it adds up, it says why, and it finds a layer that is late."""

import dataclasses

import numpy as np
import pytest

from tests.support.integer_networks import shaped_network
from tests.support.networks import random_images, random_network
from ttfs_fpga.hdl.compiler import DoesNotFit, compile_network
from ttfs_fpga.hdl.compiler.cycles import TERMS
from ttfs_fpga.hdl.compiler.placement import Placement
from ttfs_fpga.sim import cosim
from ttfs_fpga.sim.compare import Comparison
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.layers import layer_report
from ttfs_fpga.sim.records import Ending, Kind
from ttfs_fpga.sim.reports import OverLimit
from ttfs_sw import golden

END = (Kind.END, {"reason": Ending.DONE, "error": 0, "images": 0}, 1 << 20)
#: What a layer takes in the records of the fixture ``perform``.
TAKEN = [100, 101, 102]


@pytest.fixture(scope="module")
def program(config, make_network):
    """Three layers, compiled."""
    return compile_network(make_network((20, 13, 9, 5), ticks=15, seed=3), config)


@pytest.fixture
def report(config, program, perform, pack, make_network, make_images):
    """The report of six images, ``report(terms)``: what each layer of each may take, by term."""

    def run(terms=None, *, change=lambda events: events, first_image=0, **options):
        network = make_network((20, 13, 9, 5), ticks=15, seed=3)
        trace = golden.run(network, make_images(network, 6))
        expected = Expected.from_trace(network, trace, program)
        if terms is not None:
            expected = dataclasses.replace(expected, terms=np.array(terms))
        comparison = Comparison(expected, config, first_image)
        comparison.feed(pack(config, [*change(perform(expected)), END]))
        return layer_report(program, [comparison], **options)

    return run


def terms(**cycles: int) -> np.ndarray:
    """The same terms for six images and three layers: 200 cycles, but for what is given."""
    each = [cycles.get(name.replace(" ", "_"), 0) for name in TERMS]
    each[0] += max(0, 200 - sum(each))
    return np.tile(each, (6, 3, 1))


def test_what_is_spent_adds_up(report):
    layers = report().layers
    assert [layer.name for layer in layers] == ["hidden1", "hidden2", "output"]
    for layer, taken in zip(layers, TAKEN, strict=True):
        assert list(layer.spent_cycles) == [*TERMS, "overlapped"]
        assert layer.cycles.mean == taken
        assert sum(layer.spent_cycles.values()) == pytest.approx(taken, abs=0.05)
        limit = layer.limit_cycles.mean
        assert layer.spent_cycles["overlapped"] == pytest.approx(taken - limit, abs=0.02)


def test_a_layer_that_takes_too_long_is_named(report):
    allowed = terms()
    allowed[2, 1] = allowed[4, 0] = 0
    allowed[2, 1, 3] = 100
    found = report(allowed, first_image=50)
    assert found.over_limit == 2
    assert [layer.over_limit for layer in found.layers] == [1, 1, 0]
    # The earliest image, not the earliest layer.
    assert found.first_over_limit == OverLimit(
        image=52, layer="hidden2", cycles=101, limit=100)
    assert report(terms()).first_over_limit is None


def test_a_last_layer_that_waits_for_the_sink_is_not_judged(report):
    allowed = np.zeros_like(terms())
    assert report(allowed).over_limit == 18
    held = report(allowed, held=True)
    assert [layer.over_limit for layer in held.layers] == [6, 6, 0]
    assert held.layers[2].over_target == 0


def test_images_that_differ_are_not_judged(report):
    def change(events):
        # The first image's first logit.
        place = next(n for n, (kind, _, _) in enumerate(events) if kind == Kind.LOGIT)
        kind, fields, cycle = events[place]
        return [*events[:place], (kind, fields | {"value": fields["value"] + 1}, cycle),
                *events[place + 1:]]

    found = report(np.zeros_like(terms()), change=change)
    assert [layer.over_limit for layer in found.layers] == [5, 5, 5]
    assert found.first_over_limit.image == 1


@pytest.mark.parametrize(("cycles", "because"), [
    ({"firing": 160, "start_and_end": 40}, "firing"),
    ({"short_events": 60, "start_and_end": 48, "sweep": 30}, "short events"),
    ({"rows": 80}, "rows"),
    ({"residual": 90, "rows": 30}, "residual"),
    # What overlaps is taken from the sweep first.
    ({"sweep": 98, "firing": 10, "rows": 12, "updates": 80}, "rows"),
])
def test_why_a_layer_is_above_its_target(report, monkeypatch, cycles, because):
    monkeypatch.setattr(Placement, "target", lambda plan, roofline: 0 * roofline + 50.0)
    found = report(terms(**cycles))
    assert found.over_target == 18
    first = found.layers[0]
    assert first.over_target == 6 and first.worst_over_target == 2.0
    assert first.over_target_because == because
    assert first.over_target_why == TERMS[because]


def test_within_the_target_there_is_nothing_to_explain(report, monkeypatch):
    monkeypatch.setattr(Placement, "target", lambda plan, roofline: 0 * roofline + 150.0)
    found = report(terms())
    assert found.over_target == 0
    for layer in found.layers:
        assert layer.worst_over_target is layer.over_target_because is None


def networks_that_fit(config, seeds, **options):
    """Random networks that the core holds, with images dense and sparse."""
    for seed in seeds:
        rng = np.random.default_rng((77, seed))
        network = random_network(
            rng, lanes=config.lanes, max_neurons=400, blocks=seed % 3 == 0, **options)
        try:
            compile_network(network, config)
        except DoesNotFit:
            continue
        yield seed, network, random_images(rng, network, 4)


def keeps_to_its_limits(config, seeds, simulator, **options) -> None:
    """Simulate random networks: none takes longer than it may, and limits are not far away."""
    shares = []
    for seed, network, images in networks_that_fit(config, seeds, **options):
        found = cosim.run(network, images, config=config, simulator=simulator, jobs=1)
        assert found.mismatched_images == 0, f"seed {seed}"
        assert found.over_limit == 0, f"seed {seed}: {found.first_over_limit}"
        shares += [layer.cycles.mean / layer.limit_cycles.mean for layer in found.layers]
    assert len(shares) >= len(seeds) and np.mean(shares) > 0.5


def test_random_networks_keep_to_their_limits(config, icarus):
    keeps_to_its_limits(config, range(8), "icarus", weight_bits=None, max_size=8)


def test_events_that_meet_in_a_word_keep_to_the_limit(config, icarus):
    # Seven rows of pixels, every second one lit, over one row of outputs that all fire: as many
    # cycles are lost as nothing else would make up for.
    rng = np.random.default_rng(0)
    network = shaped_network(rng, (7, 34, 1), [
        {"kind": "conv2d", "channels": 4, "kernel": 7}, {"kind": "dense", "channels": 3}])
    first = network.layers[0]
    narrow = rng.integers(-8, 8, (7, 3, 1, 4))
    first = dataclasses.replace(
        first, kernel=(7, 3), out_shape=(1, 32, 4), weight=narrow, bias=np.full(4, 9000))
    last = dataclasses.replace(
        network.layers[1], in_shape=(1, 1, 128), weight=rng.integers(-8, 8, (128, 3)))
    network = dataclasses.replace(network, layers=(first, last))
    pixels = np.zeros((2, 7, 34), np.uint8)
    pixels[:, :, ::2] = 200
    found = cosim.run(
        network, pixels.reshape(2, -1), config=config, simulator="icarus", jobs=1)
    assert found.mismatched_images == 0 and found.over_limit == 0
    spent = found.layers[0].spent_cycles
    assert spent["repeats"] == 7 * 15
    # Without them the limit would not hold.
    assert spent["overlapped"] + spent["repeats"] > 0
