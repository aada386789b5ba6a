# SPDX-License-Identifier: Apache-2.0
"""Builds the boards and prints, as JSON, how full each device is and how fast each clock may be.

    python benchmarks/builds.py                       every board, stops at the first good seed
    python benchmarks/builds.py icebreaker --seeds 8 --exhaustive
    python benchmarks/builds.py icebreaker --nextpnr-opts="--opt-timing" --synth-opts="-dsp -abc9"

Finished steps come from the cache of ``ttfs build``; their times are those of their own run.
"""

import argparse
import dataclasses
import json
import logging
import shlex
import statistics
import sys

from ttfs_fpga.boards import analysis, report
from ttfs_fpga.boards.bitstream import make_bitstream
from ttfs_fpga.boards.registry import BOARDS, Board, find_board
from ttfs_fpga.boards.toolchain import find_toolchain
from ttfs_fpga.boards.top import BoardTop
from ttfs_sw.common.errors import answered


def measure(board: Board, seeds: range, exhaustive: bool) -> dict:
    """Build one board's bitstream and say what came of it."""
    toolchain = find_toolchain(board.family)
    made = make_bitstream(
        board, BoardTop(board), seeds=seeds, exhaustive=exhaustive, toolchain=toolchain
    )
    slowest = [
        min(trial.fmax_mhz.values(), key=lambda clock: clock.achieved / clock.constraint)
        for trial in made.trials
    ]
    achieved = [clock.achieved for clock in slowest]
    return {
        "board": board.name,
        "device": board.device,
        "toolchain": toolchain.identity,
        "synth_opts": list(board.synth_opts),
        "nextpnr_opts": list(board.nextpnr_opts),
        "utilization": {
            kind: cells.as_dict()
            for kind, cells in report.utilization(made.nextpnr).items() if cells.used
        },
        "clock_mhz": board.clock_mhz,
        "fmax_mhz": {name: clock.as_dict() for name, clock in made.fmax_mhz.items()},
        "fmax_of_seeds_mhz": {
            "seeds": [trial.seed for trial in made.trials],
            "achieved": achieved,
            "median": round(statistics.median(achieved), 2),
        },
        "timing_met": made.missed is None,
        "slowest_path": analysis.slowest_paths(made.slowest).splitlines(),
        "critical_path": report.critical_path(made.nextpnr).splitlines(),
        "steps": [dataclasses.asdict(step) for step in made.steps],
    }


@answered
def main() -> int:
    """Measure the boards named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("boards", nargs="*", metavar="BOARD", help="default: all boards")
    parser.add_argument("--seeds", type=int, default=4, help="seeds to try, from 1 (default: 4)")
    parser.add_argument("--exhaustive", action="store_true", help="try every seed")
    parser.add_argument("--nextpnr-opts", help="instead of the board's own")
    parser.add_argument("--synth-opts", help="instead of the board's own")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    results = []
    for name in options.boards or BOARDS:
        board = find_board(name)
        if options.nextpnr_opts is not None:
            given = tuple(shlex.split(options.nextpnr_opts))
            board = dataclasses.replace(board, nextpnr_opts=given)
        if options.synth_opts is not None:
            given = tuple(shlex.split(options.synth_opts))
            board = dataclasses.replace(board, synth_opts=given)
        results.append(measure(board, range(1, 1 + options.seeds), options.exhaustive))
    json.dump(results, sys.stdout, indent=2)
    print()
    return 0 if all(result["timing_met"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
