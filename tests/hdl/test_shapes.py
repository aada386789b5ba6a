# SPDX-License-Identifier: Apache-2.0
"""Shapes of the streams: every value that a core of a size can meet fits, and how it is packed."""

import pytest
from amaranth.hdl import signed
from amaranth.lib import data

from ttfs_fpga.hdl import shapes
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import Memory

SMALLEST = CoreConfig(lanes=2, weight_bits=2, tick_bits=1, accumulator_bits=8, weight_words=2,
                      membrane_words=2, input_words=2, map_words=2, slopes=2, layers=1)
LARGEST = CoreConfig(lanes=256, weight_bits=8, tick_bits=8, accumulator_bits=32,
                     weight_words=1 << 20, membrane_words=1 << 15, input_words=1 << 15,
                     map_words=1 << 15, slopes=1 << 15, layers=63)


def extremes(config):
    """The largest value, and the smallest of a signed field, of every field of every shape."""
    neurons = max(config.input_words, config.map_words) * config.codes_per_word
    low, high = -(1 << (config.accumulator_bits - 1)), (1 << (config.accumulator_bits - 1)) - 1
    neuron, code = neurons - 1, config.max_ticks
    return {
        shapes.code_shape: [{"place": neuron, "code": code}],
        shapes.spike_shape: [{"layer": config.layers - 1, "place": neuron, "code": code}],
        shapes.logit_shape: [
            {"index": neuron, "value": value, "winner": neuron, "last": 1} for value in (low, high)
        ],
        shapes.statistics_shape: [
            {"layer": config.layers - 1, "events": neurons, "clock": (1 << 24) - 1}
        ],
        shapes.candidate_shape: [
            {"place": neuron, "channel": neuron, "above": 2 * high + 1, "last": 1}
        ],
        shapes.potential_shape: [
            {"potential": value, "last": 1}
            for value in (low, high)
        ],
        shapes.update_shape: [{
            "weight": config.weight_words - 1, "word": config.membrane_words - 1,
            "bias": config.membrane_words - 1, "code": code,
        }],
        shapes.event_shape: [{
            "column": config.table_words - 1, "channel": neuron, "code": code, "end": 1,
            "place": neuron,
        }],
    }


@pytest.mark.parametrize("config", [SMALLEST, CoreConfig(), LARGEST])
def test_every_field_holds_its_extremes(config):
    for shape, payloads in extremes(config).items():
        layout = shape(config)
        for payload in payloads:
            constant = layout.const(payload)
            assert {name: constant[name] for name in payload} == payload
            assert payload.keys() == {name for name, _ in layout}
        # A field without bits would become a port of two bits in Verilog.
        assert all(field.width > 0 for _, field in layout)


def packed(layout: data.StructLayout, payload: dict) -> int:
    """Fields one above the other, the first one in the low bits."""
    value, offset = 0, 0
    for name, field in layout:
        value |= (int(payload[name]) & ((1 << field.width) - 1)) << offset
        offset += field.width
    return value


def test_first_field_lies_in_the_low_bits():
    load = {"memory": Memory.WEIGHTS, "address": 0x123456, "data": 0x89ABCDEF}
    payload = {"memory": 4, "address": 0x123456, "data": 0x89ABCDEF}
    assert shapes.load_shape().const(load).as_bits() == packed(shapes.load_shape(), payload)
    assert packed(shapes.load_shape(), payload) == 4 | 0x123456 << 3 | 0x89ABCDEF << 27
    samples = [shapes.sample_shape(CoreConfig(samples=count)) for count in (1, 2)]
    for shape in samples:
        assert shape.const({"value": 200, "raw": 1}).as_bits() == 200 | 1 << 8
    assert (samples[0].size, samples[1].size) == (9, 18)
    assert samples[1].const({"pair": 1, "second": 77}).as_bits() == 1 << 9 | 77 << 10
    for shape, payloads in extremes(CoreConfig()).items():
        layout = shape(CoreConfig())
        assert layout.const(payloads[0]).as_bits() == packed(layout, payloads[0])
    write = {"code": 255, "add": 1}
    assert shapes.membrane_write_shape().const(write).as_bits() == 255 | 1 << 8


def test_potentials_are_signed():
    config = CoreConfig(accumulator_bits=12)
    assert shapes.logit_shape(config)["value"].shape == signed(12)
    assert shapes.potential_shape(config)["potential"].shape == signed(12)


def test_memories_have_their_numbers():
    # The numbers are in every network image: they may be added to, not changed.
    assert {memory.name: memory.value for memory in Memory} == {
        "TABLE": 0, "ENCODER": 1, "SLOPES": 2, "MEMBRANE": 3, "WEIGHTS": 4,
    }
