# SPDX-License-Identifier: Apache-2.0
"""The user's cache: where it is, and that nothing in it is ever half-made."""

import pytest

from ttfs_sw.common.cache import cache_folder, new_folder
from ttfs_sw.common.errors import InputError


def test_one_folder_holds_everything():
    assert cache_folder("data").parent == cache_folder("bitstreams").parent
    assert cache_folder("data").name == "data" and "ttfs-fpga" in cache_folder("data").parts


def test_a_folder_is_there_when_it_is_complete(tmp_path):
    folder = tmp_path / "cache" / "made"
    with new_folder(folder) as temporary:
        (temporary / "file").write_text("content")
        assert not folder.exists()
    assert (folder / "file").read_text() == "content"
    assert [path.name for path in folder.parent.iterdir()] == ["made"]


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "made") as temporary:
        (temporary / "file").write_text("content")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path):
    with new_folder(tmp_path / "made") as temporary:
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "first").touch()
        (temporary / "second").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "first"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to the cache folder .*file: .*XDG_CAC"):
        with new_folder(tmp_path / "file" / "made"):
            pass
