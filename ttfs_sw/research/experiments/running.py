# SPDX-License-Identifier: Apache-2.0
"""Run an experiment by name, and write its report, figure and page."""

import importlib
import os
import platform
import shlex
import time
from pathlib import Path
from typing import Any

import torch

from ttfs_sw.common.files import atomic_write, output_folder, write_json
from ttfs_sw.golden.torch_model import one_thread
from ttfs_sw.research.experiments import EXPERIMENTS, ExperimentReport, Options
from ttfs_sw.research.experiments.pages import write_index, write_page

__all__ = ["command", "device", "processes", "run"]

#: Trainings side by side at most: each has a copy of the images.
PROCESSES = 8

#: Colours of a figure's palette, shades of its letters among them.
COLOURS = 64


def run(name: str, options: Options, output_dir: str | os.PathLike) -> ExperimentReport[Any]:
    """Run the experiment ``name`` and write ``name.json``, ``.png`` and ``.md`` into a folder.

    An ``index.md`` that lies there gets a line for each experiment whose report is in the folder.

    Returns
    -------
    :class:`ttfs_sw.research.experiments.ExperimentReport`
        What ``name.json`` has.

    Raises
    ------
    :exc:`KeyError`
        If there is no such experiment.
    :exc:`ttfs_sw.common.errors.InputError`
        If the folder cannot be written, or the experiment cannot use what it was given.
    """
    experiment = EXPERIMENTS[name]
    folder = output_folder(output_dir)
    module = importlib.import_module(experiment.module)
    started, worked = time.perf_counter(), _worked()
    # Networks this small gain nothing from more threads.
    with one_thread():
        found = module.run(options)
    report = ExperimentReport(
        experiment=name,
        title=experiment.title,
        dataset=options.dataset.name,
        seed=options.seed,
        command=command(name, options),
        device=_machine(options.device),
        torch=torch.__version__,
        seconds=round(time.perf_counter() - started, 1),
        cpu_seconds=round(_worked() - worked, 1),
        found=found,
    )
    module.figure(folder / f"{name}.png", report)
    _shrink(folder / f"{name}.png")
    write_page(folder / f"{name}.md", report, module.page(report))
    # Last: whoever sees the report sees all that belongs to it.
    write_json(folder / f"{name}.json", report.as_dict())
    write_index(folder)
    return report


def command(name: str, options: Options) -> str:
    """The command line that reruns an experiment."""
    words = ["ttfs", "experiment", name, "--dataset", options.dataset.name]
    words += ["--seed", str(options.seed)]
    for folder in options.runs:
        words += ["--run", os.fspath(folder)]
    return shlex.join(words)


def device() -> str:
    """A GPU if torch has one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def processes() -> int:
    """A process for each core, up to a few; one, where a GPU does the work."""
    return 1 if torch.cuda.is_available() else min(os.cpu_count() or 1, PROCESSES)


def _machine(name: str) -> str:
    """What computed, as a reader wants to know it."""
    if name.startswith("cuda"):
        return torch.cuda.get_device_name(name)
    return f"{name}, {platform.machine()}, one thread a process"


def _worked() -> float:
    """Seconds of a processor that this process and those it waited for have had."""
    return sum(os.times()[:4])


def _shrink(path: Path) -> None:
    """Give a picture a palette: it is lines and letters, and is to stay in the history."""
    # matplotlib brings Pillow.
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS)
    with atomic_write(path) as temporary:
        small.save(temporary, optimize=True)
