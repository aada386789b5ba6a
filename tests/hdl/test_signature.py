# SPDX-License-Identifier: Apache-2.0
"""The signature of a layer table: its period, its inverse, and the errors that it finds."""

import functools

from hypothesis import assume, given
from hypothesis import strategies as st

from ttfs_fpga.hdl import signature

WORD = st.integers(0, 2**32 - 1)
#: Of 2^32 - 1.
PRIME_FACTORS = (3, 5, 17, 257, 65537)


def reduced(words):
    return functools.reduce(signature.step, words, signature.INIT)


@given(st.lists(WORD, min_size=5, max_size=40), st.integers(0, 4), st.integers(0, 20))
def test_the_closing_word_makes_the_signature_0(words, place, more):
    table = dict(enumerate(words))
    words[place] = signature.closing_word(table, place, len(words) + more)
    assert reduced(words + [0] * more) == 0
    # It does not matter what was there.
    assert signature.closing_word(table | {place: 1}, place, len(words) + more) == words[place]


@given(st.lists(WORD, min_size=1, max_size=40), st.data())
def test_one_wrong_word_is_always_found(words, data):
    place = data.draw(st.integers(0, len(words) - 1))
    wrong = words[:place] + [data.draw(WORD)] + words[place + 1:]
    assume(wrong != words)
    assert reduced(wrong) != reduced(words)


def advanced(states, exponent):
    """The linear map ``states`` (images of single cells) applied so many times."""
    def applied(linear, value):
        return functools.reduce(
            int.__xor__, (image for bit, image in enumerate(linear) if value >> bit & 1), 0)

    result = [1 << bit for bit in range(signature.BITS)]
    while exponent:
        if exponent & 1:
            result = [applied(states, value) for value in result]
        states = [applied(states, value) for value in states]
        exponent >>= 1
    return result


def test_the_period_is_the_longest():
    one = [1 << bit for bit in range(signature.BITS)]
    once = [signature.step(cell, 0) for cell in one]
    period = 2**signature.BITS - 1
    assert advanced(once, period) == one
    assert all(advanced(once, period // prime) != one for prime in PRIME_FACTORS)


def test_the_same_wrong_field_in_two_words_hardly_ever_cancels():
    # A shift register of a bit a word misses each of these: a field that is as much higher.
    tried, missed = 0, 0
    for error in range(1, 16):
        for place in range(28):
            spread = error << place
            for distance in range(1, 28 - place):
                spread = signature.step(spread, 0)
                tried += 1
                missed += spread == error << place + distance
    assert tried > 5000 and missed <= 20
