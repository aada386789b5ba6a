# SPDX-License-Identifier: Apache-2.0
"""Residuals: the order of rows, identities of weights, and whole cores that add a second map."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.compiler.residual import identity, interleaved, largest_shift, reads
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.shapes import Memory
from ttfs_sw import golden

SAME = {"kind": "conv2d", "channels": 6, "kernel": 3, "padding": 1}

#: (input, layers): what residuals can bridge. Each is its own network.
NETWORKS = {
    "the input": ((4, 5, 6), [{**SAME, "second": -1, "shift": 1}]),
    "the source, pooled": ((5, 5, 3), [SAME, {**SAME, "second": 0, "shift": 3, "pool": 2}]),
    "an earlier map": ((5, 4, 2), [SAME, SAME, {**SAME, "second": 0, "shift": 2}]),
    "the map before": ((5, 4, 2), [
        SAME, SAME, {**SAME, "source": 0, "second": 1, "shift": 4}]),
    "the map before, from the input": ((4, 4, 5), [
        SAME, {**SAME, "source": -1, "second": 0, "shift": 2}]),
    "read again later": ((4, 4, 3), [
        SAME, {**SAME, "second": 0, "shift": 1}, {**SAME, "second": 0, "shift": 5}]),
    "other channels": ((6, 5, 2), [
        {"kind": "conv2d", "channels": 9, "kernel": 3, "stride": 2},
        {"kind": "conv2d", "channels": 9, "kernel": 5, "stride": 2, "padding": 1, "source": -1,
         "second": 0, "shift": 6}]),
    "depthwise": ((5, 3, 9), [{"kind": "depthwise", "kernel": 3, "padding": 1, "second": -1,
                               "shift": 4}]),
    "dense": ((1, 1, 7), [{"kind": "dense", "channels": 11}, {
        "kind": "dense", "channels": 11, "second": 0, "shift": 5}]),
    "wider than the source": ((1, 1, 16), [
        {"kind": "dense", "channels": 13}, {"kind": "dense", "channels": 2},
        {"kind": "dense", "channels": 13, "second": 0, "shift": 5}]),
    "narrower than the source": ((1, 1, 5), [
        {"kind": "dense", "channels": 21},
        {"kind": "dense", "channels": 5, "second": -1, "shift": 1}]),
    "read out": ((4, 4, 1), [
        {"kind": "dense", "channels": 6}, {"kind": "dense", "channels": 6},
        {"kind": "dense", "channels": 6, "second": 0, "shift": 2, "last": True}]),
}


def made(bench, name, **options):
    shape, layers = NETWORKS[name]
    if not layers[-1].get("last"):
        layers = [*layers, {"kind": "dense", "channels": 3}]
    return bench.shaped_network(np.random.default_rng(len(name)), shape, layers, **options)


@pytest.mark.parametrize(("name", "datapath"), [
    *((name, "mac") for name in NETWORKS), ("the map before", "serial"), ("dense", "serial")])
def test_a_core_adds_it(bench, name, datapath):
    network = made(bench, name)
    config = minimal_config(network, lanes=4, weight_bits=4, datapath=datapath)
    program = compile_network(network, config)
    images = bench.some_images(np.random.default_rng(7), network.inputs, count=1)
    answers = bench.run_core(Core(config, program), [(None, images)])
    bench.check(network, program, images, answers)
    # It makes a difference, and every map is left silent for the next image.
    index = next(n for n, layer in enumerate(network.layers) if layer.second_source is not None)
    layers = list(network.layers)
    layers[index] = dataclasses.replace(layers[index], second_source=None, residual_shift=0)
    without = golden.run(dataclasses.replace(network, layers=tuple(layers)),
                         images.astype(np.uint8), backend="numpy")
    assert [answer.logits for answer in answers] != without.logits.tolist()


@pytest.mark.parametrize("slope", [0.0, np.inf])
def test_a_silent_or_a_saturated_map(bench, slope):
    network = made(bench, "an earlier map", slope=slope)
    config = minimal_config(network, lanes=4)
    program = compile_network(network, config)
    images = bench.some_images(np.random.default_rng(3), network.inputs, count=1)
    answers = bench.run_core(
        Core(config, program), [(None, images)], i_pause=0.3, o_pause=0.3, seed=1)
    bench.check(network, program, images, answers, on_time=False)


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_read_when_they_complete_an_output(bench, name):
    network = made(bench, name)
    plans = compile_network(network, minimal_config(network, lanes=4)).layers
    for layer, plan in zip(network.layers, plans, strict=True):
        order = list(interleaved(plan))
        source = [row for second, row, _ in order if not second]
        added = [row for second, row, _ in order if second]
        assert source == list(range(len(plan.row_axis.taps)))
        assert added == list(range(layer.out_shape[0] if plan.residual else 0))
        assert sum(completes for *_, completes in order) == plan.rows
        opened = done = 0
        for second, row, completes in order:
            opened += 0 if second else plan.row_axis.opens[row]
            if plan.residual is not None:
                assert completes == (second and row < plan.rows)
            done += completes
            # No more rows are open than the window has at least.
            assert done <= opened <= done - completes + plan.row_axis.live


@given(weight_bits=st.integers(2, 8), more=st.integers(0, 16))
def test_the_largest_shift_is_49_weights(weight_bits, more):
    most = 49 * ((1 << (weight_bits - 1)) - 1)
    shift = largest_shift(weight_bits)
    assert 1 << shift <= most < 1 << (shift + 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_add_up(bench, name):
    network = made(bench, name)
    for shift, lanes in itertools.product((0, 3, 7, 8), (2, 8)):
        layers = tuple(
            layer if layer.second_source is None else dataclasses.replace(
                layer, residual_shift=shift) for layer in network.layers)
        program = compile_network(
            dataclasses.replace(network, layers=layers),
            minimal_config(dataclasses.replace(network, layers=layers), lanes=lanes))
        for layer, plan in zip(layers, program.layers, strict=True):
            assert reads(layer) == {plan.source} | (
                set() if plan.residual is None else {plan.residual.source})
            if plan.residual is None:
                continue
            residual = plan.residual
            words = identity(residual, program.config)
            row_step = plan.word_step * len(plan.column_axis.order) * (
                1 if plan.kind == "depthwise" else plan.pixel_words)
            for channel in range(layer.out_shape[2]):
                total = sum(
                    words[channel + row * row_step + column * plan.word_step]
                    for row in range(residual.row_taps) for column in range(residual.column_taps))
                wanted = [0] * lanes
                wanted[channel % lanes] = 1 << shift
                assert total.tolist() == wanted
            # They lie in the memory as they are.
            found = program.memory_words(Memory.WEIGHTS)[residual.weight_base:]
            bits = program.config.weight_bits
            assert [word & (1 << bits) - 1 for word in found[:len(words)]] == words[:, 0].tolist()


def test_roofline_counts_both_maps(bench):
    network = made(bench, "the source, pooled")
    plan = compile_network(network, minimal_config(network, lanes=4, weight_bits=4)).layers[1]
    # 2^3 takes two weights; of 5 x 5 outputs one row and one column fill no window.
    updates = plan.residual.updates.reshape(5, 5, 6)
    assert (updates[:4, :4] == 2).all() and (updates[4] == 1).all() and (updates[:, 4] == 1).all()
    codes = np.zeros((1, 150), int)
    codes[0, :6] = 5
    alone = plan.roofline(codes, 0 * codes)
    assert plan.roofline(codes, codes) == alone + 12
    assert plan.map_words == 2 * plan.source_map.words
