# SPDX-License-Identifier: Apache-2.0
"""The integer golden model: what every other form of a network, hard or soft, must equal."""

from ttfs_sw.golden.arithmetic import encode, exact_float, fire, pool, thresholds
from ttfs_sw.golden.numpy_model import forward, membrane, potentials
from ttfs_sw.golden.trace import Trace, run

__all__ = ["Trace", "encode", "exact_float", "fire", "forward", "membrane", "pool", "potentials",
           "run", "thresholds"]
