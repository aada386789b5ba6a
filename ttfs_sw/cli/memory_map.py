# SPDX-License-Identifier: Apache-2.0
"""What ``--map`` adds to a report: where each layer lies in a core's memories, and its bounds."""

from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, TypedDict

from ttfs_sw.cli.tables import Rows, count

if TYPE_CHECKING:
    from ttfs_fpga.hdl.config import CoreConfig
    from ttfs_sw.artifact.network import Network

__all__ = ["MemoryMap", "add_map", "map_rows", "memory_map"]


class MemoryMap(TypedDict):
    """The two keys, as :meth:`hdl.compiler.program.Program.report` has them."""

    memories: dict[str, Any]
    layers: list[dict[str, Any]]


def add_map(parser: ArgumentParser) -> None:
    """The option that asks for it."""
    parser.add_argument(
        "--map", action="store_true",
        help="show where each layer lies in the core's memories, and the least and the greatest "
        "membrane potential that any image can give it",
    )


def memory_map(network: "Network", config: "CoreConfig") -> MemoryMap:
    """The map of ``network``, compiled for the core of the sizes ``config``."""
    from ttfs_fpga.hdl.compiler import compile_network

    compiled = compile_network(network, config).report()
    return MemoryMap(memories=compiled["memories"], layers=compiled["layers"])


def map_rows(memories: dict[str, Any] | None, layers: list[dict[str, Any]] | None) -> Rows:
    """How full the memories are, and where each layer lies in them, if that was asked for."""
    if memories is None or layers is None:
        return []

    def words(base: int | None, length: int) -> str:
        return "-" if base is None or not length else f"{base} to {base + length - 1}"

    rows: Rows = [("",), ("memory", "used", "of")]
    for name, memory in memories.items():
        rows.append((name, count(memory["used"]), count(memory["available"])))
    rows += [("",), ("layer", "weights", "potentials", "rows", "map", "least V", "greatest V")]
    for layer in layers:
        rows.append((
            layer["name"], words(layer["weight_base"], layer["weight_words"]),
            words(layer["membrane_base"], layer["window_rows"] * layer["row_words"]),
            f"{layer['window_rows']} of {layer['rows']}",
            words(layer["destination_base"], layer["destination_words"]),
            *(count(bound) for bound in layer["bounds"]),
        ))
    return rows
