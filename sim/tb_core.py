# SPDX-License-Identifier: Apache-2.0
"""The cocotb bench of the core: takes what the harness hands out, once a batch of images.

It is a test like any other of cocotb, configured by environment variables:

``TTFS_RECORDS``
    Number of the file descriptor of a pipe into which every record goes. :mod:`sim.regression`
    reads and compares them, while this process simulates on.
``TTFS_VECTORS``
    A folder made by :mod:`sim.vectors`: the bench itself compares every event with what is expected
    there, and fails at the first mismatch. ``docs/cosim.md`` has the commands.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb

from ttfs_fpga.sim.records import RECORD_BYTES, Kind

__all__ = ["events_are_golden"]


@cocotb.test()
async def events_are_golden(dut: Any) -> None:
    """Every event of every layer and every logit is what the golden model expects."""
    take = _destination()
    change = dut.batch.value_change
    kind = None
    while kind != Kind.END:
        await change
        count = dut.count.value.to_unsigned()
        content = dut.records.value.to_bytes(byteorder="little")[:count * RECORD_BYTES]
        take(content)
        # The kind is a record's last byte, and nothing comes after the end.
        kind = content[-1]


def _destination() -> Callable[[bytes], None]:
    """What to do with records."""
    if "TTFS_RECORDS" in os.environ:
        pipe = os.fdopen(int(os.environ["TTFS_RECORDS"]), "wb")

        def write(content: bytes) -> None:
            # At once: whoever reads shows progress and may stop at the first mismatch. A reader
            # that is gone breaks the pipe, and that ends the simulation.
            pipe.write(content)
            pipe.flush()

        return write
    if "TTFS_VECTORS" not in os.environ:
        raise ValueError("set TTFS_VECTORS to a folder made by ttfs_fpga.sim.vectors")
    # Imported here: most simulations only pass records on.
    from ttfs_fpga.sim.vectors import Check

    return Check(Path(os.environ["TTFS_VECTORS"])).feed
