# SPDX-License-Identifier: Apache-2.0
"""The read-out against argmax."""

import numpy as np
import pytest

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.readout import Readout

CONFIG = CoreConfig(accumulator_bits=12, input_words=4, map_words=4)


def rtl_readout(bench, images, *, i_pause=0.0, o_pause=0.0):
    """(index, value, winner, last) of every logit, and cycles in which they went in and out."""
    dut = Readout(CONFIG)
    source = bench.Source(dut.i, [
        {"potential": value, "last": n == len(potentials) - 1}
        for potentials in images for n, value in enumerate(potentials)
    ], pause=i_pause, seed=1)
    sink = bench.Sink(dut.o, len(source.values), pause=o_pause, seed=2)
    bench.run(dut, source.run, sink.run)
    logits = [(o.index, o.value, o.winner, bool(o.last)) for o in sink.values]
    return logits, source.cycles, sink.cycles


def reference_readout(images):
    return [
        (n, value, int(np.argmax(potentials[:n + 1])), n == len(potentials) - 1)
        for potentials in images for n, value in enumerate(potentials)
    ]


def random_images(rng):
    """Images of few and of many logits, over the whole range, and with many ties."""
    for size in (1, 2, 10, 32):
        for low, high in ((-2048, 2047), (-2, 1), (-2048, -2047), (5, 5)):
            yield rng.integers(low, high + 1, size).tolist()


@pytest.mark.parametrize("i_pause", [0.0, 0.4])
@pytest.mark.parametrize("o_pause", [0.0, 0.4])
def test_equals_argmax(bench, i_pause, o_pause):
    images = list(random_images(np.random.default_rng(6)))
    logits, _, _ = rtl_readout(bench, images, i_pause=i_pause, o_pause=o_pause)
    assert logits == reference_readout(images)


def test_one_logit_a_cycle_one_cycle_later(bench):
    images = list(random_images(np.random.default_rng(7)))
    _, came, went = rtl_readout(bench, images)
    assert went == [cycle + 1 for cycle in came]
    assert went == list(range(went[0], went[0] + len(went)))


def test_a_tie_goes_to_the_lowest_index(bench):
    logits, _, _ = rtl_readout(bench, [[-7, 3, 3, 3], [-4, -4], [0, -1]])
    assert [winner for _, _, winner, last in logits if last] == [1, 0, 0]
