# SPDX-License-Identifier: Apache-2.0
"""Training: configuration, topology, quantisation-aware models, the loop, checkpoints."""
