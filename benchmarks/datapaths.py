# SPDX-License-Identifier: Apache-2.0
"""The three datapaths side by side: logic cells, clock, and cycles on the same networks.

    python benchmarks/datapaths.py                  print the table
    python benchmarks/datapaths.py --write          put it into docs/performance.md too
    python benchmarks/datapaths.py --seeds 8        place and route with more seeds

Each is the core of the iCEBreaker, with the board around it, and runs the networks of
``tests/trained`` on MNIST's test images (``TTFS_DATA``). The report, ``runs/bench/datapaths.json``,
has all of it; what a datapath cannot run is left out of its row.
"""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builds import measure
from table import put_table

from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.hdl.compiler import DoesNotFit
from ttfs_fpga.hdl.config import DATAPATHS
from ttfs_fpga.hdl.datapaths import datapath_named
from ttfs_fpga.sim import cosim
from ttfs_sw.artifact.network import Network
from ttfs_sw.cli.tables import count
from ttfs_sw.common.errors import answered
from ttfs_sw.common.files import output_folder, write_json
from ttfs_sw.data import datasets

BOARD = "icebreaker"
NETWORKS = ("mnist-mlp", "mnist-mlp-256", "mnist-lenet")
#: Marks of the table in its page.
MARKS = "datapaths.py"


def cycles(datapath: str, name: str, images: int) -> dict[str, Any] | None:
    """What a co-simulation says of a network; None if the datapath cannot run it."""
    network = Network.load(Path("tests/trained") / f"{name}.npz")
    mnist = datasets.load("mnist")
    config = BOARDS[BOARD].with_datapath(datapath).config
    try:
        report = cosim.run(network, mnist.x_test[:images], mnist.y_test[:images], config=config)
    except DoesNotFit as refusal:
        logging.info("%s", refusal)
        return None
    keys = ("images", "mismatched_events", "accuracy", "cycles", "roofline_cycles", "over_target")
    found = report.as_dict()
    return {key: found[key] for key in keys}


def markdown(found: Sequence[dict]) -> str:
    """The measurements as a table."""
    heads = ["datapath", "multipliers", "logic cells", "block RAMs", "DSP", "clock, MHz",
             *(f"`{name}`, cycles" for name in NETWORKS)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in found:
        cells = {kind: used["used"] for kind, used in row["build"]["utilization"].items()}
        speeds = row["build"]["fmax_of_seeds_mhz"]["achieved"]
        runs = [row["networks"][name] for name in NETWORKS]
        lines.append("| " + " | ".join([
            f"`{row['datapath']}`",
            datapath_named(row["datapath"]).multipliers,
            count(cells["ICESTORM_LC"]), count(cells["ICESTORM_RAM"]),
            count(cells.get("ICESTORM_DSP", 0)), f"{max(speeds):.1f}",
            *(f"{run['cycles']['median']:,.0f} ({run['roofline_cycles']['median']:,.0f})"
              .replace(",", " ") if run else "dense layers only" for run in runs),
        ]) + " |")
    images = next(run["images"] for run in found[0]["networks"].values() if run)
    seeds = len(found[0]["build"]["fmax_of_seeds_mhz"]["seeds"])
    lines += ["", f"The first {count(images)} test images, none with a difference; the best clock "
                  f"of {seeds} seed{'s' * (seeds > 1)}."]
    return "\n".join(lines) + "\n"


@answered
def main() -> int:
    """Measure all datapaths."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of place and route (default 3)")
    parser.add_argument("--limit", type=int, default=10_000, help="images (default: 10 000)")
    parser.add_argument("--write", action="store_true", help="put the table into its page")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = []
    for datapath in DATAPATHS:
        board = BOARDS[BOARD].with_datapath(datapath)
        networks = {name: cycles(datapath, name, options.limit) for name in NETWORKS}
        assert all(run is None or not run["mismatched_events"] for run in networks.values())
        # All seeds at the same clock, which none need reach.
        board = dataclasses.replace(board, seeds=())
        built = measure(board, range(1, 1 + options.seeds), exhaustive=True)
        found.append({"datapath": datapath, "networks": networks, "build": built})
        print(markdown(found), flush=True)
    write_json(output_folder("runs/bench") / "datapaths.json", found)
    if options.write:
        put_table(Path("docs/performance.md"), markdown(found), MARKS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
