"""Running an outside tool: line by line, its last words kept for the message when it fails."""

import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ttfs_sw.common.errors import FailureError, ToolError

__all__ = ["run_tool"]

#: How many of a failed tool's last lines are shown.
LAST_LINES = 12


def run_tool(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    each_line: Callable[[str], None] | None = None,
    failed: str | None = None,
    log_file: Path | None = None,
) -> None:
    """Run a command to its end; it is killed when this is interrupted.

    Parameters
    ----------
    command : sequence of :class:`str`
        Program and arguments.
    folder : :class:`pathlib.Path`, optional
        Where to run it.
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
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise ToolError(
            f"{name} does not start ({error.strerror}): install it again"
        ) from error
    with process:
        try:
            assert process.stdout is not None, "it is a pipe"
            for line in process.stdout:
                line = line.rstrip()
                if line:
                    lines.append(line)
                    if each_line is not None:
                        each_line(line)
        except BaseException:
            process.kill()
            raise
    code = process.returncode
    if code < 0:
        # From outside: by the user, or by a system that runs out of memory.
        raise FailureError(f"{name} was ended by {signal.Signals(-code).name}: run it again")
    if code:
        if not lines and log_file is not None and log_file.exists():
            lines = log_file.read_text(errors="replace").splitlines()
        last = "\n".join(lines[-LAST_LINES:]) or f"(nothing; exit code {code})"
        raise FailureError(f"{failed or f'{name} failed'}; it said:\n{last}")
