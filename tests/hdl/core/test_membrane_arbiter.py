# SPDX-License-Identifier: Apache-2.0
"""Operations on the membrane memory, from all who ask, against a function of one cycle."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core.membrane_arbiter import MembraneArbiter
from ttfs_fpga.hdl.datapaths.mac import MacLanes
from ttfs_fpga.hdl.datapaths.ramp import RampLanes

OPERATION = ("valid", "sweep", "load", "peek", "word", "bias")


def random_cycles(rng, lanes, config, count):
    """Who asks, one a cycle as in the core, and what they and everything else say."""
    for _ in range(count):
        asks = rng.choice(["", "update", "sweep", "bias"])
        shape = lanes.update_shape(config)
        yield {
            "asks": asks,
            "update": {name: int(rng.integers(1 << field.width)) for name, field in shape},
            "sweep": {"word": int(rng.integers(64)), "bias": int(rng.integers(64))},
            "bias": {"word": int(rng.integers(64)), "weight": int(rng.integers(128)),
                     "write": {"code": int(rng.integers(16)), "add": int(rng.integers(2)),
                               "keep": int(rng.integers(2))}},
            "weights": int(rng.integers(1 << 16)),
        }


def rtl_arbiter(bench, lanes, config, cycles):
    """(operation if any, address of weights, operand a ``weight_latency`` later) of each cycle."""
    dut = MembraneArbiter(config, lanes)
    seen, operands = [], []

    async def testbench(ctx):
        for cycle in [*cycles, cycles[0]]:
            asks = cycle["asks"]
            ctx.set(dut.busy, asks != "bias")
            ctx.set(dut.updates.valid, asks == "update")
            ctx.set(dut.updates.p, cycle["update"])
            ctx.set(dut.biases.valid, asks == "bias")
            ctx.set(dut.biases.p, cycle["bias"])
            ctx.set(dut.sweep.valid, asks == "sweep")
            ctx.set(dut.sweep.sweep, 1)
            ctx.set(dut.sweep.word, cycle["sweep"]["word"])
            ctx.set(dut.sweep.bias, cycle["sweep"]["bias"])
            ctx.set(dut.weights.data.as_value(), cycle["weights"])
            assert ctx.get(dut.lanes.weights.as_value()) == cycle["weights"]
            operation = {name: ctx.get(getattr(dut.membrane, name)) for name in OPERATION}
            seen.append((operation if operation.pop("valid") else None,
                         ctx.get(dut.weights.address)))
            members = dut.lanes.operand.shape().members
            operands.append({name: ctx.get(dut.lanes.operand[name]) for name in members})
            await ctx.tick()

    # A clock for the testbench, where nothing of the arbiter has one.
    m = Module()
    m.submodules.dut = dut
    m.d.sync += Signal().eq(1)
    bench.run(m, testbench)
    return seen[:-1], operands[config.weight_latency - 1:][:len(cycles)]


def reference_arbiter(lanes, cycles):
    ramp = lanes is RampLanes
    seen, operands = [], []
    for cycle in cycles:
        asks, update, bias, sweep = (cycle[name] for name in ("asks", "update", "bias", "sweep"))
        write = bias["write"]
        keep = ramp and write["keep"]
        operation = {
            "": None,
            "update": {"sweep": update.get("sweep", 0), "load": 0, "peek": update.get("peek", 0),
                       "word": update["word"], "bias": update["bias"]},
            "sweep": {"sweep": 1, "load": 0, "peek": 0, **sweep},
            "bias": {"sweep": 0, "load": 1, "peek": int(keep), "word": bias["word"],
                     "bias": bias["word"] if write["add"] or keep else 0},
        }[asks]
        seen.append((operation, bias["weight"] if asks == "bias" else update["weight"]))
        if not ramp:
            operands.append({"code": (write if asks == "bias" else update)["code"]})
        elif asks == "bias":
            operands.append({"event": write["code"] & 1, "zero": keep, "keep": keep})
        else:
            operands.append({name: update[name] if asks == "update" else 0
                             for name in ("event", "zero", "keep")})
    return seen, operands


@pytest.mark.parametrize("memory", ["block", "spram"])
@pytest.mark.parametrize("lanes", [MacLanes, RampLanes])
def test_equals_a_function_of_one_cycle(bench, lanes, memory):
    config = CoreConfig(
        membrane_words=64, weight_memory=memory, weight_words=16384 if memory == "spram" else 128,
        datapath="ramp" if lanes is RampLanes else "mac")
    cycles = list(random_cycles(np.random.default_rng(2), lanes, config, 300))
    assert rtl_arbiter(bench, lanes, config, cycles) == reference_arbiter(lanes, cycles)


def test_the_sweep_gets_the_answers(bench):
    dut = MembraneArbiter(CoreConfig(), MacLanes)

    async def testbench(ctx):
        for name in "stall", "updating", "sweeping", "coming":
            told, heard = dut.sweep, dut.membrane
            if name != "stall":
                told, heard = heard, told
            for value in 1, 0:
                ctx.set(getattr(told, name), value)
                assert ctx.get(getattr(heard, name)) == value
        potentials = list(range(-8, 8))
        ctx.set(dut.membrane.potentials, potentials)
        assert list(ctx.get(dut.sweep.potentials)) == potentials

    bench.run(dut, testbench)
