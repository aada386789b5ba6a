"""Child processes that never outlive their purpose: killed with all their children."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from ttfs_sw.common.errors import FailureError, ToolError

__all__ = ["child", "last_lines", "run_tool"]

#: How much of a failed program's output is shown.
_LAST_LINES = 12


@contextlib.contextmanager
def child(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: IO | int,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen]:
    """Start a program in a process group of its own, and kill the group when the block ends.

    Ctrl-C in the terminal reaches only this process, which leaves the block and so ends the child,
    whatever the child itself would make of the signal.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.ToolError`
        If the program does not start.
    """
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True, pass_fds=pass_fds,
        )
    except OSError as error:
        raise ToolError(
            f"{command[0]} does not start: {error.strerror}; install it again"
        ) from error
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_tool(
    title: str, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path
) -> None:
    """Run a program to its end, its output to the end of ``log``.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If it fails; the message has the last lines of its output.
    """
    with log.open("ab") as output:
        with child(command, folder=folder, environment=environment, output=output) as process:
            process.wait()
    if process.returncode:
        raise FailureError(f"{title} failed; it said:\n{last_lines(log, process.returncode)}")


def last_lines(log: Path, code: int) -> str:
    """The end of a log, or what there is to say when it is empty."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-_LAST_LINES:]) or f"(nothing; exit code {code})"
