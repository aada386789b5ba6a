# SPDX-License-Identifier: Apache-2.0
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

A convolution is a matrix that is mostly zeros, a max-pool lets the first spike of its window
through, and a residual is one more synapse. A map that is not read in the next window alone was
gathered in its own: a membrane that no spike drives stays where it is.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ttfs_sw.artifact.network import Layer, Network

__all__ = ["ContinuousLayer", "ContinuousNetwork", "ContinuousTrace", "integrate", "matrix"]


@dataclasses.dataclass(frozen=True)
class ContinuousLayer:
    """A layer in real numbers. It is dense; :func:`matrix` makes a dense one of any other.

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
    source : :class:`int` or ``None``
        Index of the layer that is read, -1 for the input; ``None`` is the layer before.
    residual : (:class:`int`, :class:`float`) or ``None``
        Source and weight of one more synapse of each neuron, from the neuron of its own number.
    pools : :class:`numpy.ndarray` or ``None``
        Numbers of the neurons of each pooling window, ``[windows, neurons of a window]``: only the
        first spike of a window leaves the layer. ``None`` is no pooling.
    """

    weight: np.ndarray
    bias: np.ndarray
    window: float | None
    slope: np.ndarray | float = 1.0
    source: int | None = None
    residual: tuple[int, float] | None = None
    pools: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class ContinuousTrace:
    """What a continuous network did for a batch of images.

    Parameters
    ----------
    spike_times : tuple of :class:`numpy.ndarray`
        One float64 ``[images, neurons]`` a spiking layer, after pooling, on one time axis; a silent
        neuron has its layer's ``t_max``.
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
    """Layers whose windows tile the time axis; the last one is the read-out.

    Parameters
    ----------
    layers : sequence of :class:`ContinuousLayer`
        In the order of their windows, which start when the input's ends.
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
        layers = []
        for layer in network.layers:
            # The membrane potential V is worth `step` V; a code takes 2^s / m of it.
            step = cls._scale(network, layer.source) * layer.weight_scale
            positions = layer.outputs // layer.out_shape[2]
            ramp = step * 2.0 ** layer.shift / layer.multiplier / layer.output_scale
            residual = None
            if layer.second_source is not None:
                worth = step * 2.0 ** layer.residual_shift
                residual = (layer.second_source, worth / cls._scale(network, layer.second_source))
            layers.append(ContinuousLayer(
                weight=matrix(layer) * layer.weight_scale,
                bias=np.tile(layer.bias * step, positions),
                window=layer.ticks * layer.output_scale if layer.spiking else None,
                slope=np.tile(ramp, positions) if layer.spiking else 1.0,
                source=layer.source,
                residual=residual,
                pools=_pools(layer) if layer.pool > 1 else None,
            ))
        return cls(layers, network.input_ticks * network.input_scale)

    @staticmethod
    def _scale(network: Network, source: int) -> float:
        return network.input_scale if source == -1 else network.layers[source].output_scale

    def run(self, inputs: np.ndarray) -> ContinuousTrace:
        """Simulate images of real inputs ``[images, inputs]``, each from 0 to ``input_window``."""
        inputs = np.asarray(inputs, np.float64)
        if inputs.size and not 0 <= inputs.min() <= inputs.max() <= self.input_window:
            raise ValueError(f"inputs must be from 0 to {self.input_window}")
        start, end = 0.0, self.input_window
        # Spike times of each map and the window they lie in; the input's is at -1.
        maps = {-1: (end - inputs, start, end)}
        early = []
        for index, layer in enumerate(self.layers[:-1]):
            membrane = self._gather(index, maps)
            assert layer.window is not None, "only the read-out has no window"
            # The comparator opens at t_min, when the membrane is complete; it ramps from there.
            start, end = end, end + layer.window
            threshold = layer.slope * layer.window - layer.bias
            crossing = start + (threshold - membrane) / layer.slope
            early.append(int(np.count_nonzero(crossing < start)))
            times = np.clip(crossing, start, end)
            if layer.pools is not None:
                times = times[:, layer.pools].min(axis=2)
            maps[index] = (times, start, end)
        # The bias of the read-out is a current that flows while the window of its source lasts.
        logits = self._gather(len(self.layers) - 1, maps, drift=True)
        spiking = [maps[index] for index in range(len(self.layers) - 1)]
        return ContinuousTrace(
            tuple(times for times, _, _ in spiking),
            tuple((opens, closes) for _, opens, closes in spiking), tuple(early), logits,
        )

    def _gather(
        self, index: int, maps: Mapping[int, tuple[np.ndarray, float, float]], *,
        drift: bool = False,
    ) -> np.ndarray:
        """Membranes of layer ``index`` when all that it reads has arrived."""
        layer = self.layers[index]
        source = index - 1 if layer.source is None else layer.source
        times, start, end = maps[source]
        current = layer.bias / (end - start) if drift else 0.0
        membrane = integrate(times, layer.weight, start, end, current)
        if layer.residual is not None:
            second, weight = layer.residual
            times, start, end = maps[second]
            membrane += integrate(times, np.eye(times.shape[1]) * weight, start, end)
        return membrane


def matrix(layer: Layer) -> np.ndarray:
    """Return the integer weights of a layer of any kind as those of a dense one.

    ``[inputs, outputs]``, both in raster order: row, column, channel.
    """
    if layer.form.flat:
        return layer.weight.astype(np.int64)
    (height, width, c_in), (rows, columns, c_out) = layer.in_shape, layer.out_shape
    dense = np.zeros((height, width, c_in, rows, columns, c_out), np.int64)
    for row, column, ky, kx in np.ndindex(rows, columns, *layer.kernel):
        y = row * layer.stride[0] - layer.padding[0] + ky
        x = column * layer.stride[1] - layer.padding[1] + kx
        if 0 <= y < height and 0 <= x < width:
            taps = layer.weight[ky, kx]
            dense[y, x, :, row, column, :] = np.diag(taps[:, 0]) if layer.form.own_channel else taps
    return dense.reshape(layer.inputs, layer.outputs)


def _pools(layer: Layer) -> np.ndarray:
    """Numbers of the neurons in each pooling window of ``layer``, windows in raster order."""
    size, (height, width, channels) = layer.pool, layer.map_shape
    numbers = np.arange(layer.outputs).reshape(layer.out_shape)[:height * size, :width * size]
    windows = numbers.reshape(height, size, width, size, channels).transpose(0, 2, 4, 1, 3)
    return windows.reshape(layer.neurons, size * size)


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
