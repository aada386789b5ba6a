# SPDX-License-Identifier: Apache-2.0
"""A kind of layer that is no more than an object goes through file, golden model and core."""

import dataclasses

import numpy as np
import pytest

from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.core import Core
from ttfs_sw import golden
from ttfs_sw.artifact.kinds import KINDS, Kind
from ttfs_sw.artifact.network import Network, NetworkError


@dataclasses.dataclass(frozen=True)
class Pointwise(Kind):
    """A convolution of single pixels."""

    def check(self, layer):
        """As that of any convolution; its kernel is 1 x 1."""
        super().check(layer)
        if layer.kernel != (1, 1):
            raise NetworkError(f"layer {layer.name!r}: a pointwise layer has kernel (1, 1)")


@pytest.fixture
def pointwise(monkeypatch):
    """The kind, known for the time of a test."""
    monkeypatch.setitem(KINDS, "pointwise", Pointwise("pointwise"))


def test_a_new_kind_is_an_object(bench, pointwise, tmp_path):
    rng = np.random.default_rng(3)
    plain = bench.shaped_network(rng, (5, 5, 3), [
        {"kind": "conv2d", "channels": 6, "pool": 2}, {"kind": "depthwise", "kernel": 2},
        {"kind": "dense", "channels": 4}])
    with pytest.raises(NetworkError, match="layer 'layer2': a pointwise layer has kernel"):
        dataclasses.replace(plain.layers[1], kind="pointwise", weight=rng.integers(
            -8, 8, (2, 2, 6, 6)))
    first = dataclasses.replace(plain.layers[0], kind="pointwise")
    network = dataclasses.replace(plain, layers=(first, *plain.layers[1:]))
    network.save(tmp_path / "network.npz")
    network = Network.load(tmp_path / "network.npz")
    assert [layer.kind for layer in network.layers] == ["pointwise", "depthwise", "dense"]
    assert network.bounds() == plain.bounds()
    images = bench.some_images(rng, network.inputs, count=2)
    for backend in ("numpy", "torch"):
        trace = golden.run(network, np.asarray(images, np.uint8), backend=backend)
        wanted = golden.run(plain, np.asarray(images, np.uint8), backend=backend)
        assert (trace.logits == wanted.logits).all()
    config = minimal_config(network, lanes=4)
    program = compile_network(network, config)
    assert program.memories == compile_network(plain, config).memories
    bench.check(network, program, images, bench.run_core(Core(config, program), [(None, images)]))


def test_an_unknown_kind_is_refused(bench):
    layer = bench.shaped_network(np.random.default_rng(3), (1, 1, 4), [
        {"kind": "dense", "channels": 2}]).layers[0]
    for kind in ("pointwise", ["dense"]):
        with pytest.raises(NetworkError, match="kind must be one of dense, conv2d, depthwise, not"):
            dataclasses.replace(layer, kind=kind)
