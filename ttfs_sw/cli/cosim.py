# SPDX-License-Identifier: Apache-2.0
"""The verb ``cosim``: the RTL beside the golden model."""

import dataclasses
import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfs_sw.cli.inputs import (
    check_accuracy,
    core_config,
    known_name,
    open_network,
    open_test_images,
)
from ttfs_sw.cli.options import (
    add_accuracy,
    add_core,
    add_dataset,
    add_limit,
    add_network,
    add_simulation,
    common,
    find_network,
)
from ttfs_sw.cli.tables import Outcome, Rows, count, files, percent, seconds, spread
from ttfs_sw.common.files import output_folder
from ttfs_sw.common.progress import bar

if TYPE_CHECKING:
    from ttfs_fpga.hdl.config import CoreConfig
    from ttfs_fpga.sim.reports import Cosimulation, LayerCycles
    from ttfs_sw.artifact.network import Network
    from ttfs_sw.cli.options import Verbs
    from ttfs_sw.common.report import Spread

__all__ = ["check_simulator", "cores", "measure_cycles", "register", "rows"]


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "cosim",
        help="simulate the RTL and compare every spike with the integer model",
        description="Simulate the core, in the very sizes that a board's has, on test images; "
        "compare every spike of every layer and every logit with the golden model.",
        parents=[common(output="folder of the report and of the waveform of the first image that "
                               "differs (default: cosim beside the network)")],
    )
    add_network(parser)
    add_dataset(parser, "network")
    add_limit(parser)
    add_accuracy(parser)
    add_core(parser, board="icebreaker")
    add_simulation(parser)
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--against", metavar="OTHER.npz", type=Path,
        help="compare with this network's golden model instead: proves that the check can fail",
    )
    group.add_argument(
        "--fail-fast", action="store_true", help="stop at the first image that differs"
    )
    group.add_argument(
        "--stall", action="store_true",
        help="pause every stream at random: the events must be the same, the cycles are not",
    )
    group.add_argument(
        "--netlist", action="store_true",
        help="simulate the cells that synthesis for an iCE40 UP5K makes of the core: slow",
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs cosim``."""
    check_simulator(options)
    network = open_network(options)
    against = _open_other(options)
    core, config = core_config(options, network)
    dataset, pixels, labels = open_test_images(options, network)
    folder = output_folder(options.output or options.network.parent / "cosim")
    # Seed 0 would mean no pauses.
    stall = 1 + (options.seed or 0) if options.stall else 0
    with bar("cosim", quiet=options.quiet) as progress:
        report = _simulate(
            options, network, pixels, labels, config=config, against=against,
            fail_fast=options.fail_fast, waves_dir=folder, stall=stall,
            netlist=options.netlist, progress=progress,
        )
    report = dataclasses.replace(
        report, network=str(options.network), dataset=dataset, core=core)
    failure = _failure(report)
    if failure is None and report.accuracy is not None:
        failure = check_accuracy(options, report.accuracy)
    return Outcome(
        report, rows(report), title=f"{options.network} on {dataset}", failure=failure,
        folder=folder,
    )


def rows(report: "Cosimulation") -> Rows:
    """The table."""
    # Reports of older versions are shown too.
    core = getattr(report, "core", None)
    return [
        *([("core", core)] if core else []),
        ("images compared", count(report.images)),
        ("images that differ", count(report.mismatched_images)),
        ("events that differ", count(report.mismatched_events)),
        # Nothing is known of an image that --fail-fast left half-done.
        *([] if report.accuracy is None else [("accuracy of the RTL", percent(report.accuracy))]),
        *([] if report.cycles is None else [("cycles an image", spread(report.cycles))]),
        *([] if report.roofline_cycles is None else [
            ("roofline", spread(report.roofline_cycles))]),
        *_spent(report),
        *_over_target(report),
        ("simulated cycles a second", count(round(report.simulated_cycles_per_second))),
        *files(getattr(report, "files", None)),
        ("time", seconds(report.seconds)),
    ]


def _over_target(report: "Cosimulation") -> Rows:
    """Layers that took more than what layers of many events are held to, and why."""
    return [
        (f"above target, {layer.name}",
         f"{count(layer.over_target)} of {count(report.images)} images, at most "
         f"{layer.worst_over_target:.2f} times: {layer.over_target_because} "
         f"({layer.over_target_why})")
        for layer in report.layers if layer.worst_over_target is not None
    ]


def _spent(report: "Cosimulation") -> Rows:
    """Where the cycles of the mean image go in each layer: what is summed up, and what overlaps."""
    def terms(layer: "LayerCycles") -> str:
        return ", ".join(
            f"{name} {count(round(cycles))}"
            for name, cycles in layer.spent_cycles.items() if round(cycles))

    return [
        (f"mean cycles, {layer.name}",
         f"{count(round(layer.cycles.mean))}: {terms(layer)}")
        for layer in report.layers if layer.cycles is not None
    ]


def measure_cycles(
    options: Namespace, network: "Network", config: "CoreConfig"
) -> "Spread | None":
    """The cycles that ``network`` takes for the first test images, by a short co-simulation.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If the RTL and the golden model differ, or the RTL takes longer than it ever may: nothing
        should be built then.
    """
    from ttfs_sw.common.errors import FailureError

    _, pixels, labels = open_test_images(options, network)
    with bar("cosim", quiet=options.quiet) as progress:
        report = _simulate(options, network, pixels, labels, config=config, progress=progress)
    failure = _failure(report)
    if failure:
        raise FailureError(f"{failure}; look into it with: ttfs cosim {options.network}")
    return report.cycles


def _simulate(options: Namespace, *arguments: Any, **settings: Any) -> "Cosimulation":
    from ttfs_fpga.sim import cosim as simulation

    return simulation.run(
        *arguments, simulator=options.sim, jobs=options.jobs or cores(), **settings
    )


def check_simulator(options: Namespace) -> None:
    """Refuse an unknown ``--sim`` before any work is done."""
    from ttfs_fpga.sim.simulators import SIMULATORS

    known_name("simulator", options.sim, SIMULATORS)


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open_other(options: Namespace) -> "Network | None":
    if options.against is None:
        return None
    from ttfs_sw.artifact.network import Network

    return Network.load(find_network(options.against))


def _failure(report: "Cosimulation") -> str | None:
    """What the first mismatch is and how many images have one, or what took too long, if any."""
    wrong, late = report.first_mismatch, report.first_over_limit
    if wrong is not None:
        return (
            f"{report.mismatched_images} of {report.images} images differ from the golden model; "
            f"first: {wrong.message}"
        )
    if late is not None:
        return (
            f"layer {late.layer} took {late.cycles} cycles for image {late.image}, and "
            f"no image may take more than {late.limit} there: the answers agree, but the core, "
            f"or the formula of docs/core.md (\"Cycles of a layer\"), is wrong; please report it"
        )
    return None
