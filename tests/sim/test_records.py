# SPDX-License-Identifier: Apache-2.0
"""Records: what the harness packs is what Python unpacks."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.sim.emit import with_harness
from ttfs_fpga.sim.records import RECORD_BYTES, Ending, Kind, RecordLayout, Records


@given(
    neurons=st.sampled_from([2, 1 << 8, 1 << 15]),
    bits=st.integers(8, 32),
    cycle=st.integers(0, (1 << 40) - 1),
    draw=st.data(),
)
def test_logits_of_every_width_survive(pack, neurons, bits, cycle, draw):
    # With 2^15 words the payload has more than 64 bits, and the last fields lie above.
    config = CoreConfig(input_words=neurons, map_words=neurons, accumulator_bits=bits)
    top = (1 << config.neuron_bits) - 1
    events = [
        (Kind.LOGIT, {
            "index": draw.draw(st.integers(0, top)),
            "value": draw.draw(st.integers(-1 << bits - 1, (1 << bits - 1) - 1)),
            "winner": draw.draw(st.integers(0, top)),
            "last": draw.draw(st.integers(0, 1)),
        }, cycle)
        for _ in range(3)
    ]
    records = Records.from_bytes(pack(config, events))
    places, fields = RecordLayout(config).unpack(records, Kind.LOGIT)
    assert places.tolist() == [0, 1, 2]
    assert records.cycle.tolist() == [cycle] * 3
    for name, values in fields.items():
        assert values.tolist() == [event[1][name] for event in events], name


def test_kinds_are_told_apart(pack, config):
    events = [
        (Kind.SPIKE, {"layer": 2, "place": 5, "code": 9}, 3),
        (Kind.STATISTICS, {"layer": 2, "events": 7, "clock": 40}, 4),
        (Kind.SPIKE, {"layer": 3, "place": 6, "code": 255}, 5),
        (Kind.CYCLES, {"cycles": 77}, 6),
    ]
    records = Records.from_bytes(pack(config, events))
    layout = RecordLayout(config)
    places, spike = layout.unpack(records, Kind.SPIKE)
    assert places.tolist() == [0, 2]
    assert {name: values.tolist() for name, values in spike.items()} == {
        "layer": [2, 3], "place": [5, 6], "code": [9, 255],
    }
    places, report = layout.unpack(records, Kind.STATISTICS)
    assert (places.tolist(), report["clock"].tolist()) == ([1], [40])
    assert layout.unpack(records, Kind.CYCLES)[1]["cycles"].tolist() == [77]
    assert len(layout.unpack(records, Kind.LOGIT)[0]) == 0
    assert records.end() is None


def test_the_end_tells_why(pack, config):
    fields = {"reason": Ending.CORE_ERROR, "error": 2, "images": 41}
    end = Records.from_bytes(pack(config, [(Kind.END, fields, 1 << 39)])).end()
    assert end.reason is Ending.CORE_ERROR
    assert (end.error, end.images, end.cycles) == (2, 41, 1 << 39)


def test_nothing_is_nothing(config):
    records = Records.from_bytes(b"")
    assert records.kind.size == 0 and records.end() is None
    _, fields = RecordLayout(config).unpack(records, Kind.SPIKE)
    assert all(values.dtype == np.int64 for values in fields.values())


def test_the_harness_knows_the_widths_of_the_largest_core():
    config = CoreConfig(input_words=1 << 15, map_words=1 << 15, accumulator_bits=32, layers=63)
    sizes = with_harness(config, "", []).files["sizes.vh"]
    layout = dict(line.split()[2::2] for line in sizes.replace(";", "").splitlines())
    assert int(layout["LOGIT_LAST"]) == 2 * config.neuron_bits + 32
    assert int(layout["LOGIT_WIDTH"]) == int(layout["LOGIT_LAST"]) + 1 <= RECORD_BYTES * 8 - 48
    narrower = with_harness(dataclasses.replace(config, accumulator_bits=16), "", [])
    assert f"LOGIT_WIDTH = {int(layout['LOGIT_WIDTH']) - 16};" in narrower.files["sizes.vh"]
