# SPDX-License-Identifier: Apache-2.0
"""Layers of ordinary networks that take more cycles than their target, and why.

    python benchmarks/layers.py            print the table
    python benchmarks/layers.py --write    put it into docs/core.md too

Networks of usual shapes get random integers, biases with which about a quarter of the neurons fire,
and images from black to full, on a core of 16 lanes. The report, ``runs/bench/layers.json``, has
all that ``ttfs cosim`` says of each.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from table import put_table

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.sim import cosim
from ttfs_fpga.sim.reports import Cosimulation
from ttfs_sw.artifact.kinds import KINDS
from ttfs_sw.artifact.network import Layer, Network, linear_codes
from ttfs_sw.cli.tables import count
from ttfs_sw.common.errors import FailureError, answered
from ttfs_sw.common.files import output_folder, write_json

CORE = CoreConfig(
    lanes=16, weight_bits=4, tick_bits=4, accumulator_bits=24, weight_words=1 << 16,
    membrane_words=256, input_words=1024, map_words=1024, slopes=256, layers=6, table_words=1024,
    samples=2,
)
T, IMAGES, MARKS = 15, 40, "layers.py"

#: Shape of the image, and of each layer before the read-out: kind, channels, kernel, stride, pool,
#: and the layer that a residual adds, if any. Padding keeps the size where the stride is 1.
NETWORKS = {
    "8c3-16c3-p2-16c3-10, 8×8": ((8, 8, 1), [
        ("conv2d", 8, 3, 1, 1), ("conv2d", 16, 3, 1, 2), ("conv2d", 16, 3, 1, 1)]),
    "8c3-p2-16c3-p2-32c3-10, 28×28": ((28, 28, 1), [
        ("conv2d", 8, 3, 1, 2), ("conv2d", 16, 3, 1, 2), ("conv2d", 32, 3, 1, 1)]),
    "16c5/2-32c3/2-10, 28×28": ((28, 28, 1), [
        ("conv2d", 16, 5, 2, 1), ("conv2d", 32, 3, 2, 1)]),
    "depthwise separable, 16×16×3": ((16, 16, 3), [
        ("conv2d", 8, 3, 2, 1), ("depthwise", 8, 3, 1, 1), ("conv2d", 16, 1, 1, 1),
        ("depthwise", 16, 3, 2, 1), ("conv2d", 32, 1, 1, 1)]),
    "residual block of 16 channels, 8×8×3": ((8, 8, 3), [
        ("conv2d", 16, 3, 1, 1), ("conv2d", 16, 3, 1, 1), ("conv2d", 16, 3, 1, 1, 0)]),
    "16c1-16c1-10, 12×12×16": ((12, 12, 16), [("conv2d", 16, 1, 1, 1), ("conv2d", 16, 1, 1, 1)]),
}


def made(shape: tuple[int, int, int], specs: Sequence[tuple], rng: np.random.Generator) -> Network:
    """A network of these shapes with random integers."""
    layers, shapes = [], [shape]
    for index, spec in enumerate([*specs, ("dense", 10, 1, 1, 1)]):
        kind, channels, kernel, stride, pool, *second = spec
        source, spiking = shapes[-1], index < len(specs)
        if KINDS[kind].flat:
            source = (1, 1, math.prod(source))
        out = tuple((size + 2 * (kernel // 2) - kernel) // stride + 1 for size in source[:2])
        weight = rng.integers(
            -8, 8, KINDS[kind].weight_shape((kernel, kernel), source[2], channels))
        # The spread of a potential, were all inputs on half of the time.
        spread = math.sqrt(weight.size / channels) * 4.6 * T / 4
        fires = channels if spiking else 0
        layers.append(Layer(
            name=f"{kind}{index + 1}", kind=kind, source=index - 1,
            second_source=second[0] if second else None, residual_shift=2 if second else 0,
            in_shape=source, out_shape=(*out, channels), kernel=(kernel, kernel),
            stride=(stride, stride), padding=(kernel // 2, kernel // 2), pool=pool,
            spiking=spiking, ticks=T if spiking else 0, weight_bits=4, weight=weight,
            bias=np.rint(rng.normal(-0.5, 1, channels) * spread).astype(int),
            multiplier=np.full(fires, round(65536 * T / 2 / spread)), shift=np.full(fires, 16),
            weight_scale=1.0, output_scale=1.0,
        ))
        shapes.append(layers[-1].map_shape)
    return Network(shape, T, linear_codes(T), 1.0, tuple(layers))


def measured(name: str) -> Cosimulation:
    """What a co-simulation says of one of the networks."""
    rng = np.random.default_rng(0)
    network = made(*NETWORKS[name], rng)
    pixels = rng.integers(1, 256, (IMAGES, network.inputs))
    pixels *= rng.random(pixels.shape) < np.linspace(0, 1, IMAGES)[:, None]
    return cosim.run(network, pixels.astype(np.uint8), config=CORE)


def markdown(found: dict[str, Cosimulation]) -> str:
    """The layers above their target as a table, and how many are not."""
    lines = ["| network | layer | images above its target | at most | because |", "|---" * 5 + "|"]
    layers = [(name, layer) for name, report in found.items() for layer in report.layers]
    lines += [
        f"| {name} | {layer.name} | {count(layer.over_target)} of {IMAGES} | "
        f"{layer.worst_over_target:.2f} times | {layer.over_target_because} |"
        for name, layer in layers if layer.over_target
    ]
    share = [layer.cycles.mean / layer.limit_cycles.mean for _, layer in layers]
    return "\n".join([
        *lines, "",
        f"The other {sum(not layer.over_target for _, layer in layers)} of {len(layers)} layers "
        f"keep to it in all images. All keep to their limits: they take {100 * min(share):.0f} % "
        f"to {100 * max(share):.0f} % of them, the median layer {100 * np.median(share):.0f} %.",
    ]) + "\n"


@answered
def main() -> int:
    """Measure all networks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into its page")
    options = parser.parse_args()
    found = {name: measured(name) for name in NETWORKS}
    if any(report.mismatched_events or report.over_limit for report in found.values()):
        raise FailureError("a network differs from the golden model, or takes longer than it may")
    write_json(output_folder("runs/bench") / "layers.json",
               {name: report.as_dict() for name, report in found.items()})
    print(markdown(found))
    if options.write:
        put_table(Path("docs/core.md"), markdown(found), MARKS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
