# SPDX-License-Identifier: Apache-2.0
"""The design under simulation: the core as Verilog, and the harness around it."""

import dataclasses
import functools
import json
from pathlib import Path

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.emit import core_ports, core_verilog
from ttfs_fpga.hdl.shapes import (
    load_shape,
    logit_shape,
    sample_shape,
    spike_shape,
    statistics_shape,
)
from ttfs_fpga.sim.records import PAYLOAD_BITS

__all__ = ["Sources", "emit", "sizes_header", "source", "verilator_control", "with_harness"]

#: The harness's variables that Python reads. Everything else may be optimised away.
_PUBLIC = ("batch", "count", "records")


@dataclasses.dataclass(frozen=True)
class Sources:
    """Files of one design under simulation, by name.

    Parameters
    ----------
    files : :class:`dict`
        Every ``.v`` and ``.vlt`` is compiled; the module at the top is called ``harness``. For the
        core: ``core.v``; ``core.ports.json``, its ports with their fields; ``harness.v``;
        ``sizes.vh``, the widths that the harness needs; ``core.vlt``, which tells Verilator what
        Python reads, and so must be left in place.
    """

    files: dict[str, str]

    def named(self, suffix: str) -> list[str]:
        """Names of the files that end so."""
        return [name for name in self.files if name.endswith(suffix)]

    def write(self, folder: Path) -> None:
        """Write every file into ``folder``."""
        for name, content in self.files.items():
            (folder / name).write_text(content)


@functools.lru_cache(maxsize=4)
def emit(config: CoreConfig) -> Sources:
    """The design of the given sizes, its memories to be loaded.

    Raises
    ------
    :exc:`hdl.emit.NoYosys`
        If there is no Yosys to write Verilog.
    """
    core = Core(config)
    return with_harness(config, core_verilog(core), core_ports(core))


def with_harness(config: CoreConfig, core: str, ports: list[dict]) -> Sources:
    """The design around any Verilog module ``core`` with the ports of :class:`hdl.core.Core`."""
    payloads = {
        "LOAD": load_shape(),
        "SAMPLE": sample_shape(config),
        "LOGIT": logit_shape(config),
        "SPIKE": spike_shape(config),
        "STATISTICS": statistics_shape(config),
    }
    sizes = {f"{name}_WIDTH": shape.size for name, shape in payloads.items()}
    widest = max(sizes.values())
    if widest > PAYLOAD_BITS:
        raise ValueError(f"a payload has {widest} bits, but a record holds {PAYLOAD_BITS}")
    sizes["LOGIT_LAST"] = payloads["LOGIT"]["last"].offset
    # 0 says that there are no pairs.
    sizes["SAMPLE_SECOND"] = payloads["SAMPLE"]["second"].offset if config.samples == 2 else 0
    return Sources({
        "core.v": core,
        "core.ports.json": json.dumps(ports, indent=2) + "\n",
        "core.vlt": verilator_control("core.v"),
        "harness.v": source("harness.v"),
        "sizes.vh": sizes_header(sizes),
    })


def source(name: str) -> str:
    """A Verilog file of this package."""
    return Path(__file__).with_name(name).read_text()


def sizes_header(sizes: dict[str, int]) -> str:
    """Constants as Verilog, to be included in a module."""
    return "".join(f"localparam integer {name} = {value};\n" for name, value in sizes.items())


def verilator_control(design: str) -> str:
    """What Verilator must know: what Python reads, and what it need not mention of a design."""
    control = [
        "`verilator_config",
        f'lint_off -rule INITIALDLY -file "*{design}"',
        # Only the ramp datapath shows its time, and only a waveform looks at it.
        'lint_off -rule PINMISSING -file "*harness.v" -match "*time__*"',
        *(f'public_flat_rd -module "harness" -var "{name}"' for name in _PUBLIC),
    ]
    return "\n".join(control) + "\n"
