# SPDX-License-Identifier: Apache-2.0
"""What the command line prints: figures as people read them, tables that can be copied."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from ttfs_sw.cli import tables
from ttfs_sw.cli.tables import Outcome
from ttfs_sw.common.report import Report, Spread


@pytest.mark.parametrize(
    "function, value, text",
    [
        (tables.percent, 0.98751, "98.75 %"),
        (tables.percent, 1.0, "100.00 %"),
        (tables.count, 0, "0"),
        (tables.count, 1234567, "1 234 567"),
        (tables.count, 1215.34, "1 215.3"),
        (tables.count, 12.0, "12"),
        (tables.seconds, 0.84, "0.8 s"),
        (tables.seconds, 59.9, "59.9 s"),
        (tables.seconds, 125.2, "2 min 05 s"),
        (tables.seconds, 119.9, "2 min 00 s"),
    ],
)
def test_figures(function, value, text):
    assert function(value) == text


def test_spread():
    figures = Spread(min=903, median=1208, mean=1215.3401, max=1604)
    assert tables.spread(figures) == "median 1 208, mean 1 215.3 (903 to 1 604)"


def test_plain_table_has_no_codes_no_trailing_space_and_breaks_no_line():
    path = "a/very/long/folder/" * 20 + "network.npz"
    outcome = Outcome(Report(), [("images", "450"), ("file [1]", path)], title=path)
    text = tables.render(outcome, colours=False, width=None)
    assert text.splitlines() == [path, "images    450", f"file [1]  {path}"]


def test_parts_have_columns_of_their_own():
    rows = [("images", "a long value indeed"), ("",), ("layer", "kind", "bits"),
            ("a", "dense", "4")]
    assert tables.render(Outcome(Report(), rows), colours=False, width=None).splitlines() == [
        "images  a long value indeed", "", "layer  kind   bits", "a      dense  4"]


def test_table_with_columns():
    outcome = Outcome(Report(), [("a", "1", "x"), ("bb", "2", "")], header=("name", "n", "note"))
    assert tables.render(outcome, colours=False, width=None) == (
        "name  n  note\na     1  x\nbb    2\n"
    )


def test_terminal_table_is_coloured_and_fits():
    outcome = Outcome(Report(), [("label", "word " * 40)], title="title")
    text = tables.render(outcome, colours=True, width=60)
    assert "\x1b[" in text
    plain = tables.render(outcome, colours=False, width=60)
    assert "\x1b[" not in plain
    assert max(map(len, plain.splitlines())) <= 60


def python(code, stdout):
    code = "from ttfs_sw.cli.tables import print_text\n" + code
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def test_reader_that_went_away_does_not_change_the_exit_code():
    process = python("print_text('x' * 99 + '\\n' for _ in range(99999))\nraise SystemExit(7)",
                     subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=PATIENCE) == 7
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_stdout_on_a_full_disk_is_one_sentence():
    code = (
        "from ttfs_sw.common.errors import InputError\n"
        "try:\n    print_text(['x\\n'])\n"
        "except InputError as error:\n    raise SystemExit(str(error))\n"
    )
    with Path("/dev/full").open("w") as full:
        process = python(code, full)
    message = process.communicate(timeout=PATIENCE)[1]
    assert message == (
        f"cannot write standard output: {os.strerror(errno.ENOSPC)}; redirect it elsewhere\n"
    )
