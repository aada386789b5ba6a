"""Training: configuration, topology, quantisation-aware models, the loop, checkpoints."""
