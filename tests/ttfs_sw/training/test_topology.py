# SPDX-License-Identifier: Apache-2.0
"""Layers as a configuration writes them: what each text means, and what is refused and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_sw.artifact.rules import output_size
from ttfs_sw.common.errors import InputError
from ttfs_sw.training import topology
from ttfs_sw.training.topology import Entry, LayerPlan


def refused(message, texts, shape=None):
    with pytest.raises(InputError, match=message) as caught:
        topology.parse(texts) if shape is None else topology.plan(texts, shape, 10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "entry"), [
    ("64", {"kind": "dense", "neurons": 64}),
    ("16c5", {"kind": "conv2d", "neurons": 16, "kernel": 5, "padding": 2}),
    ("16c4", {"kind": "conv2d", "neurons": 16, "kernel": 4, "padding": 1}),
    ("16c5s2", {"kind": "conv2d", "neurons": 16, "kernel": 5, "stride": 2, "padding": 2}),
    ("16c5p0", {"kind": "conv2d", "neurons": 16, "kernel": 5, "padding": 0}),
    ("8c3s2p1", {"kind": "conv2d", "neurons": 8, "kernel": 3, "stride": 2, "padding": 1}),
    ("8c3+0", {"kind": "conv2d", "neurons": 8, "kernel": 3, "padding": 1, "second": 0}),
    ("d3", {"kind": "depthwise", "kernel": 3, "padding": 1}),
    ("d7s2p3+0", {"kind": "depthwise", "kernel": 7, "stride": 2, "padding": 3, "second": 0}),
    ("64+0", {"kind": "dense", "neurons": 64, "second": 0}),
    ("a2", {"kind": "average", "kernel": 2, "stride": 2}),
])
def test_texts(text, entry):
    assert topology.parse([text]) == [Entry(text, **entry)]
    assert topology.parse([text])[0].learned == (entry["kind"] != "average")


def test_max_pools_belong_to_the_layer_before():
    entries = topology.parse(["8c5", "p2", "d3", "p3", "9"])
    assert [(entry.kind, entry.pool) for entry in entries] == [
        ("conv2d", 2), ("depthwise", 3), ("dense", 1)
    ]


def test_lenet():
    layers = topology.plan(["8c5", "p2", "16c5", "p2", "64"], (28, 28, 1), 10)
    assert layers.input_shape == (28, 28, 1)
    assert layers.layers == (
        LayerPlan("conv2d", (28, 28, 1), (28, 28, 8), kernel=5, padding=2, pool=2),
        LayerPlan("conv2d", (14, 14, 8), (14, 14, 16), kernel=5, padding=2, pool=2),
        LayerPlan("dense", (1, 1, 784), (1, 1, 64)),
        LayerPlan("dense", (1, 1, 64), (1, 1, 10)),
    )
    assert [layer.fan_in for layer in layers.layers] == [25, 200, 784, 64]


def test_every_reach_of_a_residual():
    layers = topology.plan(["1c3+0", "4c3", "4c3+2", "p2", "a3", "7", "7+5"], (6, 6, 1), 3)
    assert [layer.second_source for layer in layers.layers] == [-1, None, 1, None, None, 4, None]
    assert layers.layers[3].map_shape == (1, 1, 4)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 20))
def test_same_padding_keeps_the_size(kernel, channels, stride, size):
    layer = topology.plan([f"{channels}c{kernel}s{stride}"], (size, size, 1), 2).layers[0] \
        if size + 2 * ((kernel - 1) // 2) >= kernel else None
    if layer is None:
        refused("does not fit the map", [f"{channels}c{kernel}s{stride}"], (size, size, 1))
        return
    assert layer.out_shape == (
        *[output_size(size, kernel, stride, (kernel - 1) // 2)] * 2, channels
    )
    if kernel % 2 and stride == 1:
        assert layer.out_shape == (size, size, channels)


@pytest.mark.parametrize(("texts", "message"), [
    (["8k5"], "'8k5' is no layer; write 64 .dense., 16c5 .convolution., d3 .depthwise., p2"),
    ([""], "'' is no layer"),
    (["8c"], "'8c' is no layer"),
    (["c5"], "'c5' is no layer"),
    (["8C5"], "'8C5' is no layer"),
    (["8c5 "], "'8c5 ' is no layer"),
    (["-8"], "'-8' is no layer"),
    (["8c5+"], r"'8c5\+' is no layer"),
    (["٨"], "is no layer"),
    (["0"], "'0': the number of neurons must be from 1 to 65535, not 0"),
    (["70000c3"], "the number of neurons must be from 1 to 65535, not 70000"),
    (["8c0"], "'8c0': the kernel must be from 1 to 255, not 0"),
    (["8c3s0"], "the stride must be from 1 to 255, not 0"),
    (["8c3p3"], "'8c3p3' has padding 3, which must be less than its kernel 3"),
    (["8c3", "p0"], "'p0': the pool must be from 1 to 255, not 0"),
    (["p2"], "'p2' must follow a convolution such as '8c5'"),
    (["64", "p2"], "'p2' must follow a convolution"),
    (["8c3", "a2", "p2"], "'p2' must follow a convolution"),
    (["8c3", "p2", "p2"], "'p2' follows another max-pool"),
    (["8c3", "8c3+2"], r"'8c3\+2' is layer 2 and adds the map of layer 2, which must come before"),
    (["8c3", "p2", "8c3+9"], "is layer 2 and adds the map of layer 9"),
])
def test_refuses_texts(texts, message):
    refused(message, texts)


@pytest.mark.parametrize(("texts", "message"), [
    (["8c9p0"], "'8c9p0' does not fit the map of 8 x 6 x 3 that it reads"),
    (["8c3", "p7"], "'8c3' with its pool of 7 does not fit the map of 8 x 6 x 3"),
    (["a7"], "'a7' does not fit the map of 8 x 6 x 3"),
    (["9", "8c3p0"], "'8c3p0' does not fit the map of 1 x 1 x 9"),
    (["8c3+0"], r"'8c3\+0' makes a map of 8 x 6 x 8 and cannot add that of layer 0, which is 8 x "),
    (["4c3", "p2", "4c3", "8", "8+2"], "cannot add that of layer 2, which is 4 x 3 x 4"),
])
def test_refuses_what_does_not_fit(texts, message):
    refused(message, texts, (8, 6, 3))
