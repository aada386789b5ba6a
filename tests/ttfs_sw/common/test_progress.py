# SPDX-License-Identifier: Apache-2.0
"""A bar only where somebody watches and there is something to wait for; logs stay intact."""

import io
import logging
import sys
import time

from tests.support.patience import PATIENCE
from ttfs_sw.common import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def count(total, pause=0.0, *, quiet=False):
    with progress.bar("work", quiet=quiet) as report:
        for done in range(1, total + 1):
            time.sleep(pause)
            if report is not None:
                report(done, total)


def test_no_bar_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    count(5)
    assert sys.stderr.getvalue() == ""


def test_no_bar_when_quiet(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    count(5, quiet=True)
    assert sys.stderr.getvalue() == ""


def test_no_bar_for_short_work(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY_SECONDS", PATIENCE)
    count(5)
    assert sys.stderr.getvalue().strip() == ""


def test_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.05)
    count(6, 0.12)
    shown = sys.stderr.getvalue()
    assert "work" in shown
    assert "/6" in shown


def test_bar_counts_one_stage_after_another(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.0)
    with progress.bar("work") as report:
        for total in (3, 400):
            for done in range(1, total + 1):
                report(done, total)
                time.sleep(0.6 / total)
    assert "/3" in sys.stderr.getvalue()
    assert "/400" in sys.stderr.getvalue()


def test_log_lines_go_to_the_current_stderr(monkeypatch):
    logger = logging.getLogger("test_progress")
    handler = progress.Handler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.0)
    try:
        logger.warning("before")
        with progress.bar("work") as report:
            report(1, 2)
            logger.warning("between")
            report(2, 2)
    finally:
        logger.removeHandler(handler)
    lines = sys.stderr.getvalue().replace("\r", "\n").splitlines()
    assert "before" in lines
    assert "between" in lines
