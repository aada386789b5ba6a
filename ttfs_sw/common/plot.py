# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run: learning curve, spike raster, spike-time histogram.

Plain arrays in, one file out, whole or not at all; its ending decides the format (``.png``,
``.svg``, ``.pdf``). Figures are made without pyplot, so nothing global changes and no display is
needed.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from ttfs_sw.common.files import atomic_write

__all__ = [
    "BLUE", "GREEN", "GREY", "ORANGE", "learning_curve", "raster", "save", "spike_histogram",
    "tidy",
]

#: Colours that stay apart in print and for the colour-blind (Okabe and Ito).
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#8a8a8a"

DOTS_PER_INCH = 150

#: What the two losses are of.
HELDOUT, TRAINING = "held-out images", "training images, distorted, with the cost of spikes"


def learning_curve(
    path: str | os.PathLike, history: Sequence[Mapping[str, Any]], *, title: str = ""
) -> None:
    """Draw how training went: held-out accuracy, loss, and spikes per neuron, epoch by epoch.

    Parameters
    ----------
    path : path
        File to write.
    history : sequence of mappings
        One an epoch, as :func:`ttfs_sw.training.train.train` writes them to ``history.json``:
        ``stage`` (``"float"`` or ``"network"``), ``loss``, ``loss_heldout``, ``accuracy_heldout``
        and, in the network's stage, ``spikes_per_neuron``.
    title : :class:`str`
        Above the panels.
    """
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    accuracy, loss, spikes = figure.subplots(1, 3)
    epochs = np.arange(1, len(history) + 1)
    stages = np.array([entry["stage"] for entry in history])
    names = {"float": ("ReLU network, real numbers", GREY), "network": ("integer network", BLUE)}

    def values(key: str) -> np.ndarray:
        return np.array([entry.get(key, np.nan) for entry in history], float)

    def plot(axes: Axes, stage: str, key: str, factor: float = 1.0, **style: Any) -> None:
        chosen = stages == stage
        if chosen.any():
            marker = "o" if chosen.sum() == 1 else None
            style = {"color": names[stage][1], "label": names[stage][0], "marker": marker} | style
            axes.plot(epochs[chosen], factor * values(key)[chosen], **style)

    for stage in names:
        plot(accuracy, stage, "accuracy_heldout", 100.0)
        # The later stage names the style for both.
        heldout, training = (HELDOUT, TRAINING) if stage == stages[-1] else (None, None)
        plot(loss, stage, "loss_heldout", label=heldout)
        plot(loss, stage, "loss", linestyle="--", label=training)
    plot(spikes, "network", "spikes_per_neuron")

    accuracy.set(title="accuracy on held-out images", ylabel="%")
    # The first epochs may leave the picture, so that the differences that matter are seen.
    low, high = np.percentile(100 * values("accuracy_heldout"), [10, 100])
    accuracy.set_ylim(low - 0.6 * (high - low) - 0.05, high + 0.1 * (high - low) + 0.05)
    loss.set(title="loss", ylabel="nats", yscale="log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    loss.yaxis.set_minor_formatter(NullFormatter())
    spikes.set(title="spikes per hidden neuron and image", ylabel="spikes")
    spikes.set_ylim(bottom=0)
    for axes in (accuracy, loss, spikes):
        axes.set_xlabel("epoch")
        axes.set_xlim(0, len(history) + 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(set(stages)) == 2:
            axes.axvline((stages == "float").sum() + 0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
        tidy(axes)
    # One legend below the panels covers no line. Held-out and training loss are told apart by
    # style, whatever their colour, so two black lines stand for them.
    handles = [line for line in accuracy.lines if not line.get_label().startswith("_")]
    for line in loss.lines:
        if line.get_label() in (HELDOUT, TRAINING):
            style = {"linestyle": line.get_linestyle(), "label": line.get_label()}
            handles.append(Line2D([], [], color="black", **style))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    if title:
        figure.suptitle(title)
    save(figure, path)


def raster(
    path: str | os.PathLike,
    layers: Sequence[Mapping[str, Any]],
    *,
    image: np.ndarray | None = None,
    logits: np.ndarray | None = None,
    label: int | None = None,
    title: str = "",
) -> None:
    """Draw every spike of one image, a panel a layer: golden model as circles, RTL as dots.

    A dot in a circle is agreement; a circle or a dot alone is a mismatch. Neurons that stay silent
    are not drawn.

    Parameters
    ----------
    path : path
        File to write.
    layers : sequence of mappings
        From the input on: ``name``, ``ticks`` (T), ``golden_times`` and ``rtl_times``, the spike
        ticks of the layer's neurons with T for silence. ``rtl_times`` may be missing or ``None``.
    image : :class:`numpy.ndarray` or ``None``
        ``[height, width]`` or ``[height, width, channels]``, drawn on the left.
    logits : :class:`numpy.ndarray` or ``None``
        Of the read-out, drawn as bars on the right.
    label : :class:`int` or ``None``
        The image's true class.
    title : :class:`str`
        Above the panels.
    """
    widths = [1.0] * (image is not None) + [1.6] * len(layers) + [1.0] * (logits is not None)
    figure = Figure(figsize=(2.1 * sum(widths) + 0.6, 4.4), layout="constrained")
    panels = list(figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0])
    if image is not None:
        axes = panels.pop(0)
        axes.imshow(image, cmap="gray_r", interpolation="nearest")
        axes.set(title="image" if label is None else f"image: class {label}", xticks=[], yticks=[])
    if logits is not None:
        _draw_logits(panels.pop(), np.asarray(logits), label)
    for axes, layer in zip(panels, layers, strict=True):
        _draw_spikes(axes, layer)

    # One legend for all panels, below them: it covers no spike.
    found: dict[str, Artist] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if found:
        figure.legend(list(found.values()), list(found), loc="outside lower center",
                      ncols=len(found), frameon=False)
    if title:
        figure.suptitle(title)
    save(figure, path)


def spike_histogram(
    path: str | os.PathLike, layers: Sequence[Mapping[str, Any]], *, title: str = ""
) -> None:
    """Draw when the neurons of each layer fire: the share that fires at each tick, over all images.

    Parameters
    ----------
    path : path
        File to write.
    layers : sequence of mappings
        ``name``, ``ticks`` (T) and ``times``, spike ticks of any shape, with T for silence.
    title : :class:`str`
        Above the panels.
    """
    figure = Figure(figsize=(0.6 + 3.4 * len(layers), 3.4), layout="constrained")
    for axes, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        ticks = layer["ticks"]
        times = np.asarray(layer["times"]).ravel()
        shares = np.bincount(times, minlength=ticks + 1) / max(len(times), 1)
        axes.bar(np.arange(ticks), 100 * shares[:ticks], color=BLUE, width=0.85)
        axes.set(title=f"{layer['name']}: {100 * shares[ticks]:.1f} % silent",
                 xlabel="spike time (ticks)", ylabel="neurons (%)")
        _time_axis(axes, ticks)
        tidy(axes)
    if title:
        figure.suptitle(title)
    save(figure, path)


def _draw_spikes(axes: Axes, layer: Mapping[str, Any]) -> None:
    """Draw one layer's panel of a raster."""
    ticks = layer["ticks"]
    golden = np.asarray(layer["golden_times"])
    fired = np.flatnonzero(golden < ticks)
    # Small enough that neighbours stay apart, large enough to see.
    size = float(np.clip(6000 / max(len(golden), 1), 10, 60))
    axes.scatter(golden[fired], fired, s=size, facecolors="none", edgecolors=BLUE, linewidths=1.1,
                 label="golden model")
    if layer.get("rtl_times") is not None:
        rtl = np.asarray(layer["rtl_times"])
        seen = np.flatnonzero(rtl < ticks)
        axes.scatter(rtl[seen], seen, s=size / 5, color=ORANGE, linewidths=0, label="RTL")
    axes.set(title=f"{layer['name']}: {len(fired)} of {len(golden)} fire",
             xlabel="spike time (ticks)", ylabel="neuron")
    _time_axis(axes, ticks)
    axes.set_ylim(-0.02 * len(golden) - 0.5, 1.02 * len(golden) - 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    tidy(axes)


def _draw_logits(axes: Axes, logits: np.ndarray, label: int | None) -> None:
    """Draw the read-out's panel of a raster."""
    winner = int(logits.argmax())
    good = label is None or label == winner
    colours = [GREY] * len(logits)
    colours[winner] = GREEN if good else ORANGE
    axes.barh(np.arange(len(logits)), logits, color=colours)
    axes.set(title=f"read-out: class {winner}", xlabel="membrane potential", ylabel="class")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=20, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.axvline(0, color="black", linewidth=0.8)
    tidy(axes)


def _time_axis(axes: Axes, ticks: int) -> None:
    axes.set_xlim(-0.7, ticks - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def tidy(axes: Axes) -> None:
    """Leave away the lines of the frame that say nothing."""
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure to ``path``, whole or not at all; the ending decides the format."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)
