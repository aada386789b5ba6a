# SPDX-License-Identifier: Apache-2.0
"""Running outside tools: their lines, their failures, and that none outlives an interruption."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.patience import PATIENCE, until
from ttfs_sw.common.errors import FailureError, ToolError
from ttfs_sw.common.process import LAST_LINES, run_tool


def test_every_line_of_both_streams_is_passed_on(tmp_path):
    seen = []
    run_tool(["sh", "-c", "pwd; echo; echo err >&2"], folder=tmp_path, each_line=seen.append)
    assert seen == [str(tmp_path.resolve()), "err"]


def test_failure_shows_the_last_lines():
    with pytest.raises(FailureError) as failure:
        run_tool(["sh", "-c", "for n in $(seq 40); do echo line $n; done; exit 3"])
    said = str(failure.value).splitlines()
    assert said[0] == "sh failed; it said:"
    assert said[1:] == [f"line {n}" for n in range(41 - LAST_LINES, 41)]


def test_silent_failure_gives_its_exit_code():
    with pytest.raises(FailureError, match=r"routing failed; it said:\n\(nothing; exit code 7\)"):
        run_tool(["sh", "-c", "exit 7"], failed="routing failed")


def test_tool_that_something_ends_is_told_from_one_that_fails():
    with pytest.raises(FailureError, match="sh was ended by SIGKILL: run it again"):
        run_tool(["sh", "-c", "echo half; kill -9 $$"])


def test_silent_failure_shows_the_tools_own_log(tmp_path):
    with pytest.raises(FailureError, match="sh failed; it said:\nERROR: no such cell"):
        run_tool(
            ["sh", "-c", "echo 'ERROR: no such cell' > top.rpt; exit 1"],
            folder=tmp_path,
            log_file=tmp_path / "top.rpt",
        )


def test_tool_that_does_not_start(tmp_path):
    with pytest.raises(ToolError, match=r"yosys does not start \(No such file"):
        run_tool([str(tmp_path / "yosys")])


def test_odd_bytes_do_no_harm():
    seen = []
    run_tool(["printf", r"caf\351 \377\n"], each_line=seen.append)
    assert len(seen) == 1 and seen[0].startswith("caf")


def test_interruption_ends_the_tool(tmp_path):
    mark = tmp_path / "pid"
    code = (
        "from ttfs_sw.common.process import run_tool\n"
        f"run_tool(['sh', '-c', 'echo $$ > {mark}; exec sleep 77777'])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as parent:
        try:
            child = int(until(lambda: mark.exists() and mark.read_text().strip(), "the tool"))
            # Only to the parent, as a debugger would; a terminal also signals the child.
            parent.send_signal(signal.SIGINT)
            said = parent.communicate(timeout=PATIENCE)[1]
        finally:
            parent.kill()
    assert b"KeyboardInterrupt" in said
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
