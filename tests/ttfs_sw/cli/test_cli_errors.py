# SPDX-License-Identifier: Apache-2.0
"""Bad input through the command line: one sentence, the documented code, nothing half-written."""

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tests.support.patience import PATIENCE
from ttfs_sw.artifact.network import dense_network
from ttfs_sw.cli import main


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network for digits; what it answers does not matter."""
    generator = np.random.default_rng(2)
    network = dense_network(
        [generator.integers(-7, 8, (64, 12)), generator.integers(-7, 8, (12, 10))],
        None, [900], [15], 15, weight_bits=4, input_shape=(8, 8, 1), dataset="digits",
    )
    path = tmp_path_factory.mktemp("networks") / "good.npz"
    network.save(path)
    return path


@pytest.fixture
def ttfs(capsys):
    """Run a command line that must fail with one sentence; give that sentence."""

    def run(*words, code=2):
        assert main([str(word) for word in words]) == code, capsys.readouterr().err
        shown = capsys.readouterr()
        assert shown.out == ""
        lines = shown.err.splitlines()
        assert len(lines) == 1, shown.err
        assert lines[0].startswith(f"ttfs {words[0]}: ")
        assert "internal error" not in lines[0]
        return lines[0]

    return run


#: Verbs that read a network, with what else they need.
READERS = [
    ["evaluate"], ["cosim"], ["verilog"], ["build", "--board", "icebreaker"],
    ["image", "--board", "icebreaker"], ["flash", "--board", "icebreaker", "--dry-run"],
    ["infer", "--board", "icebreaker", "--port", "loop://"],
]


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_missing_network(words, ttfs, tmp_path):
    line = ttfs(words[0], tmp_path / "nothing.npz", *words[1:])
    assert str(tmp_path / "nothing.npz") in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_truncated_network(words, ttfs, network, tmp_path):
    path = tmp_path / "cut.npz"
    path.write_bytes(network.read_bytes()[:-200])
    assert str(path) in ttfs(words[0], path, *words[1:])
    assert [file.name for file in tmp_path.iterdir()] == ["cut.npz"]


def flipped(content):
    """The network with one weight changed, the archive itself intact."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            member = old.read(name)
            if "weight" in name and "scale" not in name:
                member = member[:-1] + bytes([member[-1] ^ 1])
            new.writestr(name, member)
    return result.getvalue()


def foreign(content):
    """An archive of arrays that is no network."""
    result = io.BytesIO()
    np.savez(result, weight=np.zeros((3, 3)))
    return result.getvalue()


@pytest.mark.parametrize(
    "damage",
    [flipped, foreign, lambda content: b"", lambda content: b"PK\x03\x04" + content[4:60],
     lambda content: b"%PDF-1.4\n", lambda content: content[:300] + b"\xff" * 80 + content[380:]],
    ids=["flipped", "foreign", "empty", "header-only", "pdf", "overwritten"],
)
def test_damaged_network(damage, ttfs, network, tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(damage(network.read_bytes()))
    assert str(path) in ttfs("evaluate", path)


def test_folder_without_a_network(ttfs, tmp_path):
    assert str(tmp_path) in ttfs("evaluate", tmp_path)


def idx(array):
    """An array as an IDX file."""
    kind = {1: 0x0801, 3: 0x0803}[array.ndim]
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">I", kind) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """A folder of IDX files that the network can be evaluated on."""
    generator = np.random.default_rng(3)
    folder = tmp_path / "images"
    folder.mkdir()
    for part, count in (("train", 30), ("t10k", 20)):
        images = generator.integers(0, 17, (count, 8, 8))
        labels = np.arange(count) % 10
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def test_good_folder_is_good(network, folder):
    assert main(["evaluate", str(network), "--dataset", str(folder), "-q"]) == 0


def test_dataset_folder_lacks_a_file(ttfs, network, folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    assert "t10k-labels-idx1-ubyte" in ttfs("evaluate", network, "--dataset", folder)


def test_dataset_with_wrong_magic(ttfs, network, folder):
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(b"\x00\x00\x0d\x03" + path.read_bytes()[4:])
    assert "t10k-images-idx3-ubyte" in ttfs("evaluate", network, "--dataset", folder)


def test_dataset_cut_short(ttfs, network, folder):
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    assert "t10k-images-idx3-ubyte" in ttfs("evaluate", network, "--dataset", folder)


def test_dataset_gzip_damaged(ttfs, network, folder):
    path = folder / "t10k-images-idx3-ubyte"
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_name(path.name + ".gz").write_bytes(packed[:-40])
    assert "t10k-images-idx3-ubyte.gz" in ttfs("evaluate", network, "--dataset", folder)


def test_labels_out_of_range(ttfs, network, folder):
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(20) % 12))
    line = ttfs("evaluate", network, "--dataset", folder)
    assert "labels" in line
    assert "11" in line


def test_more_classes_than_the_network_knows(ttfs, network, folder):
    for part, count in (("train", 30), ("t10k", 20)):
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 15))
    line = ttfs("evaluate", network, "--dataset", folder)
    assert "10 classes" in line


def test_images_of_another_size(ttfs, network, folder):
    for part, count in (("train", 30), ("t10k", 20)):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((count, 9, 7))))
    line = ttfs("evaluate", network, "--dataset", folder)
    assert "9 x 7 x 1" in line
    assert "8 x 8 x 1" in line


def test_unknown_dataset(ttfs, network):
    assert "mnist" in ttfs("evaluate", network, "--dataset", "mmnist")


def test_named_dataset_that_is_not_there(ttfs, network, tmp_path):
    line = ttfs("evaluate", network, "--dataset", "mnist", "--data-dir", tmp_path)
    assert "--download" in line


def test_unknown_preset(ttfs):
    line = ttfs("train", "digit-mlp")
    assert "did you mean digits-mlp" in line
    assert "mnist-mlp-256" in line


@pytest.mark.parametrize(
    "text, named",
    [
        ("dataset = \n", "TOML"),
        ("[training]\nepoch = 3\n", "epochs"),
        ("[network]\nweight_bits = 9\n", "weight_bits"),
        ("[network]\nhidden = []\n", "hidden"),
        ("colour = 1\n", "colour"),
    ],
)
def test_bad_configuration(text, named, ttfs, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    line = ttfs("train", path, "-o", tmp_path / "run")
    assert str(path) in line
    assert named in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting, named", [("epochs", "KEY=VALUE"), ("epoch=3", "epochs")])
def test_bad_setting(setting, named, ttfs):
    assert named in ttfs("train", "digits-mlp", "--set", setting)


@pytest.mark.parametrize("words", READERS[1:6], ids=lambda words: words[0])
def test_unknown_board(words, ttfs, network):
    words = [word for word in words if word not in ("--board", "icebreaker")]
    line = ttfs(words[0], network, "--board", "icebraker", *words[1:])
    assert "did you mean icebreaker" in line
    assert "ulx3s-25f" in line


@pytest.mark.parametrize("words", [["cosim"], ["build", "--board", "icebreaker"]])
def test_unknown_simulator(words, ttfs, network, tmp_path):
    line = ttfs(words[0], network, *words[1:], "--sim", "verilater", "-o", tmp_path / "out")
    assert "did you mean verilator" in line
    assert "icarus" in line


def test_impossible_lanes(ttfs, network, tmp_path):
    assert "--lanes 7" in ttfs("verilog", network, "--lanes", "7", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", READERS[2:5], ids=lambda words: words[0])
def test_network_that_does_not_fit(words, ttfs, tmp_path):
    # 8-bit weights do not go into lanes of 4 bits; a smaller core can always be made.
    network = dense_network(
        [np.full((64, 12), 100), np.ones((12, 10), int)], None, [900], [20], 15, weight_bits=8,
        input_shape=(8, 8, 1), dataset="digits",
    )
    path = tmp_path / "wide.npz"
    network.save(path)
    words = [*words, "--board", "icebreaker"] if words == ["verilog"] else words
    line = ttfs(words[0], path, *words[1:], "-o", tmp_path / "out")
    assert "hidden1" in line or "layer" in line
    assert "8 bits" in line
    assert not (tmp_path / "out").exists()


WRITERS = [
    ["train", "digits-mlp"], ["cosim", "NETWORK"], ["verilog", "NETWORK"],
    ["build", "NETWORK", "--board", "icebreaker"], ["image", "NETWORK", "--board", "icebreaker"],
    ["demo"],
]


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: words[0])
def test_output_folder_that_cannot_be_made(words, ttfs, network, tmp_path):
    # Permissions do not stop root; a path below a file stops everybody.
    (tmp_path / "file").touch()
    words = [str(network) if word == "NETWORK" else word for word in words]
    line = ttfs(*words, "-o", tmp_path / "file" / "out", "-q")
    assert str(tmp_path / "file") in line
    assert "-o" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


#: Runs a command line in a process that may write files of a few hundred bytes only: to the
#: program that is a disk without room, whichever library does the writing.
FULL_DISK = """
import resource, sys
from ttfs_sw.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "words",
    [
        ["train", "digits-mlp", "--set", "epochs=1", "--set", "float_epochs=1"],
        ["image", "NETWORK", "--board", "icebreaker"],
        ["evaluate", "NETWORK"],
    ],
    ids=lambda words: words[0],
)
def test_disk_full_during_a_write(words, network, tmp_path):
    out = tmp_path / "out"
    words = [str(network) if word == "NETWORK" else word for word in words]
    words += ["--json", out / "report.json"] if words[0] == "evaluate" else ["-o", out]
    shown = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *map(str, words), "-q"], capture_output=True, text=True,
        timeout=PATIENCE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert shown.returncode == 2, shown.stderr
    (line,) = shown.stderr.splitlines()
    assert str(out) in line
    assert "File too large" in line
    assert all(path.stat().st_size <= 300 and path.name[0] != "." for path in out.rglob("*"))
    assert not (out / "network.npz").exists()


@pytest.mark.parametrize("words", [
    ["train", "digits-mlp", "--dataset", "nowhere.npz"],
    ["convert", "NOWHERE.py:make", "--dataset", "digits"],
    ["cosim", "NETWORK", "--sim", "icarus"],
], ids=lambda words: words[0])
def test_what_is_refused_leaves_no_folder(words, ttfs, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "mine").mkdir()
    words = [str(network) if word == "NETWORK" else word for word in words]
    code = 3 if words[0] == "cosim" else 2
    for folder in ("mine", "mine/new/deep"):
        ttfs(*words, "-o", folder, "-q", code=code)
        # One that was there before stays.
        assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_report_that_cannot_be_written_names_its_own_option(ttfs, network, tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "report.json"
    line = ttfs("evaluate", network, "--json", path)
    assert f"cannot write to folder {path.parent}: " in line
    assert line.endswith("; choose another with --json")


def test_simulator_missing(ttfs, network, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for simulator, install in (("verilator", "g++"), ("icarus", "iverilog")):
        line = ttfs("cosim", network, "--sim", simulator, "-o", tmp_path / "out", "-q", code=3)
        assert install in line


def test_synthesis_tools_missing(ttfs, network, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TTFS_TOOLCHAIN", "system")
    cycles = tmp_path / "cosim.json"
    cycles.write_text('{"cycles": {"min": 90, "median": 99, "mean": 99.5, "max": 120}}')
    line = ttfs(
        "build", network, "--board", "icebreaker", "--cycles", cycles, "-o", tmp_path / "out",
        "-q", code=3,
    )
    assert "yosys" in line


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cycles": {"median": 3}}'])
def test_cycles_that_are_no_report(content, ttfs, network, tmp_path):
    path = tmp_path / "cosim.json"
    path.write_text(content)
    line = ttfs("build", network, "--board", "icebreaker", "--cycles", path, "-o", tmp_path / "out")
    assert str(path) in line


def test_flash_before_build(ttfs, network, tmp_path):
    line = ttfs("flash", network, "--board", "icebreaker", "--build", tmp_path / "out", "--dry-run")
    assert "ttfs build" in line
