"""The continuous-time network: real spike times, real membranes, an independent witness.

This is the B1 model of Stanojevic et al. (Nat. Commun. 15:6793, 2024): non-leaky neurons that fire
at most once. The windows of the layers follow one another on one time axis. A neuron gathers while
its source's window lasts, and fires in its own window ``t_min <= t < t_max``::

    t < t_min            dV/dt = sum of w_j over the spikes j so far
    t_min <= t < t_max   dV/dt = B                                     (1 unless said otherwise)
    threshold            theta = B (t_max - t_min) - D

With ``x = t_max - t`` of a spike, and 0 of a silent neuron, that is ``x_i = min(window, ReLU(sum of
w_ij x_j + D_i) / B_i)``. Nothing here uses that formula: the membranes are followed from spike to
spike, so that a test can compare the two.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ttfs_sw.golden import refuse_unsupported
from ttfs_sw.network import Network, NetworkError

__all__ = ["ContinuousLayer", "ContinuousNetwork", "ContinuousTrace", "integrate"]


@dataclasses.dataclass(frozen=True)
class ContinuousLayer:
    """A dense layer in real numbers.

    Parameters
    ----------
    weight : :class:`numpy.ndarray`
        float64 ``[inputs, outputs]``.
    bias : :class:`numpy.ndarray`
        float64 ``[outputs]``, D.
    window : :class:`float` or ``None``
        ``t_max - t_min``, the largest activation; ``None`` for the read-out, which does not fire.
    slope : :class:`numpy.ndarray` or :class:`float`
        B, the slope at threshold.
    """

    weight: np.ndarray
    bias: np.ndarray
    window: float | None
    slope: np.ndarray | float = 1.0


@dataclasses.dataclass(frozen=True)
class ContinuousTrace:
    """What a continuous network did for a batch of images.

    Parameters
    ----------
    spike_times : tuple of :class:`numpy.ndarray`
        One float64 ``[images, neurons]`` a spiking layer, on one time axis; a silent neuron has its
        layer's ``t_max``.
    windows : tuple of (:class:`float`, :class:`float`)
        ``t_min`` and ``t_max`` of each spiking layer.
    early : tuple of :class:`int`
        How many neurons of each spiking layer stood above threshold already at ``t_min``. They
        spike at ``t_min``: a window that is too short clips the activation, never causality.
    logits : :class:`numpy.ndarray`
        float64 ``[images, classes]``.
    """

    spike_times: tuple[np.ndarray, ...]
    windows: tuple[tuple[float, float], ...]
    early: tuple[int, ...]
    logits: np.ndarray

    def activations(self, layer: int) -> np.ndarray:
        """What a layer's spikes are worth: ``t_max - t``, 0 for a silent neuron."""
        return self.windows[layer][1] - self.spike_times[layer]


class ContinuousNetwork:
    """Dense layers whose windows tile the time axis; the last one is the read-out.

    Parameters
    ----------
    layers : sequence of :class:`ContinuousLayer`
        Each reads the one before it; the first reads the input.
    input_window : :class:`float`
        The largest input; an input ``x`` is a spike at ``input_window - x``.
    """

    def __init__(self, layers: Sequence[ContinuousLayer], input_window: float = 1.0) -> None:
        silent = [index for index, layer in enumerate(layers) if layer.window is None]
        if not layers or silent != [len(layers) - 1]:
            raise ValueError("layers must end with the only layer without a window")
        self.layers = tuple(layers)
        self.input_window = input_window

    @classmethod
    def from_network(cls, network: Network) -> "ContinuousNetwork":
        """Make the network in real numbers that ``network`` is the quantised form of.

        The scales turn integers into real numbers. The window of a layer is its T output steps, and
        the slope at threshold is what its m and s make of it.
        """
        refuse_unsupported(network)
        scale = network.input_scale
        layers = []
        for index, layer in enumerate(network.layers):
            if layer.source != index - 1:
                raise NetworkError(
                    f"layer {layer.name!r} reads layer {layer.source}, but the continuous-time "
                    "network computes chains only; use a network in which each layer reads the last"
                )
            # The membrane potential V is worth `step` V; a code takes 2^s / m of it.
            step = scale * layer.weight_scale
            ramp = step * 2.0 ** layer.shift / layer.multiplier / layer.output_scale
            layers.append(ContinuousLayer(
                weight=layer.weight * layer.weight_scale,
                bias=layer.bias * step,
                window=layer.ticks * layer.output_scale if layer.spiking else None,
                slope=ramp if layer.spiking else 1.0,
            ))
            scale = layer.output_scale
        return cls(layers, network.input_ticks * network.input_scale)

    def run(self, inputs: np.ndarray) -> ContinuousTrace:
        """Simulate images of real inputs ``[images, inputs]``, each from 0 to ``input_window``."""
        inputs = np.asarray(inputs, np.float64)
        if inputs.size and not 0 <= inputs.min() <= inputs.max() <= self.input_window:
            raise ValueError(f"inputs must be from 0 to {self.input_window}")
        start, end = 0.0, self.input_window
        times = end - inputs
        spike_times, windows, early = [], [], []
        for layer in self.layers[:-1]:
            membrane = integrate(times, layer.weight, start, end)
            # The comparator opens at t_min, when the membrane is complete; it ramps from there.
            start, end = end, end + layer.window
            threshold = layer.slope * layer.window - layer.bias
            crossing = start + (threshold - membrane) / layer.slope
            early.append(int(np.count_nonzero(crossing < start)))
            times = np.clip(crossing, start, end)
            spike_times.append(times)
            windows.append((start, end))
        readout = self.layers[-1]
        # The bias of the read-out is a current that flows while the last window lasts.
        drift = readout.bias / (end - start)
        logits = integrate(times, readout.weight, start, end, drift)
        return ContinuousTrace(tuple(spike_times), tuple(windows), tuple(early), logits)


def integrate(
    times: np.ndarray,
    weight: np.ndarray,
    start: float,
    end: float,
    drift: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Follow membranes from ``start`` to ``end``, from one input spike to the next.

    Parameters
    ----------
    times : :class:`numpy.ndarray`
        Spike times ``[images, inputs]`` from ``start`` to ``end``; ``end`` is no spike.
    weight : :class:`numpy.ndarray`
        ``[inputs, outputs]``: what a spike adds to the slope of each membrane.
    drift : :class:`numpy.ndarray` or :class:`float`
        Slope of the membranes before the first spike.

    Returns
    -------
    :class:`numpy.ndarray`
        Membrane potentials ``[images, outputs]`` at ``end``.
    """
    order = np.argsort(times, axis=1, kind="stable")
    arrivals = np.take_along_axis(times, order, axis=1)
    membrane = np.zeros((len(times), weight.shape[1]))
    slope = membrane + drift
    now = np.full(len(times), start)
    # Images keep step by rank of their spikes, not by time; one that has no more waits at `end`.
    most = int((times < end).sum(axis=1).max(initial=0))
    for rank in range(most):
        arrival = arrivals[:, rank]
        membrane += slope * (arrival - now)[:, None]
        slope += np.where((arrival < end)[:, None], weight[order[:, rank]], 0.0)
        now = arrival
    return membrane + slope * (end - now)[:, None]
