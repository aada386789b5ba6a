# SPDX-License-Identifier: Apache-2.0
"""``--map``: where the layers of a network lie in a core's memories, and their exact bounds."""

import json

import pytest

from ttfs_sw.artifact.network import Network
from ttfs_sw.cli import main
from ttfs_sw.cli.tables import count


@pytest.mark.parametrize("verb", [["image", "--board", "icebreaker"], ["verilog", "--lanes", "4"]],
                         ids=lambda verb: verb[0])
def test_the_map_and_the_bounds_are_shown_on_request(verb, make_network, tmp_path, capsys):
    network: Network = make_network((12, 9, 5))
    network.save(tmp_path / "network.npz")
    words = [*verb, str(tmp_path / "network.npz"), "-o", str(tmp_path / "out"), "--json",
             str(tmp_path / "report.json")]
    assert main(words) == 0
    assert "greatest V" not in capsys.readouterr().out
    assert "layers" not in json.loads((tmp_path / "report.json").read_text())

    assert main([*words, "--map"]) == 0
    shown = capsys.readouterr().out.splitlines()
    report = json.loads((tmp_path / "report.json").read_text())
    assert [tuple(layer["bounds"]) for layer in report["layers"]] == network.bounds()
    lanes = 16 if verb[0] == "image" else 4
    weights = [-(-9 // lanes) * 12, -(-5 // lanes) * 9]
    assert report["memories"]["weights"]["used"] == sum(weights)
    for layer, (least, greatest), words, first in zip(
            network.layers, network.bounds(), weights, (0, weights[0]), strict=True):
        line = " ".join(next(line for line in shown if line.startswith(layer.name)).split())
        assert f" {first} to {first + words - 1} " in line
        assert line.endswith(f" {count(least)} {count(greatest)}")
