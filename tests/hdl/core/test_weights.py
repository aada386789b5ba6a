# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""The weight memory, inferred and made of the UP5K's SPRAM, against a list of words."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Fragment, Module, Signal
from amaranth.lib import memory

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core import weights as weights_module
from ttfs_fpga.hdl.core.weights import WeightMemory

CONFIGS = {
    "narrow": CoreConfig(lanes=2, weight_bits=2, weight_words=5),
    "odd": CoreConfig(lanes=4, weight_bits=7, weight_words=8),
    "one part": CoreConfig(lanes=8, weight_bits=4, weight_words=7),
    "two parts": CoreConfig(lanes=16, weight_bits=4, weight_words=16),
    "four parts": CoreConfig(lanes=16, weight_bits=8, weight_words=6),
    "spram": CoreConfig(lanes=16, weight_bits=4, weight_memory="spram"),
}


class SpramModel(Elaboratable):
    """SB_SPRAM256KA by its data sheet: 16384 words of 16 bits, one port, a mask bit a nibble.

    Takes what an ``Instance`` takes. A write leaves the output as it was.
    """

    def __init__(self, kind, **ports):
        assert kind == "SB_SPRAM256KA"
        self.ports = ports

    def elaborate(self, platform):
        m = Module()
        port = self.ports
        m.submodules.memory = storage = memory.Memory(shape=16, depth=1 << 14, init=[])
        read, write = storage.read_port(), storage.write_port(granularity=4)
        on = Signal()
        m.d.comb += [
            on.eq(port["i_CHIPSELECT"] & port["i_POWEROFF"]
                  & ~port["i_SLEEP"] & ~port["i_STANDBY"]),
            read.addr.eq(port["i_ADDRESS"]),
            read.en.eq(on & ~port["i_WREN"]),
            write.addr.eq(port["i_ADDRESS"]),
            write.data.eq(port["i_DATAIN"]),
            write.en.eq(port["i_MASKWREN"] & (on & port["i_WREN"]).replicate(4)),
            port["o_DATAOUT"].eq(read.data),
        ]
        return m


def rtl_weights(bench, config, operations, *, init=(), platform=None):
    """The words that are read by ("read", address), after ("write", address, part, data)."""
    dut = WeightMemory(config, init)
    words = []

    async def testbench(ctx):
        reads = []
        for name, address, *rest in [*operations, *[("none", 0)] * (config.weight_latency - 1)]:
            ctx.set(dut.read.address, address)
            ctx.set(dut.write.enable, name == "write")
            if name == "write":
                part, value = rest
                ctx.set(dut.write.address, part)
                ctx.set(dut.write.data, value)
            await ctx.tick()
            reads.append(name == "read")
            if reads[-config.weight_latency:][0] and len(reads) >= config.weight_latency:
                words.append(ctx.get(dut.read.data.as_value()))

    # The simulator itself would elaborate without a platform.
    bench.run(Fragment.get(dut, platform), testbench)
    return words


def reference_weights(config, operations, *, init=()):
    width = config.weight_width // config.weight_parts
    words = [*init, *[0] * (config.weight_words - len(init))]
    seen = []
    for name, address, *rest in operations:
        if name == "write":
            part, value = rest
            mask = ((1 << width) - 1) << (part * width)
            words[address] = words[address] & ~mask | value << (part * width) & mask
        else:
            seen.append(words[address])
    return seen


def random_operations(rng, config, count):
    addresses = rng.integers(min(config.weight_words, 8), size=count)
    for address in addresses.tolist():
        if rng.random() < 0.5:
            yield "write", address, int(rng.integers(config.weight_parts)), int(
                rng.integers(1 << 32))
        else:
            yield "read", address


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_list(bench, name):
    config = CONFIGS[name]
    operations = list(random_operations(np.random.default_rng(3), config, 300))
    assert rtl_weights(bench, config, operations) == reference_weights(config, operations)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "spram"])
def test_initial_words(bench, name):
    config = CONFIGS[name]
    rng = np.random.default_rng(4)
    init = [int.from_bytes(rng.bytes(12), "little") % (1 << config.weight_width)
            for _ in range(config.weight_words)]
    operations = [("read", address) for address in range(config.weight_words)]
    operations += random_operations(rng, config, 50)
    assert rtl_weights(bench, config, operations, init=init) == reference_weights(
        config, operations, init=init)


def test_spram_equals_list(bench, monkeypatch):
    monkeypatch.setattr(weights_module, "Instance", SpramModel)
    config = CONFIGS["spram"]
    operations = [("write", 16383, 0, 0x12345678), ("write", 16383, 1, 0x9ABCDEF0)]
    operations += random_operations(np.random.default_rng(5), config, 300)
    operations += [("read", 16383)]
    found = rtl_weights(
        bench, config, operations, platform=SimpleNamespace(device="iCE40UP5K"))
    assert found == reference_weights(config, operations)
    assert found[-1] == 0x9ABCDEF012345678


def test_spram_refuses_initial_words():
    with pytest.raises(ValueError, match=r"^SPRAM has no initial contents: load the"):
        WeightMemory(CONFIGS["spram"], [1])
