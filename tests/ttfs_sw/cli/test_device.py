# SPDX-License-Identifier: Apache-2.0
"""The verb ``infer``: what it makes for a board."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from ttfs_sw.artifact.network import dense_network
from ttfs_sw.cli import main


class Made(Exception):
    """A flash image was made."""

    exit_code = 9


@pytest.fixture
def words(monkeypatch, tmp_path):
    """What infers at a board with another core; that an image is made, is noticed."""

    @contextlib.contextmanager
    def connect(port, baud):
        identity = SimpleNamespace(fingerprint=0, board="of another version")
        yield SimpleNamespace(identify=lambda: identity)

    def make_image(network, board):
        raise Made("an image")

    monkeypatch.setattr("ttfs_sw.link.host.connect", connect)
    monkeypatch.setattr("ttfs_fpga.boards.build.make_image", make_image)
    rng = np.random.default_rng(1)
    network = dense_network(
        [rng.integers(-7, 8, (64, 12)), rng.integers(-7, 8, (12, 10))], None, [900], [15], 15,
        weight_bits=4, input_shape=(8, 8, 1), dataset="digits")
    network.save(tmp_path / "network.npz")
    return ["infer", str(tmp_path / "network.npz"), "--port", "/dev/board", "--limit", "1"]


def test_no_image_is_made_for_a_board_that_has_its_network(words, capsys):
    assert main(words) == 2
    assert "has another core than icebreaker of this version" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--load"], ["--port", "sim"]])
def test_an_image_is_made_where_one_is_needed(words, options, capsys):
    assert main([*words, *options]) == Made.exit_code
    assert "an image" in capsys.readouterr().err
