# SPDX-License-Identifier: Apache-2.0
"""The verb ``train``: from a preset to ``network.npz``."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs_sw.cli.inputs import check_accuracy, config_file, open_dataset
from ttfs_sw.cli.options import add_accuracy, add_dataset, common, setting
from ttfs_sw.cli.tables import Outcome, Rows, events, files, percent, seconds
from ttfs_sw.common.files import output_folder
from ttfs_sw.common.progress import bar

if TYPE_CHECKING:
    from ttfs_sw.cli.options import Verbs
    from ttfs_sw.training.reports import TrainingReport

__all__ = ["register", "rows"]

#: Where the folders of runs go unless ``-o`` says otherwise.
RUNS = Path("runs")


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "train",
        help="train a network, quantise it, write network.npz",
        description="Train a preset or a configuration of your own, fine-tune it for the "
        "hardware and quantise it.",
        parents=[common(output="folder of the run (default: runs/NAME)")],
    )
    parser.add_argument(
        "preset", metavar="PRESET|FILE.toml", help="name of a preset, or a copy that you edited"
    )
    add_dataset(parser, "preset")
    add_accuracy(parser)
    parser.add_argument(
        "--set", metavar="KEY=VALUE", type=setting, action="append", default=[],
        help="replace a value of the configuration, as in epochs=20 (may be repeated)",
    )
    parser.add_argument(
        "--resume", action="store_true",
        help="go on from the last epoch of an interrupted run, which must have had the same "
        "configuration and folder",
    )
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome | None:
    """``ttfs train``; of processes that train together, the first has the outcome."""
    from ttfs_sw.training import config as configuration

    overrides = {"dataset": options.dataset, "seed": options.seed, **dict(options.set)}
    config = configuration.load(options.preset, overrides)
    folder = output_folder(options.output or RUNS / config.name)
    dataset = open_dataset(options, config.dataset, config_file(options.preset))

    # Only now: torch takes seconds to import, and a wrong name should be refused at once.
    from ttfs_sw.training import distributed
    from ttfs_sw.training.train import train

    leader = distributed.leading()
    with bar("train", quiet=options.quiet or not leader) as progress:
        report = train(config, dataset, folder, progress, resume=options.resume)
    if not leader:
        return None
    return Outcome(
        report,
        rows(report),
        title=f"{config.name}: {folder}",
        failure=check_accuracy(options, report.accuracy_network),
        folder=folder,
    )


def rows(report: "TrainingReport") -> Rows:
    """The table."""
    return [
        ("accuracy, float network", percent(report.accuracy_float)),
        ("accuracy, network.npz", percent(report.accuracy_network)),
        ("spikes per hidden neuron", f"{report.spikes_per_neuron:.3f}"),
        ("spikes an image", events(report)),
        *files(getattr(report, "files", None)),
        ("time", seconds(report.seconds)),
    ]
