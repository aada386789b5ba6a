# SPDX-License-Identifier: Apache-2.0
"""The layer table's memory against a list of words, with four readers who ask at random."""

import numpy as np

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.layer_table import LayerTable

CONFIG = CoreConfig(table_words=50)
READERS = ("descriptors", "accumulating", "check", "firing")


def test_the_first_who_asks_is_served(bench):
    rng = np.random.default_rng(9)
    words = rng.integers(1 << 32, size=CONFIG.table_words).tolist()
    dut = LayerTable(CONFIG, words)
    served = []

    async def testbench(ctx):
        expected = None
        for _ in range(500):
            requests = {name: int(rng.random() < 0.4) for name in READERS}
            # The guard reads only while no image is computed.
            requests[str(rng.choice(["check", "firing"]))] = 0
            addresses = {name: int(rng.integers(CONFIG.table_words)) for name in READERS}
            for name in READERS:
                port = getattr(dut, name)
                assert expected is None or ctx.get(port.data) == expected
                ctx.set(port.request, requests[name])
                ctx.set(port.address, addresses[name])
            # While nobody asks, the first one reads.
            first = next((name for name in READERS if requests[name]), READERS[0])
            granted = {name for name in READERS[1:] if ctx.get(getattr(dut, name).grant)}
            assert granted == {first} - {READERS[0]}
            # It hears of the others' reading entries.
            assert ctx.get(dut.descriptors.grant) == (
                requests["descriptors"] or not (requests["accumulating"] or requests["firing"]))
            expected = words[addresses[first]]
            served.append(first)
            await ctx.tick()

    bench.run(dut, testbench)
    assert set(served) == set(READERS)


def test_words_are_written_and_none_is_read_meanwhile(bench):
    rng = np.random.default_rng(10)
    dut = LayerTable(CONFIG)
    words = [0] * CONFIG.table_words

    async def testbench(ctx):
        expected = None
        for _ in range(300):
            address, data = int(rng.integers(len(words))), int(rng.integers(1 << 32))
            write = int(rng.random() < 0.5)
            ctx.set(dut.write.enable, write)
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.data, data)
            # The word that is written must not be read: the memory of this test would say so.
            ctx.set(dut.descriptors.request, 1)
            ctx.set(dut.descriptors.address, address)
            if write:
                words[address] = data
            else:
                expected = words[address]
            await ctx.tick()
            assert expected is None or ctx.get(dut.descriptors.data) == expected

    bench.run(dut, testbench)
