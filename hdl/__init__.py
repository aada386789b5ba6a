# SPDX-License-Identifier: Apache-2.0
"""The synthesisable core in Amaranth: integers and streams, no torch, no files, no argparse."""

from ttfs_fpga.hdl.config import CoreConfig
from ttfs_fpga.hdl.core import Core
from ttfs_fpga.hdl.datapaths import Datapath

__all__ = ["Core", "CoreConfig", "Datapath"]
