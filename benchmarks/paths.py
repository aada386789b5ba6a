"""Routes a board once and prints which paths between registers are slow, one line a pair of ends.

    python benchmarks/paths.py icebreaker                     slower than 22 ns, outside the core
    python benchmarks/paths.py icebreaker --inside --limit 24
    python benchmarks/paths.py hx8k-evn --seed 3 --limit 11

nextpnr itself reports the slowest path alone. This reads the delays that it writes for simulators
(SDF), follows every path, and names its cells as the designer did. Outside the core is every path
that touches a cell outside it. Synthesis comes from the cache of ``ttfs build``.
"""

import argparse
import collections
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from boards.bitstream import make_bitstream, make_plan
from boards.process import run_tool
from boards.registry import Board, find_board
from boards.toolchain import find_toolchain
from boards.top import BoardTop
from ttfs_sw.errors import answered

_WIRE = re.compile(r"\(INTERCONNECT (\S+) (\S+) \((\d+)")
_CELL = re.compile(r"\(INSTANCE (\S*)\)")
_ARC = re.compile(r"\(IOPATH (?:\(posedge )?(\S+?)\)? (\S+) \((\d+)")
_CHECK = re.compile(r"\(SETUPHOLD (?:\(\w+ )?(\S+?)\)? \(\w+ \S+?\) \((-?\d+)")
_CLOCK = re.compile(r"CLK|CLOCK", re.IGNORECASE)


class Timing:
    """Arrival times of a routed design, from its SDF file, in picoseconds."""

    def __init__(self, sdf: Path):
        self.after = collections.defaultdict(list)
        self.launch, self.setup = {}, {}
        self._read(sdf)
        self.arrival, self.before = dict(self.launch), {}
        self._propagate()

    def _read(self, sdf):
        cell = ""
        for line in sdf.read_text().splitlines():
            if found := _WIRE.search(line):
                self.after[found[1]].append((found[2], int(found[3])))
            elif found := _CELL.search(line):
                cell = found[1]
            elif found := _ARC.search(line):
                start, end, delay = f"{cell}/{found[1]}", f"{cell}/{found[2]}", int(found[3])
                if _CLOCK.search(found[1]):
                    self.launch[end] = max(delay, self.launch.get(end, 0))
                else:
                    self.after[start].append((end, delay))
            elif found := _CHECK.search(line):
                self.setup[f"{cell}/{found[1]}"] = int(found[2])

    def _propagate(self):
        waiting = collections.Counter(end for arcs in self.after.values() for end, _ in arcs)
        ready = [pin for pin in self.after if not waiting[pin]]
        while ready:
            pin = ready.pop()
            for end, delay in self.after.get(pin, ()):
                if pin in self.arrival and end not in self.launch:
                    time = self.arrival[pin] + delay
                    if time > self.arrival.get(end, -1):
                        self.arrival[end], self.before[end] = time, pin
                waiting[end] -= 1
                if not waiting[end]:
                    ready.append(end)

    def paths(self) -> Iterator[tuple[int, list[str]]]:
        """Delay and cells of the slowest path to every register's input, the slowest first."""
        ends = [(self.arrival[pin] + setup, pin)
                for pin, setup in self.setup.items() if pin in self.arrival]
        for delay, pin in sorted(ends, reverse=True):
            pins = [pin]
            while pins[-1] in self.before:
                pins.append(self.before[pins[-1]])
            names = [re.split(r"_(?:SB|TRELLIS)_", pin)[0].replace("\\", "") for pin in pins]
            names = [name.rpartition("/")[0] or name for name in reversed(names)]
            yield delay, [name for at, name in enumerate(names) if at == 0 or name != names[at - 1]]


def inside(name: str) -> bool:
    """Whether a cell is the core's; those that nextpnr adds belong to whatever is around them."""
    return name.startswith(("core.", "$nextpnr"))


def route(board: Board, seed: int, folder: Path) -> Path:
    """Place and route the board's top; the SDF file."""
    toolchain = find_toolchain(board.family)
    plan = make_plan(board, BoardTop(board))
    made = make_bitstream(board, BoardTop(board), seeds=(seed,), toolchain=toolchain)
    netlist = made.synthesis_log.with_name("top.json")
    for name, content in plan.files.items():
        if name.endswith((".pcf", ".lpf")):
            (folder / name).write_text(content)
    (folder / "top.json").write_bytes(netlist.read_bytes())
    tool, *arguments = json.loads(plan.files["build_top.json"])["commands"][1]
    options = ["--seed", str(seed), "--timing-allow-fail", "--sdf", "top.sdf"]
    run_tool([toolchain.path(tool), *arguments, *options], folder=folder)
    return folder / "top.sdf"


@answered
def main() -> int:
    """Print the slow paths of one board."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("board", metavar="BOARD")
    parser.add_argument("--seed", type=int, default=1, help="of place and route (default: 1)")
    parser.add_argument("--limit", type=float, default=22.0, metavar="NS", help="default: 22")
    parser.add_argument("--inside", action="store_true", help="the core's paths instead")
    options = parser.parse_args()
    board = find_board(options.board)
    with tempfile.TemporaryDirectory() as folder:
        timing = Timing(route(board, options.seed, Path(folder)))
    groups = {}
    slowest = 0.0
    for delay, names in timing.paths():
        if all(map(inside, names)) != options.inside:
            continue
        slowest = max(slowest, delay / 1000)
        if delay >= 1000 * options.limit:
            group = groups.setdefault((names[0], names[-1]), [0, delay / 1000, names])
            group[0] += 1
    print(f"slowest {slowest:.2f} ns")
    for count, delay, names in groups.values():
        print(f"{delay:6.2f} ns x{count:<3} {' > '.join(names)}")
    return 0 if not groups else 1


if __name__ == "__main__":
    sys.exit(main())
