# SPDX-License-Identifier: Apache-2.0
"""The comparison: a right core passes however its records are cut, and every fault is found."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.sim.compare import Comparison
from ttfs_fpga.sim.expected import Expected
from ttfs_fpga.sim.records import Ending, Kind
from ttfs_sw import golden

END = (Kind.END, {"reason": Ending.DONE, "error": 0, "images": 0}, 1 << 20)


@pytest.fixture(scope="module")
def expected(config, make_network, make_images) -> Expected:
    """Three layers, some neurons silent, some firing at the first tick."""
    network = make_network((20, 13, 9, 5), ticks=15, seed=3)
    trace = golden.run(network, make_images(network, 6))
    return Expected.from_trace(network, trace, compile_network(network, config))


@pytest.fixture
def compare(config, expected, perform, pack):
    """Compare what a right core gives after ``change`` has been at it: a list of events."""

    def run(change=lambda events: events, first_image=0) -> Comparison:
        comparison = Comparison(expected, config, first_image)
        comparison.feed(pack(config, [*change(perform(expected)), END]))
        # What is read at the end of a pipe.
        comparison.feed(b"")
        return comparison

    return run


def find(events, kind, image, **fields) -> int:
    """Place of the first event of a kind in an image whose payload has these fields."""
    seen = 0
    for place, (this, payload, _) in enumerate(events):
        if this == kind and seen == image and fields.items() <= payload.items():
            return place
        seen += this == Kind.CYCLES
    raise AssertionError("no such event")


def shown(expected, layer, neuron) -> dict[str, int]:
    """How the next layer shows that a neuron of a layer fired: itself, and the place it read."""
    place = int(np.flatnonzero(expected.places[layer + 1] == neuron)[0])
    return {"layer": layer + 1, "place": place}


def test_a_right_core_passes(compare, expected):
    comparison = compare()
    assert comparison.first is None and not comparison.counts and not comparison.mismatched.any()
    assert comparison.complete and comparison.end.reason is Ending.DONE
    assert (comparison.winners == expected.winners).all()
    assert (comparison.events == expected.events).all()
    assert comparison.cycles.tolist() == [1000, 1001, 1002, 1003, 1004, 1005]
    assert (comparison.layer_cycles == [100, 101, 102]).all()
    assert comparison.now == 1 << 20


@given(cuts=st.lists(st.integers(0, 20_000), max_size=12))
def test_records_may_be_cut_anywhere(config, expected, perform, pack, cuts):
    content = pack(config, [*perform(expected), END])
    comparison = Comparison(expected, config)
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    for start, stop in itertools.pairwise(edges):
        comparison.feed(content[start:stop])
    assert comparison.complete and comparison.first is None and not comparison.counts


def test_images_are_compared_as_they_are_complete(config, expected, perform, pack):
    events = perform(expected)
    comparison = Comparison(expected, config)
    done = []
    for event in events:
        comparison.feed(pack(config, [event]))
        done.append(comparison.done)
    assert done[-1] == expected.images
    # An image is complete with its cycle counter, which comes last.
    assert [place for place, (kind, _, _) in enumerate(events) if kind == Kind.CYCLES] == [
        place for place in range(len(done)) if done[place] > ([0, *done][place])
    ]


def test_a_core_may_begin_an_image_before_it_has_answered_the_last(compare):
    # The first two layers of each image go before the logits of the image before.
    def overlap(events):
        early = [e for e in events if e[0] in (Kind.SPIKE, Kind.STATISTICS) and e[1]["layer"] < 2]
        late = [e for e in events if e not in early]
        groups, group = [], []
        for event in early:
            group.append(event)
            if event[0] == Kind.STATISTICS and event[1]["layer"] == 1:
                groups.append(group)
                group = []
        mixed = groups.pop(0)
        for event in late:
            if event[0] == Kind.LOGIT and event[1]["index"] == 0 and groups:
                mixed += groups.pop(0)
            mixed.append(event)
        return mixed

    comparison = compare(overlap)
    assert comparison.complete and comparison.first is None and not comparison.counts


@pytest.mark.parametrize("image", [0, 4])
def test_a_spike_at_another_tick(compare, expected, image):
    neuron = int(np.flatnonzero(expected.codes[1][image] > 1)[0])
    code = int(expected.codes[1][image, neuron])

    def later(events):
        place = find(events, Kind.SPIKE, image, **shown(expected, 1, neuron))
        events[place][1]["code"] -= 1
        return events

    comparison = compare(later, first_image=100)
    assert comparison.counts == {"spike": 1}
    assert np.flatnonzero(comparison.mismatched).tolist() == [image]
    first = comparison.first
    assert (first.image, first.layer, first.neuron) == (100 + image, "hidden2", neuron)
    assert (first.expected, first.seen) == (15 - code, 16 - code)
    assert str(first) == (
        f"image {100 + image}, layer hidden2, neuron {neuron}: golden fires at tick {15 - code}, "
        f"RTL fires at tick {16 - code}"
    )


def test_a_missing_spike(compare, expected):
    neuron = int(np.flatnonzero(expected.codes[0][2])[0])

    def drop(events):
        del events[find(events, Kind.SPIKE, 2, **shown(expected, 0, neuron))]
        return events

    comparison = compare(drop)
    assert comparison.counts == {"spike": 1}
    assert comparison.first.cycle is None
    assert str(comparison.first).endswith("RTL is silent")


def test_a_spike_of_a_silent_neuron(compare, expected):
    neuron = int(np.flatnonzero(expected.codes[0][1] == 0)[0])

    def invent(events):
        place = find(events, Kind.STATISTICS, 1, layer=1)
        spike = {**shown(expected, 0, neuron), "code": 1}
        return [*events[:place], (Kind.SPIKE, spike, 4321), *events[place:]]

    comparison = compare(invent)
    assert comparison.counts == {"spike": 1}
    assert comparison.first.cycle == 4321
    assert str(comparison.first) == (
        f"image 1, layer hidden1, neuron {neuron}: golden is silent, RTL fires at tick 14"
    )


def test_a_spike_twice(compare):
    def repeat(events):
        place = find(events, Kind.SPIKE, 3, layer=1)
        return [*events[:place], events[place], *events[place:]]

    comparison = compare(repeat)
    assert comparison.counts == {"repeated spike": 1}
    assert comparison.mismatched.tolist() == [0, 0, 0, 1, 0, 0]
    assert "not for the first time" in str(comparison.first)


@pytest.mark.parametrize("spike", [
    {"layer": 1, "place": 13, "code": 1},  # the layer that is read has 13 neurons
    {"layer": 2, "place": 16, "code": 0},  # a silent neuron gives no event
    {"layer": 2, "place": 16, "code": 16},  # T is 15
    {"layer": 2, "place": 0, "code": 1},  # before the map that is read
    {"layer": 0, "place": 0, "code": 1},  # the first layer reads the input
    {"layer": 9, "place": 0, "code": 1},  # there is no such layer
])
def test_a_spike_that_cannot_be(compare, spike):
    def invent(events):
        place = find(events, Kind.STATISTICS, 5, layer=0)
        return [*events[:place], (Kind.SPIKE, spike, 0), *events[place:]]

    comparison = compare(invent)
    assert comparison.counts == {"stray spike": 1}
    assert comparison.first.image == 5
    assert "no such thing" in str(comparison.first)


def test_events_after_the_last_image(compare):
    def more(events):
        spike = {"layer": 1, "place": 3, "code": 2}
        logit = {"index": 0, "value": 0, "winner": 0, "last": 0}
        return [*events, (Kind.SPIKE, spike, 0), (Kind.LOGIT, logit, 0)]

    comparison = compare(more)
    assert comparison.counts == {"stray spike": 1, "stray logit": 1}
    assert comparison.complete and comparison.mismatched.tolist() == [0, 0, 0, 0, 0, 2]


def test_a_whole_image_too_many(compare):
    comparison = compare(lambda events: events + events[:find(events, Kind.CYCLES, 0) + 1])
    assert comparison.complete and comparison.mismatched[-1] == sum(comparison.counts.values()) > 0


@pytest.mark.parametrize("layer, name", [(1, "hidden2"), (2, "output"), (8, "output")])
def test_a_layer_that_ends_too_often(compare, layer, name):
    end = (Kind.STATISTICS, {"layer": layer, "events": 0, "clock": 9}, 0)
    comparison = compare(lambda events: [*events, end])
    assert comparison.counts == {"stray end": 1} and comparison.complete
    assert f"layer {name}: RTL reports its end once too often" in str(comparison.first)


def test_a_wrong_logit(compare, expected):
    def bend(events):
        events[find(events, Kind.LOGIT, 4, index=2)][1]["value"] += 1
        return events

    comparison = compare(bend)
    assert comparison.counts == {"logit": 1}
    golden_logit = int(expected.logits[4, 2])
    assert str(comparison.first) == (
        f"image 4, layer output, class 2: golden gives {golden_logit}, RTL gives {golden_logit + 1}"
    )


def test_a_missing_logit(compare):
    def drop(events):
        del events[find(events, Kind.LOGIT, 0, index=1)]
        return events

    comparison = compare(drop)
    assert comparison.counts == {"logit": 1}
    assert str(comparison.first).endswith("RTL gives nothing")


def test_a_logit_twice_and_one_of_no_class(compare):
    def more(events):
        place = find(events, Kind.LOGIT, 2, index=0)
        extra = {"index": 5, "value": 1, "winner": 0, "last": 0}
        return [*events[:place], events[place], (Kind.LOGIT, extra, 0), *events[place:]]

    assert compare(more).counts == {"repeated logit": 1, "stray logit": 1}


def test_a_wrong_winner(compare, expected):
    def bend(events):
        payload = events[find(events, Kind.LOGIT, 1, last=1)][1]
        payload["winner"] = (payload["winner"] + 1) % 5
        return events

    comparison = compare(bend)
    winner = int(expected.winners[1])
    assert comparison.counts == {"winner": 1}
    assert str(comparison.first) == (
        f"image 1, layer output: golden's winner is class {winner}, RTL's is {(winner + 1) % 5}"
    )


def test_a_wrong_number_of_input_events(compare, expected):
    def bend(events):
        events[find(events, Kind.STATISTICS, 3, layer=0)][1]["events"] -= 1
        return events

    comparison = compare(bend)
    count = int(expected.events[3, 0])
    assert comparison.counts == {"event count": 1}
    assert str(comparison.first) == (
        f"image 3, layer hidden1: golden has {count} input events, RTL saw {count - 1}"
    )


def test_the_first_mismatch_is_the_first_in_the_data_flow(compare, expected):
    neuron = int(np.flatnonzero(expected.codes[0][2])[-1])

    def spoil(events):
        events[find(events, Kind.LOGIT, 2, index=0)][1]["value"] += 7
        events[find(events, Kind.LOGIT, 4, index=0)][1]["value"] += 7
        del events[find(events, Kind.SPIKE, 2, **shown(expected, 0, neuron))]
        return events

    comparison = compare(spoil)
    assert comparison.counts == {"spike": 1, "logit": 2}
    assert (comparison.first.image, comparison.first.layer) == (2, "hidden1")


@pytest.mark.parametrize(("source", "second"), [(1, 0), (1, 1), (0, 1), (-1, 0)])
def test_both_maps_of_a_residual_are_compared(
    config, make_network, make_images, perform, pack, source, second
):
    network = make_network((13, 13, 13, 13, 5), ticks=15, seed=3)
    layers = list(network.layers)
    layers[2] = dataclasses.replace(
        layers[2], source=source, second_source=second, residual_shift=1)
    network = dataclasses.replace(network, layers=tuple(layers))
    program = compile_network(network, config)
    expected = Expected.from_trace(network, golden.run(network, make_images(network, 3)), program)
    events = perform(expected)

    def compared(events):
        comparison = Comparison(expected, config)
        comparison.feed(pack(config, [*events, END]))
        return comparison

    comparison = compared(events)
    assert comparison.complete and not comparison.counts
    # The last spike of the layer is one of the second map.
    place = max(n for n, (kind, fields, _) in enumerate(events)
                if kind == Kind.SPIKE and fields["layer"] == 2)
    kind, fields, cycle = events[place]
    neuron = int(expected.second_places[2][fields["place"]])
    comparison = compared(events[:place] + events[place + 1:])
    assert comparison.counts == {"spike": 1}
    assert comparison.first.neuron == neuron
    assert comparison.first.layer == network.layers[second].name
    assert comparison.first.seen is None
    other = 1 + fields["code"] % 15
    comparison = compared([*events[:place], (kind, fields | {"code": other}, cycle),
                           *events[place + 1:]])
    assert comparison.counts == {"spike": 1}
    assert comparison.first.seen == 15 - other and comparison.first.cycle == cycle
    comparison = compared([*events[:place], events[place], *events[place:]])
    assert comparison.counts == {"repeated spike": 1}


def test_an_image_that_does_not_end(config, expected, perform, pack):
    comparison = Comparison(expected, config)
    events = perform(expected)
    comparison.feed(pack(config, events[:find(events, Kind.STATISTICS, 2, layer=1)]))
    assert comparison.done == 2 and comparison.waits_for() == "layer hidden2 has not ended"
    comparison = Comparison(expected, config)
    comparison.feed(pack(config, events[:find(events, Kind.LOGIT, 2, last=1)]))
    assert comparison.done == 2 and comparison.waits_for() == "the last logit has not come"
    assert not comparison.complete and comparison.first is None
