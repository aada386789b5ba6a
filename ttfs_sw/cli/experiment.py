# SPDX-License-Identifier: Apache-2.0
"""The verb ``experiment``: a published claim, measured again."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs_sw.cli.inputs import known_name, open_dataset
from ttfs_sw.cli.options import add_dataset, common
from ttfs_sw.cli.tables import Outcome, seconds
from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import output_folder
from ttfs_sw.common.progress import bar
from ttfs_sw.research.experiments import EXPERIMENTS, Options

if TYPE_CHECKING:
    from ttfs_sw.cli.options import Verbs

__all__ = ["register"]

#: Where experiments go unless ``-o`` says otherwise, each into a folder of its name.
FOLDER = Path("runs") / "experiments"


def register(verbs: "Verbs") -> None:
    """Add the verb to the command line."""
    width = max(map(len, EXPERIMENTS)) + 2
    shown = "\n".join(f"  {name:{width}}{entry.title}" for name, entry in EXPERIMENTS.items())
    parser = verbs.add_parser(
        "experiment",
        help="measure a published claim again: figures, a picture, a page",
        description="Measure a published claim again, and write NAME.json, NAME.png and NAME.md.\n"
        f"Exit code 1 says that a claim does not hold.\n\nexperiments:\n{shown}",
        parents=[common(output=f"folder for the files (default: {FOLDER}/NAME)")],
    )
    parser.add_argument("name", metavar="NAME", help="which experiment, see above")
    parser.add_argument(
        "--run", metavar="DIR", type=Path, action="append", default=[], dest="runs",
        help="folder of a training run to look at too (may be repeated): "
        + ", ".join(name for name, entry in EXPERIMENTS.items() if entry.takes_runs),
    )
    add_dataset(parser, "experiment")
    parser.set_defaults(run=run)


def run(options: Namespace) -> Outcome:
    """``ttfs experiment``."""
    name = known_name("experiment", options.name, EXPERIMENTS)
    if options.runs and not EXPERIMENTS[name].takes_runs:
        raise InputError(f"the experiment {name} looks at no training runs; leave --run away")
    folder = output_folder(options.output or FOLDER / name)
    dataset = open_dataset(options, "digits")

    from ttfs_sw.research.experiments import pages, running

    with bar(name, "step", quiet=options.quiet) as progress:
        report = running.run(
            name,
            Options(dataset, options.seed or 0, running.device(), tuple(options.runs), progress,
                    options.data_dir, running.processes()),
            folder,
        )
    claims = report.found.claims
    rows = [tuple(cell.replace("**", "") for cell in row)
            for row in pages.claim_rows(claims)]
    missed = [entry.claim for entry in claims if entry.met is False]
    return Outcome(
        report,
        [*rows, ("time", seconds(report.seconds), "", "")],
        header=("claim", "measured", "limit", "met"),
        title=f"{name} on {dataset.name}, seed {report.seed}: {folder / name}.md",
        failure=f"{pages.verdict(claims)}, the first: {missed[0]}" if missed else None,
    )
