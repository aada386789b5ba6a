# SPDX-License-Identifier: Apache-2.0
"""Outside programs: none outlives its purpose, and the last words of one that fails are shown."""

import contextlib
import io
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from ttfs_sw.common.errors import FailureError, ToolError

__all__ = ["LAST_LINES", "child", "last_lines", "run_tool"]

#: How many of a failed program's last lines are shown.
LAST_LINES = 12


@contextlib.contextmanager
def child(
    command: Sequence[str], *, output: IO | int, folder: Path | None = None,
    environment: Mapping[str, str] | None = None, pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own, and kill the group when the block ends.

    Ctrl-C in the terminal reaches only this process, which leaves the block and so ends the child,
    whatever the child itself would make of the signal.

    Parameters
    ----------
    command : sequence of :class:`str`
        Program and arguments.
    output : file, or :data:`subprocess.PIPE`
        Takes what it prints, on either stream.
    folder : :class:`pathlib.Path`, optional
        Where to run it.
    environment : mapping, optional
        Its environment, by default this process's.
    pass_fds : sequence of :class:`int`
        File descriptors that it keeps.

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
            f"{Path(command[0]).name} does not start ({error.strerror}): install it again"
        ) from error
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def run_tool(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    each_line: Callable[[str], None] | None = None,
    failed: str | None = None,
    log_file: Path | None = None,
) -> None:
    """Run a command to its end; it is killed when this is interrupted.

    Parameters
    ----------
    command : sequence of :class:`str`
        Program and arguments.
    folder, environment
        As for :func:`child`.
    each_line : callable, optional
        Gets every line that the tool prints, on either stream, as soon as it is there.
    failed : :class:`str`, optional
        What to say when it fails, instead of its name and "failed".
    log_file : :class:`pathlib.Path`, optional
        Where the tool writes its own log: shown when it fails without having printed anything.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.ToolError`
        If it does not start.
    :exc:`ttfs_sw.common.errors.FailureError`
        If its exit code is not 0; its last lines are shown.
    """
    lines = []
    name = Path(command[0]).name
    with child(
        command, output=subprocess.PIPE, folder=folder, environment=environment
    ) as process:
        assert process.stdout is not None
        with io.TextIOWrapper(process.stdout, errors="replace") as printed:
            for line in filter(None, map(str.rstrip, printed)):
                lines.append(line)
                if each_line is not None:
                    each_line(line)
        code = process.wait()
    if code < 0:
        # From outside: by the user, or by a system that runs out of memory.
        raise FailureError(f"{name} was ended by {signal.Signals(-code).name}: run it again")
    if code:
        if not lines and log_file is not None and log_file.exists():
            lines = log_file.read_text(errors="replace").splitlines()
        raise FailureError(f"{failed or f'{name} failed'}; it said:\n{_last(lines, code)}")


def last_lines(log: Path, code: int) -> str:
    """The end of a log, or what there is to say when it is empty."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return _last(lines, code)


def _last(lines: Sequence[str], code: int) -> str:
    return "\n".join(lines[-LAST_LINES:]) or f"(nothing; exit code {code})"
