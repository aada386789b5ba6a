"""The verbs of the software side: ``train`` and ``evaluate``."""

from argparse import Namespace
from pathlib import Path

from ttfs_sw.cli.inputs import (
    check_accuracy,
    config_file,
    open_dataset,
    open_network,
    open_test_images,
)
from ttfs_sw.cli.options import add_accuracy, add_dataset, add_limit, add_network, common, setting
from ttfs_sw.cli.rows import describe
from ttfs_sw.cli.tables import Outcome
from ttfs_sw.common.files import output_folder
from ttfs_sw.common.progress import bar

__all__ = ["register"]

#: Where the folders of runs go unless ``-o`` says otherwise.
RUNS = Path("runs")


def register(verbs) -> None:
    """Add the verbs to the command line."""
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
    parser.set_defaults(run=train)

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
    parser.set_defaults(run=evaluate)


def train(options: Namespace) -> Outcome | None:
    """``ttfs train``; of processes that train together, the first has the outcome."""
    from ttfs_sw.training import config as configuration

    overrides = {"dataset": options.dataset, "seed": options.seed, **dict(options.set)}
    config = configuration.load(options.preset, overrides)
    folder = output_folder(options.output or RUNS / config.name)
    dataset = open_dataset(options, config.dataset, config_file(options.preset))

    # Only now: torch takes seconds to import, and a wrong name should be refused at once.
    from ttfs_sw.training import distributed
    from ttfs_sw.training.train import train as run

    leader = distributed.leading()
    with bar("train", quiet=options.quiet or not leader) as progress:
        found = run(config, dataset, folder, progress, resume=options.resume)
    if not leader:
        return None
    report = found.as_dict()
    return Outcome(
        report,
        describe("train", report),
        title=f"{config.name}: {folder}",
        failure=check_accuracy(options, found.accuracy_network),
        folder=folder,
    )


def evaluate(options: Namespace) -> Outcome:
    """``ttfs evaluate``."""
    from ttfs_sw.golden import evaluation

    network = open_network(options)
    dataset, pixels, labels = open_test_images(options, network)
    with bar("evaluate", quiet=options.quiet) as progress:
        found = evaluation.evaluate(network, pixels, labels, progress=progress)
    report = {"network": str(options.network), "dataset": dataset, **found.as_dict()}
    return Outcome(
        report,
        describe("evaluate", report),
        title=f"{options.network} on {dataset}",
        failure=check_accuracy(options, found.accuracy),
    )
