# SPDX-License-Identifier: Apache-2.0
"""What nextpnr does not know of the iCE40 UltraPlus' DSP block: the delays through an SB_MAC16.

nextpnr 0.11 takes every port of the block for a register with 100 ps, whatever is configured. Here
the block is followed stage by stage as its parameters connect it: inputs, products, their sum, the
two adders, outputs, each with its register or without.

The delays are the worst of IceStorm's table ``icefuzz/timings_up5k.txt`` (YosysHQ/icestorm
3cdcf4b, the third value of each triple, which is the slow corner, over all bits and both edges).
That table has whole blocks in eighteen configurations; the stages are differences of its entries,
each the greatest that any configuration shows, so that no way through a block comes out shorter
than in the table (tests/boards/families/test_mac16.py).
"""

from collections.abc import Collection, Mapping

from ttfs_fpga.boards.sdf import Arc, Cell, Check

__all__ = ["mac16"]

#: From the clock to a register's output inside the block.
_CLOCK_TO_REGISTER = 861
#: From an input to the 8 x 8 products, by operand; from these to the 16 x 16 product.
_PRODUCT = {"A": 4305, "B": 4902}
_SUM_OF_PRODUCTS = 3535
#: From what an adder takes to its result, by port; a product is where A or B can be.
_ADD = {"A": 2295, "B": 2631, "C": 2168, "D": 2523, "CI": 944, "ADDSUBTOP": 2173, "ADDSUBBOT": 2555}
#: The lower adder's carry into the upper adder.
_CARRY = 895
#: From what OLOAD loads, and from OLOAD itself, past the adder.
_LOAD = {"C": 300, "D": 300, "OLOADTOP": 455, "OLOADBOT": 455}
#: From an adder or a product to the output, and from the output register to it.
_OUT = 1737
_REGISTER_OUT = 1149
#: From the upper adder to the carries, and from the upper adder's lower input to its sign.
_CARRIES = {"ACCUMCO": 361, "CO": 1084}
_SIGN = 1173

#: Setup of ports: of an input register, where there is one, and of what controls registers. The
#: table has nothing on CE, which stops the same registers as HOLD does. Resets are asynchronous:
#: theirs is the recovery time.
_SETUP = {"A": 15, "B": 7, "C": 0, "D": 0}
_CONTROL = {"AHOLD": 378, "BHOLD": 351, "CHOLD": 261, "DHOLD": 319, "OHOLDTOP": 432,
            "OHOLDBOT": 432, "CE": 432, "IRSTTOP": 1125, "IRSTBOT": 1125, "ORSTTOP": 943,
            "ORSTBOT": 943}
#: Setup of the output register behind the adder. Those of products have theirs in the product.
_SETUP_OUT = 302


class _Block:
    """A block under construction: stages are pins of their own, with names in parentheses."""

    def __init__(self, edge: str):
        self.cell = Cell("ICESTORM_DSP")
        self._edge = edge

    def arc(self, start: str, end: str, ps: int = 0) -> None:
        self.cell.arcs.append(Arc(start, end, ps))

    def check(self, port: str, ps: int) -> None:
        self.cell.checks.append(Check(port, "CLK", self._edge, ps))

    def stage(self, name: str, registered: int, setup: int = 0) -> None:
        """Connect ``(name.d)`` to ``(name)``, through a register or not."""
        if registered:
            self.check(f"({name}.d)", setup)
            self.arc("CLK", f"({name})", _CLOCK_TO_REGISTER)
        else:
            self.arc(f"({name}.d)", f"({name})")


def _needed(cell: Cell, outputs: Collection[str]) -> set[str]:
    """The pins that something comes out of, at one of the outputs or through registers."""
    before: dict[str, list[str]] = {}
    for arc in cell.arcs:
        before.setdefault(arc.end, []).append(arc.start)
    needed, waiting = set(), list(outputs)
    while waiting:
        pin = waiting.pop()
        if pin in needed:
            continue
        needed.add(pin)
        waiting += before.get(pin, [])
        if "CLK" in before.get(pin, []):
            waiting.append(pin.replace(")", ".d)"))
    return needed


def mac16(parameters: Mapping[str, int], ports: Collection[str]) -> Cell:
    """Arcs and checks of a block.

    Parameters
    ----------
    parameters : mapping
        The block's parameters; those left out are 0, as in Yosys' model of the block.
    ports : collection of :class:`str`
        The ports that are connected, as nextpnr names them: ``A_0``, ``O_31``, ``CLK``.
    """
    def parameter(name):
        return parameters.get(name, 0)

    block = _Block("neg" if parameter("NEG_TRIGGER") else "pos")
    for port in "ABCD":
        block.stage(port, parameter(f"{port}_REG"), _SETUP[port])
    # The upper product F, the lower one G, the two across, J and K, and the sum of all, H.
    for product, registered in (
        ("F", "TOP_8x8_MULT_REG"), ("G", "BOT_8x8_MULT_REG"), ("JK", "PIPELINE_16x16_MULT_REG1"),
    ):
        for port in "AB":
            block.arc(f"({port})", f"({product}.d)", _PRODUCT[port])
        block.stage(product, parameter(registered))
        if not parameter("MODE_8x8"):
            block.arc(f"({product})", "(H.d)", _SUM_OF_PRODUCTS)
    block.stage("H", parameter("PIPELINE_16x16_MULT_REG2"))

    for half, lower, upper, product, outputs in (
        ("BOT", "B", "D", "G", range(16)), ("TOP", "A", "C", "F", range(16, 32)),
    ):
        adder, register = f"({half} adder)", f"{half} output"
        choice = parameter(f"{half}ADDSUB_LOWERINPUT")
        # What the upper adder takes with choice 3 is the sign of what the lower one takes, and what
        # that takes is the sign of the block below.
        name = (f"({lower})", f"({product})", "(H)", "(BOT lower)" if half == "TOP"
                else "SIGNEXTIN")[choice]
        block.arc(name, f"({half} lower)")
        block.arc(f"({half} lower)", adder, _ADD[lower])
        held = f"({register})"
        block.arc(f"({upper})" if parameter(f"{half}ADDSUB_UPPERINPUT") else held, adder,
                  _ADD[upper])
        block.arc(f"ADDSUB{half}", adder, _ADD[f"ADDSUB{half}"])
        block.arc(f"OLOAD{half}", adder, _LOAD[f"OLOAD{half}"])
        if f"OLOAD{half}" in ports:
            block.arc(f"({upper})", adder, _LOAD[upper])
        block.arc(adder, f"({register}.d)")
        block.stage(register, 1, _SETUP_OUT)
        source, ps = ((adder, _OUT), (held, _REGISTER_OUT), (f"({product})", _OUT),
                      ("(H)", _OUT))[parameter(f"{half}OUTPUT_SELECT")]
        for n in outputs:
            block.arc(source, f"O_{n}", ps)
    carry = parameter("BOTADDSUB_CARRYSELECT")
    if carry >= 2:
        block.arc("ACCUMCI" if carry == 2 else "CI", "(BOT adder)", _ADD["CI"])
    if parameter("TOPADDSUB_CARRYSELECT") >= 2:
        block.arc("(BOT adder)", "(TOP adder)", _CARRY)
    for port, ps in _CARRIES.items():
        block.arc("(TOP adder)", port, ps)
    block.arc("(TOP lower)", "SIGNEXTOUT", _SIGN)
    for port in ports:
        group = port.partition("_")[0]
        if port in _CONTROL:
            block.check(port, _CONTROL[port])
        elif group in "ABCD":
            block.arc(port, f"({group}.d)")

    needed = _needed(block.cell, [port for port in ports
                                  if port.startswith("O_") or port in (*_CARRIES, "SIGNEXTOUT")])
    cell = block.cell
    # Without a register in use there is nothing to control.
    clocked = any(arc.start == "CLK" and arc.end in needed for arc in cell.arcs)
    return Cell(
        cell.type,
        [arc for arc in cell.arcs if arc.end in needed],
        [check for check in cell.checks
         if check.port in needed or (clocked and check.port in _CONTROL)],
    )
