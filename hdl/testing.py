# SPDX-License-Identifier: Apache-2.0
"""Helpers for testbenches in Amaranth's simulator."""

from typing import Any

__all__ = ["stream_get", "stream_put", "watchdog"]


async def stream_put(ctx, stream, value: Any) -> None:
    """Offer ``value`` on an input stream until it is taken. Costs at least one cycle."""
    ctx.set(stream.payload, value)
    ctx.set(stream.valid, 1)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


async def stream_get(ctx, stream) -> Any:
    """Take one transfer from an output stream and give its payload. Costs at least one cycle."""
    ctx.set(stream.ready, 1)
    (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
    ctx.set(stream.ready, 0)
    return payload


def watchdog(cycles: int):
    """A background testbench that ends a simulation which takes more than ``cycles`` cycles.

    Use it as ``sim.add_testbench(watchdog(1000), background=True)``.
    """

    async def testbench(ctx):
        for _ in range(cycles):
            await ctx.tick()
        raise TimeoutError(f"the simulation did not end within {cycles} cycles")

    return testbench
