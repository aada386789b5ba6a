# SPDX-License-Identifier: Apache-2.0
"""The cocotb bench of a whole board: passes on what the harness hands out, once a batch.

``TTFS_RECORDS`` is the number of the file descriptor of a pipe into which every record goes; see
:mod:`sim.device`, which reads them. The host's commands do not come this way: the harness reads
them itself.
"""

import os
from typing import Any

import cocotb

from ttfs_fpga.sim.exchange import Kind
from ttfs_fpga.sim.records import RECORD_BYTES

__all__ = ["the_host_is_served"]


@cocotb.test()
async def the_host_is_served(dut: Any) -> None:
    """Records are handed out until the host goes away."""
    change = dut.batch.value_change
    kind = None
    with os.fdopen(int(os.environ["TTFS_RECORDS"]), "wb") as pipe:
        while kind != Kind.END:
            await change
            count = dut.count.value.to_unsigned()
            content = dut.records.value.to_bytes(byteorder="little")[:count * RECORD_BYTES]
            # At once: the host waits for it. One that is gone breaks the pipe, and that ends the
            # simulation.
            pipe.write(content)
            pipe.flush()
            kind = content[-1]
