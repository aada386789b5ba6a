# SPDX-License-Identifier: Apache-2.0
"""The command ``ttfs``: a thin layer over the Python API, one verb for each link of the chain.

Results go to stdout as a short table, logs to stderr, and with ``--json FILE`` the same report to a
file. What a verb needs is imported when that verb runs, so that ``ttfs --help`` is instant and no
command waits for a library it does not use.

Exit codes: 0 done; 1 what was asked for failed; 2 usage or bad input; 3 a tool is missing; 130
interrupted (143 if terminated). An error is one sentence on stderr; a traceback only with ``-v``.
"""

import contextlib
import logging
import signal
import sys
import threading
import traceback
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ttfs_sw.cli.options import Parser
from ttfs_sw.cli.tables import Outcome, print_text, write_rows
from ttfs_sw.cli.verbs import VERBS, describe
from ttfs_sw.cli.versions import own_version, versions
from ttfs_sw.common.errors import ToolError
from ttfs_sw.common.files import empty_folders_removed, output_folder, write_json
from ttfs_sw.common.progress import Handler

__all__ = ["make_parser", "main"]

INTERRUPTED = 130
TERMINATED = 143

#: Our packages: one that cannot be imported is a bug, not something to install.
_OURS = ("ttfs_sw", "hdl", "boards", "sim")

_DESCRIPTION = """\
Time-to-first-spike networks from PyTorch to a cheap FPGA, exact at every step.

A network goes: train -> evaluate -> cosim -> build -> flash -> infer. "ttfs demo" does it all."""

_EPILOGUE = """\
Exit codes: 0 done, 1 what was asked for failed, 2 usage or bad input, 3 a tool is missing,
130 interrupted. "ttfs VERB --help" describes a verb."""


def make_parser() -> Parser:
    """The parser of the whole command line. Each verb sets ``run``, its function."""
    parser = Parser(prog="ttfs", description=_DESCRIPTION, epilog=_EPILOGUE)
    parser.add_argument(
        "--version", "-V", action="store_true", help="print the versions of ttfs and its tools"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more")
    parser.add_argument("-q", "--quiet", action="store_true", help="no log, no progress bar")
    verbs = parser.add_subparsers(
        title="verbs", dest="verb", metavar="VERB", parser_class=Parser, required=False
    )
    for verb in VERBS.values():
        verb.register(verbs)
    # One verb, the page of a run, shows the tables of all the others.
    parser.set_defaults(describe=describe)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Never raises."""
    verb = "ttfs"
    verbose = False
    try:
        with _terminable():
            parser = make_parser()
            options = parser.parse_args(argv)
            verbose = bool(options.verbose)
            if options.version:
                print_text([versions()])
                return 0
            if options.verb is None:
                parser.error("no verb given")
            verb = f"ttfs {options.verb}"
            with _logs(options), empty_folders_removed():
                return _run(options)
    except SystemExit as stop:
        # argparse has said what was wrong, or a signal has stopped us.
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _complain(verb, "interrupted", INTERRUPTED, verbose)
    except Exception as error:
        return _explain(verb, error, verbose)


def _run(options: Namespace) -> int:
    """Run the verb, then write and print what it found."""
    if options.json:
        # Before the work: nobody wants to hear after five minutes that the folder is read-only.
        output_folder(options.json.parent, "--json")
    outcome: Outcome | None = options.run(options)
    if outcome is None:
        # One of several processes that did this together; another one reports.
        return 0
    report = report_of(options.verb, outcome)
    if outcome.folder:
        write_json(outcome.folder / f"{options.verb}.json", report)
    if options.json:
        _write_report(options.json, report)
    write_rows(outcome)
    if outcome.failure:
        return _complain(f"ttfs {options.verb}", outcome.failure, 1, verbose=False)
    return 0


def report_of(verb: str, outcome: Outcome) -> dict[str, Any]:
    """The report as it is written: what made it, then what it says."""
    report = {"verb": verb, "version": own_version(), **outcome.report.as_dict()}
    if outcome.failure:
        report["failure"] = outcome.failure
    return report


def _write_report(path: Path, report: dict[str, Any]) -> None:
    if path.exists() and not path.is_file():
        import json

        # A device such as /dev/stdout is written to; renaming a file onto it would replace it.
        with contextlib.suppress(BrokenPipeError):
            path.write_text(json.dumps(report, indent=2) + "\n")
    else:
        write_json(path, report)


def _explain(verb: str, error: Exception, verbose: bool) -> int:
    """Say what went wrong in one line and give the exit code for it."""
    missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0]
    if missing and missing not in _OURS:
        error = ToolError(
            f"the Python package {missing} is missing; install everything with: "
            "pip install -e '.[build,sim,host]'"
        )
    code = getattr(error, "exit_code", None)
    if code is not None:
        return _complain(verb, str(error), code, verbose)
    text = f"internal error: {type(error).__name__}: {error}"
    hint = "" if verbose else "; rerun with -v for the traceback"
    return _complain(verb, text + hint, 1, verbose)


def _complain(verb: str, message: str, code: int, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    # A closed stderr must not hide the exit code.
    with contextlib.suppress(OSError):
        print(f"{verb}: {message}", file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def _logs(options: Namespace) -> Iterator[None]:
    """Send the log to stderr while a verb runs: our own from INFO on, others' warnings."""
    handler = Handler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.INFO
    if options.quiet:
        ours = logging.ERROR
    elif options.verbose:
        ours = logging.DEBUG
        handler.setFormatter(logging.Formatter("%(relativeCreated)7.0f ms %(name)s: %(message)s"))
    levels = dict.fromkeys(_OURS, ours)
    if not options.verbose:
        levels.update(dict.fromkeys(getattr(options, "hushed", ()), logging.WARNING))
    levels[""] = logging.ERROR if options.quiet else logging.WARNING
    before = {name: logging.getLogger(name).level for name in levels}
    logging.getLogger().addHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM (a job's time limit, say) clean up as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
