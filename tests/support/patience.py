# SPDX-License-Identifier: Apache-2.0
"""Waiting in tests, and what a test's processes leave behind.

No test asserts how long something takes: the machine may be busy, and benchmarks measure. What
limits time here is a guard against a hang and nothing else.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["MARK", "PATIENCE", "processes_with", "until"]

Found = TypeVar("Found")

#: Seconds after which something hangs: minutes more than it takes beside ten busy processes.
PATIENCE = 1800

#: Environment variable that tells of every process which test it belongs to.
MARK = "TTFS_TEST"


def until(condition: Callable[[], Found], what: str) -> Found:
    """Wait until ``condition()`` is true and return what it gave; ``what`` is said if it hangs."""
    hung = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < hung, f"{what}: not within {PATIENCE} s"
        time.sleep(0.02)
    return found


def processes_with(text: str) -> dict[int, str]:
    """Command line of every process that was started with ``text`` in its environment, by number.

    Without Linux's ``/proc`` there are none.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes()
                # A zombie has no command line: it has ended.
                if command:
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            # It ended meanwhile, or is not ours.
            continue
    return found
