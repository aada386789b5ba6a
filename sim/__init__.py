# SPDX-License-Identifier: Apache-2.0
"""Co-simulation: the core in Verilator or Icarus against the golden model, event by event."""
