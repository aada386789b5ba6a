# SPDX-License-Identifier: Apache-2.0
"""One-hot selection, for every mask of every small width."""

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator

from ttfs_fpga.hdl.onehot import encode, lowest_set, select


def evaluate(make, width):
    """The value of ``make(mask)`` for every mask of ``width`` bits."""
    mask = Signal(width)
    made = make(mask)
    result = Signal.like(made)
    m = Module()
    m.d.comb += result.eq(made)
    found = []

    async def testbench(ctx):
        for value in range(1 << width):
            ctx.set(mask, value)
            found.append(ctx.get(result))

    simulator = Simulator(m)
    simulator.add_testbench(testbench)
    simulator.run()
    return found


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_lowest_set(width):
    expected = [next((1 << n for n in range(width) if mask >> n & 1), 0)
                for mask in range(1 << width)]
    assert evaluate(lowest_set, width) == expected


@pytest.mark.parametrize("width", [2, 3, 4, 8])
def test_encode(width):
    found = evaluate(lambda mask: encode(mask, (width - 1).bit_length()), width)
    assert found[0] == 0
    assert [found[1 << n] for n in range(width)] == list(range(width))


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_select(width):
    items = [Signal(3 + n % 3, init=(3 * n + 1) % 8) for n in range(width)]
    found = evaluate(lambda mask: select(mask, items), width)
    assert found[0] == 0
    assert [found[1 << n] for n in range(width)] == [item.init for item in items]


def test_select_needs_one_item_a_bit():
    with pytest.raises(ValueError, match="zip"):
        select(Signal(3), [Signal(4), Signal(4)])


def test_select_keeps_the_bits_of_signed_items():
    items = [Signal(signed(6), init=value).as_unsigned() for value in (-32, -1, 31)]
    found = evaluate(lambda mask: select(mask, items), 3)
    assert [found[1 << n] for n in range(3)] == [0b100000, 0b111111, 0b011111]
