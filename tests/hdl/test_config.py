# SPDX-License-Identifier: Apache-2.0
"""CoreConfig: what it refuses, and the widths that follow from it."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_fpga.hdl import config as config_module
from ttfs_fpga.hdl.config import CoreConfig

#: Any core that may be built, apart from one of SPRAM.
CONFIGS = st.builds(
    CoreConfig,
    lanes=st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128, 256]),
    weight_bits=st.sampled_from([2, 4, 8]),
    tick_bits=st.integers(1, 8),
    accumulator_bits=st.integers(8, 32),
    weight_words=st.integers(2, 1 << 20),
    membrane_words=st.integers(2, 1 << 15),
    input_words=st.integers(2, 1 << 15),
    map_words=st.integers(2, 1 << 15),
    slopes=st.integers(2, 1 << 15),
    layers=st.integers(1, 63),
    samples=st.integers(1, 2),
)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("lanes", 0, "lanes must be an integer from 1 to 256, not 0"),
    ("lanes", 512, "lanes must be an integer from 1 to 256, not 512"),
    ("lanes", 12, "lanes must be a power of two, not 12"),
    ("lanes", 16.0, "lanes must be an integer from 1 to 256, not 16.0"),
    ("weight_bits", 1, "weight_bits must be an integer from 2 to 8, not 1"),
    ("weight_bits", 9, "weight_bits must be an integer from 2 to 8, not 9"),
    ("weight_bits", 3, "lanes . weight_bits must be at most 32 or 32 times.* not 48"),
    ("weight_bits", 6, "lanes . weight_bits must be at most 32 or 32 times.* not 96"),
    ("tick_bits", 0, "tick_bits must be an integer from 1 to 8, not 0"),
    ("tick_bits", 9, "tick_bits must be an integer from 1 to 8, not 9"),
    ("accumulator_bits", 7, "accumulator_bits must be an integer from 8 to 32, not 7"),
    ("accumulator_bits", 33, "accumulator_bits must be an integer from 8 to 32, not 33"),
    ("weight_words", 1, "weight_words must be an integer from 2 to 1048576, not 1"),
    ("membrane_words", 1, "membrane_words must be an integer from 2 to 32768, not 1"),
    ("input_words", 32769, "input_words must be an integer from 2 to 32768, not 32769"),
    ("map_words", "64", "map_words must be an integer from 2 to 32768, not '64'"),
    ("slopes", 0, "slopes must be an integer from 2 to 32768, not 0"),
    ("layers", 0, "layers must be an integer from 1 to 63, not 0"),
    ("layers", 64, "layers must be an integer from 1 to 63, not 64"),
    ("samples", 3, "samples must be an integer from 1 to 2, not 3"),
    ("weight_memory", "flash", "weight_memory must be 'block' or 'spram', not 'flash'"),
])
def test_refuses(name, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        CoreConfig(**{name: value})


@pytest.mark.parametrize("change", [{"lanes": 8}, {"weight_words": 8192}, {"weight_bits": 8}])
def test_spram_has_one_size(change):
    assert CoreConfig(weight_memory="spram").weight_parts == 2
    with pytest.raises(ValueError, match=r"must be 64 and weight_words 16384, not \d+ and \d+$"):
        CoreConfig(weight_memory="spram", **change)
    assert CoreConfig(weight_memory="spram", lanes=8, weight_bits=8).weight_width == 64


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CoreConfig().lanes = 8


@given(CONFIGS)
def test_words_and_addresses(config):
    # A word of codes is a power of two of them, as many as 32 bits hold.
    codes = config.codes_per_word
    assert codes & (codes - 1) == 0
    assert config.map_width == codes * config.tick_bits <= 32 < 2 * config.map_width
    # 32-bit loads cover a word of weights exactly, or it is a single narrower part.
    assert config.weight_width == config.lanes * config.weight_bits
    assert config.weight_parts * 32 == config.weight_width or (
        config.weight_parts == 1 and config.weight_width < 32)
    # Every address has as many bits as its memory needs, and at least one.
    for bits, depth in (
        (config.weight_address_bits, config.weight_words),
        (config.membrane_address_bits, config.membrane_words),
        (config.map_address_bits, max(config.input_words, config.map_words)),
        (config.slope_address_bits, config.slopes),
        (config.neuron_bits, max(config.input_words, config.map_words) * codes),
        (config.layer_bits, config.layers + 1),
    ):
        assert bits >= 1
        assert 1 << (bits - 1) < depth <= 1 << bits
    assert config.max_ticks == int("1" * config.tick_bits, 2)


@given(CONFIGS)
def test_as_dict_makes_an_equal_config(config):
    again = CoreConfig(**config.as_dict())
    assert again == config
    assert again.fingerprint == config.fingerprint


def test_fingerprint_tells_every_parameter_and_the_layout_apart(monkeypatch):
    changes = [
        {"lanes": 32}, {"weight_bits": 8}, {"tick_bits": 5}, {"accumulator_bits": 17},
        {"weight_words": 16383}, {"weight_memory": "spram"}, {"membrane_words": 255},
        {"input_words": 255}, {"map_words": 255}, {"slopes": 255}, {"layers": 14},
        {"table_words": 255}, {"datapath": "serial"}, {"samples": 2},
    ]
    assert {name for change in changes for name in change} == CoreConfig().as_dict().keys()
    configs = [CoreConfig(), *(CoreConfig(**change) for change in changes)]
    prints = [config.fingerprint for config in configs]
    assert all(0 <= value < 1 << 32 for value in prints)
    assert len(set(prints)) == len(prints)
    monkeypatch.setattr(config_module, "LAYOUT_VERSION", config_module.LAYOUT_VERSION + 1)
    assert not set(prints) & {config.fingerprint for config in configs}
