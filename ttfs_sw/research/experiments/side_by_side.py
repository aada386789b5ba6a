# SPDX-License-Identifier: Apache-2.0
"""Trainings that do not depend on each other, a process for each core."""

import dataclasses
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ttfs_sw.golden.torch_model import one_thread
from ttfs_sw.research.experiments import Options

__all__ = ["side_by_side"]

#: What the jobs of a process are: set once, so that the dataset is sent once.
_work: tuple[Callable[..., Any], Options] | None = None


def side_by_side(
    function: Callable[..., Any], options: Options, jobs: Sequence[tuple[Any, ...]]
) -> Iterator[Any]:
    """Yield ``function(options, *job)`` of each job, in the order of ``jobs``.

    ``options.processes`` of them run at a time, each with one thread, so that the results are those
    of one process. A function of a module, for it is named to the processes. What a job raises is
    raised here; leaving early ends all processes.
    """
    plain = dataclasses.replace(options, progress=None)
    count = min(options.processes, len(jobs))
    if count < 2:
        for job in jobs:
            yield function(plain, *job)
        return
    # Not forked: torch may have threads, and a fork would have none of them.
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, _begin, (function, plain)) as pool:
        yield from pool.imap(_run, jobs)


def _begin(function: Callable[..., Any], options: Options) -> None:
    """Take up the work; Ctrl-C is for the process that waits for us."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _work = function, options


@one_thread()
def _run(job: tuple[Any, ...]) -> Any:
    assert _work is not None, "every process has begun with its work"
    function, options = _work
    return function(options, *job)
