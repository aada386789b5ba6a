# SPDX-License-Identifier: Apache-2.0
"""Few-spike neurons: their closed form, and the pulses that our core sends."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.networks import networks, random_images
from ttfs_sw import golden
from ttfs_sw.research.neighbours.few_spike import FewSpike, bits_of, pulses
from ttfs_sw.research.neighbours.few_spike_network import bit_serial

bit_counts = np.vectorize(int.bit_count, otypes=[int])


@settings(max_examples=50)
@given(
    st.integers(1, 12), st.integers(1, 1000).map(lambda eighths: eighths / 8), st.booleans(),
    st.lists(st.floats(-1.5, 2.5), min_size=1, max_size=50),
)
def test_relu_is_a_number_of_k_bits(steps, alpha, inclusive, shares):
    values = alpha * torch.tensor(shares, dtype=torch.float64)
    # Values on the steps themselves, where inclusive and strict differ.
    least = alpha * 2.0**-steps
    values = torch.cat([values, least * torch.arange(-1, (1 << steps) + 2)])
    output, spikes = FewSpike.relu(steps, alpha, inclusive=inclusive)(values)
    ratio = values / least
    codes = torch.floor(ratio) if inclusive else torch.ceil(ratio) - 1
    codes = codes.clamp(0, (1 << steps) - 1)
    assert torch.equal(output, least * codes)
    assert np.array_equal(spikes.bool().numpy(), pulses(codes.numpy(), steps))


def test_mean_spikes_are_half_of_the_bits():
    values = (torch.arange(1024) + 0.5) / 1024
    _, spikes = FewSpike.relu(10, 1.0)(values)
    assert spikes.sum(dim=0).mean() == pytest.approx(5.0)


@pytest.mark.parametrize("ticks", [1, 2, 3, 15, 16, 255])
def test_steps_for_codes(ticks):
    assert pulses(np.array([ticks]), bits_of(ticks))[0].all()
    with pytest.raises(ValueError, match="below"):
        pulses(np.array([ticks]), bits_of(ticks) - 1)


@settings(max_examples=20)
@given(networks(max_neurons=200, max_size=6, weight_bits=None), st.integers(0, 1000))
def test_bit_serial_is_the_golden_model(network, seed):
    pixels = random_images(np.random.default_rng(seed), network, 3)
    trace = golden.run(network, pixels, backend="numpy")
    codes, logits, sent = bit_serial(network, pixels)
    for found, expected in zip(codes, trace.codes, strict=True):
        assert (found == expected).all()
    assert (logits == trace.logits).all()
    maps = (trace.input_codes, *trace.codes)
    wanted = [bit_counts(codes.astype(object)).sum(axis=1) for codes in maps]
    assert (sent == np.stack(wanted, axis=1)).all()
