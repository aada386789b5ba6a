# SPDX-License-Identifier: Apache-2.0
"""Few-spike (FS) neurons: a value as at most K spikes, one a step, most significant first.

With the thresholds ``T(t)``, resets ``h(t)`` and worths ``d(t)`` of its steps, a neuron that
received ``x`` computes (Stöckl & Maass, "Classifying Images with Few Spikes per Neuron", arXiv
2002.00860, and the authors' code)::

    v(1) = x      z(t) = 1 if v(t) > T(t) else 0      v(t+1) = v(t) - h(t) z(t)
    output = Σ_t d(t) z(t)

For a ReLU all three are ``α 2^-t``, and the output is a number of K bits, floored::

    α 2^-K · clip(⌈x / (α 2^-K)⌉ - 1, 0, 2^K - 1)

or, where a neuron fires at the threshold itself (as ml_genn has it), ``⌊·⌋`` for ``⌈·⌉ - 1``.
"""

import dataclasses

import numpy as np
import torch

__all__ = ["FewSpike", "bits_of", "pulses"]


@dataclasses.dataclass(frozen=True, eq=False)
class FewSpike:
    """A few-spike neuron: its coefficients, one a step.

    Parameters
    ----------
    threshold, reset, worth : :class:`torch.Tensor`
        ``T``, ``h`` and ``d``, ``[K]``.
    inclusive : :class:`bool`
        Whether it fires at the threshold itself.
    """

    threshold: torch.Tensor
    reset: torch.Tensor
    worth: torch.Tensor
    inclusive: bool = False

    @classmethod
    def relu(cls, steps: int, alpha: float, *, inclusive: bool = False) -> "FewSpike":
        """Return the ReLU of ``steps`` bits whose values are below ``alpha``."""
        values = alpha * 2.0 ** -torch.arange(1, steps + 1, dtype=torch.float64)
        return cls(values, values, values, inclusive)

    @property
    def steps(self) -> int:
        """K."""
        return len(self.threshold)

    def __call__(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the outputs of ``values`` of any shape, and the spikes ``[K, ...]`` as 0 and 1."""
        # In float64 the thresholds, which halve from step to step, are subtracted exactly.
        potential, output, spikes = values.double(), torch.zeros_like(values).double(), []
        for threshold, reset, worth in zip(
            self.threshold.tolist(), self.reset.tolist(), self.worth.tolist(), strict=True
        ):
            fired = potential >= threshold if self.inclusive else potential > threshold
            potential = torch.where(fired, potential - reset, potential)
            output = torch.where(fired, output + worth, output)
            spikes.append(fired)
        return output.to(values.dtype), torch.stack(spikes).to(values.dtype)


def pulses(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return integer codes as the spikes of a few-spike neuron, bool ``[bits, ...]``.

    Step ``t`` is bit ``bits - 1 - t``: the most significant first. These are the pulses of the
    ``serial`` datapath of our core, which sends the same ones from the least significant on; the
    sum of their worths does not depend on the order.
    """
    if int(np.max(codes, initial=0)) >= 1 << bits:
        raise ValueError(f"codes of {bits} bits must be below {1 << bits}")
    places = np.arange(bits - 1, -1, -1).reshape(-1, *[1] * np.ndim(codes))
    return (np.asarray(codes).astype(np.int64) >> places & 1).astype(bool)


def bits_of(ticks: int) -> int:
    """Return how many steps a few-spike neuron needs for codes up to ``ticks``."""
    return ticks.bit_length()
