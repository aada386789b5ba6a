# SPDX-License-Identifier: Apache-2.0
"""What a command may fail with: one sentence for the user and the exit code that goes with it.

Any exception with an ``exit_code`` attribute is an answer to the user, not a bug: the command line
prints its message as one line and exits with that code. Packages that may not import this one
(:mod:`hdl`) give their own exceptions the same attribute.
"""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

__all__ = ["FailureError", "InputError", "ToolError", "answered"]

P = ParamSpec("P")


class FailureError(Exception):
    """What was asked for was tried and failed: a mismatch, timing missed, accuracy too low."""

    exit_code = 1


class InputError(ValueError):
    """Usage or bad input: the message names the file or option and says what to do."""

    exit_code = 2


class ToolError(Exception):
    """A tool is missing or too old: the message has the command that installs it."""

    exit_code = 3


def answered(program: Callable[P, int]) -> Callable[P, int]:
    """Make the ``main`` of a small program, a benchmark, print such an exception as one line.

    It returns the exception's exit code then. Any other exception is a bug, and is raised.
    """

    @functools.wraps(program)
    def run(*arguments: P.args, **options: P.kwargs) -> int:
        try:
            return program(*arguments, **options)
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if code is None:
                raise
            print(f"error: {error}", file=sys.stderr)
            return code

    return run
