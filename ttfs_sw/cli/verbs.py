# SPDX-License-Identifier: Apache-2.0
"""The verbs: a module each, with its arguments, what it runs and the table of its report.

A module has ``register``, which adds the verb to the command line and sets ``run``; ``run``, which
does the work and returns an :class:`ttfs_sw.cli.tables.Outcome`; and ``rows``, the table of a
report, which the terminal, the screen of ``ttfs demo`` and the HTML page all show. To add a verb,
write such a module and name it here.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ttfs_sw.cli import (
    boards,
    build,
    convert,
    cosim,
    demo,
    doctor,
    evaluate,
    experiment,
    flash,
    image,
    infer,
    report,
    train,
    verilog,
)
from ttfs_sw.cli.tables import Rows

__all__ = ["VERBS", "describe"]

#: In the order of the chain, as ``ttfs --help`` has them.
VERBS: dict[str, ModuleType] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "convert": convert,
    "cosim": cosim,
    "verilog": verilog,
    "build": build,
    "image": image,
    "flash": flash,
    "infer": infer,
    "experiment": experiment,
    "boards": boards,
    "doctor": doctor,
    "report": report,
}


def describe(verb: str, report: Any) -> Rows:
    """The rows of the ``report`` of a verb, or of one that was read back from its file."""
    rows: Callable[[Any], Rows] = VERBS[verb].rows
    return rows(report)
