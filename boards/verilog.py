# SPDX-License-Identifier: Apache-2.0
"""The core as plain Verilog, for a designer who brings the rest of the system.

What the folder holds is documented in ``docs/verilog.md``; nothing in it needs Amaranth or Python.
"""

from pathlib import Path

from ttfs_fpga.boards.reports import VerilogReport
from ttfs_fpga.hdl.compiler import compile_network, minimal_config
from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.emit import core_ports, core_verilog, load_words
from ttfs_fpga.hdl.shapes import Memory, load_shape
from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import output_folder, write_json, write_text

__all__ = ["write_verilog"]


def write_verilog(
    network: Network | None,
    config: CoreConfig | None = None,
    *,
    output_dir: Path,
    **overrides: int | str,
) -> VerilogReport:
    """Write a core as Verilog, and what its memories must hold to run a network.

    Parameters
    ----------
    network : :class:`ttfs_sw.artifact.network.Network`, optional
        Without one, only the core and its ports are written.
    config : :class:`hdl.config.CoreConfig`, optional
        Sizes of the core; by default the smallest that runs the network.
    output_dir : :class:`pathlib.Path`
        Gets ``core.v``, ``core.ports.json``, ``load.hex`` and one ``.hex`` file a memory; and
        ``core.weights.hex``, which ``core.v`` reads, where the memories are initialised.
    overrides
        Fields of the configuration that the smallest core must have, such as ``lanes=8``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If neither a network nor a configuration is given, or an override is no legal size.
    :exc:`hdl.compiler.DoesNotFit`
        If the network does not fit the configuration.
    """
    program = None
    if network is not None:
        if config is None:
            try:
                config = minimal_config(network, **overrides)
            except TypeError as error:
                raise InputError(f"no such size of a core: {error}") from error
        program = compile_network(network, config)
    elif config is None:
        raise InputError("name a network, or a board whose core is wanted")
    # Single-port RAM of an iCE40 UP5K wakes up undefined: such a core must be loaded.
    initial = program if config.weight_memory != "spram" else None
    output_dir = output_folder(output_dir)
    core = Core(config, initial)
    files = {"verilog": output_dir / "core.v", "ports": output_dir / "core.ports.json"}
    weights = None
    if program is not None:
        files |= _write_load(program, output_dir)
    if initial is not None:
        files["initial_weights"] = output_dir / "core.weights.hex"
        words = initial.memory_words(Memory.WEIGHTS)
        digits = (config.weight_width + 3) // 4
        write_text(files["initial_weights"], "".join(f"{word:0{digits}x}\n" for word in words))
        weights = files["initial_weights"].name, len(words)
    write_text(files["verilog"], core_verilog(core, weights))
    write_json(files["ports"], core_ports(core))
    return VerilogReport(
        files={name: str(path) for name, path in files.items()},
        lanes=config.lanes,
        widths={
            "weight": config.weight_bits,
            "tick": config.tick_bits,
            "accumulator": config.accumulator_bits,
        },
        config=config.as_dict(),
        network_sha256=None if network is None else network.sha256,
        memories=None if program is None else program.report()["memories"],
        initialised=None if program is None else initial is not None,
    )


def _write_load(program: Program, folder: Path) -> dict[str, Path]:
    """Files for ``$readmemh``: every memory at the load port's addresses, and the whole load."""
    files = {"load": folder / "load.hex"}
    digits = (load_shape().size + 3) // 4
    write_text(files["load"], "".join(f"{word:0{digits}x}\n" for word in load_words(program)))
    for memory, contents in program.memories.items():
        name = memory.name.lower()
        files[name] = folder / f"{name}.hex"
        lines = []
        expected = 0
        for address, value in sorted(contents.items()):
            if address != expected:
                lines.append(f"@{address:x}")
            lines.append(f"{value & 0xFFFFFFFF:08x}")
            expected = address + 1
        write_text(files[name], "".join(f"{line}\n" for line in lines))
    return files
