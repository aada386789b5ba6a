# SPDX-License-Identifier: Apache-2.0
"""The published claims, each rerun by one command: ``ttfs experiment NAME``.

An experiment is a module with

``run(options) -> Found``
    Measures. What it returns is a :class:`ttfs_sw.common.report.Report` with ``claims``, a list
    made with :func:`claim`, and whatever else the figure and the page need.
``figure(path, report)``
    Draws, from the report alone: an :class:`ExperimentReport` of that.
``page(report) -> str``
    What was done and what came out, in plain words: the middle of the Markdown page.

and a line in :data:`EXPERIMENTS`. :func:`ttfs_sw.research.experiments.running.run` adds what every
report has, and writes ``NAME.json``, ``NAME.png`` and ``NAME.md``.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ttfs_sw.common.report import FLAT, Report, absent

if TYPE_CHECKING:
    from ttfs_sw.data.datasets import Dataset

__all__ = ["EXPERIMENTS", "Claim", "Experiment", "ExperimentReport", "Found", "Options", "claim",
           "short"]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is known of an experiment before it is imported.

    Parameters
    ----------
    title : :class:`str`
        What it shows, in one line.
    module : :class:`str`
        Where it is.
    takes_runs : :class:`bool`
        Whether ``--run DIR`` gives it trained networks to look at as well.
    """

    title: str
    module: str
    takes_runs: bool = False


#: By name, in the order in which a reader should meet them.
EXPERIMENTS = {
    "equivalence": Experiment(
        "networks of spike times give the answers of ReLU networks, to rounding",
        "ttfs_sw.research.experiments.equivalence",
        takes_runs=True,
    ),
    "trajectory": Experiment(
        "training with spike times goes the way of training a ReLU network",
        "ttfs_sw.research.experiments.trajectory",
    ),
    "gradients": Experiment(
        "a slope at threshold that is left to chance makes gradients explode, and what cures it",
        "ttfs_sw.research.experiments.gradients",
    ),
    "depth": Experiment(
        "deep networks of leaky neurons learn if the surrogate's slope is tuned",
        "ttfs_sw.research.experiments.depth",
    ),
    "tradeoffs": Experiment(
        "what accuracy costs in weight bits, ticks, latency, exact times and spikes",
        "ttfs_sw.research.experiments.tradeoffs",
    ),
    "few-spikes": Experiment(
        "the bits of a value as spikes convert a network in few steps, and are what our core sends",
        "ttfs_sw.research.experiments.few_spikes",
    ),
    "membrane": Experiment(
        "other starts of a membrane make more spike trains, and PASCAL's trains add up exactly",
        "ttfs_sw.research.experiments.membrane",
    ),
    "comparison": Experiment(
        "the neighbours and this project's network compare like with like",
        "ttfs_sw.research.experiments.comparison",
    ),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What an experiment is run with.

    Parameters
    ----------
    dataset : :class:`ttfs_sw.data.datasets.Dataset`
        Images. An experiment on digits takes at most 3 minutes, on MNIST at most 30, on two cores.
    seed : :class:`int`
        Start of every random choice.
    device : :class:`str`
        Of torch.
    runs : tuple of paths
        Folders of training runs, for an experiment that takes them.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in units of the experiment's own.
    data_dir : path or ``None``
        Where other datasets lie, that of a run above all; see :func:`ttfs_sw.data.datasets.load`.
    processes : :class:`int`
        How many trainings may run side by side, each with one thread.
    """

    dataset: "Dataset"
    seed: int = 0
    device: str = "cpu"
    runs: tuple[Path, ...] = ()
    progress: Callable[[int, int], None] | None = None
    data_dir: Path | None = None
    processes: int = 1

    def step(self, done: int, total: int) -> None:
        """Report progress, if anyone wants to know."""
        if self.progress is not None:
            self.progress(done, total)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim(Report):
    """What is said of an experiment's figures, and whether it holds; :func:`claim` makes it.

    Parameters
    ----------
    claim : :class:`str`
        What is measured, with its unit.
    measured : :class:`float`
        The figure.
    met : :class:`bool` or ``None``
        Whether it keeps its limit; ``None`` without one.
    at_most, at_least : :class:`float` or ``None``
        The limit, one of the two at most.
    """

    claim: str
    measured: float
    met: bool | None
    at_most: float | None = absent()
    at_least: float | None = absent()


class Found(Protocol):
    """What any experiment found; its own fields are known to its figure and its page."""

    @property
    def claims(self) -> list[Claim]:
        """What is said of the figures."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""


F = TypeVar("F", bound=Found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentReport(Report, Generic[F]):
    """What was run, and what it found: ``NAME.json``.

    Parameters
    ----------
    experiment, title : :class:`str`
        Its name, and what it shows.
    dataset : :class:`str`
        Name of the images.
    seed : :class:`int`
        Start of every random choice.
    command : :class:`str`
        The command line that runs it again.
    device, torch : :class:`str`
        What computed, and the version of torch.
    seconds : :class:`float`
        That it took.
    cpu_seconds : :class:`float`
        Of a processor: fewer, where the machine had other work too.
    found : :class:`Found`
        Claims, and what else this experiment has.
    """

    experiment: str
    title: str
    dataset: str
    seed: int
    command: str
    device: str
    torch: str
    seconds: float
    cpu_seconds: float
    found: F = dataclasses.field(metadata=FLAT)


def claim(
    text: str, measured: float, *, at_most: float | None = None, at_least: float | None = None
) -> Claim:
    """One claim as a report has it.

    Without a limit it is a figure that was measured, and ``met`` is ``None``. A measurement that is
    not a number meets nothing.
    """
    if at_most is not None and at_least is not None:
        raise ValueError("a claim has one limit; make two claims")
    met = None
    if at_most is not None:
        met = bool(measured <= at_most)
    if at_least is not None:
        met = bool(measured >= at_least)
    return Claim(claim=text, measured=measured, met=met, at_most=at_most, at_least=at_least)


def short(value: float) -> float:
    """``value`` with the four digits that a figure can show, so that reports stay small."""
    return float(f"{value:.4g}")
