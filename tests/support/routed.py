# SPDX-License-Identifier: Apache-2.0
"""Routed designs of a few lines, as nextpnr writes their delays (SDF)."""

__all__ = ["cell", "one_register", "sdf", "shell", "wire"]


def wire(start: str, end: str, ps: float | str) -> str:
    """One wire between two pins."""
    return f"        (INTERCONNECT {start} {end} ({ps}:{ps}:{ps}) ({ps}:{ps}:{ps}))\n"


def cell(
    kind: str, name: str, arcs: dict[tuple[str, str], float] | None = None,
    checks: dict[tuple[str, str], float] | None = None, edge: str = "pos",
) -> str:
    """One cell: its arcs by their two ports, and its setups by port and clock."""
    lines = [f'  (CELL\n    (CELLTYPE "{kind}")\n    (INSTANCE {name})\n']
    lines += [f"        (IOPATH {start} {end} ({ps}:{ps}:{ps}) ({ps}:{ps}:{ps}))\n"
              for (start, end), ps in (arcs or {}).items()]
    lines += [f"      (SETUPHOLD (posedge {port}) ({edge}edge {clock}) ({ps}:{ps}:{ps}) (0:0:0))\n"
              for (port, clock), ps in (checks or {}).items()]
    return "".join(lines) + "  )\n"


def sdf(*parts: str) -> str:
    """The file of some wires and cells, the wires first."""
    wires = "".join(part for part in parts if "INTERCONNECT" in part)
    cells = "".join(part for part in parts if "INTERCONNECT" not in part)
    return ('(DELAYFILE\n  (SDFVERSION "3.0")\n  (TIMESCALE 1ps)\n  (CELL\n'
            '    (CELLTYPE "top")\n    (INSTANCE )\n' + wires + "  )\n" + cells + ")\n")


#: Of the path of :func:`one_register`, what is not its wire.
_REGISTER = 1390 + 1234


def one_register(ps: float | str) -> str:
    """A register of an iCE40 that feeds itself over a wire, in a loop that takes ``ps``."""
    rest = f"$(({ps} - {_REGISTER}))" if isinstance(ps, str) else ps - _REGISTER
    return sdf(
        wire("pll/PLLOUT_A", "toggle_LC/CLK", 900),
        wire("toggle_LC/O", "toggle_LC/I0", rest),
        cell("ICESTORM_PLL", "pll"),
        cell("ICESTORM_LC", "toggle_LC", {("CLK", "O"): 1390}, {("I0", "CLK"): 1234}),
    )


def shell(mhz: str) -> str:
    """Shell command that writes ``top.sdf``: :func:`one_register` at ``mhz``, as the shell counts.
    """
    return f"cat > top.sdf <<EOF\n{one_register(f'1000000 / ({mhz})')}EOF\n"
