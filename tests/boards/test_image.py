# SPDX-License-Identifier: Apache-2.0
"""The image format: what is written is read back; what is wrong is refused with a reason."""

import dataclasses
import itertools
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_fpga.boards.image import MAGIC, Image, ImageError, length_bits, memory_depths, serialise
from ttfs_fpga.hdl.compiler import compile_network
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import Memory
from ttfs_fpga.hdl.table import ENTRY_WORDS, FIELDS, HEADER_FIELDS, checksum
from ttfs_sw.artifact.network import dense_network

CONFIG = CoreConfig(lanes=4, weight_words=512, membrane_words=64, input_words=16, map_words=16,
                    slopes=64, layers=4)
CAPACITY = CONFIG.input_words * CONFIG.codes_per_word
OTHER = CoreConfig(lanes=8, weight_words=512, membrane_words=64, input_words=16, map_words=16,
                   slopes=64, layers=4)


def program(config=CONFIG, sizes=(20, 12, 3)):
    rng = np.random.default_rng(1)
    pairs = list(itertools.pairwise(sizes))
    network = dense_network(
        [rng.integers(-8, 8, pair) for pair in pairs],
        [rng.integers(-40, 41, after) for _, after in pairs],
        [int(rng.integers(1, 3000)) for _ in pairs[1:]],
        [int(rng.integers(8, 16)) for _ in pairs[1:]],
        [15] * (len(pairs) - 1),
        weight_bits=4,
        input_ticks=15,
    )
    return compile_network(network, config)


def damaged(content: bytes, word: int, value: int) -> bytes:
    """The image with one word changed and a checksum that fits."""
    words = list(struct.unpack(f"<{len(content) // 4}I", content))
    words[word] = value
    body = struct.pack(f"<{len(words) - 1}I", *words[:-1])
    return body + struct.pack("<I", zlib.crc32(body))


def test_image_is_the_program():
    content = serialise(program())
    image = Image.parse(content, CONFIG)
    assert image.writes == tuple(program().writes())
    assert image.inputs == 20
    assert image.fingerprint == CONFIG.fingerprint


def test_header_is_as_documented():
    content = serialise(program())
    magic, version, fingerprint, length, last_input = struct.unpack_from("<4s4I", content)
    assert (magic, version, fingerprint, last_input) == (b"TTFS", 1, CONFIG.fingerprint, 19)
    assert len(content) == 4 * (5 + length + 1)
    assert content[-4:] == struct.pack("<I", zlib.crc32(content[:-4]))


def test_sections_are_full_and_headers_few():
    writes = list(program().writes())
    words = len(writes)
    biases = sum(memory == Memory.MEMBRANE for memory, *_ in writes)
    length, = struct.unpack_from("<I", serialise(program()), 12)
    # One header at the start and the end of the table, one a memory and one for 256 words of it,
    # and two for every update that makes a bias: one before its weights, one before itself.
    assert length <= words + 2 + len(Memory) + words // 256 + 2 * biases


def test_what_follows_an_image_is_ignored():
    content = serialise(program())
    assert Image.parse(content + b"\xff" * 100, CONFIG) == Image.parse(content, CONFIG)


@pytest.mark.parametrize(("word", "value", "reason"), [
    (0, MAGIC ^ 1, "not a network image"),
    (1, 2, "format version 2"),
    (2, OTHER.fingerprint, f"another core, {OTHER.fingerprint:#010x}"),
    (3, 0, "length field says 24"),
    (3, 1 << 31, "was cut or damaged"),
    (4, CAPACITY, f"is for {CAPACITY + 1} inputs"),
    (5, 0xFF_F_00000, "of memory 15"),
    (5, 0x00_0_00000 | memory_depths(CONFIG)[Memory.TABLE], "writes 1 words at 256 of memory 0"),
])
def test_wrong_fields_are_refused(word, value, reason):
    with pytest.raises(ImageError, match=reason):
        Image.parse(damaged(serialise(program()), word, value), CONFIG)


def test_a_table_that_makes_no_sense_is_refused():
    good = program()
    table = dict(good.memories[Memory.TABLE])
    # The window of the second layer begins behind its end.
    table[ENTRY_WORDS * 2 + FIELDS["membrane_base"].word] += 40
    table[HEADER_FIELDS["checksum"].word] = checksum(table, CONFIG.table_words)
    bad = dataclasses.replace(good, memories=good.memories | {Memory.TABLE: table})
    with pytest.raises(ImageError, match=r"makes no sense: layer 2 has a window of 1 rows"):
        Image.parse(serialise(bad), CONFIG)


def test_image_for_another_core_is_refused():
    with pytest.raises(ImageError, match="made for another core"):
        Image.parse(serialise(program(OTHER)), CONFIG)


@settings(max_examples=60)
@given(st.data())
def test_no_single_wrong_bit_is_accepted(data):
    content = bytearray(serialise(program()))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ImageError):
        Image.parse(bytes(content), CONFIG)


@settings(max_examples=30)
@given(st.data())
def test_cut_image_is_refused(data):
    content = serialise(program())
    with pytest.raises(ImageError):
        Image.parse(content[:data.draw(st.integers(0, len(content) - 1))], CONFIG)


def test_length_field_can_count_the_largest_image():
    worst = 2 * sum(memory_depths(CONFIG).values())
    assert worst < 1 << length_bits(CONFIG)
