# SPDX-License-Identifier: Apache-2.0
"""Files appear whole or not at all, whatever goes wrong while they are written."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from ttfs_sw.artifact.network import Network
from ttfs_sw.common import files
from ttfs_sw.common.errors import InputError


@pytest.fixture
def target(tmp_path):
    """A file that exists already and must survive every failure."""
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")
    return path


def untouched(target):
    """Whether nothing happened in the folder of ``target``."""
    return target.read_bytes() == b"old" and list(target.parent.iterdir()) == [target]


def disk_full(self, content):
    """Take half of the content, as a disk that runs full does, and fail."""
    with self.open("wb") as file:
        file.write(content[:len(content) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestAtomicWrite:
    def test_replaces_the_old_file(self, target):
        with files.atomic_write(target) as temporary:
            assert temporary.parent == target.parent and temporary.suffix == ".bin"
            temporary.write_bytes(b"new")
            assert target.read_bytes() == b"old"
        assert target.read_bytes() == b"new" and list(target.parent.iterdir()) == [target]

    def test_has_the_permissions_of_any_new_file(self, tmp_path):
        files.write_bytes(tmp_path / "ours", b"")
        (tmp_path / "any").write_bytes(b"")
        assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode

    @pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError, SystemExit])
    def test_interrupted(self, target, exception):
        with pytest.raises(exception):
            with files.atomic_write(target) as temporary:
                temporary.write_bytes(b"half")
                raise exception
        assert untouched(target)

    def test_disk_full(self, target, monkeypatch):
        monkeypatch.setattr(Path, "write_bytes", disk_full)
        with pytest.raises(InputError, match="No space left on device") as caught:
            files.write_bytes(target, b"new content")
        assert untouched(target)
        assert str(caught.value).startswith(f"cannot write {target}: ")
        assert caught.value.exit_code == 2

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
    def test_the_kernel_refuses_to_write_on(self, target):
        """A true half-written file: the process may write 1000 bytes to a file, not 5000."""
        code = (
            "import resource, signal, sys\n"
            "from ttfs_sw.common import files\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
            "try:\n"
            "    files.write_bytes(sys.argv[1], bytes(5000))\n"
            "except files.InputError as error:\n"
            "    print(error)\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True,
            timeout=PATIENCE,
        )
        assert result.stdout.startswith(f"cannot write {target}: File too large")
        assert untouched(target)

    def test_disk_full_while_a_network_is_saved(self, make_network, tmp_path, monkeypatch):
        path = tmp_path / "network.npz"
        network = make_network(seed=1)
        network.save(path)
        monkeypatch.setattr(Path, "write_bytes", disk_full)
        with pytest.raises(InputError, match=r"cannot write .*network\.npz: No space left"):
            make_network(seed=2).save(path)
        assert list(tmp_path.iterdir()) == [path]
        assert Network.load(path) == network

    def test_parent_is_a_file(self, target):
        with pytest.raises(InputError, match=r"cannot write .*/inside: Not a directory"):
            files.write_bytes(target / "inside", b"new")
        assert untouched(target)

    def test_parent_is_missing(self, tmp_path):
        with pytest.raises(InputError, match=r"cannot write .*/file: No such file or directory"):
            files.write_bytes(tmp_path / "no" / "file", b"new")
        assert not list(tmp_path.iterdir())

    def test_target_is_a_folder(self, tmp_path):
        (tmp_path / "folder").mkdir()
        with pytest.raises(InputError, match=r"cannot write .*/folder: "):
            files.write_bytes(tmp_path / "folder", b"new")
        assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


class TestWriters:
    def test_text_is_utf_8(self, tmp_path):
        files.write_text(tmp_path / "text", "Θ[k]\n")
        assert (tmp_path / "text").read_bytes() == "Θ[k]\n".encode()

    def test_json(self, tmp_path):
        content = {"images": 450, "cycles": {"min": 1, "max": 2.5}}
        files.write_json(str(tmp_path / "report.json"), content)
        text = (tmp_path / "report.json").read_text()
        assert json.loads(text) == content and text.endswith("}\n")

    def test_what_is_not_json_leaves_no_file(self, tmp_path):
        with pytest.raises(TypeError):
            files.write_json(tmp_path / "report.json", {"a": object()})
        assert not list(tmp_path.iterdir())


class TestOutputFolder:
    def test_makes_it_and_its_parents(self, tmp_path):
        assert files.output_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
        assert (tmp_path / "a" / "b").is_dir()

    def test_leaves_nothing_in_it(self, tmp_path):
        (tmp_path / "mine").write_text("kept")
        assert files.output_folder(tmp_path) == tmp_path
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_is_a_file(self, target):
        for path in (target, target / "inside"):
            with pytest.raises(InputError, match=f"cannot write to folder {path}: "):
                files.output_folder(path)
        assert untouched(target)

    def test_not_writable(self, tmp_path, monkeypatch):
        """Root may write anywhere, so the refusal itself is made here."""
        def refuse(**arguments):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
        for option in ("-o", "--json"):
            message = f"Permission denied; choose another with {option}"
            with pytest.raises(InputError, match=message):
                files.output_folder(tmp_path, option)

    def test_empty_ones_go_if_what_they_were_for_fails(self, tmp_path):
        for name, error in (("a", InputError), ("b", KeyboardInterrupt)):
            with pytest.raises(error), files.empty_folders_removed():
                (files.output_folder(tmp_path / name / "full") / "file").touch()
                files.output_folder(tmp_path / name / "empty" / "too")
                raise error
        found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
        full = {"a", "a/full", "a/full/file"}
        assert found == full | {name.replace("a", "b", 1) for name in full} | {
            "b/empty", "b/empty/too"}

    def test_empty_ones_stay_if_nothing_fails(self, tmp_path):
        with files.empty_folders_removed():
            files.output_folder(tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b").is_dir()
