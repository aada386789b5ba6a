# SPDX-License-Identifier: Apache-2.0
"""Routes a board once and prints which paths between registers are slow, one line a pair of ends.

    python benchmarks/paths.py icebreaker                     slower than 22 ns, outside the core
    python benchmarks/paths.py icebreaker --inside --limit 24
    python benchmarks/paths.py hx8k-evn --seed 3 --limit 11

nextpnr itself reports the slowest path of those that it times alone. This lists all that
``ttfs build`` judges a clock by (boards/timing.py). Outside the core is every path that touches a
cell outside it. What is routed already comes from the cache of ``ttfs build``.
"""

import argparse
import sys

from ttfs_fpga.boards.analysis import follow
from ttfs_fpga.boards.bitstream import make_bitstream
from ttfs_fpga.boards.registry import Board, find_board
from ttfs_fpga.boards.timing import Timing
from ttfs_fpga.boards.top import BoardTop
from ttfs_sw.common.errors import answered


def inside(name: str) -> bool:
    """Whether a cell is the core's; those that nextpnr adds belong to whatever is around them."""
    return name.startswith(("core.", "$nextpnr"))


def route(board: Board, seed: int) -> Timing:
    """Place and route the board's top, and follow its paths."""
    made = make_bitstream(board, BoardTop(board), seeds=(seed,))
    return follow(made.trials[0].folder / "top.sdf.gz",
                  made.synthesis_log.with_name("top.json"), board.device)


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
    groups = {}
    slowest = 0.0
    for path in route(board, options.seed).paths():
        delay, names = path.ps, path.cells()
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
