# SPDX-License-Identifier: Apache-2.0
"""The signature of a layer table: a register that every word goes through, and a word that ends it.

A row of 32 cells, a linear hybrid cellular automaton: with each word a cell becomes the sum, modulo
2, of its two neighbours, of itself where ``RULE_150`` says so, and of its bit of the word. That is
one LUT of four inputs a bit. It runs through all 2^32 - 1 states but 0 before it repeats (Cattell
and Muzio, IEEE Trans. CAD 15, 1996, have such a row for every length). A shift register with
feedback has that as well, for the same price, but only moves what is in it until the feedback is
reached: the same wrong field in two words cancels, if it is so many places higher as words lie
between. Here every step spreads a wrong bit over its neighbours, and that hardly ever happens.
"""

from collections.abc import Mapping

__all__ = ["BITS", "INIT", "RULE_150", "closing_word", "step"]

#: Cells.
BITS = 32
#: What they begin with.
INIT = (1 << BITS) - 1
#: Cells that count themselves (rule 150); the others are of rule 90. Chosen for the longest period.
RULE_150 = 0xF87F43FD


def step(state, word):
    """The cells after a word: integers give an integer, Amaranth's values a value."""
    return (state << 1 & INIT) ^ (state >> 1) ^ (state & RULE_150) ^ word


def closing_word(words: Mapping[int, int], place: int, depth: int) -> int:
    """The word at ``place`` that makes the signature of ``depth`` words 0; absent ones are 0."""
    before = INIT
    for address in range(place):
        before = step(before, words.get(address, 0))
    # From the end, where it is 0, backwards.
    after = 0
    for address in range(depth - 1, place, -1):
        after = _undone(after ^ words.get(address, 0))
    return after ^ step(before, 0)


def _undone(after: int) -> int:
    """The cells before a step with a word of 0."""
    # Each cell's sum gives its upper neighbour, once the lowest cell is known: the one of its two
    # values for which there is nothing above the uppermost.
    for lowest in 0, 1:
        state, below, cell = 0, 0, lowest
        for index in range(BITS):
            state |= cell << index
            below, cell = cell, (after >> index ^ (RULE_150 >> index & cell) ^ below) & 1
        if not cell:
            break
    return state
