# SPDX-License-Identifier: Apache-2.0
"""Reports of co-simulations that never ran, for what reads them."""

from ttfs_fpga.hdl.compiler.cycles import TERMS
from ttfs_fpga.sim.reports import Cosimulation, FirstMismatch, LayerCycles
from ttfs_sw.common.report import Spread

__all__ = ["FIGURES", "cosimulation", "layer", "mismatch"]

FIGURES = Spread(min=90, median=100.0, mean=100.4, max=120)


def layer(name: str, **more) -> LayerCycles:
    """A layer's report: 100 cycles, all of them updates."""
    return LayerCycles(**{
        "name": name, "events": FIGURES, "cycles": FIGURES, "roofline_cycles": FIGURES,
        "limit_cycles": FIGURES, "target_cycles": FIGURES, "over_limit": 0, "over_target": 0,
        "worst_over_target": None, "over_target_because": None, "over_target_why": None,
        "spent_cycles": dict.fromkeys(TERMS, 0.0) | {"updates": 1100.4, "overlapped": -1000.0},
    } | more)


def mismatch(message: str) -> FirstMismatch:
    """A first mismatch that says ``message``."""
    return FirstMismatch(
        image=4, layer="hidden1", kind="winner", neuron=None, expected=1, seen=2, cycle=None,
        since=0, message=message)


def cosimulation(**found) -> Cosimulation:
    """A co-simulation of 450 images that found nothing but what is given."""
    return Cosimulation(**{
        "images": 450, "mismatched_images": 0, "mismatched_events": 0, "mismatches": {},
        "first_mismatch": None, "accuracy": 0.9, "cycles": FIGURES, "stream_efficiency": None,
        "roofline_cycles": FIGURES, "over_limit": 0, "first_over_limit": None, "over_target": 0,
        "layers": [layer("hidden1"), layer("output")], "simulated_cycles_per_second": 1_000_000,
        "images_per_second": 450.0, "seconds": 1.0, "compile_seconds": 0.0, "golden_seconds": 0.0,
        "jobs": 1, "simulator": "none", "stall": 0, "netlist": False, "network_sha256": "",
        "against_sha256": None, "config": {},
    } | found)
