"""From a network to what the memories of a core hold."""

from ttfs_fpga.hdl.compiler.compile import DoesNotFit, compile_network, minimal_config

__all__ = ["DoesNotFit", "compile_network", "minimal_config"]
