# SPDX-License-Identifier: Apache-2.0
"""From a network to what the memories of a core hold."""

from ttfs_fpga.hdl.compiler.compile import compile_network
from ttfs_fpga.hdl.compiler.refusal import DoesNotFit
from ttfs_fpga.hdl.compiler.smallest import minimal_config

__all__ = ["DoesNotFit", "compile_network", "minimal_config"]
