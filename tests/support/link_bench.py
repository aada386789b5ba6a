# SPDX-License-Identifier: Apache-2.0
"""A host and a core, played by the test, around the link of a board."""

import dataclasses

from amaranth.sim import Simulator

from ttfs_fpga.boards.frames import BYTE_CYCLES
from ttfs_fpga.boards.link import Link
from ttfs_fpga.boards.recorder import RecordMap
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.testing import watchdog
from ttfs_sw.link.protocol import REPLY, Identity, LoadState, Result, Source, Status

__all__ = ["CONFIG", "INPUTS", "Bench", "identity", "request", "result_of", "status_of"]

CONFIG = CoreConfig(lanes=4, weight_words=512, membrane_words=64, input_words=16, map_words=16,
                    layers=4)
INPUTS = 5


def identity(config: CoreConfig) -> Identity:
    places = RecordMap(config)
    sizes = config.as_dict()
    names = {field.name for field in dataclasses.fields(Identity)} & sizes.keys()
    return Identity(
        protocol_version=1, logit_bytes=places.logit_bytes, max_logits=places.max_logits,
        event_gap=300, fingerprint=config.fingerprint, clock_hz=36_000_000, baud=1_000_000,
        board="bench", **{name: sizes[name] for name in names},
    )


class Bench:
    """A link between a host and a core that are played by the test.

    The core answers an image with ``logits``; with ``core_error`` it gives up, and without logits
    it does not answer at all.
    """

    def __init__(self, config=CONFIG, *, logits=(3, -7, 12, 12), timeout_bits=12):
        self.config = config
        self.identity = identity(config)
        self.dut = Link(config, self.identity, timeout_bits)
        self.logits, self.core_error, self.core_stalls = list(logits), 0, False
        self.samples, self.chunks = [], bytearray()
        self.starts = self.stops = self.resets = 0

    def run(self, body):
        """Run ``body(request)``; ``await request(payload)`` gives the reply, None for none."""
        async def testbench(ctx):
            self.ctx = ctx
            ctx.set(self.dut.loader.state, LoadState.READY)
            ctx.set(self.dut.loader.last_input, INPUTS - 1)
            ctx.set(self.dut.loader.source, Source.FLASH)
            await body(self.request)

        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        sim.add_testbench(self._core, background=True)
        sim.add_testbench(self._answer, background=True)
        sim.add_testbench(self._loader, background=True)
        sim.add_testbench(watchdog(60_000), background=True)
        sim.run()

    async def send(self, payload: bytes, *, good: bool = True, end: bool = True) -> None:
        """Put one frame's payload and verdict on the link's receiving side."""
        for byte in payload:
            self.ctx.set(self.dut.rx.bytes.payload, byte)
            await self._pulse(self.dut.rx.bytes.valid)
        if end:
            self.ctx.set(self.dut.rx.good, good)
            await self._pulse(self.dut.rx.end)

    async def _pulse(self, signal) -> None:
        self.ctx.set(signal, 1)
        await self.ctx.tick()
        self.ctx.set(signal, 0)
        await self.ctx.tick().repeat(BYTE_CYCLES - 1)

    async def receive(self, patience: int = 300) -> bytes | None:
        """The next reply, or None when there is none for so many cycles."""
        reply, waited = bytearray(), 0
        self.ctx.set(self.dut.tx.ready, 1)
        while waited < patience:
            _, _, valid, item = await self.ctx.tick().sample(
                self.dut.tx.valid, self.dut.tx.payload)
            waited = 0 if valid else waited + 1
            if valid:
                reply.append(item.data)
                if item.last:
                    self.ctx.set(self.dut.tx.ready, 0)
                    # The next request cannot begin before the frame's CRC and flag have been sent.
                    await self.ctx.tick().repeat(BYTE_CYCLES)
                    return bytes(reply)
        self.ctx.set(self.dut.tx.ready, 0)
        assert not reply, "the reply does not end"
        return None

    async def request(self, payload: bytes, *, good: bool = True) -> bytes | None:
        await self.send(payload, good=good)
        return await self.receive(5000)

    async def _core(self, ctx):
        dut = self.dut
        ctx.set(dut.core.samples.ready, 1)
        async for _, _, valid, sample, restart, reset in ctx.tick().sample(
            dut.core.samples.valid, dut.core.samples.payload, dut.core.restart, dut.core.reset
        ):
            if restart or reset:
                self.samples.clear()
                self.resets += reset
            elif valid:
                self.samples.append((sample.value, sample.raw))

    async def _answer(self, ctx):
        dut = self.dut
        while True:
            await ctx.tick()
            ctx.set(dut.core.error, self.core_error)
            if len(self.samples) < INPUTS or self.core_stalls or self.core_error:
                continue
            last = len(self.logits) - 1
            for layer, (events, clock) in enumerate([(3, 70), (2, 0x12345)]):
                ctx.set(dut.core.statistics.payload,
                        {"layer": layer, "events": events, "clock": clock})
                ctx.set(dut.core.statistics.valid, 1)
                await ctx.tick()
                ctx.set(dut.core.statistics.valid, 0)
                for _ in range(8):
                    await ctx.tick()
            ctx.set(dut.core.cycles, 0xABCDE)
            for index, value in enumerate(self.logits):
                winner = self.logits.index(max(self.logits[:index + 1]))
                ctx.set(dut.core.logits.payload, {"index": index, "value": value, "winner": winner,
                                             "last": index == last})
                ctx.set(dut.core.logits.valid, 1)
                await ctx.tick().until(dut.core.logits.ready)
                ctx.set(dut.core.logits.valid, 0)
            self.samples.clear()

    async def _loader(self, ctx):
        dut = self.dut
        ctx.set(dut.loader.image.ready, 1)
        async for _, _, valid, byte, start, stop in ctx.tick().sample(
            dut.loader.image.valid, dut.loader.image.payload, dut.loader.start, dut.loader.stop
        ):
            self.starts += start
            self.stops += stop
            if valid:
                self.chunks.append(byte)


def request(command: int, body: bytes = b"", tag: int = 0x5A) -> bytes:
    return bytes([command, tag]) + body


def status_of(reply: bytes, command: int, tag: int | None = 0x5A) -> Status:
    assert reply[0] == command | REPLY
    assert tag is None or reply[1] == tag
    return Status(reply[2])


def result_of(bench: Bench, reply: bytes) -> Result:
    assert reply[2] == Status.OK
    return Result.unpack(reply[3:], bench.identity)
