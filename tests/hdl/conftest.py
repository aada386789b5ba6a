"""What the testbenches share: checked memories, ends of streams, one way to run a simulation."""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Assert, Module
from amaranth.lib import memory
from amaranth.sim import Simulator

from hdl.testing import watchdog


class CheckedMemory(memory.Memory):
    """A memory that ends the simulation when a word is read in the cycle in which it is written.

    Amaranth's simulator gives the old word then. Boards are built without the logic that would make
    block RAM do the same, so what a chip gives is undefined.
    """

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = super().elaborate(platform)
        for read in self.read_ports:
            for write in self.write_ports:
                collision = read.en & write.en.any() & (read.addr == write.addr)
                m.d.sync += Assert(~collision, "a memory word is read while it is written")
        return m


@pytest.fixture(scope="session", autouse=True)
def checked_memories() -> Iterator[None]:
    """Every memory of every simulation under this folder is a :class:`CheckedMemory`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "Memory", CheckedMemory)
        yield


class Source:
    """Offers values to an input stream, with idle cycles between them at random.

    ``run`` is the testbench; ``cycles`` says when each value was taken, counted from the start of
    the simulation.
    """

    def __init__(self, stream, values, *, pause: float = 0.0, seed: int = 0):
        self.stream, self.values, self.pause = stream, list(values), pause
        self.rng = np.random.default_rng(seed)
        self.cycles: list[int] = []

    async def run(self, ctx) -> None:
        cycle = 0
        for value in self.values:
            while self.pause and self.rng.random() < self.pause:
                await ctx.tick()
                cycle += 1
            ctx.set(self.stream.payload, value)
            ctx.set(self.stream.valid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(self.stream.ready)
                cycle += 1
            ctx.set(self.stream.valid, 0)
            self.cycles.append(cycle - 1)


class Sink:
    """Takes transfers from an output stream, with back-pressure at random, and checks its rules.

    Once valid, neither valid nor payload may change until the transfer. ``run`` is the testbench
    and ends after ``count`` transfers, or never; ``values`` are what was taken, ``cycles`` when.
    """

    def __init__(self, stream, count: int | None = None, *, pause: float = 0.0, seed: int = 0):
        self.stream, self.count, self.pause = stream, count, pause
        self.rng = np.random.default_rng(seed)
        self.values: list = []
        self.cycles: list[int] = []

    async def run(self, ctx) -> None:
        cycle, offered, settable = 0, None, self.stream.signature.always_ready is False
        while self.count is None or len(self.values) < self.count:
            ready = not self.pause or self.rng.random() >= self.pause
            if settable:
                ctx.set(self.stream.ready, int(ready))
            _, _, valid, payload = await ctx.tick().sample(self.stream.valid, self.stream.payload)
            if offered is not None:
                assert valid and payload == offered, f"changed before its transfer: {offered}"
            offered = payload if valid and not ready else None
            if valid and ready:
                self.values.append(payload)
                self.cycles.append(cycle)
            cycle += 1


def run(dut, *testbenches, background=(), cycles: int = 20_000) -> None:
    """Simulate until every one of ``testbenches`` has ended; fail after so many cycles."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in (*background, watchdog(cycles)):
        simulator.add_testbench(testbench, background=True)
    simulator.run()


@pytest.fixture(scope="session")
def bench() -> SimpleNamespace:
    """``bench.run``, ``bench.Source`` and ``bench.Sink``, which test modules cannot import."""
    return SimpleNamespace(run=run, Source=Source, Sink=Sink)
