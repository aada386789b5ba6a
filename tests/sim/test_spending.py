# SPDX-License-Identifier: Apache-2.0
"""What a core may take for what the golden model says: which neurons fire, before pooling."""

import numpy as np

from tests.support.networks import random_images, random_network
from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.compiler.cycles import TERMS
from ttfs_fpga.sim import spending as module
from ttfs_fpga.sim.spending import spending
from ttfs_sw import golden

FIRING = list(TERMS).index("firing")


def drawn(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng, max_neurons=300, max_size=6)
    images = random_images(rng, network, 5)
    return network, compile_network(network, minimal_config(network, lanes=4)), golden.run(
        network, images, backend="numpy")


def test_every_candidate_is_counted():
    pooled = several = 0
    for seed in range(25):
        network, program, trace = drawn(seed)
        _, terms = spending(network, trace, program)
        for image in range(len(trace.logits)):
            maps = {-1: trace.input_codes[image:image + 1]}
            maps |= {n: codes[image:image + 1] for n, codes in enumerate(trace.codes)}
            for index, (layer, plan) in enumerate(zip(network.layers, program.layers, strict=True)):
                rows, columns = (size - size % layer.pool for size in layer.out_shape[:2])
                potentials = golden.potentials(network, layer, maps)[0, :rows, :columns]
                counted = sum(v >= plan.fire_threshold for v in potentials.reshape(-1).tolist())
                assert terms[image, index, FIRING] == counted
                pooled += layer.pool > 1
                several += len(set(layer.multiplier.tolist())) > 1
    # Otherwise this test would not say much.
    assert pooled and several


def test_batches_change_nothing(monkeypatch):
    network, program, trace = drawn(3)
    whole = spending(network, trace, program)
    monkeypatch.setattr(module, "_BATCH", 2)
    for one, other in zip(whole, spending(network, trace, program), strict=True):
        assert one.dtype == np.int64 and (one == other).all()
    events = trace.events
    for index, layer in enumerate(network.layers):
        if layer.second_source is None and layer.kind == "dense":
            assert (whole[0][:, index]
                    == events[:, 1 + layer.source] * program.layers[index].pixel_words).all()
