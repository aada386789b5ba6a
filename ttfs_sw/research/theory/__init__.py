# SPDX-License-Identifier: Apache-2.0
"""The published theory in PyTorch: exact time-to-first-spike networks that can be trained.

Networks of neurons that fire at most once, in continuous time, with the closed-form gradients of
their spike times; the mapping from ReLU networks and back; batch-norm fused exactly; initialisation
that keeps gradients in bounds. After Stanojevic et al., "High-performance deep spiking neural
networks with 0.3 spikes per neuron", Nat. Commun. 15:6793 (2024).

What runs on the hardware is made elsewhere, by :mod:`ttfs_sw.training.train`; this package shows
why that is allowed to train a ReLU network first.
"""
