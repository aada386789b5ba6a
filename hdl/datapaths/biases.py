# SPDX-License-Identifier: Apache-2.0
"""How biases are made: by updates of membrane words, with weights that are loaded for them."""

from collections.abc import Callable, Iterator

import numpy as np

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.shapes import Memory, membrane_write_shape

__all__ = ["multiples", "shifted_digits"]


def multiples(
    config: CoreConfig, word: int, biases: np.ndarray,
    code_of: Callable[[int], int] = lambda code: code,
) -> Iterator[tuple[Memory, int, int]]:
    """By multiplying: each update adds a code times weights, until nothing is left.

    ``code_of`` gives, for the code that would do, the largest up to it that an update may have.
    """
    high = (1 << (config.weight_bits - 1)) - 1
    left, add = biases, 0
    while left.any() or not add:
        # The least code whose multiples reach furthest: what is left gets small quickly.
        reach = int(np.abs(left).max())
        code = code_of(min(config.max_ticks, max(1, -(-reach // high))))
        factors = np.clip(np.rint(left / code).astype(int), -high, high)
        left = left - factors * code
        yield from _update(config, word, factors, code, add)
        add = 1


def shifted_digits(
    config: CoreConfig, word: int, biases: np.ndarray
) -> Iterator[tuple[Memory, int, int]]:
    """The same without multiplying: from the highest digit on, add weights and double."""
    shape = membrane_write_shape()
    keep = shape.const({"keep": 1}).as_value().value
    double = shape.const({"add": 1}).as_value().value
    places = config.weight_bits - 1
    digits: list[np.ndarray] = []
    left = biases
    while left.any() or not digits:
        digits.append(np.sign(left) * (np.abs(left) & ((1 << places) - 1)))
        left = np.sign(left) * (np.abs(left) >> places)
    for place, digit in enumerate(reversed(digits)):
        for _ in range(places if place else 0):
            yield Memory.MEMBRANE, word, keep
            yield Memory.MEMBRANE, word, double
        if digit.any() or not place:
            yield from _update(config, word, digit, 1, int(place > 0))


def _update(
    config: CoreConfig, word: int, factors: np.ndarray, code: int, add: int
) -> Iterator[tuple[Memory, int, int]]:
    """Weights where an update of the word finds them, and the update."""
    parts = config.weight_parts
    for part, value in enumerate(config.pack_weights(factors.tolist())):
        yield Memory.WEIGHTS, word // parts * parts + part, value
    data = membrane_write_shape().const({"code": code, "add": add})
    yield Memory.MEMBRANE, word, data.as_value().value
