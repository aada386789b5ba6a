"""The core as Verilog, with everything that a simulator needs to know about it."""

import dataclasses
import functools
import json
import re
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Signal, ValueCastable
from amaranth.lib import wiring

from hdl.config import CoreConfig
from hdl.core import Core
from hdl.shapes import load_shape, logit_shape, sample_shape, spike_shape, statistics_shape
from sim.records import PAYLOAD_BITS

__all__ = ["Sources", "emit", "emit_component"]

HARNESS = Path(__file__).with_name("harness.v")

#: What Amaranth's Verilog makes Verilator warn of. Warnings of anything else stop the build.
_QUIET = (
    "CASEINCOMPLETE", "CASEOVERLAP", "CMPCONST", "INITIALDLY", "TIMESCALEMOD", "UNOPTFLAT",
    "UNSIGNED", "WIDTHEXPAND", "WIDTHTRUNC",
)

#: Yosys wakes combinational processes with a variable that changes at time 0. In SystemVerilog an
#: initialiser is no change, and Icarus would leave what depends on constants alone undefined; an
#: assignment that comes after all processes have started is one, in every simulator.
_START = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+ ) = 0;$", re.MULTILINE)

#: The harness's variables that Python reads. Everything else may be optimised away.
_PUBLIC = ("batch", "count", "records")


@dataclasses.dataclass(frozen=True)
class Sources:
    """Files of one design under simulation, by name.

    Parameters
    ----------
    files : :class:`dict`
        ``core.v``, the core; ``core.ports.json``, its ports with their widths; ``harness.v``;
        ``sizes.vh``, the widths that the harness needs; ``core.vlt``, which tells Verilator what
        to leave alone and what Python reads.
    """

    files: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write every file into ``folder``."""
        for name, content in self.files.items():
            (folder / name).write_text(content)


def emit_component(component: wiring.Component, name: str = "core") -> tuple[str, str]:
    """Verilog of a component, and its ports as JSON.

    Ports are called after the path to them, joined by ``__``; what is constant, like ``ready`` of a
    stream that is always ready, is no port.
    """
    ports = []
    for path, _, value in component.signature.flatten(component):
        value = value.as_value() if isinstance(value, ValueCastable) else value
        if isinstance(value, Signal):
            ports.append(("__".join(map(str, path)), value, None))
    # Source positions are paths of this machine, and would make every file different.
    text = verilog.convert(
        component, name=name, ports=ports, strip_internal_attrs=True, emit_src=False
    )
    text = _START.sub(r"  reg \1;\n  initial \1 <= 0;", text)
    return text, json.dumps(component.metadata.as_json(), indent=2) + "\n"


@functools.lru_cache(maxsize=4)
def emit(config: CoreConfig) -> Sources:
    """All files of the core with memories that are to be loaded, for the given sizes."""
    core, ports = emit_component(Core(config))
    return with_harness(config, core, ports)


def with_harness(config: CoreConfig, core: str, ports: str) -> Sources:
    """All files of a core, any Verilog module ``core`` with the ports of :class:`hdl.Core`."""
    payloads = {
        "LOAD": load_shape(),
        "SAMPLE": sample_shape(),
        "LOGIT": logit_shape(config),
        "SPIKE": spike_shape(config),
        "STATISTICS": statistics_shape(config),
    }
    sizes = {f"{name}_WIDTH": shape.size for name, shape in payloads.items()}
    widest = max(sizes.values())
    if widest > PAYLOAD_BITS:
        raise ValueError(f"a payload has {widest} bits, but a record holds {PAYLOAD_BITS}")
    sizes["LOGIT_LAST"] = payloads["LOGIT"]["last"].offset
    control = [
        "`verilator_config",
        *(f'lint_off -rule {rule} -file "*core.v"' for rule in _QUIET),
        *(f'public_flat_rd -module "harness" -var "{name}"' for name in _PUBLIC),
    ]
    return Sources({
        "core.v": core,
        "core.ports.json": ports,
        "core.vlt": "\n".join(control) + "\n",
        "harness.v": HARNESS.read_text(),
        "sizes.vh": "".join(f"localparam integer {name} = {value};\n"
                            for name, value in sizes.items()),
    })
