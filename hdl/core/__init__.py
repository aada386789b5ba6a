# SPDX-License-Identifier: Apache-2.0
"""The core and what it is made of, but for what a datapath brings along."""

from ttfs_fpga.hdl.core.core import Core

__all__ = ["Core"]
