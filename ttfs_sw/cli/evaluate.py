# SPDX-License-Identifier: Apache-2.0
"""The verb ``evaluate``: the integer model on test images."""

import dataclasses
from argparse import Namespace
from typing import TYPE_CHECKING

from ttfs_sw.cli.inputs import check_accuracy, open_network, open_test_images
from ttfs_sw.cli.options import add_accuracy, add_dataset, add_limit, add_network, common
from ttfs_sw.cli.tables import Outcome, Rows, count, events, percent
from ttfs_sw.common.progress import bar
from ttfs_sw.common.report import FLAT, Report

if TYPE_CHECKING:
    from ttfs_sw.cli.options import Verbs
    from ttfs_sw.golden.evaluation import Evaluation

__all__ = ["register", "rows"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated(Report):
    """An evaluation, with the file of the network and the name of the images."""

    network: str
    dataset: str
    found: "Evaluation" = dataclasses.field(metadata=FLAT)


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "evaluate",
        help="run the integer model on test images",
        description="Classify test images with the golden model: the integers that the hardware "
        "computes, in software.",
        parents=[common()],
    )
    add_network(parser)
    add_dataset(parser, "network")
    add_limit(parser)
    add_accuracy(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs evaluate``."""
    from ttfs_sw.golden import evaluation

    network = open_network(options)
    dataset, pixels, labels = open_test_images(options, network)
    with bar("evaluate", quiet=options.quiet) as progress:
        found = evaluation.evaluate(network, pixels, labels, progress=progress)
    return Outcome(
        Evaluated(network=str(options.network), dataset=dataset, found=found),
        rows(found),
        title=f"{options.network} on {dataset}",
        failure=check_accuracy(options, found.accuracy),
    )


def rows(report: "Evaluation") -> Rows:
    """The table."""
    return [
        ("images", count(report.images)),
        ("accuracy", percent(report.accuracy)),
        ("spikes per hidden neuron", f"{report.spikes_per_neuron:.3f}"),
        ("spikes an image", events(report)),
        ("images with two winners", count(report.ties)),
        ("images a second", count(round(report.images_per_second))),
    ]
